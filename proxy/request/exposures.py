"""Which users a trial's draw has put on an arm, for `max_outcome_drop`: told to the controller once a second.

A user is the number that the draw makes of its sticky key (`routing.number_of_key`). Each is told once while stage and
weight stay: it is remembered, up to `MOST_SEEN`, after which all are told again. A request without a sticky key is a
user by itself, and is told with the number of the id by which it is known.

Nothing here waits; what there is no room for is counted. A trial without such a guard has no `Exposures`.
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
    """Users since the last report."""

    __slots__ = ("_pending", "_seen", "lost")

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._seen: set[int] = set()
        self.lost = 0
        """Requests of users that could not be told, since the last report."""

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
        self._pending.append(_USER.pack(user, alias))

    @property
    def waits(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._pending)

    def take(self) -> tuple[int, bytes]:
        """How many could not be told, and those that can, as EXPOSED carries them; nothing of it again."""
        lost, self.lost = self.lost, 0
        pending, self._pending = self._pending, []
        return lost, b"".join(pending)

    def forget(self) -> None:
        """Another stage, weight or controller: everybody is told anew."""
        self._pending = []
        self._seen.clear()
