"""Repeats: a request body that was seen a moment ago is not new evidence.

Bursts of three equal requests give 90 % false alarms: their pairs are copies of one another.
Prediction and error guards therefore skip a body seen among the last 1,000 requests of the rollout. A cyclic replay
longer than that is not covered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

WINDOW = 1000


class RecentBodies:
    """The hashes of the last 1,000 request bodies, with the times of their requests (for merging)."""

    __slots__ = ("_count", "_last", "_window")

    def __init__(self, entries: Iterable[tuple[float, int]] = ()) -> None:
        self._window: deque[tuple[float, int]] = deque(entries, maxlen=WINDOW)
        self._renumber()

    def _renumber(self) -> None:
        """Number the bodies of the window anew, and forget those before it."""
        self._count = len(self._window)
        self._last = {h: number for number, (_, h) in enumerate(self._window)}

    @property
    def entries(self) -> list[tuple[float, int]]:
        """(time, hash), oldest first, at most 1,000."""
        return list(self._window)

    def news(self, hashes: Sequence[int], times: Sequence[float]) -> list[bool]:
        """Whether each body is not among the 1,000 before it; they are among the last 1,000 from now on.

        >>> recent = RecentBodies()
        >>> recent.news([7, 7, 8], [0.0, 1.0, 2.0]), recent.news([8], [3.0])
        ([True, False, True], [False])
        """
        last = self._last  # bodies are numbered as they come; this is the latest number of each
        numbers = range(self._count, self._count + len(hashes))
        if last.keys().isdisjoint(hashes) and len(set(hashes)) == len(hashes):  # the usual case
            new = [True] * len(hashes)
            last.update(zip(hashes, numbers, strict=True))
        else:
            new = []
            for number, h in zip(numbers, hashes, strict=True):
                new.append(last.get(h, -WINDOW - 1) < number - WINDOW)
                last[h] = number
        self._window.extend(zip(times, hashes, strict=True))
        self._count += len(hashes)
        if len(last) > 2 * WINDOW:
            self._renumber()
        return new

    def merge(self, other: RecentBodies) -> RecentBodies:
        """The last 1,000 of both by request time; merging in either order gives the same."""
        return RecentBodies(sorted([*self._window, *other._window])[-WINDOW:])
