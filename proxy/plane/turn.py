"""One turn of the event loop: first everything that is ready is read, then everything that is to be sent is sent.

Whoever is asleep at the other end of a connection is woken by a write, and waking a process on another core is the
most expensive thing that a proxy makes a kernel do: many microseconds on a virtual machine, more than reading, parsing
and deciding together. Writes that follow one another closely wake their reader once. So what a turn has to say is
gathered and written in one go at its end, a few microseconds apart, instead of one by one with our work in between;
and what serves no client (copies, pairs) is done after everything that does.

With one connection ready, a turn is one request and nothing waits.

Invariants
- What is given for one transport leaves in the order in which it was given; `flush` comes before a transport is closed
  or written to by somebody else.
- Nothing outlives its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol


class Written(Protocol):
    """Wants to know when its bytes leave."""

    def leaves(self, now: float) -> None:
        """They are about to be written; `now` is in monotonic seconds. Before and not after: writing wakes the reader,
        whose answer may be here before we get on."""


class Turn:
    """What one turn has gathered."""

    __slots__ = ("_later", "_loop", "_out", "_planned")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._out: deque[tuple[asyncio.WriteTransport, bytes, Written | None]] = deque()
        self._later: deque[Callable[[], None]] = deque()
        self._planned = False

    def write(self, transport: asyncio.WriteTransport, data: bytes, whose: Written | None = None) -> None:
        """Send `data` at the end of this turn, and tell `whose` it is."""
        self._out.append((transport, data, whose))
        if not self._planned:
            self._plan()

    def now(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Send `data` at once, after what was gathered before it: a stream, whose taker must be able to say "enough"
        between two pieces (one turn may read megabytes from one connection)."""
        if self._out:
            self.flush()
        transport.write(data)

    def later(self, work: Callable[[], None]) -> None:
        """Do `work`, which no client waits for, when everything that one waits for has been sent."""
        self._later.append(work)
        if not self._planned:
            self._plan()

    def _plan(self) -> None:
        self._planned = True
        self._loop.call_soon(self._end)  # which comes when every connection that is ready now has been read

    def flush(self) -> None:
        """Send what has been gathered so far."""
        out = self._out
        while out:
            transport, data, whose = out.popleft()
            if not transport.is_closing():
                if whose is not None:
                    whose.leaves(monotonic())
                transport.write(data)

    def _end(self) -> None:
        try:
            while self._out or self._later:
                self.flush()
                for _ in range(len(self._later)):
                    self._later.popleft()()
        finally:
            self._planned = False
            if self._out or self._later:  # a piece of work failed: the others are not to suffer for it
                self._plan()
