"""Latency guards on one quantity of an answer (whole time, time to first token, …): `Slower` and `Ratio`.

`Slower`: the share of pairs beyond an edge, p0 = 1 − quantile, with the e-processes of `rate`. With an absolute limit
the quantity is the candidate's time in seconds; for the relative median it is the ratio c / l (the median of the
*ratio*, not the ratio of medians). The histogram has the limit on a bin edge, so the verdict reads two sums, and a
person gets the quantile with an interval.

`Ratio`: p99(c) against r·p99(l), unpaired quantiles over paired requests. FAIL for each bin edge q: the mean over
(a, b) of Π(1 + a(1{c/(r(1+w)) > q} − p) + b(p − 1{l > q})); E = min over q, because *some* q is live's quantile and for
that one E_q is an e-process. PASS (H0: p99(c) ≥ r·p99(l)): 1 + a(p − 1{c(1+w)/r > q}) + b(1{l > q} − p), grids swapped.
Log bins of width w ≈ 2 % with r a whole number of bins; r(1+w) and r/(1+w) make binning conservative on both sides.
One q must serve the whole trial: under a drifting p99 only α × (number of bins visited) is proved.

Order effects: a copy runs second, on warm caches, and so does live as hedge or rescue. So there are two arrays, live
first and candidate first: FAIL = ½ each; PASS from live first, and candidate first with ≥ 200 pairs must not speak
against it (P ≥ 1). Hedged and rescued pairs are pairs like any other: live's leg runs to its end whoever has answered,
and l is its own time, from its own start. To leave it out would be to leave out live exactly where both arms are slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from proxy.core.evidence.batch import Batch, Ints, Placed
from proxy.core.evidence.estimate import LEVEL, Estimate
from proxy.core.evidence.rate import fail_bets, pass_bets
from proxy.core.evidence.wealth import Counts, Floats, Numbers, log_mean_exp, mixed, weakest

STEP = float(np.log(1.02))
SHORTEST, LONGEST = 2e-4, 120.0
"""Seconds; what is outside goes to the outer bins."""
RATIOS = (1 / 64, 64.0)
ENOUGH = 200
"""Candidate-first pairs from which they may hold back a pass."""
NEVER = float(np.log(1e-6))


def log_edges(anchor: float, step: float, shortest: float, longest: float) -> Floats:
    """Edges `anchor · exp(i·step)` that cover [shortest, longest].

    >>> edges = log_edges(0.25, STEP, 2e-4, 120.0)
    >>> 0.25 in edges, bool(edges[0] <= 2e-4), bool(edges[-1] >= 120.0)
    (True, True, True)
    """
    first = min(0, int(np.floor(np.log(shortest / anchor) / step)))
    last = max(0, int(np.ceil(np.log(longest / anchor) / step)))
    return np.asarray(anchor * np.exp(step * np.arange(first, last + 1)))


def _pass_both_orders(live_first: Floats, candidate_first: Floats, pairs: Floats) -> Floats:
    """A pass rests on live first; candidate first may only object."""
    return np.where((pairs >= ENOUGH) & (candidate_first < 0.0), np.minimum(live_first, NEVER), live_first)


@dataclass(frozen=True)  # without slots, for the cached array: making one of 700 edges takes longer than the search
class Slower:
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
    def shed_at(self) -> int | None:
        """Category of shed copies: they were to run second, after live."""
        return self._block - 1

    @property
    def worst_at(self) -> int | None:
        """Category of a pair that is the worst for a PASS."""
        return self.shed_at

    def place(self, batch: Batch, salt: int) -> Placed:
        """Bin of each timed pair."""
        live, candidate = batch.times(self.quantity)
        known = ~np.isnan(candidate) & (~np.isnan(live) if self.relative else True)
        who = np.flatnonzero(batch.timed & known)
        value = candidate[who]
        if self.relative:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                value = np.where(np.isinf(value) & np.isinf(live[who]), 1.0, value / live[who])
            value = np.where(np.isnan(value), 1.0, value)  # 0 s against 0 s
        category = np.searchsorted(self._edges, value, side="left")
        if self.relative:
            category = category + self._block * batch.candidate_first[who]
        return who, category.astype(np.int64)

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
        bets = fail_bets(self.p0)
        logs = [mixed(np.stack([within, beyond], -1), [bets]) for within, beyond, _ in self._parts(counts)]
        return log_mean_exp(np.stack(logs, -1))

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "at least p0 of the pairs are beyond the limit"; counts (…, width) → (…)."""
        parts, bets = self._parts(counts), pass_bets(self.p0)
        logs = [weakest(np.stack([within, beyond + shed], -1), [bets]) for within, beyond, shed in parts]
        if len(logs) == 1:
            return logs[0]
        return _pass_both_orders(logs[0], logs[1], parts[1][0] + parts[1][1])

    def burst_values(self) -> Ints:
        """No columns: `latency_block` keeps apart what may go together."""
        return np.zeros((self.width, 0), np.int64)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (order arrays, 1, bets); see `after_promotion`."""
        bets = fail_bets(self.p0)
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
            Estimate(v, a, b, n, f, _shed_note(s)) if n else Estimate(None, None, None, 0, 0, _shed_note(s))
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
    for bets, rising in ((fail_bets(p0), True), (pass_bets(p0), False)):
        low, high = np.full(len(totals), -1), totals + 1  # evidence rises with events for FAIL, falls for PASS
        while (high - low > 1).any():
            events = np.clip((low + high) // 2, 0, totals)
            enough = log_mean_exp(np.stack([totals - events, events], -1) @ bets) >= LEVEL
            up = enough != rising
            wide = high - low > 1
            low, high = np.where(up & wide, events, low), np.where(~up & wide, events, high)
        bounds.append(high if rising else low)
    return bounds[0], bounds[1]


def _shed_note(shed: int) -> str:
    return f"{shed} shed copies count as the slowest for a pass" if shed else ""


# --- the ratio of two quantiles --------------------------------------------------------------------------------------

_FAIL_GRID = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.0, 0.3, 0.6, 0.95)
_PASS_GRID = (0.0, 0.1, 0.2, 0.4, 0.8), (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Bets on the candidate (a) and on live (b). The grid for FAIL has no bets that never win, so that less is spent on
averaging, and bets much on live, which sets how soon the soonest FAIL can come."""


