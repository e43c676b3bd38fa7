"""Promise: no peer, on either side, costs another one a turn: what one connection may cause at once is bounded, what is
over waits behind everybody who is ready, and all that waits has a bounded part of each turn together. What comes of the
bytes is the same.

Work is counted here, not timed. The protocols run without sockets, as in `test_cuts.py`.
"""

from __future__ import annotations

import gc
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.built import DATA_PATH
from proxy.http.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WINDOW_UPDATE,
    Headers,
    encoded,
    frame,
)
from proxy.http.http2.sending import CALM
from proxy.model.reasons import Reason
from proxy.model.worker_config import WorkerConfig
from proxy.worker.downstream.grpc import GrpcServerConnection
from proxy.worker.downstream.grpc_stream import GrpcServerStream
from proxy.worker.downstream.http1 import DownstreamConnection
from proxy.worker.process import Worker
from proxy.worker.reader import MUCH, PIECE
from proxy.worker.turn import AT_ONCE, PER_TURN, SLICE
from proxy.worker.upstream.grpc import GrpcClientConnection, GrpcClientStream
from tests.worker.configs import for_worker
from tests.worker.test_cuts import BODIES, CUTS, STREAMS, UUID, WORK, Bench, Loop, Wire, body_of, cut

HEALTH = b"GET /-/healthz HTTP/1.1\r\nHost: a\r\n\r\n"
HERE = b"HTTP/1.1 200 OK"
TINY = b"1\r\nx\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CALLS = for_worker(
    "server: {grpc_listen: '127.0.0.1:1'}\n"
    "upstreams: {m: {url: 'http://127.0.0.1:1'}, g: {url: 'grpc://127.0.0.1:1'}}\n"
    "routes: [{name: all, live: m}, {name: calls, match: {path: /a.B/*}, live: g}]"
)
CALL: Headers = [
    (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"m"),
    (b"content-type", b"application/grpc"), (b"te", b"trailers"),
]  # fmt: skip
ANSWER: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
START = PREFACE + frame(SETTINGS, 0, 0)


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


class Calls:
    """One gRPC client and one connection to the model, face to face without sockets."""

    def __init__(
        self, work: tuple[int, int, int] | None = None, config: WorkerConfig = CALLS, greets: bool = True
    ) -> None:
        self.loop = Clock()
        worker = Worker(0, 1, Path(), self.loop)  # type: ignore[arg-type]
        self.context = worker.context
        worker.context.turn = turn = type(worker.context.turn)(self.loop, self.loop.time, *(work or ()))  # type: ignore[arg-type]
        worker.configure(config)
        pool: Any = worker.pools["g"]
        assert pool.turn is turn
        self.client, self.model = (
            GrpcServerConnection(worker.context, b"http"),
            GrpcClientConnection(pool, pool.endpoints[0]),
        )
        for protocol in (self.client, self.model):
            protocol.connection_made(Wire(protocol, self.loop))  # type: ignore[arg-type]
        pool.open = 1_000_000  # no connection but this one
        pool._every.add(self.model)
        pool._links[pool.endpoints[0]].append(self.model)
        self.of_client: Any = self.client.transport
        self.of_model: Any = self.model.transport
        if greets:
            self.of_model.hear(frame(SETTINGS, 0, 0))
        self.loop.turn()

    def talk(self, sent: bytes, back: bytes, cuts: list[int], back_cuts: list[int]) -> tuple[Any, Any]:
        """What model and client were told, stream by stream, and how it ended."""
        for wire, pieces in ((self.of_client, cut(sent, cuts)), (self.of_model, cut(back, back_cuts))):
            for piece in pieces:
                wire.hear(piece)
                self.loop.step()
            self.loop.turn()
        return told(self.of_model), told(self.of_client)


def told(wire: Wire) -> Any:
    """What was written, stream by stream, without what depends on how it was cut into frames; codes of GOAWAY; whether
    the connection was closed."""
    data = UUID.sub(b"i" * 36, wire.out).removeprefix(PREFACE)
    streams: dict[int, Any] = {}
    goodbyes = []
    while data:
        size, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        number, payload, data = int.from_bytes(data[5:9], "big"), data[9 : 9 + size], data[9 + size :]
        said = streams.setdefault(number, [b"", b"", False, 0])
        if kind in (HEADERS, CONTINUATION):
            said[0] += payload
        elif kind == DATA:
            said[1] += payload
        elif kind == RST_STREAM:
            said[3] = payload
        elif kind == GOAWAY:
            goodbyes.append(payload[4:])
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            said[2] = True
    streams.pop(0, None)
    return streams, goodbyes, wire.closed


