"""Latency evidence from all pairs of a block of time, for the rules of `latency` and `ratio`.

A complete block multiplies each bet of each latency guard once (`stakes`); the sums of the logs are kept for FAIL by
restart, for PASS carried and since the stage began. How many pairs a block may count, m, is known from the blocks
before it: their mean less its root, so that most blocks are full (a pair that is missing is a bet not made, which costs
more than one left out). Which ones count, where there are more, their keys say. So what is counted was settled before
its times were known.

A restart that has to make room is not lost: its wealth goes on in the sums of the one before (`pour`).

FAIL: sums over restarts and bets come before the least edge: some edge is live's quantile, and at that one the whole
mixture is an e-process. A model that breaks late has to be found bad by the restarts since at the edges that were seen;
at those beyond everything that ever was, the whole trial speaks. PASS: the least edge of the average over bets.

Order effects: a copy runs second, on warm caches, and so does live as hedge or fallback. So relative limits have two
arrays, live first and candidate first: FAIL has ⅘ and ⅕ of its stake on them; a PASS rests on live first, and
candidate first with ≥ 200 blocks must not speak against it (P ≥ 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Protocol

import numpy as np

from proxy.evidence.input.batch import Batch
from proxy.evidence.process.restarts import ROWS, Restarts, log_rest
from proxy.evidence.process.stakes import UNIT, Stakes, gains, worst
from proxy.evidence.process.wealth import Bools, Counts, Floats, Ints, Numbers, log_mean_exp

ORDERS = np.array([0.8, 0.2])
"""What FAIL lays on live first, as nearly all pairs of shadow and early canary stages are, and on candidate first."""
ENOUGH = 200
"""Candidate-first blocks (or pairs) from which they may hold back a pass."""
NEVER = float(np.log(1e-6))
FAR = 30.0
"""Nats by which one of two may be larger and the other still counts."""

FEW = 7
"""Pairs of a block up to which none is left out: with so few each one counts."""
MEMORY = 256
"""Blocks over which m is averaged: half of what is known of them is forgotten then."""

BOTH = 2
"""Beside the two orders: all pairs, whichever was first."""


class TimedRule(Protocol):
    """A latency guard as its blocks see it: of each pair, by how many edges its times lie beyond."""

    @property
    def quantity(self) -> str: ...
    @property
    def arrays(self) -> tuple[int, ...]: ...
    @property
    def cells(self) -> int: ...
    @property
    def p0(self) -> float: ...
    @property
    def stakes(self) -> tuple[tuple[Stakes, Stakes], tuple[Stakes, Stakes]]: ...
    def beyond(self, batch: Batch) -> tuple[Ints, Ints, Ints, Ints]: ...


@dataclass(slots=True)
class Timings:
    """The sums of all latency guards side by side. `fails` (20, …) by restart, `passes` (2, …) carried and since the
    stage began, with how many blocks each array had; `paces` (3, 2) pairs and blocks by which m is reckoned: of live
    first, candidate first, and both."""

    fails: Counts
    passes: Counts
    paces: Counts

    @classmethod
    def empty(cls, rules: Sequence[TimedRule]) -> Timings:
        """Nothing seen."""
        fails, passes = (sum(widths(rule)[i] for rule in rules) for i in (0, 1))
        return cls(np.zeros((ROWS, fails), np.int64), np.zeros((2, passes), np.int64), np.zeros((3, 2), np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return self.fails.nbytes + self.passes.nbytes

    def m(self, array: int) -> int:
        """How many pairs of this array the next block may count."""
        pairs, blocks = self.paces[array].tolist()
        return _most(pairs, blocks)

    def count(self, rules: Sequence[TimedRule], row: int, starts: Ints, batch: Batch, current: Bools) -> None:
        """Count complete blocks: pairs sorted by block and key, of which each block begins at one of `starts` (the last
        is the end). `current` (n,) are those of the present stage, `row` is the restart that counts now."""
        block = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        picked = self._picked(starts, block, batch.candidate_first)
        for rule, fail, passing in parts(rules):
            who, *bins = rule.beyond(batch)
            every = np.stack([*bins, block[who], current[who]])
            for i, array in enumerate(rule.arrays):
                mask, m = picked[array]
                at = np.flatnonzero(mask[who])
                if len(at):
                    self._add(rule, i, (row, fail, passing), every[:, at], m)

    def _add(self, rule: TimedRule, i: int, to: tuple[int, int, int], pairs: Ints, m: Ints) -> None:
        """Add what pairs of the i-th array win: to the FAIL sums of a row, and to both PASS sums, that begin there.
        `pairs` (5, n): beyond how many edges the candidate is as FAIL and as PASS have it, and live; block; current."""
        row, fail, passing = to
        against, won = total(rule, pairs, m)
        self.fails[row, fail + i * len(against) : fail + (i + 1) * len(against)] += against
        for stage in (0, 1):
            if stage and not pairs[4].all():
                pairs = pairs[:, pairs[4] > 0]
                won = total(rule, pairs, m)[1]
            self.passes[stage, passing + i * len(won) : passing + (i + 1) * len(won)] += won
            self.passes[stage, passing + len(rule.arrays) * len(won) + i] += _begins(pairs[3]).sum()

    def _picked(self, starts: Ints, block: Ints, second: Bools) -> list[tuple[Bools, Ints]]:
        """Of each array which pairs count, (n,), and the m of each block, (blocks,)."""
        every, none = np.ones(len(second), bool), not second.any()
        found = []
        for array, mask in enumerate((~second, second, every)):
            if array == 1 and none:
                found.append((mask, starts))
                continue
            seen = np.zeros(len(second) + 1, np.int64)
            np.cumsum(mask, out=seen[1:])
            before = seen[starts]
            m = np.array(self._paced(array, (before[1:] - before[:-1]).tolist()), np.int64)
            found.append((mask & (seen[1:] <= (m + before[:-1])[block]), m))
        return found

    def _paced(self, array: int, sizes: Sequence[int]) -> list[int]:
        """The m of blocks that have so many pairs each, of which the next ones' m knows."""
        (pairs, blocks), found = self.paces[array].tolist(), []
        for size in sizes:
            found.append(_most(pairs, blocks))
            if size:
                pairs, blocks = pairs + size, blocks + 1
                if blocks >= MEMORY:
                    pairs, blocks = pairs // 2, blocks // 2
        self.paces[array] = pairs, blocks
        return found

    def pour(self, rules: Sequence[TimedRule], restarts: Restarts, opened: Sequence[int]) -> None:
        """Keep the wealth of the restart that has to make room for the next one, if one has to, in the row that it is
        added to; `opened` is the number of restarts before each rule's present limit."""
        row = restarts.crowded()
        if row is None:
            return
        for (rule, start, _), before in zip(parts(rules), opened, strict=True):
            if (to := restarts.poured(row, before)) is not None:
                _pour(self.fails[:, start : start + widths(rule)[0]], rule.cells * len(rule.arrays), row, *to)

    def shed(self, rules: Sequence[TimedRule], n: int) -> None:
        """Count `n` copies that were never sent as the worst for a PASS."""
        for rule, _, start in parts(rules):
            self.passes[:, start : start + widths(rule)[1]] += n * self.worst(rule)

    def worst(self, rule: TimedRule) -> Ints:
        """What one pair that is the worst costs a PASS: a copy is to run second, so of the first array; (width,)."""
        each = np.tile(worst(rule.stakes[1][1], float(self.m(rule.arrays[0]))), rule.cells)
        return np.append(each, np.zeros(widths(rule)[1] - len(each), np.int64))

    def merge(self, other: Timings) -> Timings:
        """Both."""
        return Timings(self.fails + other.fails, self.passes + other.passes, self.paces + other.paces)

    def copy(self) -> Timings:
        """A copy that shares no mutable part."""
        return Timings(self.fails.copy(), self.passes.copy(), self.paces.copy())