@lru_cache(maxsize=16)
def ratio_bets(p: float) -> tuple[Floats, Floats]:
    """Log factors against both nulls: rows [neither, c only, l only, both].

    Columns are the pairs (a, b) of the grids with all factors positive, without (0, 0).

    >>> fail, passing = ratio_bets(0.01)
    >>> fail.shape, passing.shape
    ((4, 26), (4, 39))
    """
    return _grid(*_FAIL_GRID, p, 1.0), _grid(*_PASS_GRID, p, -1.0)


def _grid(on_c: tuple[float, ...], on_l: tuple[float, ...], p: float, sign: float) -> Floats:
    columns = []
    for a in on_c:
        for b in on_l:
            cells = [1.0 + sign * (a * (c - p) + b * (p - above)) for above in (0.0, 1.0) for c in (0.0, 1.0)]
            if (a or b) and min(cells) > 0.0:
                columns.append(np.log(cells))
    return np.stack(columns, axis=1)


@dataclass(frozen=True)  # without slots, as `Slower`
class Ratio:
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
    def shed_at(self) -> int | None:
        """Category of shed copies: they were to run second, after live."""
        return self._block - 1

    @property
    def worst_at(self) -> int | None:
        """Category of a pair that is the worst for a PASS."""
        return self.shed_at

    def place(self, batch: Batch, salt: int) -> Placed:
        """Four bins of each timed pair."""
        live, candidate = batch.times(self.quantity)
        who = np.flatnonzero(batch.timed & ~np.isnan(live) & ~np.isnan(candidate))
        edges, bins, top = self._edges, self._bins, self._bins - 1
        ours, c = np.searchsorted(edges, live[who], "left"), np.searchsorted(edges, candidate[who], "left")
        least_fail = np.minimum(ours, self._shifted(c, self.steps + 1, top))
        least_pass = np.minimum(ours, self._shifted(c, self.steps - 1, top))
        start = self._block * batch.candidate_first[who]
        parts = [start + ours, start + bins + c, start + 2 * bins + least_fail, start + 3 * bins + least_pass]
        return np.tile(who, 4), np.concatenate(parts).astype(np.int64)

    @staticmethod
    def _shifted(c: Ints, steps: int, top: int) -> Ints:
        """Bin of c divided by `steps` bins; what is beyond the last edge (failures) stays there."""
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
        return log_mean_exp(np.stack([self._fail(block) for block in self._blocks(counts)], -1))

    def _fail(self, block: Numbers) -> Floats:
        if not block.any():  # nothing seen in this order: E = 1
            return np.zeros(block.shape[:-1])
        return least(self._cells(block, self.steps + 1, 2), ratio_bets(self.p)[0])

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against p99(c) ≥ r·p99(l); shed copies count with l = 0 and c infinite."""
        bets = ratio_bets(self.p)[1]
        logs, pairs = [], []
        for block in self._blocks(counts):
            logs.append(self._pass(block, bets) if block.any() else np.zeros(block.shape[:-1]))
            pairs.append(block[..., : self._bins].sum(-1))
        return _pass_both_orders(logs[0], logs[1], pairs[1])

    def _pass(self, block: Numbers, bets: Floats) -> Floats:
        cells = self._cells(block, self.steps - 1, 3)
        cells[..., 1] += block[..., -1][..., None]
        return least(cells, bets)

    def burst_values(self) -> Ints:
        """No columns: `latency_block` keeps apart what may go together."""
        return np.zeros((self.width, 0), np.int64)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every third FAIL bet, (order arrays, edges, 8): enough to watch with; see `after_promotion`."""
        bets = ratio_bets(self.p)[0][:, 2::3]
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
            Estimate(v, a, b, m, f, _shed_note(s)) if m else Estimate(None, None, None, 0, 0, _shed_note(s))
            for v, a, b, m, f, s in rows
        ]


