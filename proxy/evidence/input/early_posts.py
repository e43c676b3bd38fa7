"""What was posted of users before anybody told of them.

Pure; each call costs the same however many wait.
"""

from __future__ import annotations

from collections import OrderedDict

MOST = 1 << 14
"""Outcomes that wait for their user's exposure to be told."""
PATIENCE = 60.0
"""Seconds that they wait."""


class EarlyPosts:
    """Those that wait, by the number of their user or request; whoever was posted of last is last.

    >>> early = EarlyPosts()
    >>> early.add(7, 1.0, 0.0), early.add(8, 1.0, 5.0), early.take(7, 30.0), early.expire(66.0), early.take(8, 66.0)
    (True, True, ([1.0], 0), 1, ([], 0))
    """

    __slots__ = ("_by_name", "_count")

    def __init__(self) -> None:
        self._by_name: OrderedDict[int, list[tuple[float, float]]] = OrderedDict()
        self._count = 0

    def add(self, name: int, value: float, now: float) -> bool:
        """Let one wait; whether there is room."""
        if self._count >= MOST:
            return False
        self._by_name.setdefault(name, []).append((value, now))
        self._by_name.move_to_end(name)
        self._count += 1
        return True

    def take(self, name: int, now: float) -> tuple[list[float], int]:
        """The values that wait for this one, and how many more came too long ago."""
        posted = self._by_name.pop(name, [])
        self._count -= len(posted)
        values = [value for value, time in posted if now - time <= PATIENCE]
        return values, len(posted) - len(values)

    def expire(self, now: float) -> int:
        """Let go of whoever was posted of too long ago; how many outcomes that were."""
        gone = 0
        while self._by_name and now - next(iter(self._by_name.values()))[-1][1] > PATIENCE:
            gone += len(self._by_name.popitem(last=False)[1])
        self._count -= gone
        return gone

    def clear(self) -> None:
        """Let go of all, which is no loss: nobody asks for them any more."""
        self._by_name.clear()
        self._count = 0
