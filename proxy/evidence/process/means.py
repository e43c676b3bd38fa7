"""Bets on a mean: is the mean of a bounded difference beyond its limit?

FAIL (H0: E[d] ≤ m): the average over k of Π(1 + λ_k(d_i − m)), λ_k = .98·2⁻ᵏ/(m − lo), k = 0…9. PASS (H0: E[d] ≥ m):
of Π(1 − λ_k(d_i − m)), λ_k = .98·2⁻ᵏ/(hi − m). The largest bets weigh most: they win most where differences are small
against their range, as those of two good models are. Two-sided |E[d]| ≤ m: FAIL = ½(E⁺ + E⁻), PASS = min(P⁺, P⁻).
Source: Waudby-Smith & Ramdas, arXiv 2010.09686, with a fixed grid of bets so that the state is a histogram.

A value between two of the 513 bin centres goes to either, with probabilities that keep its mean, so the products above
stay e-processes for the value itself (the factors are linear in d). Its uniform number is a PRF (`prf`), never a
generator: the same pairs give the same counts however they arrive.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from proxy.evidence.process.estimate import LEVEL, intervals
from proxy.evidence.process.wealth import (
    CERTAIN,
    Counts,
    Floats,
    Ints,
    log_mean_exp,
)

STEPS = 512
BINS = STEPS + 1
BETS = 0.98 * 2.0 ** -np.arange(10)
"""Shares of the largest bet, which a single difference could ruin."""
WEIGHTS = np.array([0.46, 0.25, 0.1, 0.06, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01])
"""Their weights."""


POWERS = 17
"""What lies beyond a bound is counted by powers of 2, up to 65,536 times the bound; more counts as that."""
EXCESS = 2.0 ** np.arange(POWERS) - 1.0
"""What lies beyond the bound, in bounds."""


def power_of_2(values: Floats, uniform: Floats) -> Ints:
    """Power of 2 of each value of more than 1, rounded up with the probability that keeps its mean.

    >>> power_of_2(np.array([3.0, 3.0, 1e9]), np.array([0.4, 0.6, 0.0])).tolist()
    [2, 1, 16]
    """
    below = np.minimum(np.floor(np.log2(np.maximum(values, 1.0))), POWERS - 2.0)
    base = np.exp2(below)
    return np.asarray(below + (uniform < (values - base) / base)).astype(np.int64)


@lru_cache(maxsize=8)
def centres(lo: float, hi: float) -> Floats:
    """Centres of the 513 bins, both ends included.

    >>> float(centres(-1.0, 1.0)[256])
    0.0
    """
    return np.asarray(lo + (hi - lo) * (np.arange(BINS) / STEPS))


@lru_cache(maxsize=256)
def above_bets(lo: float, hi: float, m: float) -> Floats:
    """Log factors (514, 10) against H0: E[d] ≤ m; the last row is a failure: the largest factor.

    >>> factors = np.exp(above_bets(-1.0, 1.0, 0.0))
    >>> bool(np.allclose((factors[0] + factors[512]) / 2, 1.0))  # a fair coin on the ends wins nothing
    True
    """
    d = centres(lo, hi)
    if m <= lo:  # nothing above the bottom is allowed: the first such value is certainty
        logs = np.where(d > lo, CERTAIN, 0.0)[:, None]
    elif m >= hi:  # everything is allowed
        logs = np.zeros((BINS, 1))
    else:
        logs = np.log1p(BETS[None, :] / (m - lo) * (d[:, None] - m))
    return np.concatenate([logs, logs.max(axis=0, keepdims=True)])


@lru_cache(maxsize=256)
def below_bets(lo: float, hi: float, m: float) -> Floats:
    """Log factors (514, 10) against H0: E[d] ≥ m; the last row is a failure: the smallest factor, as for a PASS.

    >>> below_bets(0.0, 1.0, 0.5).shape
    (514, 10)
    """
    d = centres(lo, hi)
    if m <= lo:  # the mean of what lies in [lo, hi] is never below lo: it can never pass
        logs = np.where(d > lo, -CERTAIN, 0.0)[:, None]
    elif m >= hi:
        logs = np.full((BINS, 1), CERTAIN)
    else:
        logs = np.log1p(-BETS[None, :] / (hi - m) * (d[:, None] - m))
    return np.concatenate([logs, logs.min(axis=0, keepdims=True)])


@lru_cache(maxsize=256)
def sides(lo: float, hi: float, m: float, *, fail: bool) -> tuple[Floats, ...]:
    """Log factors (514, 10) in both directions of a two-sided limit: the upper one, and the lower one with d mirrored.

    >>> up, down = sides(-1.0, 1.0, 0.1, fail=True)
    >>> bool(np.allclose(up[:513], down[:513][::-1]))
    True
    """
    bets = above_bets if fail else below_bets
    mirrored = bets(-hi, -lo, m)
    return bets(lo, hi, m), np.concatenate([mirrored[:BINS][::-1], mirrored[BINS:]])


def bins(values: Floats, uniform: Floats, lo: float, hi: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Bin of each value in [lo, hi] (clipped to it), rounded up with the probability that keeps the mean.

    >>> bins(np.array([0.25 / 512]), np.array([0.2]), 0.0, 1.0), bins(np.array([0.25 / 512]), np.array([0.3]), 0.0, 1.0)
    (array([1]), array([0]))
    """
    # Minimum and maximum rather than `clip`, which takes longer to decide how to clip than to do it.
    position = (np.minimum(np.maximum(values, lo), hi) - lo) * (STEPS / (hi - lo))
    floor = position.astype(np.int64)  # not negative, so this is the floor
    return np.minimum(floor + (uniform < position - floor), STEPS)


def mean_intervals(
    histograms: Counts, means: Floats, lo: float, hi: float, level: float = LEVEL
) -> tuple[list[float], list[float]]:
    """Anytime intervals of n means (n,) from their histograms (n, 513) over [lo, hi]; 95 % at the usual level.

    >>> h = np.zeros((1, BINS), np.int64)
    >>> h[0, 200], h[0, 300] = 500, 500
    >>> (low,), (high,) = mean_intervals(h, np.array([0.0]), -1.0, 1.0)
    >>> low < 0.0 < high
    True
    """
    row, at = np.nonzero(histograms)  # few of the bins are occupied
    weight, value = histograms[row, at][:, None].astype(np.float64), centres(lo, hi)[at]
    filled, starts = np.unique(row, return_index=True)

    def wealth(m: Floats, side: float, end: float) -> Floats:
        logs = np.full(len(m), 0.0)
        if len(starts):
            bets = BETS / (side * (m - end))[:, None]
            terms = weight * np.log1p((side * (value - m[row]))[:, None] * bets[row])
            logs[filled] = log_mean_exp(np.add.reduceat(terms, starts, axis=0), WEIGHTS)
        return logs

    edge = 1e-9 * (hi - lo)
    return intervals(lambda m: wealth(m, 1.0, lo), lambda m: wealth(m, -1.0, hi), means, lo + edge, hi - edge, level)