def least(cells: Floats, bets: Floats) -> Floats:
    """The minimum over edges of the log of the average over bets: cells (…, edges, rows), bets (rows, k) → (…).

    Exact, at a fraction of the cost: between two values seen all edges are alike, so one of them serves; and the
    average over k bets is at least any one of them divided by k, so edges whose bound is above the best edge's value
    cannot be the minimum and are not evaluated.

    >>> cells = np.array([[[90.0, 10.0, 0.0, 0.0], [99.0, 1.0, 0.0, 0.0]]])  # at two edges
    >>> each = [float(log_mean_exp(edge @ ratio_bets(0.01)[0])) for edge in cells[0]]
    >>> bool(np.isclose(least(cells, ratio_bets(0.01)[0])[0], min(each)))
    True
    """
    flat = cells.reshape(-1, *cells.shape[-2:])
    distinct = np.append(True, (flat[:, 1:] != flat[:, :-1]).any(axis=(0, 2)))
    flat = flat[:, distinct]
    probes = bets[:, :: max(1, bets.shape[1] // 6)]
    bound = (flat @ probes).max(-1) - np.log(bets.shape[1])
    best = log_mean_exp(flat[np.arange(len(flat)), bound.argmin(-1)] @ bets)
    row, edge = np.nonzero(bound < best[:, None])
    np.minimum.at(best, row, log_mean_exp(flat[row, edge] @ bets))
    return np.asarray(best.reshape(cells.shape[:-2]))
