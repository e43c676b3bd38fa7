"""OpenBlocks of request time: which pairs stood under the same moment, and when all pairs of a block are here.

Pairs of one block may depend on each other in any way (a stall makes all of them slow), so a block gives evidence as
one thing, once it is complete (and is counted when many are, or somebody asks). Pairs come in request order per worker,
so a worker whose latest pair is of a later block has no more for this one. A block is complete when that holds of every
worker that is waited for; not waited for is a worker whose latest pair is more than `PATIENCE` older than the newest of
all (it is idle, gone, or stuck). No pair is lost: one whose block has been closed counts in the oldest open block.

Blocks close in order of time, so evidence by blocks has one past, whatever the number of workers and whichever of
them is slow. Inside a block pairs are in the order of their keys, in which no outcome and no arrival has a part.

State: the rows that wait, one per pair (number of its block, key, and what the user wants to know of the pair once the
block is complete); the first open block; the latest block of each worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proxy.evidence.process.wealth import Ints

PATIENCE = 10.0
"""Seconds of request time by which a worker may be behind the newest pair and is still waited for."""
MOST = 16_384
"""Pairs that may wait; beyond it the oldest block closes as it is."""

LATER = 2048
"""Pairs that come before complete blocks are given out unasked: many blocks cost little more than one."""

END = 2**62
"""A block after all others."""

NUMBER, KEY, FACTS = 0, 1, 2
"""Columns of a row: its block, its key (unsigned, read as signed), and from there on the user's own."""


