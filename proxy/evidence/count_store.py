"""Where the counts are: all guards' categories side by side, in int64 arrays.

`rows` (20, width) by restart, `stage` (width,) since the stage began, `segments` (top + 1, width) by segment from its
admission on: pairs with a fresh body. `repeats` (2, width) are those whose body had just been seen, carried and since
the stage began: they are no evidence for a FAIL, but a PASS must hold for all requests. `bursts` is how the pairs
of the trial hang together, `late_bursts` how the labels or verdicts of a guard do, by its key, and `blocks` what is
kept of their blocks of request time. `silent` are the predictions whose judge has changed: nothing that it said counts.

A closed *epoch* is what a guard counted under an earlier limit: each pair is judged by the limit then in force, so a
guard's FAIL evidence is the product of its epochs' (each began at E = 1, so the product is an e-process), while its
PASS evidence knows the present epoch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from proxy.evidence.e_detector import EDetector
from proxy.evidence.families.late import ByVerdicts, Late
from proxy.evidence.families.ratio import Ratio
from proxy.evidence.families.rule import Rule, Slot
from proxy.evidence.families.slower import Slower
from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.input.blocks import bounds
from proxy.evidence.input.timed_rows import CURRENT, FLAGS, SEGMENT, batch_of
from proxy.evidence.input.timings import TimedRule, Timings, log_fail, loudest, parts, widths
from proxy.evidence.pass_blocks import PassBlocks
from proxy.evidence.process.bursts import Bursts
from proxy.evidence.process.restarts import ROWS, Restarts
from proxy.evidence.process.wealth import CERTAIN, Bools, Counts, Floats, Ints, log_sum
from proxy.model import Guard

P99_SHARES = 5.0
"""What a p99 relative to live has of the budget, where another guard has 1. At edges beyond everything that was seen it
gains a hundredth of a nat a block, so half the budget costs it seven seconds; others gain that in a few dozen pairs."""


@dataclass(frozen=True, slots=True)
class LimitEpoch:
    """A guard's counts under a limit that is no longer in force, and the size of the bursts at that time."""

    guard: Guard
    rule: Rule
    rows: Counts
    segments: Counts
    restarts: Restarts
    opened: int
    burst: float = 1.0
    fails: Counts | None = None  # of a latency guard: its sums by blocks


