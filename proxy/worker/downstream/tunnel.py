"""After an upgrade (RFC 9110, 7.8): two connections become one pipe. Bytes pass, with backpressure, and are not read.

A tunnel without a byte either way for `server.timeouts.idle` is closed; when one side ends, so does the other.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from proxy.http.answer_head import id_line
from proxy.http.headers import original
from proxy.worker.reader import Reader
from proxy.worker.upstream.http1 import UpstreamConnection

if TYPE_CHECKING:
    from proxy.http.answer_head import Answer
    from proxy.request.legs import Leg
    from proxy.worker.context import WorkerContext
    from proxy.worker.timers import TimerWheel


class _End(Reader):
    """One end: what comes in here goes out there. `below` keeps the books of the connection underneath."""

    slot = 0
    other: _End

    def __init__(self, transport: asyncio.Transport, below: Reader, wheel: TimerWheel, idle: float) -> None:
        super().__init__(below.turn, below.owner)
        self.transport, self._below, self._wheel, self._idle = transport, below, wheel, idle
        self.outlives = True
        self.since = monotonic()

    def join(self, other: _End) -> None:
        """What comes in here goes out there."""
        self.other = other

    def data_received(self, data: bytes) -> None:
        self.since = monotonic()
        self.receive(data)

    def take(self, data: bytes) -> int:
        self.other.transport.write(data)
        return len(data)

    def pause_writing(self) -> None:
        self.other.pause_reading()

    def resume_writing(self) -> None:
        self.other.resume_reading()

    def is_lost(self) -> None:
        self._wheel.forget(self)
        self._below.connection_lost(None)
        self.other.transport.close()

    def check(self, now: float) -> float:
        """Close both ends when nothing has passed for too long."""
        if self.transport.is_closing():
            return 0.0
        last = max(self.since, self.other.since)
        if now - last >= self._idle:
            self.transport.abort()
            self.other.transport.abort()
            return 0.0
        return last + self._idle


def start_tunnel(
    client: Reader, context: WorkerContext, leg: Leg, answer: Answer, name: bytes, rest: bytes, ahead: bytes
) -> None:
    """Pass on the 101 and make one tunnel of the two connections.

    `answer` is the model's and says which protocol it chose, `name` is the request id, `rest` and `ahead` are bytes of
    the new protocol that the model and the client have sent already.
    """
    connection = leg.connection
    assert isinstance(connection, UpstreamConnection)
    lines = b"connection: upgrade\r\nupgrade: %b\r\n%bx-served-by: %b\r\n\r\n"
    chosen, named = original(answer.head, answer.head.lower(), b"upgrade"), id_line(answer, name)
    lines %= (chosen, named, leg.pool.label)
    context.turn.now(client.transport, answer.base + lines + rest)  # from here on the two ends write for themselves
    connection.hand_over()
    wheel, idle = context.wheel, context.limits.idle
    left, right = _End(client.transport, client, wheel, idle), _End(connection.transport, connection, wheel, idle)
    left.join(right)
    right.join(left)
    client.transport.set_protocol(left)
    connection.transport.set_protocol(right)
    client.transport.resume_reading()
    connection.transport.resume_reading()
    if ahead:
        connection.transport.write(ahead)
    wheel.watch(left, monotonic() + idle)
