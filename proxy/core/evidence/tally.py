"""Where the counts are: all guards' categories side by side, in int64 arrays.

`rows` (20, width) by restart, `stage` (width,) since the stage began, `segments` (top + 1, width) by segment from its
admission on. A closed *chapter* is what a guard counted under an earlier limit: each pair is judged by the limit then
in force, so a guard's FAIL evidence is the product of its chapters' (each began at E = 1, so the product is an
e-process), while its PASS evidence knows the present chapter only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from proxy.core.evidence.after_promotion import Watch
from proxy.core.evidence.batch import Batch, Bools, Ints
from proxy.core.evidence.guards import Rule, Slot
from proxy.core.evidence.restarts import ROWS, Restarts
from proxy.core.evidence.wealth import Counts, log_sum
from proxy.core.model import Guard


@dataclass(frozen=True, slots=True)
class Chapter:
    """A guard's counts under a limit that is no longer in force."""

    guard: Guard
    rule: Rule
    rows: Counts
    segments: Counts
    restarts: Restarts
    opened: int


@dataclass(slots=True)
class Tally:
    """The counts of one trial. `opened[i]` is the number of restarts before slot i's present chapter."""

    slots: tuple[Slot, ...]
    rows: Counts
    stage: Counts
    segments: Counts
    opened: list[int]
    restarts: Restarts = field(default_factory=Restarts)
    closed: dict[str, list[Chapter]] = field(default_factory=dict)

    @classmethod
    def empty(cls, slots: tuple[Slot, ...], segments: int) -> Tally:
        """No counts yet; `segments` is how many are told apart (0 for none)."""
        width = slots[-1].stop if slots else 0
        return cls(
            slots,
            np.zeros((ROWS, width), np.int64),
            np.zeros(width, np.int64),
            np.zeros((segments, width), np.int64),
            [0] * len(slots),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the counts."""
        closed = sum(c.rows.nbytes + c.segments.nbytes for chapters in self.closed.values() for c in chapters)
        return self.rows.nbytes + self.stage.nbytes + self.segments.nbytes + closed

    def count(self, batch: Batch, current: Bools, segment: Ints | None, watch: Watch | None = None) -> None:
        """Add a batch. `current` (n,) are pairs of the present stage, `segment` (n,) their segments."""
        placed = [slot.rule.place(batch, slot.salt) for slot in self.slots]
        if not placed:
            return
        who = np.concatenate([who for who, _ in placed])
        where = np.concatenate([at + slot.start for slot, (_, at) in zip(self.slots, placed, strict=True)])
        np.add.at(self.rows[self.restarts.row], where, 1)
        np.add.at(self.stage, where if current.all() else where[current[who]], 1)
        if segment is not None:
            np.add.at(self.segments.reshape(-1), segment[who] * self.segments.shape[1] + where, 1)

        if watch is not None:
            np.add.at(watch.counts, where, 1)

    def count_one(self, at: int, watch: Watch | None = None, *, current: bool) -> None:
        """Add one to a category: evidence that comes by itself, without a segment (a label)."""
        self.rows[self.restarts.row, at] += 1
        self.stage[at] += current
        if watch is not None:
            watch.counts[at] += 1

    def shed(self, n: int) -> None:
        """Count copies that were never sent."""
        for slot in self.slots:
            if slot.rule.shed_at is not None:
                at = slot.start + slot.rule.shed_at
                self.rows[self.restarts.row, at] += n
                self.stage[at] += n

    def restart(self) -> None:
        """Begin a restart of all guards' FAIL evidence."""
        self.restarts = self.restarts.start(self.rows)

    def carried(self, slot: Slot) -> Counts:
        """A guard's counts since its present limit is in force, (its width,)."""
        return np.asarray(self.rows[:, slot.start : slot.stop].sum(axis=0))

    def since_stage(self, slot: Slot) -> Counts:
        """A guard's counts since the stage began, (its width,)."""
        return self.stage[slot.start : slot.stop]

    def log_whole(self, i: int) -> float:
        """Log of slot i's FAIL evidence over all traffic: the product over chapters of each one's restart mixture."""
        slot = self.slots[i]
        rows = self.rows[:, slot.start : slot.stop]
        log_e = _mixture(slot.rule, slot.guard.limit, rows, self.restarts, self.opened[i])
        for old in self.closed.get(slot.guard.name, ()):
            log_e += _mixture(old.rule, old.guard.limit, old.rows, old.restarts, old.opened)
        return log_e

    def loudest(self, i: int) -> Counts | None:
        """Slot i's counts since the restart that weighs most in its evidence; `None` when that is the whole."""
        slot = self.slots[i]
        since, log_weights = self.restarts.since(self.rows[:, slot.start : slot.stop], self.opened[i])
        start = int((slot.rule.log_fail(since, slot.guard.limit) + log_weights).argmax())
        return since[start] if start else None

    def log_segments(self, i: int) -> list[float]:
        """Log of slot i's FAIL evidence per segment (no restarts)."""
        slot = self.slots[i]
        if not len(self.segments):
            return []
        logs = slot.rule.log_fail(self.segments[:, slot.start : slot.stop], slot.guard.limit)
        for old in self.closed.get(slot.guard.name, ()):
            logs = logs + old.rule.log_fail(old.segments, old.guard.limit)
        return [float(log) for log in logs]

    def log_fail(self, i: int, segments: list[float] | None = None) -> float:
        """Log of slot i's FAIL evidence: half to the whole, half over the segments by c / (s(s+1)).

        `segments` are those of `log_segments`, if they are known already.
        """
        whole = self.log_whole(i)
        segments = self.log_segments(i) if segments is None else segments
        if not segments:
            return whole
        shares = np.log(segment_shares(len(segments))) + segments
        return log_sum([whole + float(np.log(0.5)), *(shares + np.log(0.5)).tolist()])


def segment_shares(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The weights c / (s(s+1)), s = 1…count, which sum to one: the first segments seen weigh most.

    >>> segment_shares(2).tolist()
    [0.75, 0.25]
    """
    s = np.arange(1, count + 1)
    return np.asarray((count + 1) / count / (s * (s + 1)))


def _mixture(rule: Rule, limit: float, rows: Counts, restarts: Restarts, opened: int) -> float:
    since, log_weights = restarts.since(rows, opened)
    return restarts.mixture(rule.log_fail(since, limit), log_weights, opened)
