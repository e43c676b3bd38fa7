"""Latency guards on a share: how many answers take longer than the limit allows (`Slower`)?

The share of pairs beyond an edge, p0 = 1 − quantile, with the e-processes of `rate`. With an absolute limit the
quantity (whole time, time to first token, …) is the candidate's time in seconds; for the relative median it is the
ratio c / l (the median of the *ratio*, not the ratio of medians). The histogram has the limit on a bin edge, so the
verdict reads two sums, and a person gets the quantile with an interval. p99 relative to live is in `ratio`.

Counts are of single pairs: all of them without `latency_block`, else one of each block, drawn by key. With blocks the
evidence over all traffic is that of `timings`, from all pairs; counts are then what segments, the watch after promotion
and what a person reads go by, since an interval from pairs of one stall would be too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proxy.evidence.input.batch import NOBODY, Batch, Placed
from proxy.evidence.input.timings import BOTH, ORDERS, both_orders
from proxy.evidence.process.bursts import TakenByBlocks
from proxy.evidence.process.estimate import LEVEL, Estimate
from proxy.evidence.process.rates import rate_fail_bets, rate_pass_bets
from proxy.evidence.process.stakes import Stakes, share_stakes
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, log_mean_exp, mixed, weakest

STEP = float(np.log(1.02))
SHORTEST, LONGEST = 2e-4, 120.0
"""Seconds; what is outside goes to the outer bins."""
RATIOS = (1 / 64, 64.0)


def log_edges(anchor: float, step: float, shortest: float, longest: float) -> Floats:
    """Edges `anchor · exp(i·step)` that cover [shortest, longest].

    >>> edges = log_edges(0.25, STEP, 2e-4, 120.0)
    >>> 0.25 in edges, bool(edges[0] <= 2e-4), bool(edges[-1] >= 120.0)
    (True, True, True)
    """
    first = min(0, int(np.floor(np.log(shortest / anchor) / step)))
    last = max(0, int(np.ceil(np.log(longest / anchor) / step)))
    return np.asarray(anchor * np.exp(step * np.arange(first, last + 1)))


@dataclass(frozen=True)  # without slots, for the cached array: making one of 700 edges takes longer than the search
class Slower(TakenByBlocks):
    """The share of pairs beyond the limit, where p0 of them are allowed. Absolute, or relative to live.

    Categories, per order array (one if absolute, two if relative): the histogram's bins, shed.
    """

    quantity: str
    limit: float
    p0: float
    relative: bool
    edges: tuple[float, ...]

    @classmethod
    def at(cls, quantity: str, limit: float, p0: float, *, relative: bool) -> Slower:
        """The rule for a limit in seconds, or for a ratio to live's time if relative."""
        shortest, longest = RATIOS if relative else (SHORTEST, LONGEST)
        return cls(quantity, limit, p0, relative, tuple(log_edges(limit, STEP, shortest, longest).tolist()))

    @cached_property
    def _edges(self) -> Floats:
        return np.asarray(self.edges)

    @property
    def _block(self) -> int:
        return len(self.edges) + 2

    @property
    def width(self) -> int:
        """Categories."""
        return self._block * (2 if self.relative else 1)

    @property
    def arrays(self) -> tuple[int, ...]:
        """The arrays of its blocks; see `timings`."""
        return (0, 1) if self.relative else (BOTH,)

    @property
    def cells(self) -> int:
        """One edge: the limit."""
        return 1

    @property
    def stakes(self) -> tuple[tuple[Stakes, Stakes], tuple[Stakes, Stakes]]:
        """Bets for FAIL and for PASS, on blocks of one pair and of many."""
        return share_stakes(self.p0)

    def beyond(self, batch: Batch) -> tuple[Ints, Ints, Ints, Ints]:
        """Which pairs say something, and whether the candidate's time is beyond the limit, for FAIL and for PASS."""
        who, category = self._bins(batch)
        beyond = (category > self.edges.index(self.limit)).astype(np.int64)
        return who, beyond, beyond, np.zeros_like(beyond)

    def place(self, batch: Batch, salt: int) -> Placed:
        """Bin of each timed pair."""
        if not batch.timed.any():
            return NOBODY
        who, category = self._bins(batch)
        return who, category + self._block * batch.candidate_first[who] if self.relative else category

    def _bins(self, batch: Batch) -> tuple[Ints, Ints]:
        """Bin of each timed pair, whichever arm was first."""
        live, candidate = batch.times(self.quantity)
        known = ~np.isnan(candidate) & (~np.isnan(live) if self.relative else True)
        who = np.flatnonzero(batch.timed & known)
        value = candidate[who]
        if self.relative:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                value = np.where(np.isinf(value) & np.isinf(live[who]), 1.0, value / live[who])
            value = np.where(np.isnan(value), 1.0, value)  # 0 s against 0 s
        return who, np.searchsorted(self._edges, value, side="left").astype(np.int64)

    def _parts(self, counts: Numbers) -> list[tuple[Numbers, ...]]:
        """Per order array: pairs within the limit, beyond it, shed; each (…)."""
        at = self.edges.index(self.limit) + 1
        bins = len(self.edges) + 1
        parts: list[tuple[Numbers, ...]] = []
        for start in range(0, self.width, self._block):
            block = counts[..., start : start + self._block]
            parts.append((block[..., :at].sum(-1), block[..., at:bins].sum(-1), block[..., bins]))
        return parts

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "at most p0 of the pairs are beyond the limit"; counts (…, width) → (…)."""
        bets = rate_fail_bets(self.p0)
        logs = [mixed(np.stack([within, beyond], -1), [bets]) for within, beyond, _ in self._parts(counts)]
        return log_mean_exp(np.stack(logs, -1), ORDERS if self.relative else None)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "at least p0 of the pairs are beyond the limit"; counts (…, width) → (…)."""
        parts, bets = self._parts(counts), rate_pass_bets(self.p0)
        logs = [weakest(np.stack([within, beyond + shed], -1), [bets]) for within, beyond, shed in parts]
        if len(logs) == 1:
            return logs[0]
        return both_orders(logs[0], logs[1], parts[1][0] + parts[1][1])

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (order arrays, 1, bets); see `e_detector`."""
        bets = rate_fail_bets(self.p0)
        return np.stack([np.array([p[0], p[1]]) @ bets for p in self._parts(counts)])[:, None]

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """The quantile itself (seconds, or the median ratio) of each row of counts (n, width), its interval by
        inverting the rate at each edge."""
        bins = len(self.edges) + 1
        blocks = counts.reshape(len(counts), -1, self._block)
        shed, histograms = blocks[:, :, -1].sum(-1).tolist(), blocks[:, :, :bins].sum(1)
        found = quantiles(histograms, self.edges, self.p0)
        rows = zip(*found, histograms.sum(-1).tolist(), histograms[:, -1].tolist(), shed, strict=True)
        return [
            Estimate(v, a, b, n, f, shed_note(s)) if n else Estimate(None, None, None, 0, 0, shed_note(s))
            for v, a, b, n, f, s in rows
        ]


def quantiles(histograms: Counts, edges: tuple[float, ...], p0: float) -> tuple[list[float], list[float], list[float]]:
    """The (1 − p0) quantiles of n histograms (n, `len(edges) + 1`): values, and both ends of 95 % anytime intervals.

    The quantile is beyond edge q exactly when more than p0 lies beyond it, so the interval of the *share* at each edge
    says which edges the quantile may lie between. Bounds beyond the edges are 0 and infinity.

    >>> edges = tuple(float(e) for e in log_edges(1.0, STEP, 0.1, 10.0))
    >>> sample = np.exp(np.random.default_rng(0).normal(0.0, 0.3, 4000))
    >>> histogram = np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1)
    >>> _, (low,), (high,) = quantiles(histogram[None], edges, 0.5)
    >>> low < 1.0 < high and high / low < 1.15
    True
    """
    totals = histograms.sum(-1)
    beyond = totals[:, None] - np.cumsum(histograms, axis=-1)[:, :-1]  # falls from edge to edge
    at = (beyond > p0 * totals[:, None]).sum(-1)
    outer = np.array([0.0, *edges, np.inf])
    # In the middle of the bin (geometrically) that holds the quantile; the outer bins have only one finite edge.
    left, right = outer[at], outer[np.minimum(at + 1, len(outer) - 1)]
    with np.errstate(invalid="ignore"):
        values = np.where((left > 0.0) & np.isfinite(right), np.sqrt(left * right), np.where(left == 0.0, right, left))
    # Edges where the share beyond is surely above p0 come first, those where it is surely below last.
    many, few = _decisive(totals, p0)
    low_at, high_at = (beyond >= many[:, None]).sum(-1), len(edges) - (beyond <= few[:, None]).sum(-1)
    return values.tolist(), outer[low_at].tolist(), outer[high_at + 1].tolist()


def _decisive(totals: Ints, p0: float) -> tuple[Ints, Ints]:
    """Of n totals, the fewest events that are evidence for more than p0, and the most that are for less (−1: none)."""
    bounds = []
    for bets, rising in ((rate_fail_bets(p0), True), (rate_pass_bets(p0), False)):
        low, high = np.full(len(totals), -1), totals + 1  # evidence rises with events for FAIL, falls for PASS
        while (high - low > 1).any():
            events = np.clip((low + high) // 2, 0, totals)
            enough = log_mean_exp(np.stack([totals - events, events], -1) @ bets) >= LEVEL
            up = enough != rising
            wide = high - low > 1
            low, high = np.where(up & wide, events, low), np.where(~up & wide, events, high)
        bounds.append(high if rising else low)
    return bounds[0], bounds[1]


def shed_note(shed: int) -> str:
    """What a person is told of copies that were never sent.

    >>> shed_note(3)
    '3 shed copies count as the slowest for a pass'
    """
    return f"{shed} shed copies count as the slowest for a pass" if shed else ""
