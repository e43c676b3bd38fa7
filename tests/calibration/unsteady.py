"""Rows about what moves under the evidence: truth that comes later for one class, live that leaves the thresholds,
users whose requests are all alike. All run readings through `Evidence` as shipped, a look every 100 pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proxy.core.evidence import Evidence
from proxy.core.model import Guard, Kind, PredictionSpec, Verdict
from tests.calibration.cases import ALPHA_PASS, Case, Row, most, runs_of, share_of
from tests.core.evidence.streams import make_plan, make_reading

LOOK = 100


def late_labels(number: int, delay: float) -> bool:
    """Whether it ever passes: 3 % of requests are frauds, which are known 1,000 requests later and of which the
    candidate finds none; all else is known at once. A request a second."""
    spec = PredictionSpec("json", Kind.LABEL, label_delay=delay)
    evidence = Evidence.begin(make_plan(Guard("max_quality_drop", 0.02), prediction=spec), number)
    fraud = (np.random.default_rng([31, number]).random(5000) < 0.03).astype(int).tolist()
    for at in range(0, 5000, LOOK):
        now = range(at, at + LOOK)
        evidence.add([make_reading(i, fraud[i], 0, kind=Kind.LABEL) for i in now])
        for i in now:
            if not fraud[i]:
                evidence.outcome(f"r{i}", 0)
            if i >= 1000 and fraud[i - 1000]:
                evidence.outcome(f"r{i - 1000}", 1)
        if evidence.assess(forecast=False).verdict is Verdict.PASS:
            return True
    return False


def labels(share: float) -> Row:
    """A truth that comes later for one class, with a horizon that covers it and with one that does not."""
    n, m = runs_of(200, share), runs_of(20, share)
    passed = sum(late_labels(number, 1100.0) for number in range(n))
    short = sum(late_labels(number, 100.0) for number in range(m))
    text = f"pass {share_of(passed, n)} of {n} runs (label_delay too short: {short / m:.0%})"
    truth, target = "frauds known 1,000 later, none found, drop 3 %", f"pass ≤ {most(ALPHA_PASS, n):.2%}"
    return Row(truth, "max_quality_drop: 2%", target, "", text, passed / n <= most(ALPHA_PASS, n))


def unsteady() -> Iterator[Case]:
    """All of them."""
    yield labels
