"""A listening socket of a worker, which can be given another TLS context without losing a connection.

A context cannot forget: a certificate authority once loaded stays trusted, and sessions resumed by ticket never show
their certificate again. So a reload makes a new context, and a second server on the same socket, before the first one
stops accepting; connections that are here keep what they were made with.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.worker.context import WorkerContext

BACKLOG = 1024
UNSENT = 512 * 1024
"""Bytes that the kernel takes for a client and has not sent yet (tcp(7), `TCP_NOTSENT_LOWAT`). Left to itself it takes
megabytes for each that does not read, which a thousand of them together the machine has not."""


class Listener:
    """Takes in connections: `protocol(scheme)` for each, `scheme` being `http` or `https`."""

    def __init__(self, listener: socket.socket, protocol: Callable[[bytes], asyncio.Protocol]) -> None:
        self._listener, self._protocol = listener, protocol
        with suppress(AttributeError, OSError):  # Linux and macOS know it; connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._server: asyncio.Server | None = None

    async def open(self, context: ssl.SSLContext | None, patience: float) -> None:
        """Take in connections with this context from now on; a TLS handshake may last `patience` seconds."""
        scheme = b"http" if context is None else b"https"
        before, self._server = (
            self._server,
            await asyncio.get_running_loop().create_server(
                lambda: self._protocol(scheme),
                sock=self._listener.dup(),  # a server closes its socket, and this one must outlive it
                ssl=context,
                ssl_handshake_timeout=None if context is None else patience,
                backlog=BACKLOG,
            ),
        )
        if before is not None:
            before.close()

    def close(self) -> None:
        """Take in nobody any more."""
        if self._server is not None:
            self._server.close()
        self._listener.close()


def for_calls(listener: socket.socket, context: WorkerContext) -> Listener:
    """The one for gRPC."""
    from proxy.worker.downstream.grpc import GrpcServerConnection  # HTTP/2 takes 90 ms to load, and is rarely there

    return Listener(listener, lambda scheme: GrpcServerConnection(context, scheme))
