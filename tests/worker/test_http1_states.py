"""Promise: a client's connection is in one of a few states, and changes between them only as the table says."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.built import DATA_PATH
from proxy.worker.downstream import http1_states
from proxy.worker.downstream.http1 import DownstreamConnection
from proxy.worker.downstream.http1_states import EVENTS, STATES, becomes, rows, surprises
from tests.worker.configs import for_worker
from tests.worker.test_cuts import WORK, Bench, Wire

NAMES = tuple(STATES)
CONFIG = for_worker(
    "server: {limits: {max_header: 1KiB, max_body: 200B, max_connections: 2, buffer: 0B}}\n"
    "upstreams: {m: {url: 'http://127.0.0.1:1'}}\n"
    "routes: [{name: all, match: {path: /x}, live: m}]"
)
REQUESTS = {
    "get": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "post": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "chunks": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "last": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "old": b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
    "upgrade": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "health": b"GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n",
    "nowhere": b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n",
    "two": b"GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "long head": b"GET /x HTTP/1.1\r\nX: " + b"x" * 1100 + b"\r\n\r\n",
    "long body": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 201\r\n\r\n",
    "no HTTP": b"\0\r\n\r\n",
}
ANSWERS = {
    "whole": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "until its end": b"HTTP/1.1 200 OK\r\n\r\nhi",
    "interim": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "no HTTP": b"\0\r\n\r\n",
}


class Ends(Wire):
    """A transport that ends a turn after it was told to, as uvloop's do."""

    done = False

    def abort(self) -> None:
        self.closed = True
        self.loop.call_soon(self.end)

    close = abort

    def end(self) -> None:
        if not self.done:
            self.done = self.closed = True
            self.protocol.connection_lost(None)


class World:
    """One client, one model, and all that can happen to them, step by step."""

    def __init__(self, work: tuple[int, int, int] | None = None) -> None:
        self.bench = Bench(config=CONFIG, work=work)
        self.client, self.model = self.bench.client, self.bench.model
        for protocol in (self.client, self.model):
            protocol.transport = Ends(protocol, self.bench.loop)  # type: ignore[assignment]
        self.now = monotonic()
        self.full = self.shut = False

    def do(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0].replace(" ", "_"))(*step[1:])

    def say(self, what: str, begin: int, end: int) -> None:
        """The client sends a part of a request, in percent of its bytes."""
        if not self.shut:
            self._hear(self.client.transport, REQUESTS[what], begin, end)

    def reply(self, what: str, begin: int, end: int) -> None:
        """The model sends a part of an answer, to what it was asked by then."""
        self.turn()
        self._hear(self.model.transport, ANSWERS[what], begin, end)

    def _hear(self, wire: Any, data: bytes, begin: int, end: int) -> None:
        piece = data[len(data) * begin // 100 : len(data) * end // 100]
        if piece and not wire.closed:
            wire.hear(piece)

    def turn(self) -> None:
        self.bench.loop.turn()

    def shut_down(self) -> None:
        """The client sends no more."""
        wire: Any = self.client.transport
        if not wire.closed and not self.shut and not wire.unread:
            self.shut = True
            waits = bool(self.client._kept)  # over TLS this may come while bytes wait
            if not wire.protocol.eof_received() and not waits:
                wire.close()

    def lose(self, whom: str) -> None:
        wire: Any = self.client.transport if whom == "client" else self.model.transport
        wire.end()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.client.transport.is_closing():
            return
        self.client.check(self.now)

    def fill(self) -> None:
        """The client's transport is full, or no longer."""
        wire: Any = self.client.transport
        if not wire.closed and self.client.state < http1_states.TUNNEL:
            self.full = not self.full
            (wire.protocol.pause_writing if self.full else wire.protocol.resume_writing)()

    def leave(self) -> None:
        if not self.client.transport.is_closing():
            self.client.leave(self.now + 2.0)

    def abort(self) -> None:
        self.client.abort()

    def give_way(self) -> None:
        self.client.gives_way(self.now + 100.0)

    def ended(self) -> None:
        """Let everything end."""
        self.turn()
        self.lose("client")
        self.turn()


def percent() -> Any:
    return st.sampled_from((0, 10, 50, 80, 95, 99, 100))


STEP = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(sorted(REQUESTS)), st.just(0), st.just(100)),
    st.tuples(st.just("say"), st.sampled_from(sorted(REQUESTS)), percent(), percent()),
    st.tuples(st.just("reply"), st.sampled_from(sorted(ANSWERS)), st.just(0), st.just(100)),
    st.tuples(st.just("reply"), st.sampled_from(sorted(ANSWERS)), percent(), percent()),
    st.sampled_from([("turn",), ("shut_down",), ("fill",), ("leave",), ("abort",), ("give_way",)]),
    st.tuples(st.just("lose"), st.sampled_from(("client", "model"))),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 2.5, 20.0, 1000.0))),
)
STEPS = st.lists(STEP, max_size=14)

