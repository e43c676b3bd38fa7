"""PASS by blocks: differences that come together must not hide in the quiet between two of them.

A bet on single pairs takes the quiet between two clumps for that many pairs of good news: at its limit exactly, with
failures three at a time, 18 % of candidates passed where 5 % may. So a PASS needs a second stake, on blocks of request
time (`blocks`): whatever hangs together inside a block is one thing. For each direction x of a guard with limit ε,

    Π over blocks of 1 + g·Ȳ,  Y = (ε − x) / (largest x − ε) ≥ −1,  Ȳ its mean over the block's pairs, repeats included,

averaged over g, the least of the directions. If every block's mean of x is at least ε given the past, its mean is at
most 1 (Waudby-Smith and Ramdas, arXiv 2010.09686, on block means). It can only hold back what passes by pairs.

State: int64 sums of the log factors, each rounded down to 2⁻²⁰ nats, so that merging adds and order makes no
difference; and counts by category of the blocks that are not complete. Blocks are summed when somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from proxy.evidence.families.rule import Slot
from proxy.evidence.input.batch import Placed
from proxy.evidence.process.wealth import Bools, Counts, Floats, Ints

BETS = np.array([0.98, 0.6, 0.25, 0.06])
LOG_WEIGHTS = np.log([0.4, 0.3, 0.2, 0.1])
UNIT = float(2**20)
END = 1 << 62
"""A block after all others."""
MANY = 1 << 12
"""Rows that wait before complete blocks are summed without being asked for."""
MOST = 1 << 14
"""Rows of open blocks beyond which equal ones are put together."""
FEW = 64
"""Blocks that are summed with the empty ones between them, which say nothing: looking for those takes longer."""

BLOCK, PLACE, PAST, COUNT = range(4)


class GatheredBlocks:
    """Counts of blocks that are not summed yet, in rows [block, category, 1 if of an earlier stage, count]."""

    __slots__ = ("_new", "_rows", "new")

    def __init__(self, *rows: Ints) -> None:
        self._rows = np.zeros((0, 4), np.int64)
        self.new = 0
        """Rows that came since they were last put in order."""
        self._new: list[Ints] = [part for part in rows if len(part)]

    def add(self, blocks: Ints, places: Ints, past: Ints | int = 0, counts: Ints | int = 1) -> None:
        """Add categories (n,) in blocks (n,)."""
        if not len(places):
            return
        rows = np.empty((len(places), 4), np.int64)
        rows[:, BLOCK], rows[:, PLACE], rows[:, PAST], rows[:, COUNT] = blocks, places, past, counts
        self._new.append(rows)
        self.new += len(rows)

    @property
    def rows(self) -> Ints:
        """All of them, sorted, equal ones put together: however they came, these are the same.

        >>> gathered = GatheredBlocks()
        >>> gathered.add(np.array([4, 3]), np.array([1, 2])), gathered.add(np.array([3]), np.array([2]))
        (None, None)
        >>> gathered.rows.tolist()
        [[3, 2, 0, 2], [4, 1, 0, 1]]
        """
        if self._new:
            self._put_together()
        return self._rows

    def _put_together(self) -> None:
        rows = np.concatenate([self._rows, *self._new])
        rows = rows[np.lexsort((rows[:, PAST], rows[:, PLACE], rows[:, BLOCK]))]
        first = np.flatnonzero(np.append(True, (rows[1:, :COUNT] != rows[:-1, :COUNT]).any(axis=1)))
        together = rows[first]
        together[:, COUNT] = np.add.reduceat(rows[:, COUNT], first)
        self._rows, self._new, self.new = together, [], 0

    def before(self, block: int) -> Ints:
        """Take the rows of the blocks before this one, in no order: putting all in order costs more than summing up."""
        rows = np.concatenate([self._rows, *self._new]) if self._new else self._rows
        over = rows[:, BLOCK] < block
        rest = rows[~over]
        self._rows, self._new, self.new = rows[:0], [rest] if len(rest) else [], 0
        if len(rest) > MOST:
            self._put_together()
        return rows[over]

    def age(self) -> None:
        """All that has been gathered is of an earlier stage from now on."""
        rows = self.rows.copy()
        rows[:, PAST] = 1
        self._rows, self._new = rows[:0], [rows] if len(rows) else []


@dataclass(slots=True)
class PassBlocks:
    """The second stake of all guards, carried and since the stage began; `count` is how many blocks had something to
    say of each guard."""

    sums: Counts  # (2, directions of all guards, bets), in 2⁻²⁰ nats
    count: Counts  # (2, guards)
    pairs: GatheredBlocks
    late: dict[str, GatheredBlocks] = field(default_factory=dict)  # of labels and verdicts, by guard
    fronts: dict[str, int] = field(default_factory=dict)  # the latest block of each of these

    @classmethod
    def empty(cls, slots: Sequence[Slot]) -> PassBlocks:
        """Nothing seen."""
        directions = sum(slot.directions for slot in slots)
        sums, count = np.zeros((2, directions, len(BETS)), np.int64), np.zeros((2, len(slots)), np.int64)
        return cls(sums, count, GatheredBlocks())

    def add(self, slots: Sequence[Slot], placed: Sequence[Placed], blocks: Ints, current: Bools) -> None:
        """Gather pairs: their blocks (n,), and whether they are of the present stage (n,)."""
        spoken = [(slot.start, *where) for slot, where in zip(slots, placed, strict=True) if slot.directions]
        if spoken:
            who = np.concatenate([who for _, who, _ in spoken])
            places = np.concatenate([at + start for start, _, at in spoken])
            self.pairs.add(blocks[who], places, 0 if current.all() else ~current[who])

    def add_late(self, key: str, place: int, block: int, *, current: bool) -> None:
        """Gather a guard's label or verdict in its category, by the block of its request; they come in the order of
        their requests."""
        self.fronts[key] = front = max(self.fronts.get(key, 0), block)
        self.late.setdefault(key, GatheredBlocks()).add(np.array([front]), np.array([place]), int(not current))

    def settle(self, slots: Sequence[Slot], start: int) -> None:
        """Sum up the blocks that are complete: those of pairs before `start`, those of a guard's labels or verdicts
        before the latest."""
        late = (rows.before(self.fronts[key]) for key, rows in self.late.items())
        for rows in (self.pairs.before(start), *late):
            if len(rows):
                self._sum_up(slots, rows)

    def end(self, slots: Sequence[Slot]) -> None:
        """Sum up all blocks, complete or not: those that follow are numbered anew."""
        self.fronts = dict.fromkeys(self.late, END)
        self.settle(slots, END)
        self.fronts = dict.fromkeys(self.late, 0)

    def _sum_up(self, slots: Sequence[Slot], rows: Ints) -> None:
        numbers, places = rows[:, BLOCK] - rows[:, BLOCK].min(), rows[:, PLACE]
        if numbers.max() >= FEW:
            numbers = np.unique(numbers, return_inverse=True)[1]
        present, first = rows[:, PAST] == 0, 0
        whole = bool(present.all())
        for i, slot in enumerate(slots):
            last = first + slot.directions
            own = np.flatnonzero((places >= slot.start) & (places < slot.stop)) if slot.directions else places[:0]
            for stage in (0, 1):
                if stage and not whole:
                    own = own[present[own]]
                if not len(own):
                    break
                if not (stage and whole):
                    logs, count = _gained(slot, numbers[own], rows[own])
                self.sums[stage, first:last] += logs
                self.count[stage, i] += count
            first = last

    def log_pass(self, slots: Sequence[Slot], i: int, more: Ints | None = None) -> Floats:
        """Log e-value of guard i, carried and of the stage: (2,). With `more` (n,): after so many blocks like those
        carried, (2, n)."""
        first = sum(slot.directions for slot in slots[:i])
        sums = self.sums[:, first : first + slots[i].directions] / UNIT
        if not sums.size:
            return np.full(2 if more is None else (2, len(more)), np.inf)
        if more is not None:
            sums = sums[:, None] + more[:, None, None] * sums[0] / max(1, self.count[0, i])
        return np.asarray(np.logaddexp.reduce(sums + LOG_WEIGHTS, axis=-1).min(axis=-1))

    def enter_stage(self) -> None:
        """A stage begins: what has been gathered, and summed, is not of it."""
        self.sums[1] = self.count[1] = 0
        for rows in (self.pairs, *self.late.values()):
            rows.age()

    def rearranged(self, before: Sequence[Slot], after: Sequence[Slot]) -> PassBlocks:
        """The same for other guards: those whose limit and directions are the same keep theirs."""
        found, old = PassBlocks.empty(after), {slot.guard: (i, slot) for i, slot in enumerate(before)}
        moved, first = [], 0
        for i, slot in enumerate(after):
            was, other = old.get(slot.guard, (0, None))
            if other is not None and other.rule.width == slot.rule.width:
                moved.append((other.start, other.stop, slot.start - other.start))
                if other.directions == slot.directions:
                    start = sum(one.directions for one in before[:was])
                    found.sums[:, first : first + slot.directions] = self.sums[:, start : start + slot.directions]
                    found.count[:, i] = self.count[:, was]
            first += slot.directions
        found.pairs = GatheredBlocks(_moved(self.pairs.rows, moved))
        kept = {slot.guard.key for slot in after} & self.late.keys()
        found.late = {key: GatheredBlocks(_moved(self.late[key].rows, moved)) for key in sorted(kept)}
        found.fronts = {key: self.fronts[key] for key in found.late}
        return found

    def merge(self, other: PassBlocks) -> PassBlocks:
        """What both know, each settled; merging in either order gives the same."""
        pairs, late, fronts = GatheredBlocks(self.pairs.rows, other.pairs.rows), {}, {}
        for key in sorted(self.late.keys() | other.late.keys()):
            each = [(one.late[key].rows, one.fronts[key]) for one in (self, other) if key in one.late]
            late[key], fronts[key] = GatheredBlocks(*(rows for rows, _ in each)), max(front for _, front in each)
        return PassBlocks(self.sums + other.sums, self.count + other.count, pairs, late, fronts)

    def copy(self) -> PassBlocks:
        """A copy that shares no mutable part."""
        late = {key: GatheredBlocks(rows.rows) for key, rows in self.late.items()}
        pairs, fronts = GatheredBlocks(self.pairs.rows), dict(self.fronts)
        return PassBlocks(self.sums.copy(), self.count.copy(), pairs, late, fronts)


def _gained(slot: Slot, number: Ints, rows: Ints) -> tuple[Ints, int]:
    """What a guard's bets win on whole blocks, (directions, bets), and on how many; the block of each row by `number`,
    from 0."""
    width, blocks = slot.rule.width, int(number.max()) + 1
    at = number * width + rows[:, PLACE] - slot.start
    counts = np.bincount(at, rows[:, COUNT], minlength=blocks * width).reshape(blocks, width)
    totals = counts @ slot.pass_gains
    means = totals[:, :-1] / np.maximum(1.0, totals[:, -1:])
    logs = np.log1p(means[..., None] * BETS)
    return np.floor(logs * UNIT).astype(np.int64).sum(axis=0), int((totals[:, -1] > 0).sum())


def _moved(rows: Ints, moves: Sequence[tuple[int, int, int]]) -> Ints:
    """Rows whose categories are in one of the ranges [start, stop), by so much further on."""
    kept = [rows[:0]]
    for start, stop, by in moves:
        part = rows[(rows[:, PLACE] >= start) & (rows[:, PLACE] < stop)]
        part[:, PLACE] += by
        kept.append(part)
    return np.concatenate(kept)