def widths(rule: TimedRule) -> tuple[int, int]:
    """How many sums a rule has, for FAIL and for PASS."""
    fail, passing = (len(stakes[0].weights) * rule.cells * len(rule.arrays) for stakes in rule.stakes)
    return fail, passing + len(rule.arrays)


def parts(rules: Sequence[TimedRule]) -> Iterator[tuple[TimedRule, int, int]]:
    """Each rule with where its sums begin, for FAIL and for PASS."""
    fail = passing = 0
    for rule in rules:
        yield rule, fail, passing
        fail, passing = fail + widths(rule)[0], passing + widths(rule)[1]


def _most(pairs: int, blocks: int) -> int:
    """How many pairs a block may count after so many blocks with so many.

    >>> [_most(mean * 100, 100) for mean in (0, 1, 5, 10, 12, 50)]
    [1, 1, 5, 7, 9, 43]
    """
    mean = pairs // max(1, blocks)
    return max(1, mean - isqrt(mean), min(mean, FEW))


def _pour(rows: Ints, cells: int, row: int, to: int, share: float) -> None:
    """Put into sums (20, cells · bets) what makes those since row `to` the log of the mean of their wealth and that
    since `row`, which has this share of it. Rounded down; those since other rows stay."""
    apart = -rows[to:row].sum(axis=0).reshape(cells, -1)
    new = np.append(True, (apart[1:] != apart[:-1]).any(axis=1))  # edges that are alike are reckoned once
    nats = apart[new] / UNIT
    near = np.log1p(share * np.expm1(np.minimum(nats, FAR)))
    more = (
        np.floor(np.where(nats > FAR, np.log(share) + nats, near) * UNIT).astype(np.int64)[np.cumsum(new) - 1].ravel()
    )
    rows[to] += more
    if to > 0:
        rows[to - 1] -= more


