"""Effect sizes with intervals that hold at any time.

A 95 % anytime interval is the set of limits that neither side's e-process rejects at 40 (2.5 % each side): P(some look
ever excludes the truth) ≤ 5 % by Ville's inequality. It is inverted from the *unweighted* evidence, so it may disagree
with a verdict for a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proxy.evidence.process.wealth import Floats, crossings

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


NOTHING = Estimate(None, None, None, 0)
"""Nothing has been seen."""


def intervals(
    against_low: Callable[[Floats], Floats],
    against_high: Callable[[Floats], Floats],
    values: Floats,
    lo: float,
    hi: float,
    level: float = LEVEL,
) -> tuple[list[float], list[float]]:
    """Both ends of n intervals around `values` (n,) within [lo, hi]. They are solved together: n cost hardly more than
    one.

    `against_low(limits)` (n,) are the log e-values against "the truth is ≤ limit", `against_high` against "it is ≥".

    >>> low, high = intervals(lambda m: 100 * (0.5 - m), lambda m: 100 * (m - 0.5), np.array([0.5]), 0.0, 1.0)
    >>> low[0] < 0.5 < high[0]
    True
    """
    values = np.clip(values, lo, hi)
    low = crossings(against_low, values, np.full(len(values), lo), level)
    high = crossings(against_high, values, np.full(len(values), hi), level)
    return low.tolist(), high.tolist()