@dataclass(slots=True)
class CountStore:
    """The counts of one trial. `opened[i]` is the number of restarts before slot i's present epoch."""

    slots: tuple[Slot, ...]
    rows: Counts
    stage: Counts
    segments: Counts
    repeats: Counts
    bursts: Bursts
    late_bursts: dict[str, Bursts]
    blocks: PassBlocks
    opened: list[int]
    restarts: Restarts = field(default_factory=Restarts)
    closed: dict[str, list[LimitEpoch]] = field(default_factory=dict)
    timings: Timings | None = None
    silent: set[str] = field(default_factory=set)

    @classmethod
    def empty(cls, slots: tuple[Slot, ...], segments: int, *, blocks: bool = False) -> CountStore:
        """No counts yet; `segments` is how many are told apart (0 for none), `blocks` whether latency evidence is taken
        by blocks of request time."""
        width = slots[-1].stop if slots else 0
        return cls(
            slots,
            np.zeros((ROWS, width), np.int64),
            np.zeros(width, np.int64),
            np.zeros((segments, width), np.int64),
            np.zeros((2, width), np.int64),
            Bursts.empty(sum(burst_columns(slots))),
            {slot.guard.key: Bursts.empty(1) for slot in slots if isinstance(slot.rule, Late)},
            PassBlocks.empty(slots),
            [0] * len(slots),
            timings=Timings.empty([rule for slot in slots if (rule := timed(slot))]) if blocks else None,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the counts."""
        closed = sum(c.rows.nbytes + c.segments.nbytes for epochs in self.closed.values() for c in epochs)
        counts = (self.rows, self.stage, self.segments, self.repeats, self.bursts.recent)
        sums = self.timings.nbytes if self.timings is not None else 0
        sums += sum(c.fails.nbytes for epochs in self.closed.values() for c in epochs if c.fails is not None)
        return sum(array.nbytes for array in counts) + closed + sums

    def count(
        self,
        batch: Batch,
        current: Bools,
        segment: Ints | None,
        watch: EDetector | None = None,
        blocks: Ints | None = None,
    ) -> None:
        """Add a batch. `current` (n,) are pairs of the present stage, `segment` (n,) their segments, `blocks` (n,) of
        request time."""
        if not self.slots:
            return
        placed = [slot.place(batch) for slot in self.slots]
        who, where = self._joined(placed)
        np.add.at(self.rows[self.restarts.row], where, 1)
        np.add.at(self.stage, where if current.all() else where[current[who]], 1)
        if segment is not None:
            np.add.at(self.segments.reshape(-1), segment[who] * self.segments.shape[1] + where, 1)
        values = _values(self.slots, placed, batch, len(self.bursts.sums))
        everything = values
        if (fresh := batch.fresh).all():
            self.bursts.add(values)
        else:
            self.bursts.add(values[:, fresh])
            repeated = batch.repeated()
            again = [slot.place(repeated) for slot in self.slots]
            everything = values + _values(self.slots, again, repeated, len(self.bursts.sums))
            self._count_repeats(*self._joined(again), current, watch)
            if blocks is not None:
                self.blocks.add(self.slots, again, blocks, current)
        if blocks is not None:
            self.blocks.add(self.slots, placed, blocks, current)
        if watch is not None:
            np.add.at(watch.counts[0], where, 1)
            watch.bursts.add(everything)

    def count_blocks(self, rows: Ints, watch: EDetector | None = None) -> None:
        """Count complete blocks of timed pairs (`timed_rows`): all pairs as blocks, and one pair of each by itself, in
        the order of their keys."""
        if not len(rows) or not self.timed:
            return
        starts, batch = bounds(rows), batch_of(rows)
        current = (rows[:, FLAGS] & CURRENT) > 0
        if self.timings is not None:
            self.timings.count(self.timed, self.restarts.row, starts, batch, current)
        batch.timed = np.zeros(len(rows), bool)
        batch.timed[starts[:-1]] = True
        for slot in self.slots:
            if timed(slot):
                who, where = slot.place(batch)
                where = where + slot.start
                np.add.at(self.rows[self.restarts.row], where, 1)
                np.add.at(self.stage, where[current[who]], 1)
                if len(self.segments):
                    np.add.at(self.segments, (rows[who, SEGMENT], where), 1)
                if watch is not None:
                    np.add.at(watch.counts[0], where, 1)

    @property
    def timed(self) -> list[TimedRule]:
        """The rules of the latency guards, in order."""
        return [rule for slot in self.slots if (rule := timed(slot))]

    def timings_of(self, i: int) -> tuple[Timings, TimedRule, slice, slice] | None:
        """The sums by blocks of slot i, with where its own are, for FAIL and for PASS; `None` where it has none."""
        rule = timed(self.slots[i])
        if rule is None or self.timings is None:
            return None
        number = sum(timed(slot) is not None for slot in self.slots[:i])
        _, fail, passing = list(parts(self.timed))[number]
        return self.timings, rule, slice(fail, fail + widths(rule)[0]), slice(passing, passing + widths(rule)[1])

    def _joined(self, placed: list[Placed]) -> Placed:
        """Which pairs go in which categories, of all guards."""
        who = np.concatenate([who for who, _ in placed])
        where = np.concatenate([at + slot.start for slot, (_, at) in zip(self.slots, placed, strict=True)])
        return who, where

    def _count_repeats(self, who: Ints, where: Ints, current: Bools, watch: EDetector | None) -> None:
        np.add.at(self.repeats[0], where, 1)
        np.add.at(self.repeats[1], where[current[who]], 1)
        if watch is not None:
            np.add.at(watch.counts[1], where, 1)

    def count_late(
        self,
        slot: Slot,
        at: int,
        block: int | None,
        watch: EDetector | None,
        *,
        current: bool,
        fresh: bool = True,
        segment: int | None = None,
    ) -> None:
        """Add one label or verdict, in category `at`, with the block of its request: evidence that comes by itself,
        later than its pair. `fresh` is whether its body is no repeat."""
        place, rule = slot.start + at, slot.rule
        if fresh:
            self.rows[self.restarts.row, place] += 1
            self.stage[place] += current
            if segment is not None:
                self.segments[segment, place] += 1
            if isinstance(rule, Late):
                self.late_bursts[slot.guard.key].add(np.array([[rule.burst_of(at)]]))
        else:
            self.repeats[0, place] += 1
            self.repeats[1, place] += current
        if block is not None:
            self.blocks.add_late(slot.guard.key, place, block, current=current)
        if watch is not None:
            watch.counts[0 if fresh else 1, place] += 1

    def count_units(self, slot: Slot, at: Ints, current: Bools, watch: EDetector | None) -> None:
        """Add users whose time has come, in categories `at` (n,): evidence that comes without pairs."""
        places = at + slot.start
        np.add.at(self.rows[self.restarts.row], places, 1)
        np.add.at(self.stage, places[current], 1)
        if watch is not None:
            np.add.at(watch.counts[0], places, 1)

    def shed(self, n: int, block: int | None) -> None:
        """Count copies that were never sent, in this block."""
        for slot in self.slots:
            if slot.rule.shed_at is not None:
                at = slot.start + slot.rule.shed_at
                if block is not None and slot.directions:
                    self.blocks.pairs.add(np.array([block]), np.array([at]), counts=n)
                self.rows[self.restarts.row, at] += n
                self.stage[at] += n
        if self.timings is not None:
            self.timings.shed(self.timed, n)

    def restart(self) -> None:
        """Begin a restart of all guards' FAIL evidence."""
        sums = []
        if self.timings is not None:
            opened = [before for slot, before in zip(self.slots, self.opened, strict=True) if timed(slot)]
            self.timings.pour(self.timed, self.restarts, opened)
            sums = [self.timings.fails]
        self.restarts = self.restarts.start(self.rows, *sums)

    def carried(self, slot: Slot) -> Counts:
        """A guard's counts since its present limit is in force, (its width,)."""
        return np.asarray(self.rows[:, slot.start : slot.stop].sum(axis=0))

    def since_stage(self, slot: Slot) -> Counts:
        """A guard's counts since the stage began, (its width,)."""
        return self.stage[slot.start : slot.stop]

    def with_repeats(self, slot: Slot) -> Counts:
        """A guard's counts of all pairs, repeats included, carried and since the stage began, (2, its width)."""
        return np.stack([self.carried(slot), self.since_stage(slot)]) + self.repeats[:, slot.start : slot.stop]

    def burst_sizes(self) -> list[float]:
        """D of each guard among the pairs that may fail it."""
        return self.sizes_of(self.bursts)

    def sizes_of(self, bursts: Bursts) -> list[float]:
        """D of each guard from the columns of all: the largest of its own, 1 for one without; labels and
        verdicts have theirs."""
        ends = np.cumsum([0, *burst_columns(self.slots)]).tolist()
        sizes, late = bursts.sizes(), {key: float(own.sizes()[0]) for key, own in self.late_bursts.items()}
        of = zip(self.slots, ends, ends[1:], strict=False)
        return [late.get(slot.guard.key) or float(sizes[a:b].max(initial=1.0)) for slot, a, b in of]

    def is_silent(self, slot: Slot) -> bool:
        """Whether a guard gives no evidence any more, neither to fail nor to pass, since its judge has changed."""
        return slot.guard.aspect in self.silent and isinstance(slot.rule, ByVerdicts)

    def log_whole(self, i: int, burst: float) -> float:
        """Log of slot i's FAIL evidence over all traffic: the product over epochs of each one's restart mixture; the
        lesser of this and of the same with all counts divided by the size of the bursts."""
        slot = self.slots[i]
        if self.is_silent(slot):
            return -CERTAIN
        rows = self.rows[:, slot.start : slot.stop]
        if (own := self.timings_of(i)) is not None:
            timings, rule, fails, _ = own
            log_e = log_fail(rule, timings.fails[:, fails], self.restarts, self.opened[i])
        else:
            log_e = _mixture(slot.rule, slot.guard.limit, rows, self.restarts, self.opened[i], burst)
        for old in self.closed.get(slot.guard.key, ()):
            if old.fails is not None and isinstance(old.rule, Slower | Ratio):
                log_e += log_fail(old.rule, old.fails, old.restarts, old.opened)
            else:
                log_e += _mixture(old.rule, old.guard.limit, old.rows, old.restarts, old.opened, old.burst)
        return log_e

    def loudest(self, i: int) -> Counts | None:
        """Slot i's counts since the restart that weighs most in its evidence; `None` when that is the whole."""
        slot = self.slots[i]
        since, log_weights = self.restarts.since(self.rows[:, slot.start : slot.stop], self.opened[i])
        if (own := self.timings_of(i)) is not None:
            timings, rule, fails, _ = own
            start = loudest(rule, timings.fails[:, fails], self.restarts, self.opened[i])
        else:
            start = int((slot.rule.log_fail(since, slot.guard.limit) + log_weights).argmax())
        return since[start] if start else None

    def log_segments(self, i: int, burst: float) -> list[float]:
        """Log of slot i's FAIL evidence per segment (no restarts), with the same lesser of two."""
        slot = self.slots[i]
        if not len(self.segments):
            return []
        if self.is_silent(slot):
            return [-CERTAIN] * len(self.segments)
        logs = _lesser(slot.rule, slot.guard.limit, self.segments[:, slot.start : slot.stop], burst)
        for old in self.closed.get(slot.guard.key, ()):
            logs = logs + _lesser(old.rule, old.guard.limit, old.segments, old.burst)
        return [float(log) for log in logs]

    def log_fail(self, i: int, segments: list[float] | None = None, burst: float = 1.0) -> float:
        """Log of slot i's FAIL evidence: half to the whole, half over the segments by c / (s(s+1)).

        `segments` are those of `log_segments`, if they are known already; `burst` is the size of the guard's bursts.
        """
        whole = self.log_whole(i, burst)
        segments = self.log_segments(i, burst) if segments is None else segments
        if not segments:
            return whole
        shares = np.log(segment_shares(len(segments))) + segments
        return log_sum([whole + float(np.log(0.5)), *(shares + np.log(0.5)).tolist()])


def timed(slot: Slot) -> Slower | Ratio | None:
    """The rule of a latency guard; `None` of any other."""
    return slot.rule if isinstance(slot.rule, Slower | Ratio) else None


def budget_shares(slots: Sequence[Slot], *, blocks: bool) -> list[float]:
    """How the budget is shared among guards, (n,), summing to 1: equally, but that a p99 relative to live has
    `P99_SHARES` where it is judged by blocks.

    >>> from proxy.evidence.families.rule import Context
    >>> from proxy.evidence.rules.registry import layout
    >>> from proxy.model import Kind, PredictionSpec
    >>> guards = (Guard("max_disagreement", 0.02), Guard("p99_latency", 1.2, relative=True))
    >>> slots = layout(guards, Context(Kind.LABEL, PredictionSpec()), 1)
    >>> [round(share, 2) for share in budget_shares(slots, blocks=True)], budget_shares(slots, blocks=False)
    ([0.17, 0.83], [0.5, 0.5])
    """
    parts = [P99_SHARES if blocks and isinstance(slot.rule, Ratio) else 1.0 for slot in slots]
    return [part / sum(parts) for part in parts]


def burst_columns(slots: Sequence[Slot]) -> list[int]:
    """How many columns of `bursts` each guard has.

    >>> from proxy.evidence.families.rule import Context

    >>> from proxy.evidence.rules.registry import layout
    >>> from proxy.model import Kind, PredictionSpec
    >>> guards = (Guard("max_disagreement", 0.02), Guard("max_ks", 0.05), Guard("p99_latency", 0.25))
    >>> burst_columns(layout(guards, Context(Kind.SCORE, PredictionSpec()), 1))
    [1, 2, 0]
    """
    return [slot.burst_values.shape[1] for slot in slots]


def _values(slots: Sequence[Slot], placed: Sequence[Placed], batch: Batch, columns: int) -> NDArray[np.int16]:
    """What `bursts` adds up of each pair of a batch, (columns of all guards, n); 0 of a pair that says nothing."""
    found, n = np.empty((columns, batch.size), np.int16), 0
    for slot, (who, where) in zip(slots, placed, strict=True):
        valued = batch.of(slot.guard.aspect).valued
        for values in slot.burst_values.T:
            if who is valued and len(who) == batch.size:  # one category each, in order: the usual case
                values.take(where, out=found[n], mode="clip")  # the other modes would copy it once more
            else:
                found[n] = np.bincount(who, values[where], minlength=batch.size)
            n += 1
    return found


def segment_shares(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The weights c / (s(s+1)), s = 1…count, which sum to one: the first segments seen weigh most.

    >>> segment_shares(2).tolist()
    [0.75, 0.25]
    """
    s = np.arange(1, count + 1)
    return np.asarray((count + 1) / count / (s * (s + 1)))


def _mixture(rule: Rule, limit: float, rows: Counts, restarts: Restarts, opened: int, burst: float) -> float:
    since, log_weights = restarts.since(rows, opened)
    return min(restarts.mixture(log_e, log_weights, opened) for log_e in _with_bursts(rule, limit, since, burst))


def _lesser(rule: Rule, limit: float, counts: Counts, burst: float) -> Floats:
    return np.asarray(np.minimum.reduce(_with_bursts(rule, limit, counts, burst)))


def _with_bursts(rule: Rule, limit: float, counts: Counts, burst: float) -> list[Floats]:
    """Log FAIL evidence of counts (n, width) and, with bursts, of the counts divided by their size; each (n,)."""
    if burst <= 1.0:
        return [rule.log_fail(counts, limit)]
    both = rule.log_fail(np.concatenate([counts, counts / burst]), limit)
    return [both[: len(counts)], both[len(counts) :]]
