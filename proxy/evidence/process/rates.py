"""Bets on a rate: is an event more frequent than its limit?

FAIL (H0: p ≤ p0): the average of likelihood ratios at p1 = p0·{1.1 … 50}. PASS (H0: p ≥ p0): the same at
p0·{.02 … .95}. For p ≤ p0 < p1 the ratio's mean is ≤ 1, so each is an e-process (Wald's likelihood ratio; arXiv
2210.01948). State: two integers and the candidate's failures.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from proxy.evidence.process.estimate import intervals
from proxy.evidence.process.wealth import (
    CERTAIN,
    Floats,
    log_mean_exp,
)

RISES = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
FALLS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95)

EDGE = 1e-9
"""How near to 0 and 1 an interval is looked for."""


@lru_cache(maxsize=256)
def rate_fail_bets(p0: float) -> Floats:
    """Log factors (2, bets) of [no event, event] against H0: p ≤ p0.

    With p0 = 0 the first event is certainty; with p0 = 1 nothing can be against it.

    >>> bool(np.all((1 - 0.02) * np.exp(rate_fail_bets(0.02)[0]) + 0.02 * np.exp(rate_fail_bets(0.02)[1]) <= 1 + 1e-12))
    True
    """
    if p0 <= 0.0:
        return np.array([[0.0], [CERTAIN]])
    if p0 >= 1.0:
        return np.zeros((2, 1))
    p1 = np.array([p0 * rise for rise in RISES if p0 * rise < 1.0] or [(1.0 + p0) / 2.0])
    return np.stack([np.log1p(-p1) - np.log1p(-p0), np.log(p1 / p0)])


@lru_cache(maxsize=256)
def rate_pass_bets(p0: float) -> Floats:
    """Log factors (2, bets) of [no event, event] against H0: p ≥ p0. With p0 = 0 nothing can ever pass.

    >>> bool(np.all((1 - 0.02) * np.exp(rate_pass_bets(0.02)[0]) + 0.02 * np.exp(rate_pass_bets(0.02)[1]) <= 1 + 1e-12))
    True
    """
    if p0 <= 0.0:
        return np.array([[0.0], [-CERTAIN]])
    if p0 >= 1.0:
        return np.full((2, 1), CERTAIN)
    p1 = p0 * np.array(FALLS)
    return np.stack([np.log1p(-p1) - np.log1p(-p0), np.log(p1 / p0)])


def rate_intervals(none: Floats, events: Floats) -> tuple[list[float], list[float]]:
    """95 % anytime intervals of n rates from their two counts (n,), by inverting the two e-processes above.

    >>> (low,), (high,) = rate_intervals(np.array([990.0]), np.array([10.0]))
    >>> 0.002 < low < 0.01 < high < 0.03
    True
    """
    rates = events / np.maximum(1.0, none + events)
    low, high = intervals(
        lambda limits: _likelihood(none, events, limits, RISES),
        lambda limits: _likelihood(none, events, limits, FALLS),
        rates,
        EDGE,
        1.0 - EDGE,
    )
    return [x if x > EDGE else 0.0 for x in low], [x if x < 1.0 - EDGE else 1.0 for x in high]


def _likelihood(none: Floats, events: Floats, p0: Floats, factors: tuple[float, ...]) -> Floats:
    """What `rate_fail_bets` (rises) and `rate_pass_bets` (falls) come to, for a limit of its own per row; all (n,)."""
    p1 = p0[:, None] * np.array(factors)
    p1[:, 0] = np.where(p1[:, 0] < 1.0, p1[:, 0], (1.0 + p0) / 2.0)
    possible = p1 < 1.0
    p1 = np.where(possible, p1, 0.5)
    logs = none[:, None] * (np.log1p(-p1) - np.log1p(-p0)[:, None]) + events[:, None] * np.log(p1 / p0[:, None])
    logs = np.where(possible, logs, -np.inf)
    return np.asarray(log_mean_exp(logs) + np.log(logs.shape[-1] / possible.sum(-1)))
