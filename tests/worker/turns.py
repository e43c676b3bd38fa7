"""A worker's protocols without sockets, one turn of the loop at a time; what is written in each is counted."""

from __future__ import annotations

from typing import Any

from proxy.worker.downstream.http1 import DownstreamConnection
from tests.worker.test_cuts import STREAMS, Bench, Loop, Wire

HEALTH = b"GET /-/healthz HTTP/1.1\r\nHost: a\r\n\r\n"
HERE = b"HTTP/1.1 200 OK"
TINY = b"1\r\nx\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Clock(Loop):
    """A loop whose timers fall due as soon as nothing else is to be done, and its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.later: list[tuple[float, Any]] = []

    def time(self) -> float:
        self.now += 0.0001
        return self.now

    def call_later(self, delay: float, work: Any, *_: Any) -> None:
        self.later.append((self.now + delay, work))

    def step(self) -> bool:
        """One turn; whether there was anything to do."""
        if not self.soon and self.later:
            self.later.sort(key=lambda one: one[0])
            due, work = self.later.pop(0)
            self.now = max(self.now, due)
            self.soon.append(work)
        soon, self.soon = self.soon, []
        for work in soon:
            work()
        return bool(soon)

    def turn(self) -> None:
        while self.step():
            pass


def turns(bench: Any, wire: Wire, what: bytes) -> list[int]:
    """How often `what` was written in each turn from here on."""
    each = []
    while bench.loop.soon or bench.loop.later:
        before = wire.out.count(what)
        bench.loop.step()
        each.append(wire.out.count(what) - before)
    return each


class Http(Bench):
    """The bench for HTTP/1.1, one turn at a time; clients beside the first are `another`."""

    def __init__(self) -> None:
        super().__init__(config=STREAMS)
        self.context = self.client.context
        self.loop = Clock()
        self.context.turn = type(self.context.turn)(self.loop, self.loop.time)  # type: ignore[arg-type]
        self.client, self.of_client = self.another()
        self.model.turn = self.model.pool.turn = self.context.turn
        self.of_model: Any = self.model.transport
        self.of_model.loop = self.loop

    def another(self, peer: bytes = b"") -> tuple[DownstreamConnection, Any]:
        client = DownstreamConnection(self.context)
        wire: Any = Wire(client, self.loop)
        client.connection_made(wire)
        client.owner = peer or client.owner
        return client, wire
