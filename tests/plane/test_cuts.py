"""Promise: what the proxy does with bytes does not depend on where they were cut, nor on how many of the pieces came in
one turn of the event loop, and no bytes make it raise.

The protocols run here without sockets, against transports that write down what they are told. Hypothesis cuts valid
messages anywhere, and damages them anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.config import parse
from proxy.core.chunks import ChunkError, ChunkScanner, joined
from proxy.plane.server import Client
from proxy.plane.upstream import Connection
from proxy.plane.worker import Worker

UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Requests are named anew each time."""
CONFIG = parse("upstreams: {m: {url: 'http://127.0.0.1:1'}}\nroutes: [{name: all, live: m}]")


class Loop:
    """What the protocols ask of a loop when nothing is ever due; `turn` ends a turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_later(self, *_: Any) -> None:
        pass

    def call_soon(self, work: Callable[[], None]) -> None:
        self.soon.append(work)

    def turn(self) -> None:
        while self.soon:
            self.soon.pop(0)()


class Wire:
    """A transport that writes down what it is told."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.out = b""
        self.closed = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.out += data

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Bench:
    """One client and one connection to the model, face to face without sockets. `together`: how many pieces come in one
    turn of the loop."""

    def __init__(self, together: int = 1) -> None:
        self.loop, self.together = Loop(), together
        worker = Worker(0, 1, Path(), self.loop)  # type: ignore[arg-type]
        worker.configure(CONFIG)
        pool = worker.pools["m"]
        self.client, self.model = Client(worker.plane), Connection(pool, pool.endpoints[0])
        for protocol in (self.client, self.model):
            protocol.connection_made(Wire(protocol))  # type: ignore[arg-type]
        pool._all.add(self.model)
        pool.open = 1_000_000  # no connection but this one
        pool.endpoints[0].idle[self.model] = None

    def feed(self, requests: bytes, answers: bytes, cuts: list[int], answer_cuts: list[int]) -> tuple[bytes, bytes]:
        """What the model got and what the client got."""
        wires: tuple[Any, Any] = (self.client.transport, self.model.transport)
        for wire, pieces in zip(wires, (cut(requests, cuts), cut(answers, answer_cuts)), strict=True):
            for number, piece in enumerate(pieces, 1):
                if not wire.is_closing():
                    wire.protocol.data_received(piece)
                if number % self.together == 0:
                    self.loop.turn()
            self.loop.turn()
        return UUID.sub(b"id", wires[1].out), UUID.sub(b"id", wires[0].out)


def cut(data: bytes, where: list[int]) -> list[bytes]:
    """The pieces of `data` between the cuts."""
    marks = [0, *sorted({place % (len(data) + 1) for place in where}), len(data)]
    return [data[a:b] for a, b in pairwise(marks) if a < b]


def body_of(data: bytes, sizes: list[int]) -> bytes:
    """`data` in chunks of these sizes."""
    out, at = b"", 0
    for size in sizes:
        part = data[at : at + size]
        at += size
        out += b"%x;e=1\r\n%b\r\n" % (len(part), part) if part else b""
    rest = data[at:]
    return out + (b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\nT: v\r\n\r\n"


CUTS = st.lists(st.integers(0, 10_000), max_size=8)
BODIES = st.binary(max_size=300)
TOGETHER = st.integers(1, 8)
SIZES = st.lists(st.integers(1, 80), max_size=4)


def message(first: bytes, body: bytes, sizes: list[int], chunked: bool) -> bytes:
    if chunked:
        return first + b"Transfer-Encoding: chunked\r\n\r\n" + body_of(body, sizes)
    return first + b"Content-Length: %d\r\n\r\n" % len(body) + body


@settings(max_examples=60, deadline=None)
@given(BODIES, SIZES, st.booleans(), CUTS, BODIES, SIZES, st.booleans(), CUTS, TOGETHER)
@example(b"abc", [], True, list(range(200)), b"abc", [], True, list(range(200)), 1)
def test_cuts_do_not_matter(
    body: bytes, sizes: list[int], chunked: bool, cuts: list[int],
    back: bytes, back_sizes: list[int], back_chunked: bool, back_cuts: list[int], together: int,
) -> None:  # fmt: skip
    request = message(b"POST /x HTTP/1.1\r\nHost: a\r\nX-User: b\r\n", body, sizes, chunked)
    answer = message(b"HTTP/1.1 200 OK\r\nX: y\r\n", back, back_sizes, back_chunked)
    whole = Bench().feed(request, answer, [], [])
    assert Bench(together).feed(request, answer, cuts, back_cuts) == whole
    head, _, sent = whole[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\nHost: a\r\nX-User: b\r\n")
    assert sent == request.partition(b"\r\n\r\n")[2]
    assert whole[1].startswith(b"HTTP/1.1 200 OK\r\nX: y\r\n")
    assert whole[1].partition(b"\r\n\r\n")[2] == answer.partition(b"\r\n\r\n")[2]


DAMAGE = st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=3), st.integers(0, 3)), max_size=4)


def damaged(data: bytes, damage: list[tuple[int, bytes, int]]) -> bytes:
    for where, put, take in damage:
        at = where % (len(data) + 1)
        data = data[:at] + put + data[at + take :]
    return data


@settings(max_examples=100, deadline=None)
@given(BODIES, st.booleans(), DAMAGE, CUTS, st.booleans(), DAMAGE, CUTS, TOGETHER)
def test_no_bytes_make_it_raise(
    body: bytes,
    chunked: bool,
    damage: list[Any],
    cuts: list[int],
    back_chunked: bool,
    back: list[Any],
    back_cuts: list[int],
    together: int,
) -> None:
    request = message(b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n", body, [7], chunked)
    answer = message(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", body, [9], back_chunked)
    _, client = Bench(together).feed(damaged(request, damage) * 2, damaged(answer, back), cuts, back_cuts)
    assert client == b"" or client.startswith(b"HTTP/1.1 ")


@settings(max_examples=100, deadline=None)
@given(BODIES, SIZES, CUTS)
def test_chunk_scanner_finds_the_end(body: bytes, sizes: list[int], cuts: list[int]) -> None:
    raw = body_of(body, sizes)
    scanner, out, ends = ChunkScanner(), list[bytes](), list[int]()
    for piece in cut(raw + b"next", cuts):
        if not ends or ends[-1] < 0:
            ends.append(scanner.feed(piece, 0, out))
    assert b"".join(out) == body == joined(raw)
    assert ends[-1] >= 0
    assert scanner.size == len(body)


@settings(max_examples=100, deadline=None)
@given(BODIES, DAMAGE, CUTS)
def test_chunk_scanner_ends_or_refuses(body: bytes, damage: list[Any], cuts: list[int]) -> None:
    """Cut or whole, damaged chunks are read alike: the same end, or refused."""
    raw = damaged(body_of(body, [5]), damage)

    def read(pieces: list[bytes]) -> int | str:
        scanner, at = ChunkScanner(), 0
        try:
            for piece in pieces:
                end = scanner.feed(piece)
                if end >= 0:
                    return at + end
                at += len(piece)
        except ChunkError:
            return "refused"
        return -1

    whole = read([raw] if raw else [])
    pieces = read(cut(raw, cuts))
    # A refusal may be seen a little later when the bytes that show it come later, never turned into an end.
    assert pieces == whole
