"""One turn of the event loop: first everything that is ready is read, then everything that is to be sent is sent.

Whoever is asleep at the other end of a connection is woken by a write, and waking a process on another core is the
most expensive thing that a proxy makes a kernel do: many microseconds on a virtual machine, more than reading, parsing
and deciding together. Writes that follow one another closely wake their reader once. So what a turn has to say is
gathered and written in one go at its end, a few microseconds apart, instead of one by one with our work in between;
and what serves no client (copies, pairs) is done after everything that does. Of long bodies no more than `MUCH_OUT` is
gathered: what waits longer must be fetched back into the processor's cache, which costs as much as waking somebody.

With one connection ready, a turn is one request and nothing waits.

Nor may one connection be all of a turn. What it sends is taken up as far as `AT_ONCE` goes; the rest waits (`reader`),
unread bytes in the kernel, and goes on in later turns, `SLICE` by `SLICE`, after everybody else who was ready. All that
waits has `PER_TURN` together, however many connections it came on; owners take turns, and an owner's connections among
themselves: a client is its address, an upstream all connections to it, so that a candidate has no more than live. Work
is counted, not timed: about a microsecond each. What is expensive and cannot be cut (a long header block) is timed, and
done when as much and `DEAR_REST` times more has been left for the others.

Invariants
- What is given for one transport leaves in the order in which it was given; `flush` comes before a transport is closed
  or written to by somebody else.
- Nothing that is to be sent outlives its turn.
- Whoever waits is served again: in every turn somebody of the owner whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from proxy.request.clock import monotonic

if TYPE_CHECKING:
    from proxy.request.legs import Piece, Written

AT_ONCE: Final = 256
"""Work that a connection may cause with what has just come. An ordinary request causes much less."""
SLICE: Final = 64
"""Work of one that goes on with what has waited, before the next one does."""
PER_TURN: Final = 128
"""Work of all of them in one turn."""
LEAST: Final = 8
"""What being served costs, though nothing came of it."""
MUCH_OUT: Final = 1_200_000
"""Bytes of long bodies with which all that was gathered is sent: four or five prompts of 300 kB, not each by itself."""
DEAR_REST: Final = 2.0
DEAR_AHEAD: Final = 0.01
"""Seconds of expensive work that may be done in a row after a rest."""


class Waits(Protocol):
    """A connection of which bytes wait."""

    @property
    def owner(self) -> object:
        """Who shares a line."""

    def serve(self, work: int) -> int:
        """Go on for that much; how much it was."""


class TurnScheduler:
    """What one turn has gathered."""

    __slots__ = ("_clock", "_dear", "_ends", "_later", "_lines", "_loop", "_out", "_planned", "_rested", "_sent",
                 "_size", "at_once", "left", "per_turn", "slice")  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = monotonic,
        at_once: int = AT_ONCE,
        part: int = SLICE,
        per_turn: int = PER_TURN,
    ) -> None:
        self._loop, self._clock = loop, clock
        self.at_once, self.slice, self.per_turn = at_once, part, per_turn
        self.left = per_turn
        """Of `per_turn`, in this turn."""
        self._lines: dict[object, deque[Waits]] = {}
        self._dear: deque[Waits] = deque()
        self._rested = 0.0
        self._ends: list[Callable[[], None]] = []
        self._out: list[tuple[asyncio.WriteTransport, bytes, Written | None, Sequence[Piece]]] = []
        self._size = 0
        """Bytes of what is long in `_out`."""
        self._sent = 0
        """How many of `_out` have been sent."""
        self._later: list[Callable[[], None]] = []
        self._planned = False

    def write(
        self, transport: asyncio.WriteTransport, data: bytes, whose: Written | None = None, rest: Sequence[Piece] = ()
    ) -> None:
        """Send `data` and the `rest` at the end of this turn, or when `MUCH_OUT` has been gathered, and tell `whose` it
        is."""
        self._out.append((transport, data, whose, rest))
        if rest:
            self._size += sum(map(len, rest))
            if self._size >= MUCH_OUT:
                self.flush()
        if not self._planned:
            self._plan()

    def now(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Send `data` at once, after what was gathered before it: a stream, whose taker must be able to say "enough"
        between two pieces (one turn may read megabytes from one connection)."""
        if self._out:
            self.flush()
        transport.write(data)

    def last(self, work: Callable[[], None]) -> None:
        """Do `work`, which writes, at the end of this turn."""
        self._ends.append(work)
        if not self._planned:
            self._plan()

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
        if not out:
            return
        while self._sent < len(out):
            transport, data, whose, rest = out[self._sent]
            self._sent += 1
            if not transport.is_closing():
                if whose is not None:
                    whose.leaves(monotonic())
                if rest:
                    transport.writelines([data, *rest])
                else:
                    transport.write(data)
        self._sent = self._size = 0
        out.clear()

    # --- whose bytes wait ---

    @property
    def busy(self) -> bool:
        """Whether anybody's bytes wait."""
        return bool(self._lines) or bool(self._dear)

    def wait(self, reader: Waits) -> None:
        """Serve it in a later turn, behind those that wait already."""
        line = self._lines.get(reader.owner)
        if line is None:
            self._lines[reader.owner] = line = deque()
        line.append(reader)
        if not self._planned:
            self._plan()

    def spend(self, work: int) -> None:
        """So much was done for somebody who would have waited, had nothing been `left`."""
        self.left -= work
        if not self._planned:
            self._plan()

    def may_be_dear(self) -> bool:
        """Whether expensive work may be done now; say with `was_dear` how long it took."""
        return self._rested <= self._clock()

    def was_dear(self, seconds: float) -> None:
        """Dear work was done."""
        now = self._clock()
        self._rested = max(self._rested, now - DEAR_AHEAD) + (1.0 + DEAR_REST) * seconds

    def wait_for_rest(self, reader: Waits) -> None:
        """Serve it when expensive work may be done, behind those that wait for the same."""
        self._dear.append(reader)
        if len(self._dear) == 1:
            self._wake()

    def _wake(self) -> None:
        self._loop.call_later(max(0.001, self._rested - self._clock()), self._rest_is_over)

    def _rest_is_over(self) -> None:
        self.wait(self._dear.popleft())
        if self._dear:
            self._wake()

    def _serve(self) -> None:
        """Let those whose bytes wait go on, owner by owner."""
        served = False
        while self._lines and (self.left > 0 or not served):
            owner = next(iter(self._lines))
            line = self._lines.pop(owner)
            reader = line.popleft()
            if line:
                self._lines[owner] = line  # behind the others, whatever becomes of this one
            self.left -= max(LEAST, reader.serve(self.slice))
            served = True

    # --- the end of the turn ---

    def _end(self) -> None:
        try:
            self._settle()
            if self._lines:
                self._serve()
                self._settle()
        finally:
            self._planned, self.left = False, self.per_turn
            if self._out or self._ends or self._later or self._lines:  # the rest, or a piece of work failed
                self._plan()

    def _settle(self) -> None:
        while self._out or self._ends or self._later:
            self.flush()
            done = 0
            if self._ends:
                works, self._ends = self._ends, []
                try:
                    for work in works:
                        done += 1
                        work()
                        self.flush()
                finally:
                    if done < len(works):  # one that fails costs the others nothing
                        self._ends = works[done:] + self._ends
            else:
                works, self._later = self._later, []
                try:
                    for work in works:
                        done += 1
                        work()
                finally:
                    if done < len(works):
                        self._later = works[done:] + self._later
