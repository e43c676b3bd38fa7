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

from proxy.http.chunks import ChunkError, ChunkScanner, joined_chunks
from proxy.model.worker_config import WorkerConfig
from proxy.worker.downstream.http1 import DownstreamConnection
from proxy.worker.process import Worker
from proxy.worker.upstream.http1 import UpstreamConnection
from tests.worker.configs import for_worker

UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Requests are named anew each time."""
DATE = re.compile(rb"\r\ndate: [^\r]*")
"""What we say of the time of day."""
PLAIN = "upstreams: {m: {url: 'http://127.0.0.1:1'}}\nroutes: [{name: all, live: m}]"
CONFIG = for_worker(PLAIN)
STREAMS = for_worker(f"server: {{limits: {{buffer: 0B}}}}\n{PLAIN}")
"""Bodies go to the model as they come."""


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
    """A transport that writes down what it is told, and keeps what comes while it is not read."""

    def __init__(self, protocol: Any, loop: Loop) -> None:
        self.protocol, self.loop = protocol, loop
        self.out = b""
        self.closed = False
        self.reading = True
        self.unread: list[bytes] = []

    def hear(self, data: bytes) -> None:
        """The peer says this."""
        self.unread.append(data)
        self._read()

    def _read(self) -> None:
        while self.unread and self.reading and not self.closed:
            self.protocol.data_received(self.unread.pop(0))

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.out += data

    def writelines(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.write(piece)

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else ("127.0.0.1", 1)

    def setsockopt(self, *_: Any) -> None:
        pass

    def getsockopt(self, *_: Any) -> bytes:
        return bytes(20)

    def fileno(self) -> int:
        return -1

    def get_write_buffer_size(self) -> int:
        return 0

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
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        self.loop.call_soon(self._read)


class Bench:
    """One client and one connection to the model, face to face without sockets. `together`: how many pieces come in one
    turn of the loop; `work`: what one connection may cause at once, when it has waited, and all of them in a turn."""

    def __init__(
        self, together: int = 1, config: WorkerConfig = CONFIG, work: tuple[int, int, int] | None = None
    ) -> None:
        self.loop, self.together = Loop(), together
        worker = Worker(0, 1, Path(), self.loop)  # type: ignore[arg-type]
        worker.configure(config)
        turn = worker.context.turn
        turn.at_once, turn.slice, turn.per_turn = work or (turn.at_once, turn.slice, turn.per_turn)
        pool = worker.pools["m"]
        self.client, self.model = DownstreamConnection(worker.context), UpstreamConnection(pool, pool.endpoints[0])
        for protocol in (self.client, self.model):
            protocol.connection_made(Wire(protocol, self.loop))  # type: ignore[arg-type]
        pool._all.add(self.model)
        pool.open = 1_000_000  # no connection but this one
        pool.endpoints[0].idle[self.model] = None

    def feed(self, requests: bytes, answers: bytes, cuts: list[int], answer_cuts: list[int]) -> tuple[bytes, bytes]:
        """What the model got and what the client got."""
        return self.talk(requests, [answers], cuts, answer_cuts)

    def talk(self, requests: bytes, answers: list[bytes], cuts: list[int], back: list[int]) -> tuple[bytes, bytes]:
        """The same of a conversation: the model gives each answer when it has been asked again."""
        client: Any = self.client.transport
        model: Any = self.model.transport
        self._say(client, cut(requests, cuts))
        for answer in answers:
            self._say(model, cut(answer, back))
        return UUID.sub(b"id", model.out), DATE.sub(b"", UUID.sub(b"id", client.out))

    def _say(self, wire: Any, pieces: list[bytes]) -> None:
        for number, piece in enumerate(pieces, 1):
            wire.hear(piece)
            if number % self.together == 0:
                self.loop.turn()
        self.loop.turn()


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


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
CUTS = st.lists(st.integers(0, 100_000), max_size=8)
WORK = st.none() | st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(1, 30))
BODIES = st.binary(max_size=300)
TOGETHER = st.integers(1, 8)
SIZES = st.lists(st.integers(1, 80), max_size=4)


def message(first: bytes, body: bytes, sizes: list[int], chunked: bool) -> bytes:
    if chunked:
        return first + b"Transfer-Encoding: chunked\r\n\r\n" + body_of(body, sizes)
    return first + b"Content-Length: %d\r\n\r\n" % len(body) + body


@settings(max_examples=60, deadline=None)
@given(BODIES, SIZES, st.booleans(), CUTS, BODIES, SIZES, st.booleans(), CUTS, TOGETHER, WORK)
@example(b"abc", [], True, list(range(200)), b"abc", [], True, list(range(200)), 1, None)
@example(b"abcdef", [1] * 6, True, [], b"abcdef", [1] * 6, True, [], 1, (1, 1, 1))
def test_cuts_do_not_matter(
    body: bytes, sizes: list[int], chunked: bool, cuts: list[int],
    back: bytes, back_sizes: list[int], back_chunked: bool, back_cuts: list[int], together: int,
    work: tuple[int, int, int] | None,
) -> None:  # fmt: skip
    request = message(b"POST /x HTTP/1.1\r\nHost: a\r\nX-User: b\r\n", body, sizes, chunked)
    answer = message(b"HTTP/1.1 200 OK\r\nDate: now\r\nX: y\r\n", back, back_sizes, back_chunked)
    whole = Bench().feed(request, answer, [], [])
    assert Bench(together, work=work).feed(request, answer, cuts, back_cuts) == whole
    head, _, sent = whole[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\nHost: a\r\nX-User: b\r\n")
    assert sent == request.partition(b"\r\n\r\n")[2]
    assert whole[1].startswith(b"HTTP/1.1 200 OK\r\nDate: now\r\nX: y\r\n")
    assert whole[1].partition(b"\r\n\r\n")[2] == answer.partition(b"\r\n\r\n")[2]


CALLS = st.lists(st.tuples(st.booleans(), BODIES, st.sampled_from((b"", HINTS, CONTINUE)), st.booleans()), max_size=4)


@settings(max_examples=60, deadline=None)
@given(CALLS, SIZES, CUTS, CUTS, TOGETHER, WORK)
def test_pipelined_requests_and_interim_answers_cut_anywhere(
    calls: list[tuple[bool, bytes, bytes, bool]],
    sizes: list[int],
    cuts: list[int],
    back: list[int],
    together: int,
    work: tuple[int, int, int] | None,
) -> None:
    requests, answers = b"", []
    for number, (chunked, body, interim, back_chunked) in enumerate(calls):
        requests += message(b"POST /%d HTTP/1.1\r\nHost: a\r\n" % number, body, sizes, chunked)
        answers.append(
            interim + message(b"HTTP/1.1 200 OK\r\nDate: now\r\nN: %d\r\n" % number, body[::-1], sizes, back_chunked)
        )
    whole = Bench().talk(requests, answers, [], [])
    assert Bench(together, work=work).talk(requests, answers, cuts, back) == whole
    assert whole[0].count(b"POST /") == len(calls) == whole[1].count(b"HTTP/1.1 200 OK\r\nDate: now\r\nN: ")
    for number, (_, _, interim, _) in enumerate(calls):  # in the order of the requests
        before, found, _ = whole[1].partition(b"HTTP/1.1 200 OK\r\nDate: now\r\nN: %d\r\n" % number)
        assert found
        assert before.endswith(interim)


SMALL = for_worker(
    "server: {limits: {max_header: 1KiB, max_body: 200B}}\n"
    "upstreams: {m: {url: 'http://127.0.0.1:1'}}\nroutes: [{name: all, live: m}]"
)
PUT = st.sampled_from((b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\0", b":", b"x" * 700, b"0", b"Host: b\r\n"))
HARM = st.lists(st.tuples(st.integers(0, 400), PUT, st.integers(0, 3)), max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 980), BODIES, st.booleans(), HARM, CUTS, WORK)
@example(0, b"", False, [(0, b"\r\n\r\n", 0)], [2], None)  # two empty lines first, one at a time
@example(0, b"", False, [(6, b"x" * 1008, 0)], [1025], None)  # the end of the line is just too late
@example(0, b"", False, [(6, b"x" * 1400, 0), (1300, b"\n", 0)], [1100], None)  # too long first, malformed later
def test_what_is_refused_and_how_does_not_depend_on_cuts(
    padding: int, body: bytes, chunked: bool, harm: list[Any], cuts: list[int], work: tuple[int, int, int] | None
) -> None:
    """A part of it may have gone to the model before it turned out to be refused; what the client hears is the same."""
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nX: " + b"p" * padding + b"\r\n"
    request = damaged(message(head, body, [50], chunked), harm)

    def heard(places: list[int], work: tuple[int, int, int] | None = None) -> bytes:
        said = Bench(config=SMALL, work=work).feed(request, b"", places, [])[1]
        return said.replace(b"x-request-id: id\r\n", b"")

    whole = heard([])
    assert heard(cuts, work) == whole
    assert heard(list(range(len(request))), work) == whole


@settings(max_examples=200, deadline=None)
@given(st.sampled_from((0, 100, 65_400, 65_536, 70_000)), BODIES, st.booleans(), HARM, CUTS, WORK)
@example(70_000, b"", False, [], [66_000], None)  # a head that is too long, though it be whole
def test_what_of_an_answer_is_refused_does_not_depend_on_cuts(
    padding: int, body: bytes, chunked: bool, harm: list[Any], cuts: list[int], work: tuple[int, int, int] | None
) -> None:
    """A client may have the beginning of an answer that turns out to be broken: never more of it, or another end."""
    head = b"HTTP/1.1 200 OK\r\nDate: now\r\nX: " + b"p" * padding + b"\r\n"
    answer = damaged(message(head, body, [50], chunked), harm)

    def heard(places: list[int], work: tuple[int, int, int] | None = None) -> bytes:
        return Bench(work=work).feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer, [], places)[1]

    whole, pieces = heard([]), heard(cuts, work)
    if not whole.startswith(b"HTTP/1.1 502 ") or pieces.startswith(b"HTTP/1.1 502 "):
        assert pieces == whole
    else:
        assert answer.startswith(pieces.partition(b"\r\n\r\n")[2], answer.find(b"\r\n\r\n") + 4)


def test_a_broken_answer_ends_no_connection_whose_body_came_in_pieces() -> None:
    request = message(b"POST /x HTTP/1.1\r\nHost: a\r\n", b"abc", [], False)
    whole, pieces = (Bench().feed(request, b"no HTTP", places, [])[1] for places in ([], [len(request) - 1]))
    assert pieces == whole
    assert b"connection: keep-alive\r\n" in whole


DAMAGE = st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=3), st.integers(0, 3)), max_size=4)


def damaged(data: bytes, damage: list[tuple[int, bytes, int]]) -> bytes:
    for where, put, take in damage:
        at = where % (len(data) + 1)
        data = data[:at] + put + data[at + take :]
    return data


@settings(max_examples=100, deadline=None)
@given(BODIES, st.booleans(), DAMAGE, CUTS, st.booleans(), DAMAGE, CUTS, TOGETHER, WORK)
def test_no_bytes_make_it_raise(
    body: bytes,
    chunked: bool,
    damage: list[Any],
    cuts: list[int],
    back_chunked: bool,
    back: list[Any],
    back_cuts: list[int],
    together: int,
    work: tuple[int, int, int] | None,
) -> None:
    request = message(b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n", body, [7], chunked)
    answer = message(b"HTTP/1.1 200 OK\r\nDate: now\r\nConnection: keep-alive\r\n", body, [9], back_chunked)
    _, client = Bench(together, work=work).feed(damaged(request, damage) * 2, damaged(answer, back), cuts, back_cuts)
    assert client == b"" or client.startswith(b"HTTP/1.1 ")


@settings(max_examples=100, deadline=None)
@given(BODIES, SIZES, CUTS, st.integers(1, 5))
def test_chunk_scanner_finds_the_end(body: bytes, sizes: list[int], cuts: list[int], most: int) -> None:
    raw = body_of(body, sizes)
    scanner, out, taken = ChunkScanner(), list[bytes](), 0
    for piece in cut(raw + b"next", cuts):
        at = 0
        while at < len(piece) and not scanner.done:
            before, at = scanner.lines, scanner.feed(piece, at, out, most)
            assert scanner.lines - before <= most
        taken += at
    assert b"".join(out) == body == joined_chunks(raw)
    assert scanner.done
    assert taken == len(raw)
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
                at += scanner.feed(piece)
                if scanner.done:
                    return at
        except ChunkError:
            return "refused"
        return -1

    whole = read([raw] if raw else [])
    pieces = read(cut(raw, cuts))
    # A refusal may be seen a little later when the bytes that show it come later, never turned into an end.
    assert pieces == whole
