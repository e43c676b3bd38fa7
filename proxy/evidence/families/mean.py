"""Mean guards: is the mean of a bounded difference beyond its limit? `process.means` has the bets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.process.estimate import Estimate
from proxy.evidence.process.means import (
    BINS,
    STEPS,
    WEIGHTS,
    above_bets,
    below_bets,
    bins,
    centres,
    mean_intervals,
    sides,
)
from proxy.evidence.process.prf import uniforms
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, block_gains, mixed, weakest
from proxy.significant import significant


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

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return (self.measure,)

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
        """Log-wealth of every FAIL bet, (directions, 1, bets); see `e_detector`."""
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
        cut = [f"{unit}; {significant(100 * end, 2)} % of the differences were cut at {self.hi:g}" for end in ends]
        return [words if end else unit for words, end in zip(cut, ends, strict=True)] if self.unit else [""] * len(ends)