def called(number: int, body: bytes, size: int) -> bytes:
    """A call whose message comes in frames of `size` bytes."""
    message = b"\0" + len(body).to_bytes(4, "big") + body
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return frame(HEADERS, END_HEADERS, number, encoded(CALL)) + b"".join(
        frame(DATA, END_STREAM if at == len(pieces) - 1 else 0, number, piece) for at, piece in enumerate(pieces)
    )


def answered(number: int, body: bytes, size: int, interim: bool) -> bytes:
    message = b"\0" + len(body).to_bytes(4, "big") + body
    return (
        (frame(HEADERS, END_HEADERS, number, encoded([(b":status", b"103")])) if interim else b"")
        + frame(HEADERS, END_HEADERS, number, encoded(ANSWER))
        + b"".join(frame(DATA, 0, number, message[at : at + size]) for at in range(0, len(message), size))
        + frame(HEADERS, END_HEADERS | END_STREAM, number, encoded([(b"grpc-status", b"0"), (b"x", b"y" * len(body))]))
    )


NOISE = {
    "ping": frame(PING, 0, 0, bytes(8)),
    "settings": frame(SETTINGS, 0, 0),
    "narrow": frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 3)),
    "wide": frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 100_000)),
    "window": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "unknown": frame(0x77, 0, 0, b"x"),
    "priority": frame(PRIORITY, 0, 1, bytes(5)),
    "flood": frame(PING, 0, 0, bytes(8)) * 1100,
    "mistake": frame(PING, 0, 0, bytes(7)),
}
CONVERSATION = st.lists(
    st.tuples(BODIES, st.integers(1, 40), st.booleans(), st.lists(st.sampled_from(sorted(NOISE)), max_size=2)),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(CONVERSATION, CUTS, CUTS, WORK, st.booleans())
def test_calls_cut_anywhere_in_turns_of_any_size(
    calls: list[tuple[bytes, int, bool, list[str]]], cuts: list[int], back: list[int], work: Any, noisy: bool
) -> None:
    """gRPC on both sides: what is told, how it ends, and in which order calls begin."""
    sent, answers = START, b""
    for number, (body, size, interim, names) in enumerate(calls):
        noise = [NOISE[name] for name in names]
        sent += called(2 * number + 1, body, size) + (b"" if noisy else b"".join(noise))
        answers += (b"".join(noise) if noisy else b"") + answered(2 * number + 1, body[::-1], size, interim)
    answers += frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 65_535))
    whole = Calls((1 << 30, 1, 1)).talk(sent, answers, [], [])
    heard = Calls(work).talk(sent, answers, cuts, back)
    of_whom = 0 if noisy else 1
    if whole[of_whom][2]:  # where one side is thrown out, what was under way comes to an end, sooner or later
        assert heard[of_whom][1:] == whole[of_whom][1:]
    else:
        assert heard == whole


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


def test_answers_of_our_own_wait_their_turn() -> None:
    bench = Http()
    bench.of_client.hear(HEALTH * 1000)
    at_once = bench.of_client.out.count(HERE)
    assert 1 < at_once <= AT_ONCE // 24 + 1
    assert not bench.of_client.reading
    _, other = bench.another()
    other.hear(HEALTH)  # whoever is ready is served though others wait
    assert other.out.startswith(HERE)
    each = turns(bench, bench.of_client, HERE)
    assert sum(each) == 1000 - at_once
    assert max(each) <= PER_TURN // 24 + 3
    assert bench.of_client.reading


@pytest.mark.parametrize("cut_at", [0, 20_000])
def test_long_heads_are_read_one_after_the_other_with_rests_between(cut_at: int) -> None:
    bench = Http()
    head = b"GET /-/healthz HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 5000 + b"\r\n"
    wires = [bench.another()[1] for _ in range(5)]
    bench.context.turn.was_dear(1.0)
    began = bench.loop.now
    for wire in wires:
        for piece in cut(head * 3, [cut_at]):
            wire.hear(piece)
    assert not any(wire.out for wire in wires)
    bench.of_client.hear(HEALTH)
    assert bench.of_client.out.startswith(HERE)  # who is read for little does not wait for that
    bench.loop.turn()
    assert bench.loop.now - began > 1.0
    assert [wire.out.count(HERE) for wire in wires] == [3] * 5


