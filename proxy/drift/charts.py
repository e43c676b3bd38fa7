"""Counts per span of time for charts: at most `BUCKETS` spans, which are joined to longer ones, up to an hour."""

from __future__ import annotations

from typing import Final

import numpy as np

from proxy.evidence.process.wealth import Floats, Ints

BUCKETS: Final = 192
LENGTHS: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Seconds of a span; spans of the last length are not joined: the oldest is dropped."""


class ChartCounts:
    """`counts` (BUCKETS, bins + 1): by bin of the chart, and without a value; `spans` their numbers, −1 for none
    yet; `firsts` the whole seconds in which the first value of each came."""

    def __init__(self, bins: int) -> None:
        self.seconds = LENGTHS[0]
        self.counts: Ints = np.zeros((BUCKETS, bins + 1), np.int64)
        self.spans: Ints = np.full(BUCKETS, -1, np.int64)
        self.firsts: Ints = np.zeros(BUCKETS, np.int64)
        self.used = 0

    def add(self, times: Floats, bins: Ints) -> None:
        """Values by time: when (n,), and their bins (n,), −1 for none. One that comes late counts in the latest span.

        >>> chart = ChartCounts(1)
        >>> chart.add(np.array([0.5, 3.0, 3.1]), np.array([0, 0, -1])), chart.counts[:2].tolist()
        (None, [[1, 0], [1, 1]])
        """
        at, width = 0, self.counts.shape[1]
        while at < len(times):
            span = self._open(float(times[at]))
            until = max(at + 1, int(np.searchsorted(times, (span + 1) * self.seconds)))
            self.counts[self.used - 1] += np.bincount(bins[at:until] % width, minlength=width)
            at = until

    def seen_at(self, time: float) -> float:
        """The time, or where nothing came then, when the next values did.

        >>> chart = ChartCounts(1)
        >>> chart.add(np.array([0.5, 9.0]), np.array([0, 0]))
        >>> chart.seen_at(0.7), chart.seen_at(5.0), chart.seen_at(99.0)
        (0.7, 9.0, 99.0)
        """
        at = int(np.searchsorted(self.spans[: self.used], time // self.seconds))
        return max(time, float(self.firsts[at])) if 0 < at < self.used else time

    def _open(self, time: float) -> int:
        """The latest span, which a value of this time counts in."""
        if not self.used or time // self.seconds > self.spans[self.used - 1]:
            while self.used == BUCKETS:
                self._make_room()
            if not self.used or time // self.seconds > self.spans[self.used - 1]:
                self.spans[self.used], self.firsts[self.used] = int(time // self.seconds), int(time)
                self.used += 1
        return int(self.spans[self.used - 1])

    def _make_room(self) -> None:
        if self.seconds < LENGTHS[-1]:
            before, self.seconds = self.seconds, LENGTHS[LENGTHS.index(self.seconds) + 1]
            self._join(np.asarray(self.spans[: self.used] * before // self.seconds, np.int64))
        else:
            self.counts[:-1], self.spans[:-1] = self.counts[1:].copy(), self.spans[1:].copy()
            self.firsts[:-1] = self.firsts[1:].copy()
            self.counts[-1], self.spans[-1] = 0, -1
            self.used -= 1

    def _join(self, spans: Ints) -> None:
        numbers, first, where = np.unique(spans, return_index=True, return_inverse=True)
        self.firsts[: len(numbers)] = self.firsts[first]
        counts = np.zeros_like(self.counts)
        np.add.at(counts, where, self.counts[: self.used])
        self.counts, self.used = counts, len(numbers)
        self.spans = np.concatenate([numbers, np.full(BUCKETS - len(numbers), -1, np.int64)])
