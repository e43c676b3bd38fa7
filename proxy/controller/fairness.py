"""Who is served next by a loop that serves many, and what has waited too long: a queue for each, and a fair turn.

Each name (a trial) has a line of its own, first come first served. The line that has cost the least time so far is
served next, so that one with expensive work delays the others by one piece of work at most; one that was empty begins
where the others are, so that no line saves time up.

What waits must not grow old, and what is cheap must not be lost in a burst. So a line is *dear* when one piece of its
work takes longer than `DEAR` on average. What may be dropped is dropped in an expensive line once it has waited while
`PATIENCE` of work was done, or when there is no room. In any other line nothing is dropped: it is *crowded*, and
whoever fills it is to be held up.

Pure: no clock. Times are seconds, and come in as what work has taken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

DEAR = 0.001
"""Seconds of one piece of work, on average, from which a line is expensive; an ordinary pair takes 1/50."""

PATIENCE = 0.15
"""Seconds of work after which what waits in an expensive line is too old."""

MEMORY = 16
"""Pieces of work over which their average is taken."""

MAX_LENGTH, MAX_BYTES = 2048, 16 * 1024 * 1024
"""What waits in one line."""


@dataclass(slots=True)
class _Line:
    items: deque[tuple[Any, int, float]] = field(default_factory=deque)  # with size, and the work done before it came
    size: int = 0
    spent: float = 0.0
    mean: float = 0.0

    @property
    def full(self) -> bool:
        return len(self.items) >= MAX_LENGTH or self.size > MAX_BYTES


class FairQueue:
    """Lines of work by name; `waiting` are those with something to do. An item's size is in bytes; one of size 0 is
    never dropped.

    >>> queue = FairQueue()
    >>> queue.add("dear", "a", 1), queue.add("dear", "b", 1), queue.add("cheap", "c", 1)
    (True, True, True)
    >>> name = queue.next(); queue.take(name), queue.worked(name, 0.03), queue.next()
    ('a', None, 'cheap')
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self.waiting: dict[str, _Line] = {}
        self._size = 0  # of all that waits
        self._done = 0.0  # seconds of work
        self._floor = 0.0  # what the line served last had cost by then

    def __contains__(self, name: str) -> bool:
        """Whether something of this line waits or is worked on."""
        return name in self.waiting

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self.waiting)

    @property
    def crowded(self) -> bool:
        """Whether a line is full in which nothing is dropped, or everything together is too much."""
        return any(map(self.crowds, self.waiting))

    def crowds(self, name: str) -> bool:
        """Whether it is crowded because of this line, which is asked for every pair that waits."""
        line = self._lines[name]
        if len(line.items) >= MAX_LENGTH or line.size > MAX_BYTES:
            return line.mean <= DEAR or self._size > 4 * MAX_BYTES
        return self._size > 4 * MAX_BYTES

    def add(self, name: str, item: Any, size: int, *, first: bool = False) -> bool:
        """Put an item at the end of a line, or at its beginning; whether it was taken."""
        line = self._lines.get(name) or self._lines.setdefault(name, _Line())
        if size and line.full and _is_dear(line):
            return False
        if name not in self.waiting:
            self.waiting[name] = line
            line.spent = max(line.spent, self._floor)
        (line.items.appendleft if first else line.items.append)((item, size, self._done))
        line.size += size
        self._size += size
        return True

    def next(self) -> str | None:
        """The line to be served now; `None` when nothing waits."""
        if not self.waiting:
            return None
        waiting = self.waiting
        name = next(iter(waiting)) if len(waiting) == 1 else min(waiting, key=lambda one: waiting[one].spent)
        self._floor = waiting[name].spent
        return name

    def take(self, name: str) -> Any:
        """The first item of a line, which is worked on from now on until it is `finished`; `None` if there is none."""
        line = self._lines[name]
        if not line.items:
            return None
        item, size, _ = line.items.popleft()
        line.size -= size
        self._size -= size
        return item

    def too_old(self, name: str) -> list[Any]:
        """Items of an expensive line that have waited too long; they wait no more."""
        line = self._lines[name]
        if not _is_dear(line) or not any(self._done - before > PATIENCE for _, _, before in line.items):
            return []
        old, kept, gone = [], deque[tuple[Any, int, float]](), 0
        for one in line.items:
            item, size, before = one
            if size and self._done - before > PATIENCE:
                old.append(item)
                gone += size
            else:
                kept.append(one)
        line.items = kept
        line.size -= gone
        self._size -= gone
        return old

    def worked(self, name: str, seconds: float) -> None:
        """Work for a line has taken so long."""
        self._done += seconds
        self._lines[name].spent += seconds

    def learn(self, name: str, seconds: float, pieces: int = 1) -> None:
        """Pieces of work like others of their line have taken so long each."""
        line = self._lines[name]
        line.mean = seconds + (line.mean - seconds) * (1 - 1 / MEMORY) ** pieces

    def finished(self, name: str) -> None:
        """What was taken of a line is done."""
        line = self._lines[name]
        if not line.items:
            del self.waiting[name]
            if not _is_dear(line):
                del self._lines[name]


def _is_dear(line: _Line) -> bool:
    return line.mean > DEAR