def test_tiny_chunks_wait_their_turn() -> None:
    """A client's, and a model's."""
    bench = Http()
    bench.of_client.hear(CHUNKED + TINY * 20_000)
    bench.loop.step()
    taken = bench.of_model.out.count(TINY)
    assert 0 < taken <= AT_ONCE + PER_TURN
    each = turns(bench, bench.of_model, TINY)
    assert sum(each) == 20_000 - taken
    assert max(each) <= PER_TURN + SLICE
    bench.of_client.hear(b"0\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY * 20_000)
    first, *each = turns(bench, bench.of_client, TINY)
    assert 0 < first <= AT_ONCE + PER_TURN
    assert first + sum(each) == 20_000
    assert max(each) <= PER_TURN + SLICE


def test_large_chunks_wait_for_nobody() -> None:
    """What is worth its bytes passes as it comes."""
    bench = Http()
    piece = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    bench.of_client.hear(CHUNKED + piece * 3)
    bench.loop.step()
    assert bench.of_model.out.endswith(piece * 3)
    assert bench.of_client.reading


def test_interim_answers_of_a_model_wait_their_turn() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </%b>\r\n\r\n" % (b"x" * 30_000)
    bench.of_model.hear(hints * 10 + b"HTTP/1.1 204 No Content\r\n\r\n")
    bench.loop.step()
    assert 1 <= bench.of_client.out.count(b"103 Early") <= 3
    bench.loop.turn()
    assert bench.of_client.out.count(b"103 Early") == 10
    assert b"HTTP/1.1 204" in bench.of_client.out


def test_a_connection_that_fills_its_reads_is_read_once_in_a_turn() -> None:
    bench = Http()
    bench.of_client.hear(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + bytes(MUCH))
    assert not bench.of_client.reading
    bench.loop.turn()
    assert bench.of_client.reading
    assert bench.of_model.out.endswith(bytes(MUCH))
    bench.of_client.hear(bytes(MUCH - 1))
    assert bench.of_client.reading


def test_connections_of_one_owner_share_what_one_has() -> None:
    """A hundred connections that flood from one address get as much as one from another."""
    bench = Http()
    many = [bench.another(b"many")[1] for _ in range(100)]
    _, one = bench.another(b"one")
    for wire in (*many, one):
        wire.hear(HEALTH * 200)
    served: Counter[str] = Counter()
    for _ in range(40):
        before = sum(wire.out.count(HERE) for wire in many), one.out.count(HERE)
        bench.loop.step()
        served["many"] += sum(wire.out.count(HERE) for wire in many) - before[0]
        served["one"] += one.out.count(HERE) - before[1]
    assert 0 < served["many"] <= 1.2 * served["one"]
    assert served["many"] + served["one"] <= 40 * (PER_TURN // 24 + 3)


def test_who_has_waited_goes_on_waiting_while_others_do() -> None:
    """To released a little and come back at once earns no more than to flood."""
    bench = Http()
    _, wire = bench.another(b"a")
    _, other = bench.another(b"b")
    other.hear(HEALTH * 1000)
    wire.hear(HEALTH * (AT_ONCE // 24 + 2))
    while not wire.reading:
        bench.loop.step()
    before = wire.out.count(HERE)
    wire.hear(HEALTH)
    assert wire.out.count(HERE) == before
    bench.loop.turn()
    assert wire.out.count(HERE) == before + 1
    wire.hear(HEALTH)  # nobody waits: at once
    assert wire.out.count(HERE) == before + 2


def test_what_waits_of_an_answer_is_taken_up_though_the_model_has_gone() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY * 5000 + b"0\r\n\r\n")
    bench.of_model.closed = True
    bench.model.connection_lost(None)
    bench.loop.turn()
    assert bench.of_client.out.endswith(TINY * 5000 + b"0\r\n\r\n")
    assert not bench.model.pool._all


def test_a_taker_that_is_full_is_given_nothing_that_waits() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY * 5000)
    bench.context.turn.flush()
    had = bench.of_client.out.count(TINY)
    bench.client.pause_writing()
    bench.loop.turn()
    assert bench.of_client.out.count(TINY) == had < 5000
    assert not bench.of_model.reading
    bench.client.resume_writing()
    bench.loop.turn()
    assert bench.of_client.out.count(TINY) == 5000
    assert bench.of_model.reading


def test_the_end_of_a_half_closed_client_comes_behind_what_waits() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" + HEALTH * 100)
    bench.loop.turn()
    assert bench.client.eof_received()
    bench.of_model.hear(b"HTTP/1.1 204 No Content\r\n\r\n")
    bench.loop.turn()
    assert bench.of_client.out.count(HERE) == 100
    assert bench.of_client.closed


# --- HTTP/2 ---


def opened(streams: int, flags: int = END_HEADERS) -> bytes:
    return b"".join(frame(HEADERS, flags, 2 * n + 1, encoded(CALL)) for n in range(streams))


WORTHLESS = {
    "PING": frame(PING, 0, 0, bytes(8)),
    "PING that answers none": frame(PING, ACK, 0, bytes(8)),
    "SETTINGS": frame(SETTINGS, 0, 0),
    "SETTINGS that answer none": frame(SETTINGS, ACK, 0),
    "empty DATA": frame(DATA, 0, 1),
    "padding": frame(DATA, 8, 1, b"\1\0"),
    "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)),
    "unknown": frame(0x77, 0, 0, bytes(8)),
    "window of a stream": frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
    "window of the connection": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "GOAWAY": frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4)),
}


