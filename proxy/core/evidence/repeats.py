"""Repeats: a request body that was seen a moment ago is not new evidence.

Bursts of three equal requests give 90 % false alarms (STATISTICS 5, trap 1): their pairs are copies of one another.
Prediction and error guards therefore skip a body seen among the last 1,000 requests of the rollout. A cyclic replay
longer than that is not covered.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

WINDOW = 1000


class Recent:
    """The hashes of the last 1,000 request bodies, with the times of their requests (for merging)."""

    __slots__ = ("_seen", "_window")

    def __init__(self, entries: Iterable[tuple[float, int]] = ()) -> None:
        self._window: deque[tuple[float, int]] = deque(entries, maxlen=WINDOW)
        self._seen = dict(Counter(h for _, h in self._window))

    @property
    def entries(self) -> list[tuple[float, int]]:
        """(time, hash), oldest first, at most 1,000."""
        return list(self._window)

    def news(self, hashes: Sequence[int], times: Sequence[float]) -> list[bool]:
        """Whether each body is not among the 1,000 before it; they are among the last 1,000 from now on.

        >>> recent = Recent()
        >>> recent.news([7, 7, 8], [0.0, 1.0, 2.0]), recent.news([8], [3.0])
        ([True, False, True], [False])
        """
        seen, window = self._seen, self._window
        count, room, new = seen.get, WINDOW - len(window), []
        for entry in zip(times, hashes, strict=True):
            h = entry[1]
            times_seen = count(h, 0)
            new.append(not times_seen)
            if room > 0:
                room -= 1
            else:
                oldest = window[0][1]
                left = seen[oldest] - 1
                if left:
                    seen[oldest] = left
                else:
                    del seen[oldest]
                if oldest == h:
                    times_seen = left
            window.append(entry)
            seen[h] = times_seen + 1
        return new

    def merge(self, other: Recent) -> Recent:
        """The last 1,000 of both by request time; merging in either order gives the same."""
        return Recent(sorted([*self._window, *other._window])[-WINDOW:])
