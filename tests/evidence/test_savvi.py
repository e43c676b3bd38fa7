"""Promise: the sample ratio's Bayes factor is savvi's, number by number along whole streams.

savvi (MIT) is by the authors of the method and knows nothing of ours. It lives in an environment of its own, made by
`make test-oracles`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from proxy.evidence.sample_ratio import PRIOR, log_bayes_factor

pytestmark = [
    pytest.mark.oracles,
    pytest.mark.skipif("ORACLES_VENV" not in os.environ, reason="savvi's environment is made by `make test-oracles`"),
]


def streams() -> list[tuple[float, list[tuple[int, int]]]]:
    """(expected share, (candidate, live) per step): as expected and not, in single requests and in batches."""
    rng = np.random.default_rng(1)
    found = []
    for expected in (0.01, 0.05, 0.25, 0.5):
        for truth in (expected, expected * 1.1, expected * 0.5):
            for size in (1, 40):
                counts = rng.binomial(size, truth, 100)
                found.append((expected, [(int(n), int(size - n)) for n in counts]))
    return found


def test_the_sample_ratio_is_savvis_at_every_step_of_every_stream() -> None:
    asked = [{"theta": [p, 1 - p], "k": PRIOR, "counts": steps} for p, steps in streams()]
    python, script = Path(os.environ["ORACLES_VENV"]) / "bin" / "python", Path(__file__).with_name("savvi_says.py")
    done = subprocess.run([python, script], input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps_checked = 0
    for (expected, steps), theirs in zip(streams(), json.loads(done.stdout), strict=True):
        for (candidate, live), odds in zip(np.cumsum(steps, axis=0).tolist(), theirs, strict=True):
            assert log_bayes_factor(candidate, live, expected) == pytest.approx(odds, rel=1e-6, abs=1e-6)
            steps_checked += 1
    assert steps_checked == 2400