@pytest.mark.parametrize("kind", WORTHLESS)
def test_frames_that_are_worth_nothing_end_the_connection_of_a_client(kind: str) -> None:
    bench = Calls()
    bench.of_client.hear(START + opened(1) + WORTHLESS[kind] * 900)
    bench.loop.turn()
    assert not bench.of_client.closed
    bench.of_client.hear(WORTHLESS[kind] * 200)
    bench.loop.turn()
    assert told(bench.of_client)[1:] == ([b"\0\0\0\x0b"], True)  # ENHANCE_YOUR_CALM
    assert bench.context.refusals.codes == {Reason.FLOOD: 1}


@pytest.mark.parametrize("kind", [*WORTHLESS, "interim answers"])
def test_frames_that_are_worth_nothing_end_the_connection_of_a_model(kind: str) -> None:
    """Its calls fail, under that reason, and the client is told by a status."""
    bench = Calls()
    bench.of_client.hear(START + called(1, b"x", 100))
    bench.loop.turn()
    begins = b"" if kind == "interim answers" else frame(HEADERS, END_HEADERS, 1, encoded(ANSWER))
    again = WORTHLESS.get(kind) or frame(HEADERS, END_HEADERS, 1, encoded([(b":status", b"103")]))
    bench.of_model.hear(begins + again * (100 if kind == "interim answers" else 900))
    bench.loop.turn()
    assert not bench.of_model.closed
    bench.of_model.hear(again * 300)
    bench.loop.turn()
    assert bench.of_model.closed
    (route,) = bench.context.calls.all
    assert route.meters.served.codes == {Reason.FLOOD: 1}
    assert b"grpc-status" in bench.of_client.out


def test_a_connection_that_works_may_say_a_lot_of_little_worth() -> None:
    """Windows and pings go with what is sent and received; and time passes."""
    bench = Calls()
    bench.of_client.hear(START)
    for number in range(400):
        again = frame(PING, 0, 0, bytes(8)) + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
        bench.of_client.hear(called(2 * number + 1, b"x", 100) + again)
        bench.loop.turn()
        bench.of_model.hear(answered(2 * number + 1, b"x", 100, False) + again)
        bench.loop.turn()
    assert len(told(bench.of_client)[0]) == 400
    bench.client.http2.calm = 0.0
    bench.client.heard -= CALM
    bench.of_client.hear(frame(PING, 0, 0, bytes(8)) * 900)
    bench.loop.turn()
    assert not bench.of_client.closed


def test_frames_wait_their_turn() -> None:
    bench = Calls()
    ping = frame(PING, ACK, 0, b"12345678")
    bench.of_client.hear(START + frame(PING, 0, 0, b"12345678") * 900)
    bench.loop.step()
    answers = bench.of_client.out.count(ping)
    assert 0 < answers <= AT_ONCE // 2 + PER_TURN // 2 + 1
    each = turns(bench, bench.of_client, ping)
    assert sum(each) == 900 - answers
    assert max(each) <= (PER_TURN + SLICE) // 2


def test_calls_that_are_none_wait_their_turn_and_end_the_connection() -> None:
    bench = Calls()
    head = encoded([*CALL, (b"connection", b"x")])
    bench.of_client.hear(START + b"".join(frame(HEADERS, END_HEADERS | 1, 2 * n + 1, head) for n in range(1200)))
    bench.loop.step()
    each = turns(bench, bench.of_client, frame(RST_STREAM, 0, 0)[:5])
    assert max(each) <= 6
    assert told(bench.of_client)[1:] == ([b"\0\0\0\x0b"], True)


