"""An HTTP/2 connection as asyncio sees it: bytes in, bytes out, each at most once per turn of the loop."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Generic, TypeVar, cast

from proxy.core.http2 import Http2, Http2Error, Stream
from proxy.plane.turn import Written

MAX_UNSENT = 8 * 1024 * 1024
"""Bytes that may wait for a peer that does not read. What calls send is held back long before (`Http2.stopped`); the
rest are replies to pings and settings, which a peer that sends them without reading could ask for without end."""


class Wire(asyncio.Protocol):
    """One connection; subclasses say what its streams are. Times are monotonic seconds."""

    slot = 0
    transport: asyncio.Transport
    closed = False
    heard = 0.0
    """When the peer last sent something."""
    _planned = False

    def __init__(self, http2: Http2, loop: asyncio.AbstractEventLoop) -> None:
        self.http2, self._loop = http2, loop
        self._whose: list[Written] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.heard = monotonic()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.heard = monotonic()
        try:
            self.http2.feed(data)
        except Http2Error as error:
            self.http2.say_goodbye(error.code)
            self.flush()
            self.garbled()
            self.transport.close()
            return
        self.wake()

    def garbled(self) -> None:
        """The peer does not speak HTTP/2: nothing more is read."""

    def wake(self, whose: Written | None = None) -> None:
        """Something is to be written, once, at the end of this turn; `whose` it is wants to know when."""
        if whose is not None:
            self._whose.append(whose)
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self.flush)

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
            if self.transport.get_write_buffer_size() > MAX_UNSENT:
                self.transport.abort()

    def pause_writing(self) -> None:
        self.http2.stopped = True

    def resume_writing(self) -> None:
        self.http2.go_on()
        self.wake()

    def abort(self) -> None:
        """Close at once."""
        if not self.closed:
            self.transport.abort()


L = TypeVar("L", bound=Wire)


class StreamEnd(Generic[L]):
    """Our end of one stream: what comes on it is taken by somebody who cannot always take more."""

    link: L
    _stream: Stream
    _since = 0.0
    _over = _paused = False

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
