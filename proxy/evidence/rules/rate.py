"""Rate guards: is an event (a disagreement, a big change) more frequent than its limit?

FAIL (H0: p ≤ p0): the average of likelihood ratios at p1 = p0·{1.1 … 50}. PASS (H0: p ≥ p0): the same at
p0·{.02 … .95}. For p ≤ p0 < p1 the ratio's mean is ≤ 1, so each is an e-process (Wald's likelihood ratio; arXiv
2210.01948). State: two integers and the candidate's failures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from proxy.evidence.input.batch import Batch, Ints, Placed
from proxy.evidence.process.estimate import NOTHING, Estimate, intervals
from proxy.evidence.process.wealth import CERTAIN, Counts, Floats, Numbers, block_gains, log_mean_exp, mixed, weakest

RISES = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
FALLS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95)

EDGE = 1e-9
"""How near to 0 and 1 an interval is looked for."""


@lru_cache(maxsize=256)
def fail_bets(p0: float) -> Floats:
    """Log factors (2, bets) of [no event, event] against H0: p ≤ p0.

    With p0 = 0 the first event is certainty; with p0 = 1 nothing can be against it.

    >>> bool(np.all((1 - 0.02) * np.exp(fail_bets(0.02)[0]) + 0.02 * np.exp(fail_bets(0.02)[1]) <= 1 + 1e-12))
    True
    """
    if p0 <= 0.0:
        return np.array([[0.0], [CERTAIN]])
    if p0 >= 1.0:
        return np.zeros((2, 1))
    p1 = np.array([p0 * rise for rise in RISES if p0 * rise < 1.0] or [(1.0 + p0) / 2.0])
    return np.stack([np.log1p(-p1) - np.log1p(-p0), np.log(p1 / p0)])


@lru_cache(maxsize=256)
def pass_bets(p0: float) -> Floats:
    """Log factors (2, bets) of [no event, event] against H0: p ≥ p0. With p0 = 0 nothing can ever pass.

    >>> bool(np.all((1 - 0.02) * np.exp(pass_bets(0.02)[0]) + 0.02 * np.exp(pass_bets(0.02)[1]) <= 1 + 1e-12))
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
    """What `fail_bets` (rises) and `pass_bets` (falls) come to, for a limit of its own per row; all (n,)."""
    p1 = p0[:, None] * np.array(factors)
    p1[:, 0] = np.where(p1[:, 0] < 1.0, p1[:, 0], (1.0 + p0) / 2.0)
    possible = p1 < 1.0
    p1 = np.where(possible, p1, 0.5)
    logs = none[:, None] * (np.log1p(-p1) - np.log1p(-p0)[:, None]) + events[:, None] * np.log(p1 / p0[:, None])
    logs = np.where(possible, logs, -np.inf)
    return np.asarray(log_mean_exp(logs) + np.log(logs.shape[-1] / possible.sum(-1)))


@dataclass(frozen=True, slots=True)
class Rate:
    """A rule on the share of pairs whose measure exceeds `above`. Categories: [no event, event, failed].

    A failed candidate multiplies the worst factor: for FAIL the event's (p1 > p0), for PASS the event's too (p1 < p0).
    """

    measure: str
    above: float = 0.5
    unit: str = ""  # of `above`, in words, where that is live's interquartile range
    width: int = 3
    shed_at: int | None = None
    worst_at: int | None = 2

    def place(self, batch: Batch, salt: int) -> Placed:
        """Category of each pair that gives evidence."""
        who, value = batch.measured(self.measure)
        category = (value > self.above).astype(np.int64)
        if not len(batch.worst):
            return who, category
        return np.concatenate([who, batch.worst]), np.concatenate([category, np.full(len(batch.worst), 2)])

    def _two(self, counts: Numbers) -> Numbers:
        return np.stack([counts[..., 0], counts[..., 1] + counts[..., 2]], axis=-1)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against H0: p ≤ limit; counts (…, 3) → (…)."""
        return mixed(self._two(counts), [fail_bets(limit)])

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against H0: p ≥ limit; counts (…, 3) → (…)."""
        return weakest(self._two(counts), [pass_bets(limit)])

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `after_promotion`."""
        return np.asarray(self._two(counts) @ fail_bets(limit))[None, None]

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
