"""Repeats: a request body that was seen a moment ago is not new evidence.

Bursts of three equal requests give 90 % false alarms (STATISTICS 5, trap 1): their pairs are copies of one another.
Prediction and error guards therefore skip a body seen among the last 1,000 requests of the rollout. A cyclic replay
longer than that is not covered.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

WINDOW = 1000


class Recent:
    """The hashes of the last 1,000 request bodies, with the times of their requests (for merging)."""

    __slots__ = ("_seen", "_window")

    def __init__(self, entries: Iterable[tuple[float, int]] = ()) -> None:
        self._window: deque[tuple[float, int]] = deque(entries, maxlen=WINDOW)
        self._seen = Counter(h for _, h in self._window)

    @property
    def entries(self) -> list[tuple[float, int]]:
        """(time, hash), oldest first, at most 1,000."""
        return list(self._window)

    def is_new(self, request_hash: int, time: float) -> bool:
        """Whether the body is not among the last 1,000; it is among them from now on.

        >>> recent = Recent()
        >>> recent.is_new(7, 0.0), recent.is_new(7, 1.0)
        (True, False)
        """
        seen, window = self._seen, self._window
        new = request_hash not in seen
        if len(window) == WINDOW:
            _, oldest = window[0]
            if seen[oldest] == 1:
                del seen[oldest]
            else:
                seen[oldest] -= 1
        window.append((time, request_hash))
        seen[request_hash] += 1
        return new

    def merge(self, other: Recent) -> Recent:
        """The last 1,000 of both by request time; merging in either order gives the same."""
        return Recent(sorted([*self._window, *other._window])[-WINDOW:])
