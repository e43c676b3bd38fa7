"""Effect sizes with intervals that hold at any time.

A 95 % anytime interval is the set of limits that neither side's e-process rejects at 40 (2.5 % each side): P(some look
ever excludes the truth) ≤ 5 % by Ville's inequality. It is inverted from the *unweighted* evidence, so it may disagree
with a verdict for a moment (STATISTICS 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proxy.core.evidence.wealth import crossing

LEVEL = float(np.log(40.0))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a guard measures now: value and interval in the guard's own unit, over `pairs`, `failed` of them failures.

    `note` is what a person must know to read it (a resolution, a share clipped); `None` means not known yet.
    """

    value: float | None
    low: float | None
    high: float | None
    pairs: int
    failed: int = 0
    note: str = ""


def interval(
    against_low: Callable[[float], float],
    against_high: Callable[[float], float],
    value: float,
    lo: float,
    hi: float,
) -> tuple[float, float]:
    """The interval around `value` within [lo, hi].

    `against_low(m)` is the log e-value against "the truth is ≤ m", `against_high(m)` against "it is ≥ m".

    >>> interval(lambda m: 100 * (0.5 - m), lambda m: 100 * (m - 0.5), 0.5, 0.0, 1.0)[0] < 0.5
    True
    """
    value = min(max(value, lo), hi)
    low = crossing(against_low, value, lo, LEVEL)
    high = crossing(against_high, value, hi, LEVEL)
    return low, high
