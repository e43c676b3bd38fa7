"""Which users a trial's draw has put on an arm, for `max_outcome_drop`: told to the controller once a second.

A user is the number that the draw makes of its sticky key (`routing.number_of_key`). Each is told once while stage,
weight and what is asked of users stay: it is remembered, up to `MOST_SEEN`, after which all are told again. A request
without a sticky key is a user by itself, and is told with the number of the id by which it is known.

Users wait while no controller is there, and while the candidate has no weight for a time. Nothing here waits for
anything; whom there is no room for is counted. A trial without such a guard has no `Exposures`.
"""

from __future__ import annotations

import struct
from typing import Final

MOST_SEEN: Final = 131_072
"""Users that are remembered as told."""
MOST_PENDING: Final = 65_536
"""Users that wait to be told; one more is told with its next request, or, without a sticky key, never."""

_USER: Final = struct.Struct("<QQ")


class Exposures:
    """Users since the last report, all seen in stage entry `stage` at `weight` (basis points)."""

    __slots__ = ("_asked", "_pending", "_seen", "_told", "lost", "stage", "weight")

    def __init__(self, stage: int = 0, weight: int = 0) -> None:
        self.stage, self.weight, self._asked = stage, weight, 0
        self._pending: list[tuple[int, int]] = []
        self._told: list[tuple[int, int]] = []
        self._seen: set[int] = set()
        self.lost = 0
        """Requests of users that could not be told, since the last report."""

    def begin(self, stage: int, weight: int, asked: int) -> None:
        """What holds now; `asked` stands for what the controller asks of users (`Lane.asked`). In another stage, or at
        another weight, everybody is told anew, and those who wait are not told: they would be left out, having been on
        the arms of two. Where another thing is asked, all are told anew."""
        if (stage, weight) != (self.stage, self.weight):
            self.stage, self.weight = stage, weight
            self._pending, self._told = [], []
            self._seen.clear()
        elif asked != self._asked:
            self._remember_pending()
        self._asked = asked

    def saw(self, user: int, alias: int) -> None:
        """A request was drawn. `alias` is the number of its id where it has no sticky key, else 0."""
        if user in self._seen:
            return
        if len(self._pending) >= MOST_PENDING:
            self.lost += 1
            return
        if not alias:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()
            self._seen.add(user)
        self._pending.append((user, alias))

    @property
    def waits(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._pending or self.lost)

    def take(self) -> tuple[int, bytes]:
        """How many could not be told, and those that can, as EXPOSED carries them; nothing of it again."""
        lost, self.lost = self.lost, 0
        self._told, self._pending = self._pending, []
        return lost, b"".join([_USER.pack(user, alias) for user, alias in self._told])

    def untold(self, lost: int) -> None:
        """What was taken last did not get away: it waits again."""
        self.lost += lost
        self._wait_again(self._told)

    def again(self) -> None:
        """Another controller is there, which may not know those who were told last: they are told again, unless they
        have no sticky key (it would count them twice). All others are when they come again."""
        self._wait_again([(user, alias) for user, alias in self._told if not alias])
        self._remember_pending()

    def _wait_again(self, users: list[tuple[int, int]]) -> None:
        room = MOST_PENDING - len(self._pending)
        self.lost += max(0, len(users) - room)
        self._pending = users[:room] + self._pending
        self._told = []

    def _remember_pending(self) -> None:
        self._seen = {user for user, alias in self._pending if not alias}