WAYS: dict[str, list[tuple[Any, ...]]] = {
    "a request in parts": [("say", "post", 0, 50), ("say", "post", 50, 99), ("say", "post", 99, 100)],
    "answered, and the next one": [("say", "get", 0, 100), ("reply", "whole", 0, 100), ("turn",)] * 2,
    "the last one": [("say", "last", 0, 100), ("reply", "whole", 0, 100), ("turn",)],
    "the last one, and more": [("say", "last", 0, 100), ("say", "get", 0, 100), ("reply", "whole", 0, 100)],
    "answered while it comes": [("say", "post", 0, 99), ("reply", "chunks", 0, 90), ("say", "post", 99, 100)],
    "answered before it is here": [("say", "post", 0, 99), ("reply", "whole", 0, 100), ("shut_down",)],
    "a tunnel": [("say", "upgrade", 0, 100), ("reply", "upgrade", 0, 100), ("abort",)],
    "a tunnel that is lost": [("say", "upgrade", 0, 100), ("reply", "upgrade", 0, 100)],
    "no request": [("say", "no HTTP", 0, 100)],
    "no request after all": [("say", "get", 0, 50), ("say", "no HTTP", 0, 100), ("abort",)],
    "half a head, late": [("say", "get", 0, 50), ("wait", 1000.0)],
    "half a body, late": [("say", "post", 0, 99), ("wait", 1000.0)],
    "shut down, and answered": [("say", "get", 0, 100), ("shut_down",), ("reply", "whole", 0, 100)],
    "shut down with two": [("say", "get", 0, 100), ("say", "get", 0, 50), ("shut_down",), ("reply", "whole", 0, 100)],
    "shut down amid an answer": [("say", "get", 0, 100), ("reply", "whole", 0, 99), ("shut_down",)],
    "shut down amid the last": [("say", "last", 0, 100), ("reply", "whole", 0, 99), ("shut_down",), ("abort",)],
    "leave": [("leave",)],
    "leave amid a head": [("say", "get", 0, 50), ("leave",)],
    "abort": [("abort",), ("abort",)],
    "abort a head": [("say", "get", 0, 50), ("abort",)],
    "abort an upload": [("say", "post", 0, 99), ("abort",)],
    "abort early": [("say", "post", 0, 99), ("reply", "chunks", 0, 90), ("abort",)],
    "abort a request": [("say", "get", 0, 100), ("abort",)],
    "abort an answer": [("say", "get", 0, 100), ("reply", "whole", 0, 99), ("abort",)],
    "lose it early": [("say", "post", 0, 99), ("reply", "chunks", 0, 90)],
    "lose the last": [("say", "last", 0, 100), ("reply", "whole", 0, 99)],
    "lose an answer": [("say", "get", 0, 100), ("reply", "whole", 0, 99)],
    "lose a head": [("say", "get", 0, 50)],
    "lose an upload": [("say", "post", 0, 99)],
    "a head in two parts": [("say", "get", 0, 50), ("say", "get", 50, 100)],
    "shut down idle": [("shut_down",)],
    "shut down a head": [("say", "get", 0, 50), ("shut_down",)],
    "shut down an upload": [("say", "post", 0, 99), ("shut_down",)],
    "shut down early": [("say", "post", 0, 99), ("reply", "chunks", 0, 90), ("shut_down",)],
    "shut down while a turn is waited for": [("say", "two", 0, 100), ("shut_down",), ("turn",)],
}


@pytest.fixture(autouse=True)
def no_surprise() -> Iterator[None]:
    surprises.clear()
    yield
    assert not surprises


def agrees(client: DownstreamConnection) -> None:
    """What holds in every state, whatever led to it."""
    name = NAMES[client.state]
    if name in ("IDLE", "HEAD", "LINGERING", "TUNNEL", "CLOSED"):
        assert client.exchange is None, name
    elif name != "CLOSING":
        assert client.exchange is not None, name
    assert client.closed == (name == "CLOSED")
    assert client.transport.is_closing() == (name in ("CLOSING", "CLOSED")) or name == "TUNNEL"
    assert client.blocked == (client._taking is not None)


def run(world: World, steps: list[tuple[Any, ...]]) -> None:
    for step in steps:
        world.do(step)
        agrees(world.client)
    world.ended()


@settings(max_examples=400, deadline=None)
@given(STEPS, WORK)
@example([("say", "get", 0, 100), ("reply", "whole", 0, 99), ("fill",), ("wait", 1000.0), ("turn",)], None)
@example([("say", "post", 0, 99), ("give_way",), ("reply", "whole", 0, 100), ("turn",)], None)
def test_whatever_happens_is_in_the_table(steps: list[tuple[Any, ...]], work: tuple[int, int, int] | None) -> None:
    surprises.clear()
    world = World(work)
    run(world, steps)
    assert NAMES[world.client.state] == "CLOSED"
    assert world.client not in world.client.context.clients
    assert not world.client.slot
    assert world.client.context.buffered == 0
    assert list(surprises) == []


@pytest.mark.skipif(DATA_PATH == "compiled", reason="compiled code cannot be listened to")
def test_every_row_of_the_table_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, str]] = set()

    def listened(state: int, event: int) -> int:
        seen.add((NAMES[state], tuple(EVENTS)[event]))
        return becomes(state, event)

    monkeypatch.setattr(http1_states, "becomes", listened)
    for way in WAYS.values():
        run(World((1, 60, 60) if ("say", "two", 0, 100) in way else None), way)
    assert {(state, event) for state, event, _ in rows()} - seen == set()


def test_the_table_is_whole() -> None:
    cells = {(state, event): after for state, event, after in rows()}
    assert {state for state, _ in cells} | {"CLOSED"} == set(cells.values()) | {"IDLE"} == set(NAMES)
    assert {event for _, event in cells} == set(EVENTS)
    assert [cells[state, "lost"] for state in NAMES if state != "CLOSED"] == ["CLOSED"] * (len(NAMES) - 1)


def test_an_event_without_a_row_is_noted_and_changes_nothing() -> None:
    client = World().client
    client.on(http1_states.ANSWERED)
    assert NAMES[client.state] == "IDLE"
    assert list(surprises) == ["answered in IDLE"]
    surprises.clear()
