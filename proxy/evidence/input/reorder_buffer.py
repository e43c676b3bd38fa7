"""Request order: pairs enter the evidence in the order of their requests, not of their answers.

Answers arrive in an order that depends on their outcome (a slow candidate's pairs come last), and a rule that stops
looking when it has seen enough would then see a biased sample. One buffer serves one worker incarnation and one trial:
a pair waits only while an earlier sampled pair of the same worker is in flight.
"""

from __future__ import annotations

from typing import Any

from proxy.model import Prediction, Reading

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of readings that may wait, estimated from above: about 30,000 without large predictions."""


def reading_size(reading: Reading) -> int:
    """Bytes that a reading takes, estimated from above.

    >>> from tests.evidence.streams import make_reading
    >>> reading_size(make_reading()), reading_size(make_reading(0, (0.5,) * 100, (0.5,) * 100)) > 8000
    (1104, True)
    """
    return 1024 + sum(_values(arm) for arm in (reading.live, reading.candidate, reading.again) if arm is not None)


def _values(prediction: Prediction) -> int:
    rows = prediction.rows
    if type(rows[0]) is float:  # then all of them are
        return 40 * len(rows)
    return sum(map(_row_size, rows))


def _row_size(row: Any) -> int:
    """Bytes of one row, from above: labels of one answer may be texts and numbers mixed, a ranking's items as well.

    >>> _row_size("a"), _row_size(7), _row_size((0.5, 0.5)), _row_size(("a", 7))
    (92, 48, 144, 204)
    """
    if isinstance(row, str):
        return 88 + 4 * len(row)
    if not isinstance(row, tuple):
        return 48
    return 64 + (40 * len(row) if row and type(row[0]) is float else sum(map(_row_size, row)))


class ReorderBuffer:
    """Hands readings over in order of `sequence`, counted from 0.

    `add` and `mark` return the readings that are now ready. `late` counts readings refused because their place had been
    settled (a repeated frame, or one that had been given up), `skipped` sequences given up because more than `most`
    bytes of readings waited behind them.
    """

    __slots__ = ("_bytes", "_most", "_next", "_waiting", "late", "skipped")

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._waiting: dict[int, Reading | None] = {}  # none: its place is settled, nothing will stand there
        self._bytes = 0
        self._next = 0
        self._most = most
        self.late = 0
        self.skipped = 0

    def __len__(self) -> int:
        """How many readings wait."""
        return sum(reading is not None for reading in self._waiting.values())

    def follows(self, sequence: int) -> bool:
        """Whether this is the next one while none waits; if so, it has been taken: it is ready.

        >>> order = ReorderBuffer()
        >>> order.follows(1), order.follows(0), order.follows(0), order.follows(1)
        (False, True, False, True)
        """
        if sequence != self._next or self._waiting:
            return False
        self._next = sequence + 1
        return True

    def add(self, reading: Reading) -> list[Reading]:
        """Take a reading; returns what is ready, in order."""
        sequence = reading.sequence
        if sequence < self._next or sequence in self._waiting:
            self.late += 1
            return []
        if self.follows(sequence):
            return [reading]
        self._waiting[sequence] = reading
        self._bytes += reading_size(reading)
        ready = self._ready()
        while self._bytes > self._most:
            first = min(self._waiting)
            self.skipped += first - self._next
            self._next = first
            ready += self._ready()
        return ready

    def skip(self, sequence: int) -> list[Reading]:
        """The reading of this place will not come; returns what is ready, in order.

        >>> from tests.evidence.streams import make_reading
        >>> order = ReorderBuffer()
        >>> len(order.add(make_reading(sequence=1))), len(order.skip(0)), order.late
        (0, 1, 0)
        """
        if sequence >= self._next:
            self._waiting.setdefault(sequence, None)
        return self._ready()

    def mark(self, sequence: int) -> list[Reading]:
        """Every sequence below `sequence` is settled: nothing that has not arrived by now will."""
        ready: list[Reading] = []
        if sequence > self._next:
            for settled in sorted(s for s in self._waiting if s < sequence):
                ready += self._take(settled)
            self._next = sequence
        return ready + self._ready()

    def lost(self) -> list[Reading]:
        """The worker is gone: everything that waits, in order."""
        return self.mark(max(self._waiting, default=self._next - 1) + 1)

    def _ready(self) -> list[Reading]:
        ready: list[Reading] = []
        while self._next in self._waiting:
            ready += self._take(self._next)
            self._next += 1
        return ready

    def _take(self, sequence: int) -> list[Reading]:
        """What stands in this place: one reading or none."""
        reading = self._waiting.pop(sequence)
        if reading is None:
            return []
        self._bytes -= reading_size(reading)
        return [reading]
