"""p99 of the candidate against a multiple r of live's p99 (`Ratio`): unpaired quantiles over paired requests.

FAIL for each bin edge q bets that c/(r(1+w)) lies beyond q more often than p, and live less often (`stakes`); E is the
least over q, because *some* q is live's quantile and for that one E_q is an e-process. PASS (H0: p99(c) ≥ r·p99(l))
bets the other way, with c(1+w)/r. Log bins of width w ≈ 2 % with r a whole number of bins; r(1+w) and r/(1+w) make
binning conservative on both sides. One q must serve the whole trial: under a drifting p99 only α × (number of bins
visited) is proved.

Order effects: see `timings`. Pairs with a hedge or a fallback are pairs like any other: live's leg runs to its end
whoever has answered, and l is its own time, from its own start. To leave it out would be to leave out live exactly
where both arms are slow.

Counts are of single pairs, as in `latency`; with `latency_block` the evidence over all traffic is that of `timings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from proxy.evidence.families.slower import LONGEST, SHORTEST, STEP, log_edges, quantiles, shed_note
from proxy.evidence.input.batch import NOBODY, Batch, Placed
from proxy.evidence.input.timings import ORDERS, both_orders
from proxy.evidence.process.bursts import TakenByBlocks
from proxy.evidence.process.estimate import Estimate
from proxy.evidence.process.stakes import FAIL_MANY, FAIL_ONE, PASS_MANY, PASS_ONE, UNIT, Stakes, gains
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, log_mean_exp


@lru_cache(maxsize=16)
def ratio_bets(p: float) -> tuple[Floats, Floats]:
    """Log factors of single pairs against both nulls, (4, bets): rows [neither, c only, l only, both].

    >>> fail, passing = ratio_bets(0.01)
    >>> chances = np.array([0.9801, 0.0099, 0.0099, 0.0001])  # both beyond with probability 0.01
    >>> bool((chances @ np.exp(fail) <= 1.0).all() and (chances @ np.exp(passing) <= 1.0).all())
    True
    """
    c, live, one = np.array([0.0, 1, 0, 1]), np.array([0.0, 0, 1, 1]), np.ones(4)
    fail = gains(FAIL_ONE, p, c, live, one, one, fail=True) / UNIT
    return fail, gains(PASS_ONE, p, c, live, one, one, fail=False) / UNIT


@dataclass(frozen=True)  # without slots, as `Slower`
class Ratio(TakenByBlocks):
    """p-quantile of the candidate against `limit` times that of live.

    Categories per order array, each a histogram of `edges + 1` bins: l, c, min(l, c shifted for FAIL), min(l, c shifted
    for PASS); then one for shed copies. "Above edge q" is "bin > q".
    """

    quantity: str
    limit: float
    p: float
    steps: int  # r is this many bins
    edges: tuple[float, ...]

    @classmethod
    def at(cls, quantity: str, limit: float, p: float) -> Ratio:
        """The rule for `limit` times live's quantile."""
        steps = round(np.log(limit) / STEP)
        width = float(np.log(limit)) / steps if steps else STEP
        return cls(quantity, limit, p, steps, tuple(log_edges(SHORTEST, width, SHORTEST, LONGEST).tolist()))

    @cached_property
    def _edges(self) -> Floats:
        return np.asarray(self.edges)

    @property
    def _bins(self) -> int:
        return len(self.edges) + 1

    @property
    def _block(self) -> int:
        return 4 * self._bins + 1

    @property
    def width(self) -> int:
        """Categories."""
        return 2 * self._block

    @property
    def arrays(self) -> tuple[int, ...]:
        """The arrays of its blocks; see `timings`."""
        return 0, 1

    @property
    def cells(self) -> int:
        """Edges."""
        return len(self.edges)

    @property
    def p0(self) -> float:
        """The share of times that lies beyond the quantile."""
        return self.p

    @property
    def stakes(self) -> tuple[tuple[Stakes, Stakes], tuple[Stakes, Stakes]]:
        """Bets for FAIL and for PASS, on blocks of one pair and of many."""
        return (FAIL_ONE, FAIL_MANY), (PASS_ONE, PASS_MANY)

    def beyond(self, batch: Batch) -> tuple[Ints, Ints, Ints, Ints]:
        """Which pairs say something, and beyond how many edges the candidate's time is for FAIL and for PASS, and
        live's own."""
        who, ours, c = self._bins_of(batch)
        return who, self._shifted(c, self.steps + 1), self._shifted(c, self.steps - 1), ours

    def _bins_of(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        live, candidate = batch.times(self.quantity)
        who = np.flatnonzero(batch.timed & ~np.isnan(live) & ~np.isnan(candidate))
        ours, c = np.searchsorted(self._edges, live[who], "left"), np.searchsorted(self._edges, candidate[who], "left")
        return who, ours, c

    def place(self, batch: Batch, salt: int) -> Placed:
        """Four bins of each timed pair."""
        if not batch.timed.any():
            return NOBODY
        who, ours, c = self._bins_of(batch)
        bins = self._bins
        least_fail = np.minimum(ours, self._shifted(c, self.steps + 1))
        least_pass = np.minimum(ours, self._shifted(c, self.steps - 1))
        start = self._block * batch.candidate_first[who]
        parts = [start + ours, start + bins + c, start + 2 * bins + least_fail, start + 3 * bins + least_pass]
        return np.tile(who, 4), np.concatenate(parts).astype(np.int64)

    def _shifted(self, c: Ints, steps: int) -> Ints:
        """Bin of c divided by `steps` bins; what is beyond the last edge (failures) stays there."""
        top = self._bins - 1
        return np.where(c == top, top, np.minimum(np.maximum(c - steps, 0), top))

    def _above(self, histogram: Numbers, shift: int = 0) -> Floats:
        """How many lie above each edge once moved down by `shift` bins; (…, bins) → (…, edges)."""
        above = np.cumsum(histogram[..., ::-1], axis=-1)[..., ::-1][..., 1:].astype(np.float64)
        if shift == 0:
            return above
        at = np.arange(above.shape[-1]) + shift
        moved = above[..., np.clip(at, 0, above.shape[-1] - 1)]
        # Shifted upwards (r < 1), all that is finite lies above the lowest edges.
        return np.where(at < 0, histogram.sum(-1)[..., None], moved)

    def _cells(self, block: Numbers, shift: int, least: int) -> Floats:
        """Counts of the four rows of `ratio_bets` at each edge: (…, edges, 4)."""
        bins = self._bins
        live, c = self._above(block[..., :bins]), self._above(block[..., bins : 2 * bins], shift)
        both = self._above(block[..., least * bins : (least + 1) * bins])
        total = block[..., :bins].sum(-1)[..., None]
        return np.stack([total - live - c + both, c - both, live - both, both], axis=-1)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against p99(c) ≤ r·p99(l); counts (…, width) → (…)."""
        return log_mean_exp(np.stack([self._fail(block) for block in self._blocks(counts)], -1), ORDERS)

    def _fail(self, block: Numbers) -> Floats:
        if not block.any():  # nothing seen in this order: E = 1
            return np.zeros(block.shape[:-1])
        return least(self._cells(block, self.steps + 1, 2), ratio_bets(self.p)[0], FAIL_ONE.weights)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against p99(c) ≥ r·p99(l); shed copies count with l = 0 and c infinite."""
        bets = ratio_bets(self.p)[1]
        logs, pairs = [], []
        for block in self._blocks(counts):
            logs.append(self._pass(block, bets) if block.any() else np.zeros(block.shape[:-1]))
            pairs.append(block[..., : self._bins].sum(-1))
        return both_orders(logs[0], logs[1], pairs[1])

    def _pass(self, block: Numbers, bets: Floats) -> Floats:
        cells = self._cells(block, self.steps - 1, 3)
        cells[..., 1] += block[..., -1][..., None]
        return least(cells, bets, PASS_ONE.weights)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (order arrays, edges, bets); see `e_detector`."""
        bets = ratio_bets(self.p)[0]
        return np.stack([self._cells(block, self.steps + 1, 2) @ bets for block in self._blocks(counts)])

    def _blocks(self, counts: Numbers) -> list[Numbers]:
        return [counts[..., : self._block], counts[..., self._block :]]

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Ratio of the two quantiles of each row of counts (n, width), with an interval from those of each (2.5 % of
        error apiece: wide, and valid)."""
        n, bins = len(counts), self._bins
        blocks = counts.reshape(n, 2, self._block)
        shed = blocks[:, :, -1].sum(-1).tolist()
        ours = blocks[:, :, :bins].sum(1)
        theirs = blocks[:, :, bins : 2 * bins].sum(1)
        found = np.array(quantiles(np.concatenate([ours, theirs]), self.edges, self.p))
        (live, least_live, most_live), (own, least_own, most_own) = found[:, :n], found[:, n:]
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.where(np.isfinite(most_live), least_own / most_live, 0.0)
            high = np.where((least_live > 0.0) & np.isfinite(most_own), most_own / least_live, np.inf)
            value = own / live
        totals, failed = (ours.any(-1) * theirs.sum(-1)).tolist(), theirs[:, -1].tolist()
        rows = zip(value.tolist(), low.tolist(), high.tolist(), totals, failed, shed, strict=True)
        return [
            Estimate(v, a, b, m, f, shed_note(s)) if m else Estimate(None, None, None, 0, 0, shed_note(s))
            for v, a, b, m, f, s in rows
        ]


def least(cells: Floats, bets: Floats, weights: Floats) -> Floats:
    """The minimum over edges of the log of the average over bets: cells (…, edges, rows), bets (rows, k) → (…).

    Exact, at a fraction of the cost: between two values seen all edges are alike, so one of them serves; and the
    average is at least any bet's part of it, so edges whose largest part is above the best edge's value cannot be the
    minimum and are not evaluated.

    >>> cells = np.array([[[90.0, 10.0, 0.0, 0.0], [99.0, 1.0, 0.0, 0.0]]])  # at two edges
    >>> bets, weights = ratio_bets(0.01)[0], FAIL_ONE.weights
    >>> each = [float(log_mean_exp(edge @ bets, weights)) for edge in cells[0]]
    >>> bool(np.isclose(least(cells, bets, weights)[0], min(each)))
    True
    """
    flat = cells.reshape(-1, *cells.shape[-2:])
    distinct = np.append(True, (flat[:, 1:] != flat[:, :-1]).any(axis=(0, 2)))
    logs = flat[:, distinct] @ bets
    bound = (logs + np.log(weights)).max(-1)
    best = log_mean_exp(logs[np.arange(len(flat)), bound.argmin(-1)], weights)
    row, edge = np.nonzero(bound < best[:, None])
    np.minimum.at(best, row, log_mean_exp(logs[row, edge], weights))
    return np.asarray(best.reshape(cells.shape[:-2]))
