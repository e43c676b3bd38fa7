"""How old an idle connection to one URL may be when it is used again. Seconds.

A model server closes connections that were idle for too long (gunicorn after 2 s, uvicorn after 5), and a request that
is written at that very moment is lost: whether the server has read it nobody knows, so it may not be sent again unless
it may be sent twice. What the server's limit is, is learned without risk: connections that are not used stay open and
are looked at now and then. One that is open at an age proves that the server waits so long; one that the server closes
says how long it waits. A server may say it too (`Keep-Alive: timeout=5`).

A request that may be sent twice takes any connection that is open and not beyond the limit, as far as it is known; any
other takes one only where it is proven that the server still waits by then, else a new one.

A server that restarts closes young connections too. So what a close has taught is believed for a while only; then a
connection that is seen open at a greater age proves the contrary.

>>> keep = KeepAlive(4.0)
>>> keep.safe, keep.usable, keep.longest
(0.5, 4.0, 4.0)
>>> keep.seen_open(3.0, now=10.0); keep.safe
2.5
>>> keep.seen_closed(2.0, now=20.0); keep.safe, keep.usable
(1.5, 1.5)
>>> keep.seen_open(3.0, now=21.0); keep.safe  # of another server behind the same address, perhaps
1.5
>>> keep.seen_open(3.0, now=60.0); keep.safe, keep.usable
(2.5, 4.0)
"""

from __future__ import annotations

import re

ASSUMED = 1.0
"""What is taken for proven of a server of which nothing is known."""
MARGIN = 0.5
"""How long before the server closes it a connection is used last: its clock started before ours, and a request takes
its time to get there."""
SHORTEST = 0.1
"""Connections that are used again within this time are used whatever was seen: a server that restarts closes them at
any age, and to make a new one for each request of a busy route would cost more than it saves."""
BELIEVED = 30.0
_TIMEOUT = re.compile(rb"timeout[ \t]*=[ \t]*\"?(\d{1,6})")


def before(age: float) -> float:
    """The last moment at which a connection is used that the server closes at this age."""
    return max(SHORTEST, age - min(MARGIN, age / 2))


class KeepAlive:
    """What is known of one URL. `longest`: idle connections are closed by us at this age; `usable` and `safe`: how old
    one may be for a request that may be sent twice, and for any other."""

    def __init__(self, idle_timeout: float) -> None:
        self.longest = self.usable = idle_timeout
        self.safe = 0.0
        self._configured = idle_timeout
        self._proven = ASSUMED
        self._until = 0.0
        self._said = b""
        self._settle(idle_timeout)

    def _settle(self, usable: float) -> None:
        self.usable = min(usable, self.longest)
        self.safe = min(before(self._proven), self.longest)

    def announced(self, said: bytes) -> None:
        """An answer had this `keep-alive` header."""
        if said == self._said:
            return
        self._said = said
        found = _TIMEOUT.search(said)
        if found is not None:
            self._proven = float(found[1])
            self._until = 0.0
            self.longest = min(self._configured, before(self._proven))
            self._settle(self.longest)

    def seen_open(self, age: float, now: float) -> None:
        """A connection that has been idle for this long is open."""
        if age > self._proven and now >= self._until:
            self._proven = age
            self._settle(self.longest)

    def seen_closed(self, age: float, now: float) -> None:
        """The server has closed a connection that had been idle for this long."""
        if age <= self._proven or now >= self._until:
            self._proven = age
            self._until = now + BELIEVED
            self._settle(before(age))