def total(rule: TimedRule, pairs: Ints, m: Ints) -> tuple[Ints, Ints]:
    """What pairs (5, n) in blocks of at most `m` (blocks,) each win for FAIL and for PASS, (cells · bets,) each: beyond
    how many edges they lie is in the first three rows, their block in the fourth."""
    alone = m[pairs[3]] == 1
    if alone.all():
        return _singly(rule, pairs)
    if not alone.any():
        return _together(rule, pairs, m)
    each = zip(_singly(rule, pairs[:, alone]), _together(rule, pairs[:, ~alone], m), strict=True)
    fail, passing = (one + many for one, many in each)
    return fail, passing


def _begins(block: Ints) -> Bools:
    """Whether another block begins with each of these pairs, which are sorted by block."""
    new = np.ones(len(block), bool)
    np.not_equal(block[1:], block[:-1], out=new[1:])
    return new


def _singly(rule: TimedRule, pairs: Ints) -> tuple[Ints, Ints]:
    """Blocks of one pair: four things can happen at an edge, so they are counted, not summed."""
    one, won = np.ones(4), []
    for c, stakes, fail in ((pairs[0], rule.stakes[0][0], True), (pairs[1], rule.stakes[1][0], False)):
        ours, theirs, both = (
            np.bincount(bins, minlength=rule.cells + 1)[::-1].cumsum()[-2::-1]
            for bins in (c, pairs[2], np.minimum(c, pairs[2]))
        )
        happened = np.stack([len(c) - ours - theirs + both, ours - both, theirs - both, both], axis=-1)
        each = gains(stakes, rule.p0, np.array([0.0, 1, 0, 1]), np.array([0.0, 0, 1, 1]), one, one, fail=fail)
        won.append((happened @ each).ravel())
    return won[0], won[1]


def _together(rule: TimedRule, pairs: Ints, m: Ints) -> tuple[Ints, Ints]:
    """Blocks of many pairs: edges between two times that came are alike, so they are reckoned once."""
    new, cells = _begins(pairs[3]), rule.cells
    came = np.flatnonzero(np.bincount(pairs[:3].ravel(), minlength=cells + 1))
    spans, blocks = len(came) + 1, int(new.sum())  # edges before the first of these, between two, from the last one on
    at = (np.cumsum(new) - 1) * spans + np.searchsorted(came, pairs[:3])
    at[1:] += blocks * spans * np.arange(1, 3)[:, None]
    counts = np.bincount(at.ravel(), minlength=3 * blocks * spans).reshape(3, blocks, spans)
    beyond = counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1].astype(np.float64)
    most, lengths = m[pairs[3][new]][:, None].astype(np.float64), np.empty(spans, np.int64)
    lengths[0], lengths[1:-1], lengths[-1] = came[0], came[1:] - came[:-1], cells - came[-1]
    fail, passing = (
        gains(grids[1], rule.p0, c, beyond[2], c[:, :1], most, fail=fail).sum(axis=0).repeat(lengths, axis=0).ravel()
        for c, grids, fail in ((beyond[0], rule.stakes[0], True), (beyond[1], rule.stakes[1], False))
    )
    return fail, passing


def log_fail(rule: TimedRule, fails: Counts, restarts: Restarts, opened: int) -> float:
    """Log FAIL evidence of a rule's sums (20, width): the restarts' mixture, at the least favourable edge."""
    each = [log_e for log_e, _ in _by_order(rule, fails, restarts, opened)]
    return each[0] if len(each) == 1 else float(log_mean_exp(np.array(each), ORDERS))


def least_edges(rule: TimedRule, fails: Counts, restarts: Restarts, opened: int) -> list[int]:
    """The least favourable edge of each order."""
    return [edge for _, edge in _by_order(rule, fails, restarts, opened)]


def _by_order(rule: TimedRule, fails: Counts, restarts: Restarts, opened: int) -> list[tuple[float, int]]:
    rest, bets = log_rest(restarts.total - opened), np.log(rule.stakes[0][1].weights)
    found = []
    for edges, since, log_weights in _since(rule, fails, restarts, opened):
        log_e, at = _least(since, log_weights, bets, rest)
        found.append((log_e, int(edges[at])))
    return found


