"""Rate guards: is an event (a disagreement, a big change) more frequent than its limit?

`process.rates` has the bets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.process.estimate import NOTHING, Estimate
from proxy.evidence.process.rates import rate_fail_bets, rate_intervals, rate_pass_bets
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, block_gains, mixed, weakest


class EventShare:
    """A rule on a share of pairs: counts of [no event, event or another word for one, …], of which the first alone is
    none."""

    __slots__ = ()

    def _two(self, counts: Numbers) -> Numbers:
        return np.stack([counts[..., 0], counts[..., 1:].sum(-1)], axis=-1)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against H0: p ≤ limit; counts (…, width) → (…)."""
        return mixed(self._two(counts), [rate_fail_bets(limit)])

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against H0: p ≥ limit; counts (…, width) → (…)."""
        return weakest(self._two(counts), [rate_pass_bets(limit)])

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `e_detector`."""
        return np.asarray(self._two(counts) @ rate_fail_bets(limit))[None, None]


@dataclass(frozen=True, slots=True)
class Rate(EventShare):
    """A rule on the share of pairs whose measure exceeds `above`. Categories: [no event, event, failed].

    A failed candidate multiplies the worst factor: for FAIL the event's (p1 > p0), for PASS the event's too (p1 < p0).
    """

    measure: str
    above: float = 0.5
    unit: str = ""  # of `above`, in words, where that is live's interquartile range
    width: int = 3
    shed_at: int | None = None
    worst_at: int | None = 2

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return (self.measure,)

    def place(self, batch: Batch, salt: int) -> Placed:
        """Category of each pair that gives evidence."""
        who, value = batch.measured(self.measure)
        category = (value > self.above).astype(np.int64)
        if not len(batch.worst):
            return who, category
        return np.concatenate([who, batch.worst]), np.concatenate([category, np.full(len(batch.worst), 2)])

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (3, 2); see `pass_blocks`."""
        return block_gains(np.array([[0.0], [1.0], [1.0]]), np.ones(3), limit, 1.0)

    def burst_values(self) -> Ints:
        """An event is 1, (3, 1); see `bursts`."""
        return np.array([[0], [1], [1]])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Shares of events with their intervals; failures count as events, as in the verdict; counts (n, 3)."""
        two = self._two(counts).astype(np.float64)
        total, failed = two.sum(-1), counts[:, 2]
        low, high = rate_intervals(two[:, 0], two[:, 1])
        shares = (two[:, 1] / np.maximum(1.0, total)).tolist()
        note = f"1 iqr is {self.unit}" if self.unit else ""
        rows = zip(shares, low, high, total.tolist(), failed.tolist(), strict=True)
        return [Estimate(v, a, b, int(n), f, note) if n else NOTHING for v, a, b, n, f in rows]
