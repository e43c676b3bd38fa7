"""An HTTP/2 connection as asyncio sees it: bytes in, bytes out, each at most once per turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Final, Generic, TypeVar, cast

from proxy.http.http2 import Http2, Http2Error, Stream
from proxy.http.http2.frames import FloodError, Taker
from proxy.http.http2.sending import CALM, CALM_PER_SECOND
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.request.legs import Written
from proxy.worker.reader import Reader
from proxy.worker.turn import TurnScheduler

MAX_UNSENT: Final = 8 * 1024 * 1024
"""Bytes that may wait for a peer that does not read. What calls send is held back long before (`Http2.stopped`); the
rest are replies to pings and settings, which a peer that sends them without reading could ask for without end."""


class Http2Protocol(Reader):
    """One connection; subclasses say what its streams are. Times are monotonic seconds."""

    slot = 0
    heard = 0.0
    """When the peer last sent something."""
    _planned = False

    def __init__(self, http2: Http2, turn: TurnScheduler, owner: object) -> None:
        super().__init__(turn, owner)
        self.http2 = http2
        self._whose: list[Written] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.heard = monotonic()
        self.flush()

    def data_received(self, data: bytes) -> None:
        before, self.heard = self.heard, monotonic()
        if self.http2.calm < CALM:
            self.http2.worth((self.heard - before) * CALM_PER_SECOND)
        self.receive(data)

    def take(self, data: bytes) -> int:
        http2 = self.http2
        try:
            took = http2.feed(data, self.work, False)
            self.work = http2.work
            if http2.rests:
                took = self._go_on_dear(data, took)
        except Http2Error as error:
            self.throw_away()
            self.http2.say_goodbye(error.code)
            self.flush()
            self.garbled(Reason.FLOOD if isinstance(error, FloodError) else Reason.BAD_REQUEST)
            self.transport.close()
            return len(data)
        self.wake()
        return took

    def _go_on_dear(self, data: bytes, took: int) -> int:
        """Take up what follows too, one expensive piece after the other while there may be any."""
        http2, turn = self.http2, self.turn
        while http2.rests and self.work > 0:
            if not turn.may_be_dear():
                self.rests = True
                break
            began = monotonic()
            took += http2.feed(data[took:], 1)
            turn.was_dear(monotonic() - began)
            self.work += http2.work - 1
            took += http2.feed(data[took:], self.work, False)
            self.work = http2.work
        return took

    def garbled(self, reason: Reason) -> None:
        """The peer does not keep to HTTP/2, or floods: nothing more is read."""

    def wake(self, whose: Written | None = None) -> None:
        """What is to be written is, once, at the end of this turn; `whose` it is wants to know when."""
        if whose is not None:
            self._whose.append(whose)
        if not self._planned and self.http2.speaks:
            self._planned = True
            self.turn.last(self.flush)

    def flush(self) -> None:
        """Write what is to be written."""
        self._planned = False
        out = self.http2.take()
        if out and not self.transport.is_closing():
            if self._whose:
                whose, self._whose, now = self._whose, [], monotonic()
                for one in whose:
                    one.leaves(now)
            self.transport.write(out)
            # A transport that holds so much has said that it is full.
            if self.http2.stopped and self.transport.get_write_buffer_size() > MAX_UNSENT:
                self.garbled(Reason.FLOOD)
                self.transport.abort()

    def pause_writing(self) -> None:
        self.http2.hold()

    def resume_writing(self) -> None:
        self.http2.go_on()
        self.wake()

    def abort(self) -> None:
        """Close at once."""
        if not self.closed:
            self.transport.abort()


L = TypeVar("L", bound=Http2Protocol)


class StreamEnd(Taker, Generic[L]):
    """Our end of one stream: what comes on it is taken by somebody who cannot always take more."""

    link: L
    _stream: Stream
    _since = 0.0
    _over = False
    _paused = False

    def pause_reading(self) -> None:
        """Whoever takes it cannot take more."""
        self._paused = True

    def resume_reading(self) -> None:
        """There is room again."""
        if self._paused:
            self._paused = False
            self._since = monotonic()
            if not self._over:
                self.link.http2.taken(self._stream)
                self.link.wake()
