"""A connection that is read no faster than its turn allows (`turn`): what all readers of bytes have in common.

A subclass takes up bytes as far as `work` goes (`take`). The rest is kept and goes on in later turns, and while it
waits nothing is read: the kernel keeps what the peer sends, and the peer is held back. libuv would read one connection
up to 32 times in a row, 256 kB each; who fills a good part of one read is read again in another turn (`MUCH`), unless
one read more is all that is wanted (`ends_soon`): what has come would be out of the processor's cache by then.

Invariants
- Reading is paused exactly while the taker cannot take more, or bytes wait for a turn, or both; so no more than one
  read waits (over TLS two).
- What is taken, and in which order, does not depend on how many turns it took.
- Bytes that are here are taken up though the connection has ended, where what they say still matters (`outlives`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from proxy.worker.turn import TurnScheduler

MUCH: Final = 64 * 1024
"""Bytes of one read after which a connection is not read again in this turn."""
ONE_READ: Final = 256_000
"""Bytes that one read brings at most: uvloop's buffer."""
UNIT: Final = 4096
"""Bytes that pass for one unit of work."""
PIECE: Final = 16 * 1024
"""Bytes that are looked at in one go when they have waited, so that little is copied again and again. Of who has taken
all of a piece twice as many come next, up to `LARGEST`: each piece of a body is a write of its own."""
LARGEST: Final = 256 * 1024


@mypyc_attr(allow_interpreted_subclasses=True)
class Reader(asyncio.Protocol):
    """One connection; `owner` is whose share of a turn it has."""

    transport: asyncio.Transport
    closed = False
    outlives = False
    """What is here still counts when the connection has ended."""
    work = 0
    """What it may still cause before others have their turn; below 0 it has caused more."""
    rests = False
    """The next piece is expensive: it waits until there may be one."""
    _reading = True
    _waits = False
    _held = False
    """Bytes wait for the taker, not for a turn."""
    _greedy = False
    """It has waited, and nothing has come since while nobody did."""
    _kept = b""
    """Bytes that wait, from `_at` on."""
    _at = 0
    _piece = PIECE
    _more = False
    """Behind the bytes that are being taken others wait."""
    _owes = 0
    _ended = False
    _lost = False
    _passed = False
    """Another one reads this connection."""

    def __init__(self, turn: TurnScheduler, owner: object) -> None:
        self.turn, self.owner = turn, owner

    # --- what a subclass does ---

    def take(self, data: bytes) -> int:
        """Take up bytes; how many, fewer than all only where `work` has come to an end or the next piece `rests`."""
        raise NotImplementedError

    def ends(self) -> bool:
        """The peer sends no more: whether the connection stays open."""
        return False

    def ends_soon(self) -> bool:
        """Whether one read more is all that is wanted of a message: it is taken up in this turn."""
        return False

    def is_lost(self) -> None:
        """The connection has ended."""
        raise NotImplementedError

    def stopped(self) -> None:
        """It is not read, for now. May be called twice."""

    def resumed(self) -> None:
        """It is read again."""

    # --- bytes ---

    def receive(self, data: bytes) -> None:
        """Bytes have come: take them up as far as the turn allows."""
        size, turn = len(data), self.turn
        if self._greedy and not turn.busy:
            self._greedy = False
        if self._kept or self._waits or self._greedy:  # more than its share, and others wait too
            self._store(data, 0)
            return
        self.work = turn.at_once - size // UNIT
        took = self.take(data) if self.work > 0 else 0
        if took < size:
            self._store(data, took)
        elif size >= MUCH and not self.ends_soon():
            self._wait(size)

    def again(self, data: bytes) -> None:
        """Bytes that were taken and were of no use then come once more, before those that wait: in this turn, if not
        too many have done so."""
        took, turn = 0, self.turn
        if turn.left > 0 and not self._waits:
            self.work = turn.slice
            took = self.take(data)
            turn.spend(turn.slice - self.work)
        if took < len(data):
            self._kept = data[took:] + self._kept[self._at :]
            self._at = 0
            self._wait(0)

    def _store(self, data: bytes, at: int) -> None:
        if self._kept:
            self._kept = self._kept[self._at :] + data[at:]
            self._at = 0
        else:
            self._kept, self._at = data, at
        self._wait(len(data))

    def _wait(self, size: int) -> None:
        """Go on in a later turn, which pays for this read too."""
        if size >= MUCH:
            self._owes = size // UNIT
        if self._waits or self._passed:
            return
        self._waits = True
        if self._reading and not self.closed and not self.transport.is_closing():
            self.transport.pause_reading()
            self.stopped()
        if self.rests:
            self.turn.wait_for_rest(self)
        else:
            self.turn.wait(self)

    def serve(self, work: int) -> int:
        """Go on for so much work; how much it was."""
        if not self._waits:  # released
            return 0
        self._waits, self._greedy, self.rests = False, True, False
        self.work = work
        owed, self._owes = self._owes, 0
        try:
            self._go_on()
        except BaseException:
            self.transport.abort()
            raise
        return work - self.work + owed

    def _go_on(self) -> None:
        while self._kept and self._reading and self.work > 0 and not self.rests:
            at, size = self._at, len(self._kept)
            piece = self._kept if at == 0 and size <= self._piece else self._kept[at : at + self._piece]
            self._at = at + len(piece)
            self._more = self._at < size
            took = self.take(piece)
            self._more = False
            self._at -= len(piece) - took
            self._piece = min(2 * self._piece, LARGEST) if took == len(piece) else PIECE
            if self._at >= len(self._kept):
                self._kept, self._at = b"", 0
        if not self._kept:
            self._go_on_reading()
        elif self._reading:
            self._wait(0)
        else:
            self._held = True

    def _go_on_reading(self) -> None:
        if self._ended:
            self._ended = False
            if not self.ends() and not self.closed:
                self.transport.close()
        if self._lost:
            self._lost = False
            self.is_lost()
        elif self._reading and not self._waits:
            self._read()

    def _read(self) -> None:
        if not self.closed and not self._passed and not self.transport.is_closing():
            self.transport.resume_reading()
            self.resumed()

    def let_go(self) -> bytes:
        """The bytes that wait: somebody else takes them up, as all that follows, and reads on."""
        kept, at = self._kept, self._at
        self.throw_away()
        self._waits, self._passed = False, True
        return kept[at:]

    def throw_away(self) -> None:
        """Nobody wants what waits."""
        self._kept, self._at = b"", 0

    # --- the taker ---

    def pause_reading(self) -> None:
        """The taker cannot take more."""
        if self._reading and not self.closed:
            self._reading = False
            if not self._waits:
                self.transport.pause_reading()
                self.stopped()

    def resume_reading(self) -> None:
        """The taker can take more."""
        if self._reading or self.closed:
            return
        self._reading = True
        if self._held:
            self._held = False
            self._wait(0)
        elif not self._waits:
            self._read()

    # --- ends ---

    def eof_received(self) -> bool:
        """The peer sends no more. (Over TLS this may come while bytes wait.)"""
        if self._kept:
            self._ended = True
            return False
        return self.ends()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        self.closed = True
        if self._kept and self.outlives:
            self._lost = True
            if self._held:  # a taker that is slow is told in time all the same: nothing holds back any more
                self._held, self._reading = False, True
                self._wait(0)
        else:
            self.throw_away()
            self.is_lost()