def _since(rule: TimedRule, fails: Counts, restarts: Restarts, opened: int) -> Iterator[tuple[Ints, Counts, Floats]]:
    """Of each order the edges that are not as their left neighbour, (k,), and since each kept start their sums,
    (starts, k, bets), and weight, (starts,). Edges that are alike in each row are so in any sum of rows."""
    used = fails[: restarts.row + 1]
    for order in np.moveaxis(used.reshape(len(used), len(rule.arrays), rule.cells, -1), 1, 0):
        edges = _distinct(order)
        sums = order[:, edges]
        since, _ = restarts.since(sums.reshape(len(sums), -1), opened)
        yield edges, since.reshape(len(since), len(edges), -1), restarts.shares(opened)


def _distinct(sums: Numbers) -> Ints:
    """Of edges (rows, edges, bets) those that are not as their left neighbour."""
    return np.flatnonzero(np.append(True, (sums[:, 1:] != sums[:, :-1]).any((0, 2))))


def _least(sums: Counts, of_rows: Floats, of_bets: Floats, rest: float) -> tuple[float, int]:
    """Log of rest + Σ weights · exp(sums), sums (rows, edges, bets), at the edge where that is least, and that edge.

    Exact, at a fraction of the cost: a mixture is at least its largest part, so only edges whose largest part is below
    the whole of the best edge are evaluated.
    """
    if not sums[0].any():  # nothing seen in this order: E = 1
        return 0.0, 0
    logs = sums / UNIT + of_bets + of_rows[:, None, None]
    bound = logs.max(axis=(0, 2))

    def whole(edges: Ints) -> Floats:
        most = bound[edges]
        return np.asarray(np.log(np.exp(logs[:, edges] - most[:, None]).sum(axis=(0, 2))) + most)

    edge = int(bound.argmin())
    near = np.append(np.flatnonzero(bound < whole(np.array([edge]))), edge)
    values = whole(near)
    return float(np.logaddexp(values.min(), rest)), int(near[values.argmin()])


def loudest(rule: TimedRule, fails: Counts, restarts: Restarts, opened: int) -> int:
    """Which of the kept starts has most of the evidence where that is least; 0 is the whole. Of the bets on the
    candidate: one on live alone gains all the time, whenever the candidate broke."""
    stakes = rule.stakes[0][1]
    rest, bets, ours = log_rest(restarts.total - opened), np.log(stakes.weights), stakes.candidate > 0.0
    orders = _since(rule, fails, restarts, opened)
    found = [(*_least(sums, weights, bets, rest), sums, weights) for _, sums, weights in orders]
    _, edge, sums, log_weights = max(found, key=lambda one: one[0])
    each = sums[:, edge, ours] / UNIT + bets[ours]
    return int((np.logaddexp.reduce(each, axis=-1) + log_weights).argmax())


def distinct_passes(rule: TimedRule, passes: Counts, worst: Counts) -> tuple[Counts, Counts]:
    """PASS sums (rows, width), and what a pair costs that is the worst, (width,), without the edges that are as their
    left neighbour in every row: they say the same."""
    arrays = len(rule.arrays)
    sums = np.concatenate([passes, worst[None]])
    each = sums[:, :-arrays].reshape(len(sums) * arrays, rule.cells, -1)
    kept = each[:, _distinct(each)].reshape(len(sums), -1)
    sums = np.concatenate([kept, sums[:, -arrays:]], axis=1)
    return sums[:-1], sums[-1]


def log_pass(rule: TimedRule, passes: Numbers) -> Floats:
    """Log PASS evidence of a rule's sums (…, width), whole or `distinct_passes`, → (…)."""
    arrays, weights = len(rule.arrays), rule.stakes[1][1].weights
    sums = passes[..., :-arrays].reshape(*passes.shape[:-1], arrays, -1, len(weights))
    logs = log_mean_exp(sums / UNIT, weights).min(axis=-1)
    if arrays == 1:
        return np.asarray(logs[..., 0])
    return both_orders(logs[..., 0], logs[..., 1], passes[..., -1])


def both_orders(live_first: Floats, candidate_first: Floats, pairs: Floats) -> Floats:
    """A pass rests on live first; candidate first may only object.

    >>> both_orders(np.array([3.0, 3.0]), np.array([-0.1, -0.1]), np.array([ENOUGH, ENOUGH - 1])).round(1).tolist()
    [-13.8, 3.0]
    """
    return np.where((pairs >= ENOUGH) & (candidate_first < 0.0), np.minimum(live_first, NEVER), live_first)
