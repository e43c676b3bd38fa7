"""Frames of `pairs.link` over a socket: the one asyncio protocol that all processes share.

Writes never block: `send` refuses when more than `limit` bytes wait in the socket, and says so, so that the caller can
count what it drops. A peer that sends anything but frames is disconnected. Who is held up by its own work holds the
channel up: what has been read by then waits here as it came, the rest in the socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from proxy.pairs.link import Frame, FrameReader, LinkError

log = logging.getLogger("understudy.channel")

MAX_WAITING = 8 * 1024 * 1024


class Channel(asyncio.Protocol):
    """One end of a link. `on_frame(channel, kind, payload)` for each frame, `on_close(channel)` once at the end."""

    def __init__(
        self,
        on_frame: Callable[[Channel, Frame, bytes], None],
        on_close: Callable[[Channel], None] | None = None,
        on_open: Callable[[Channel], None] | None = None,
        limit: int = MAX_WAITING,
    ) -> None:
        self._on_frame, self._on_close, self._on_open = on_frame, on_close, on_open
        self._limit = limit
        self._reader = FrameReader()
        self._held = False
        self._transport: asyncio.WriteTransport | None = None

    def hand_to(
        self, on_frame: Callable[[Channel, Frame, bytes], None], on_close: Callable[[Channel], None] | None
    ) -> None:
        """From the next frame on somebody else listens."""
        self._on_frame, self._on_close = on_frame, on_close

    @property
    def ended(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport is None or self._transport.is_closing()

    @property
    def waiting(self) -> int:
        """Bytes handed over that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are not subclasses of asyncio's
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._reader.feed(data):
                self._on_frame(self, kind, payload)
                if self._held:
                    break
        except LinkError as error:
            log.error("closing a link after an invalid frame: %s", error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._on_close is not None:
            self._on_close(self)

    def send(self, data: bytes) -> bool:
        """Write one or more whole frames; `False` when the link is closed or has too much waiting already."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > self._limit:
            return False
        transport.write(data)
        return True

    def hold_up(self, pause: bool) -> None:
        """Take no more frames, from the one after that being taken, or go on in a turn of the loop of its own."""
        self._held = pause
        reading = self._reading
        if reading is not None:
            reading.pause_reading() if pause else asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._held:
            self.data_received(b"")
        if not self._held and (reading := self._reading) is not None:
            reading.resume_reading()

    @property
    def _reading(self) -> asyncio.ReadTransport | None:
        transport = self._transport
        return None if transport is None or transport.is_closing() else cast(asyncio.ReadTransport, transport)

    def close(self) -> None:
        """Close after what waits has been written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once: for a peer that may never read again what waits."""
        if self._transport is not None:
            self._transport.abort()
