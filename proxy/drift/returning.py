"""Whether a field that drifts is back: evidence against what was told, not for what was expected.

Told is the effect when the alarm came. A block's evidence is the log likelihood ratio of "as expected" against half
of what was told; as long as the effect is at least that half, its exponential has a mean of at most 1. So drift that
stays as it is is not taken as over but once in e¹⁰ restarts or fewer, however large the bet was that found it; and
the half allows for an alarm that comes while the effect looks up to twice as large as it is.
"""

from __future__ import annotations

import math
from typing import Final

BACK: Final = 10.0
"""Log evidence, since it last was at its least, at which drift has ended."""
LARGEST: Final = {"level": 1.0, "spread": 0.25}
"""Of half an effect, so that few values never suffice; a square has a heavy tail."""
WITHIN: Final = 0.2
"""The least part of an expected share that half an effect leaves."""


def evidence_back(what: str, told: float, expected: float, error: float, apart: float, trials: float) -> float:
    """Log evidence of one block that a field is as expected, against an effect of half of what was `told`: `apart` is
    by how much the sum over `trials` observations differs from `expected`, which may be wrong by `error`. Before it is
    divided by the size of bursts.

    >>> [round(evidence_back("level", 0.4, 0.0, 0.0, 100.0 * effect, 100.0), 9) for effect in (0.0, 0.1, 0.4)]
    [2.0, 0.0, -6.0]
    >>> [round(evidence_back("missing", 0.1, 0.01, 0.0, 1000.0 * (rate - 0.01), 1000.0)) for rate in (0.01, 0.06, 0.11)]
    [33, -59, -151]
    """
    apart -= math.copysign(min(error, 0.25 * abs(told)), told) * trials
    if what in LARGEST:
        half = max(-LARGEST[what], min(LARGEST[what], 0.5 * told))
        return 0.5 * trials * half * half - half * apart
    mean = min(1.0 - 1e-7, max(1e-7, expected))
    drifted = min(1.0 - WITHIN * (1.0 - mean), max(WITHIN * mean, mean + 0.5 * told))
    events = apart + trials * expected
    return events * math.log(mean / drifted) + (trials - events) * math.log((1.0 - mean) / (1.0 - drifted))
