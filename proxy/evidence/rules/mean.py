"""Mean guards: is the mean of a bounded difference beyond its limit?

FAIL (H0: E[d] ≤ m): the average over k of Π(1 + λ_k(d_i − m)), λ_k = .98·2⁻ᵏ/(m − lo), k = 0…9. PASS (H0: E[d] ≥ m):
of Π(1 − λ_k(d_i − m)), λ_k = .98·2⁻ᵏ/(hi − m). The largest bets weigh most: they win most where differences are small
against their range, as those of two good models are. Two-sided |E[d]| ≤ m: FAIL = ½(E⁺ + E⁻), PASS = min(P⁺, P⁻).
Source: Waudby-Smith & Ramdas, arXiv 2010.09686, with a fixed grid of bets so that the state is a histogram.

A value between two of the 513 bin centres goes to either, with probabilities that keep its mean, so the products above
stay e-processes for the value itself (the factors are linear in d). Its uniform number is a PRF (`prf`), never a
generator: the same pairs give the same counts however they arrive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from proxy.evidence.input.batch import Batch, Ints, Placed
from proxy.evidence.process.estimate import LEVEL, Estimate, intervals
from proxy.evidence.process.prf import uniforms
from proxy.evidence.process.wealth import CERTAIN, Counts, Floats, Numbers, block_gains, log_mean_exp, mixed, weakest

STEPS = 512
BINS = STEPS + 1
BETS = 0.98 * 2.0 ** -np.arange(10)
"""Shares of the largest bet, which a single difference could ruin."""
WEIGHTS = np.array([0.46, 0.25, 0.1, 0.06, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01])
"""Their weights."""


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


@dataclass(frozen=True, slots=True)
class Mean:
    """A rule on the mean of a measure in [lo, hi]. Categories: 513 bins, then failures. `unit` says in words what 1 is,
    where that is taken from live's first answers; what lies beyond the ends is then cut."""

    measure: str
    lo: float
    hi: float
    two_sided: bool
    unit: str = ""
    width: int = BINS + 1
    shed_at: int | None = None
    worst_at: int | None = BINS

    def place(self, batch: Batch, salt: int) -> Placed:
        """Bin of each pair that gives evidence; `salt` is the PRF key of this guard's rounding."""
        who, value = batch.measured(self.measure)
        index = bins(value, uniforms(batch.keys[who], salt), self.lo, self.hi)
        if not len(batch.worst):
            return who, index
        return np.concatenate([who, batch.worst]), np.concatenate([index, np.full(len(batch.worst), BINS)])

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the mean is within the limit"; counts (…, 514) → (…)."""
        if self.two_sided:
            return mixed(counts, sides(self.lo, self.hi, limit, fail=True), WEIGHTS)
        return mixed(counts, [above_bets(self.lo, self.hi, limit)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the mean is at or beyond the limit" (either limit, if two-sided); (…, 514) → (…)."""
        if self.two_sided:
            return weakest(counts, sides(self.lo, self.hi, limit, fail=False), WEIGHTS)
        return weakest(counts, [below_bets(self.lo, self.hi, limit)], WEIGHTS)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (directions, 1, bets); see `after_promotion`."""
        above = (above_bets(self.lo, self.hi, limit),)
        both = sides(self.lo, self.hi, limit, fail=True) if self.two_sided else above
        return np.stack([counts @ side for side in both])[:, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (514, directions + 1): a failure is the worst in each; see `pass_blocks`."""
        d = np.append(centres(self.lo, self.hi), self.hi)
        x = np.stack([d, np.append(-d[:BINS], self.hi)], axis=-1) if self.two_sided else d[:, None]
        return block_gains(x, np.ones(self.width), limit, self.hi)

    def burst_values(self) -> Ints:
        """The difference in bins, a failure as the largest, (514, 1); see `bursts`."""
        zero = round(-self.lo / (self.hi - self.lo) * STEPS)
        return np.minimum(np.arange(self.width), STEPS)[:, None] - zero

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Means with their intervals (signed if two-sided). Failures have no value and are left out of both; counts (n,
        514)."""
        failed, histograms = counts[:, BINS].tolist(), counts[:, :BINS]
        totals = histograms.sum(-1)
        means = histograms @ centres(self.lo, self.hi) / np.maximum(1, totals)
        low, high = mean_intervals(histograms, means, self.lo, self.hi)
        notes = self._notes((histograms[:, 0] + histograms[:, STEPS]) / np.maximum(1, totals))
        rows = zip(means.tolist(), low, high, totals.tolist(), failed, notes, strict=True)
        return [
            Estimate(v, a, b, n + f, f, note) if n else Estimate(None, None, None, f, f) for v, a, b, n, f, note in rows
        ]

    def _notes(self, ends: Floats) -> list[str]:
        """What the unit is, and what share of the differences was cut at the `ends`, (n,)."""
        unit = f"1 is {self.unit}"
        cut = [f"{unit}; {100 * end:.2g} % of the differences were cut at {self.hi:g}" for end in ends]
        return [words if end else unit for words, end in zip(cut, ends, strict=True)] if self.unit else [""] * len(ends)


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


@dataclass(frozen=True, slots=True)
class Similarity(Mean):
    """The rule of `min_similarity`: the mean similarity 1 − d of a distance d in [0, 1] is at least the limit."""

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the mean similarity is at least the limit"."""
        return mixed(counts, [above_bets(self.lo, self.hi, 1.0 - limit)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the mean similarity is at most the limit"."""
        return weakest(counts, [below_bets(self.lo, self.hi, 1.0 - limit)], WEIGHTS)

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (514, 2); see `pass_blocks`."""
        return Mean.pass_gains(self, 1.0 - limit)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `after_promotion`."""
        return np.asarray(counts @ above_bets(self.lo, self.hi, 1.0 - limit))[None, None]

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Mean similarities with their intervals."""
        return [
            far
            if far.value is None or far.low is None or far.high is None
            else Estimate(1.0 - far.value, 1.0 - far.high, 1.0 - far.low, far.pairs, far.failed, far.note)
            for far in Mean.estimates(self, counts, limit)
        ]


@dataclass(frozen=True, slots=True)
class Labelled(Mean):
    """The rule of `max_quality_drop`: differences of losses in [−1, 1], which come with the labels, not with pairs."""

    worst_at: int | None = None

    def place(self, batch: Batch, salt: int) -> Placed:
        """Nothing: see `label_bin`."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    def burst_values(self) -> Ints:
        """No columns: labels come with nothing that `Tally.count` sees."""
        return np.zeros((self.width, 0), np.int64)

    def _notes(self, ends: Floats) -> list[str]:
        """In what errors of numbers count: the differences of two of them are never cut."""
        return [f"errors count in eighths, up to 8, of {self.unit}" if self.unit else ""] * len(ends)

    def label_bin(self, difference: float, key: int, salt: int) -> int:
        """Bin of one difference of losses; `key` is its pair's PRF key."""
        uniform = uniforms(np.array([key], dtype=np.uint64), salt)
        return int(bins(np.array([difference]), uniform, self.lo, self.hi)[0])