class OpenBlocks:
    """The blocks that are not complete. `length` in seconds, `width` the user's columns of a row."""

    __slots__ = ("_least", "_new", "_patience", "_rows", "_waiting", "front", "length", "start", "width")

    def __init__(self, length: float, width: int) -> None:
        self.length = length
        self.width = width
        self.start = 0
        """The first block that is open."""
        self.front: dict[str, int] = {}
        """The latest block of each worker that is waited for."""
        self._patience = max(1, round(PATIENCE / length))
        self._rows = np.zeros((0, FACTS + width), np.int64)
        self._new: list[Ints] = []
        self._least = END  # the oldest block that something waits for
        self._waiting = 0

    def numbers(self, workers: Sequence[str], times: Sequence[float]) -> Ints:
        """The block in which each of these readings counts, (n,). They are in request order per worker.

        >>> blocks = OpenBlocks(0.5, 0)
        >>> blocks.numbers(["a", "b", "a", "a"], [0.1, 0.4, 0.9, 1.2]).tolist(), blocks.start
        ([0, 0, 1, 2], 0)
        >>> blocks.numbers(["b", "c"], [0.9, 0.2]).tolist(), blocks.start  # b has no more for block 0; c is too late
        ([1, 1], 1)
        """
        found = np.floor(np.asarray(times, np.float64) / self.length).astype(np.int64)
        front = self.front
        if self._in_order(workers, found):  # the usual case: what the loop comes to
            if found[-1] > front.get(workers[0], -1):
                front[workers[0]] = int(found[-1])
                self._advance()
            return found
        for i, (worker, number) in enumerate(zip(workers, found.tolist(), strict=True)):
            if (latest := front.get(worker, -1)) == number:
                continue  # as most are: the front is never behind `start`
            if number < self.start:
                found[i] = number = self.start
            if number > latest:
                front[worker] = number
                self._advance()
        return found

    def _in_order(self, workers: Sequence[str], found: Ints) -> bool:
        """Whether these blocks are of one worker, from its latest on."""
        if not len(found) or found[0] < max(self.start, self.front.get(workers[0], -1)):
            return False
        return workers.count(workers[0]) == len(workers) and bool((found[1:] >= found[:-1]).all())

    def _advance(self) -> None:
        """A worker has come to a later block: forget those that are too far behind, and close what all have passed."""
        oldest = max(self.front.values()) - self._patience
        if min(self.front.values()) < oldest:
            for worker in [worker for worker, number in self.front.items() if number < oldest]:
                del self.front[worker]
        self.start = max(self.start, min(self.front.values()))

    def gone(self, worker: str) -> None:
        """Nothing more will come from this worker: it is not waited for."""
        if self.front.pop(worker, None) is not None and self.front:
            self._advance()

    def add(self, numbers: Ints, keys: Ints, facts: Ints) -> None:
        """Let pairs wait for the rest of their blocks: their blocks (n,), keys (n,), and facts (n, width)."""
        if len(numbers):
            rows = np.empty((len(numbers), FACTS + self.width), np.int64)
            rows[:, NUMBER], rows[:, KEY], rows[:, FACTS:] = numbers, keys, facts
            self._new.append(rows)
            self._least, self._waiting = min(self._least, int(numbers.min())), self._waiting + len(numbers)

    @property
    def many(self) -> bool:
        """Whether what is complete, or waits at all, has become much: it is to be taken now."""
        return self._waiting > MOST or (self._least < self.start and self._waiting - len(self._rows) >= LATER)

    def complete(self) -> Ints:
        """The rows of complete blocks, which wait no more: by block, and inside a block by key; (n, 2 + width)."""
        if self._least >= self.start and self._waiting <= MOST:  # nothing is complete: no sorting
            return self._rows[:0]
        rows = self.rows
        if len(rows) > MOST:
            self.start = max(self.start, int(rows[-MOST, NUMBER]) + 1)
        until = int(np.searchsorted(rows[:, NUMBER], self.start))
        self.replace(rows[until:])
        return rows[:until]

    @property
    def rows(self) -> Ints:
        """The rows that wait, by block and key."""
        if self._new:
            rows = np.concatenate([self._rows, *self._new])
            self._rows = rows[np.lexsort((rows[:, KEY], rows[:, NUMBER]))]
            self._new = []
        return self._rows

    def replace(self, rows: Ints) -> None:
        """Let these wait instead, sorted by block and key."""
        self._rows, self._new, self._waiting = rows, [], len(rows)
        self._least = int(rows[0, NUMBER]) if len(rows) else END

    def restore(self, rows: Ints, start: int, front: Mapping[str, int]) -> None:
        """Be as one was that had these."""
        self.replace(rows)
        self.start, self.front = start, dict(front)

    def rest(self) -> Ints:
        """All rows, complete or not, and a new beginning: for another length, by which nothing can be compared."""
        rows = self.rows
        self.restore(rows[:0], 0, {})
        return rows

    def copy(self) -> OpenBlocks:
        """A copy that shares no mutable part."""
        same = OpenBlocks(self.length, self.width)
        same.restore(self.rows, self.start, self.front)
        return same

    def merge(self, other: OpenBlocks) -> OpenBlocks:
        """What both wait for; merging in either order gives the same. A block that one of them has closed is not opened
        again: what the other has of it counts in the oldest open one."""
        both = OpenBlocks(self.length, self.width)
        rows = np.concatenate([self.rows, other.rows])
        start = max(self.start, other.start)
        rows[:, NUMBER] = np.maximum(rows[:, NUMBER], start)
        front = {
            worker: max(self.front.get(worker, -1), other.front.get(worker, -1))
            for worker in sorted(self.front.keys() | other.front.keys())
        }
        both.restore(rows[np.lexsort((rows[:, KEY], rows[:, NUMBER]))], start, front)
        return both


def bounds(rows: Ints) -> Ints:
    """Where each block of sorted rows begins, and the end, (blocks + 1,).

    >>> bounds(np.array([[7, 1], [7, 2], [9, 1]])).tolist(), bounds(np.zeros((0, 2), np.int64)).tolist()
    ([0, 2, 3], [0])
    """
    numbers = rows[:, NUMBER]
    starts = np.flatnonzero(np.append(len(rows) > 0, numbers[1:] != numbers[:-1]))
    return np.append(starts, len(rows)).astype(np.int64)