def test_dear_heads_are_decoded_one_after_the_other_with_rests_between() -> None:
    """However many connections they come on: no more than a third of the time goes into them."""
    bench = Calls()
    links = []
    for _ in range(5):
        link = GrpcServerConnection(bench.context, b"http")
        wire: Any = Wire(link, bench.loop)
        link.connection_made(wire)
        links.append(wire)
    head = encoded([*CALL, *((b"x%d" % n, b"y" * 40) for n in range(20))])
    for wire in links:
        wire.hear(START + b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, head) for n in range(40)))
    bench.context.turn.was_dear(0.1)
    began, decoded = bench.loop.now, 0
    assert not bench.context.turn.may_be_dear()
    bench.loop.turn()
    decoded = (
        sum(link.http2.last // 2 + 1 for link in bench.context.clients if isinstance(link, GrpcServerConnection)) - 1
    )
    assert decoded == 200
    assert bench.loop.now - began > 0.1


@pytest.mark.skipif(DATA_PATH == "compiled", reason="stands in for a method, which a compiled class does not allow")
def test_windows_change_in_one_sum() -> None:
    """However many streams wait, a frame that changes all of their windows, or the connection's, touches none."""
    bench = Calls()
    bench.of_client.hear(START + frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 0)))
    for number in range(100):
        bench.of_client.hear(called(2 * number + 1, b"x", 100))
        bench.loop.turn()
        bench.of_model.hear(answered(2 * number + 1, b"x" * 50, 100, False))
        bench.loop.turn()
    http2 = bench.client.http2
    assert len(http2._narrow) == len(http2.streams) == 100
    touched = 0
    push = type(http2)._push

    class Counted(type(http2)):  # type: ignore[misc]
        def _push(self, stream: Any) -> None:
            nonlocal touched
            touched += 1
            push(self, stream)

    http2.__class__ = Counted
    bench.of_client.hear(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 300)
    bench.loop.turn()
    assert touched == 0
    up_and_down = b"".join(SETTING.pack(INITIAL_WINDOW, size) for size in (1, 0))
    bench.of_client.hear(frame(SETTINGS, 0, 0, up_and_down * 100) * 3)
    bench.loop.turn()
    assert touched <= 2 * 100
    assert b"grpc-status" not in bench.of_client.out
    bench.of_client.hear(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 60)))
    bench.loop.turn()
    assert bench.of_client.out.count(b"grpc-status") == 100


def test_a_window_that_grows_too_large_by_settings_is_a_mistake() -> None:
    """RFC 9113, 6.9.2, whatever the streams' own windows were."""
    for more, size, closed in (
        (1 << 30, 1 << 30, False),
        ((1 << 30) + 1, (1 << 30) - 1, False),
        (1 << 30, 3 << 29, True),
    ):
        bench = Calls()
        update = frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", more - 65_535))
        bench.of_client.hear(START + opened(1) + update)
        bench.of_client.hear(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, size)))
        bench.loop.turn()
        assert bench.of_client.closed == closed


def test_no_more_than_one_read_is_held() -> None:
    bench = Http()
    bench.of_client.hear(CHUNKED + TINY * 40_000)
    for _ in range(10):
        bench.of_client.hear(TINY * 40_000)  # stays with the kernel
        bench.loop.step()
    assert len(bench.client._kept) <= len(CHUNKED + TINY * 40_000)
    assert len(bench.of_client.unread) == 10
    assert len(body_of(b"x", [])) < PIECE


@pytest.mark.parametrize("end", ["answered", "broken off", "without a route", "lost"])
def test_calls_leave_nothing_for_the_garbage_collector(end: str) -> None:
    """It comes after thousands of objects, and each call may hold a head of `max_header` bytes three times."""
    bench = Calls()
    numbers = range(1, 20, 2)
    elsewhere = [*CALL[:2], (b":path", b"/no.R/Oute"), *CALL[3:]]
    sent = {
        "broken off": b"".join(called(n, b"x", 9) + frame(RST_STREAM, 0, n, bytes(4)) for n in numbers),
        "without a route": b"".join(frame(HEADERS, END_HEADERS | END_STREAM, n, encoded(elsewhere)) for n in numbers),
    }.get(end) or b"".join(called(n, b"x", 9) for n in numbers)
    back = b"".join(answered(n, b"y", 9, False) for n in numbers) if end == "answered" else b""
    gc.collect()
    gc.disable()
    try:
        bench.talk(START + sent, back, [], [])
        if end == "lost":
            bench.client.connection_lost(None)
            bench.loop.turn()
        assert not [one for one in gc.get_objects() if isinstance(one, GrpcServerStream | GrpcClientStream)]
    finally:
        gc.enable()
