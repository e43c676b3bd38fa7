"""Who has come to the leader's port for replicas: the link of one, or a request that a standby passes on.

The first bytes tell: read as a frame, those of a request would announce half a gigabyte and more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

REQUESTS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"PATC", b"DELE", b"OPTI")
_ENOUGH = 4

TakeRequest = Callable[[asyncio.Transport, bytes], object]


class Door(asyncio.Protocol):
    """Gives a connection to `link`, or to `request` with what was read of it; `asked` is called then."""

    def __init__(self, link: asyncio.Protocol, request: TakeRequest, asked: Callable[[], object]) -> None:
        self._link, self._request, self._asked = link, request, asked
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of asyncio's
        self._link.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if len(self._read) < _ENOUGH:
            return
        if self._read.startswith(REQUESTS):
            self._request(self._transport, self._read)
            self._asked()
        else:
            self._transport.set_protocol(self._link)
            self._link.data_received(self._read)

    def eof_received(self) -> bool | None:
        return self._link.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._link.connection_lost(error)
