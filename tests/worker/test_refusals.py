"""Promise: whatever is refused is counted under its reason, once: `requests_total` without a route says why clients are
turned away, over HTTP/1.1 and over HTTP/2, though most of them never hear a word of it.

The protocols run without sockets, as in `test_cuts.py` and `test_budget.py`.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from proxy.http.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_FRAME,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode_frame,
    encoded,
)
from proxy.model.reasons import Reason
from proxy.worker.downstream.grpc import MAX_STREAMS, GrpcServerConnection
from proxy.worker.downstream.http1 import DownstreamConnection
from proxy.worker.http2_protocol import MAX_UNSENT
from tests.worker.calls import CALL, START, Calls, called
from tests.worker.configs import for_worker
from tests.worker.test_cuts import Bench, Wire

HTTP = for_worker(
    "server: {limits: {max_header: 1KiB, max_body: 200B, max_connections: 2}}\n"
    "upstreams: {m: {url: 'http://127.0.0.1:1'}}\nroutes: [{name: all, match: {path: /x}, live: m}]"
)
GRPC = for_worker(
    "server: {grpc_listen: '127.0.0.1:1', limits: {max_header: 1KiB, max_body: 200B, max_connections: 2}}\n"
    "upstreams: {g: {url: 'grpc://127.0.0.1:1'}}\nroutes: [{name: calls, match: {path: /a.B/*}, live: g}]"
)
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
OPEN = START + encode_frame(HEADERS, END_HEADERS, 1, encoded(CALL))


def refused(context: Any) -> dict[Reason, int]:
    codes: dict[Reason, int] = context.refusals.codes
    return codes


HEARD: dict[str, tuple[bytes, Reason]] = {
    "no HTTP": (b"\xff\r\n\r\n", Reason.BAD_REQUEST),
    "a long head": (POST + b"X: " + b"x" * 2000 + b"\r\n\r\n", Reason.HEADER_TOO_LARGE),
    "a long target": (b"GET /" + b"x" * 2000, Reason.URI_TOO_LONG),
    "a long body": (POST + b"Content-Length: 201\r\n\r\n", Reason.BODY_TOO_LARGE),
    "a long body in chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + b"x" * 255 + b"\r\n0\r\n\r\n",
        Reason.BODY_TOO_LARGE,
    ),
    "a bad chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", Reason.BAD_REQUEST),
    "no route": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Reason.NO_ROUTE),
}


@pytest.mark.parametrize("name", HEARD)
def test_requests_that_are_refused(name: str) -> None:
    request, reason = HEARD[name]
    bench = Bench(config=HTTP)
    bench.feed(request, b"", [], [])
    assert refused(bench.client.context) == {reason: 1}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(b"GET /x HTT", Reason.REQUEST_TIMEOUT), (POST + b"Content-Length: 9\r\n\r\nx", Reason.REQUEST_TIMEOUT)],
    ids=["a head", "a body"],
)
def test_requests_that_do_not_come(sent: bytes, reason: Reason) -> None:
    bench = Bench(config=HTTP)
    bench.feed(sent, b"", [], [])
    bench.client.check(monotonic() + 1000)
    assert refused(bench.client.context) == {reason: 1}


def test_connections_beyond_the_bound_whether_told_or_not() -> None:
    bench = Bench(config=HTTP)
    for number in range(4):  # two are answered with 503, beyond twice the bound none is
        client = DownstreamConnection(bench.client.context)
        client.connection_made(Wire(client, bench.loop))  # type: ignore[arg-type]
        assert refused(bench.client.context).get(Reason.TOO_MANY_CONNECTIONS, 0) == number


def begun(count: int) -> bytes:
    return b"".join(encode_frame(HEADERS, END_HEADERS, 2 * n + 1, encoded(CALL)) for n in range(count))


OTHER = [*CALL[:2], (b":path", b"/no.R/Oute"), *CALL[3:]]
TOLD: dict[str, tuple[bytes, dict[Reason, int]]] = {
    "no HTTP/2": (b"GET / HTTP/1.1\r\n\r\n", {Reason.BAD_REQUEST: 1}),
    "a long frame": (START + (MAX_FRAME + 1).to_bytes(3, "big") + bytes(6), {Reason.BAD_REQUEST: 1}),
    "no call": (
        START + encode_frame(HEADERS, 5, 1, encoded([*CALL[:4], (b"content-type", b"text/x")])),
        {Reason.BAD_REQUEST: 1},
    ),
    "half a head": (START + encode_frame(HEADERS, 5, 1, encoded(CALL[:3])), {Reason.BAD_REQUEST: 1}),
    "no route": (START + encode_frame(HEADERS, 5, 1, encoded(OTHER)), {Reason.NO_ROUTE: 1}),
    "a long message": (START + called(1, b"x" * 201, 9), {Reason.BODY_TOO_LARGE: 1}),
    "calls at once": (START + begun(MAX_STREAMS + 3), {Reason.TOO_MANY_CALLS: 3}),
    "more than the window": (
        OPEN + encode_frame(DATA, 0, 1, b"\0\0\1\0\0" + b"x" * 16_000) * 5,
        {Reason.BODY_TOO_LARGE: 1},
    ),
    "more of a call that has ended": (
        START + called(1, b"x", 9) + encode_frame(DATA, END_STREAM, 1, b"x"),
        {Reason.BAD_REQUEST: 1},
    ),
    "no window": (OPEN + encode_frame(WINDOW_UPDATE, 0, 1, bytes(4)), {Reason.BAD_REQUEST: 1}),
    "frames worth nothing": (START + encode_frame(PING, ACK, 0, bytes(8)) * 1100, {Reason.FLOOD: 1}),
    "calls broken off": (
        START + b"".join(called(n, b"x", 9) + encode_frame(RST_STREAM, 0, n, b"\0\0\0\x08") for n in range(1, 2300, 2)),
        {Reason.FLOOD: 1},
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_calls_that_are_refused(name: str) -> None:
    sent, reasons = TOLD[name]
    bench = Calls(config=GRPC)
    bench.talk(sent, b"", [], [])
    assert refused(bench.context) == reasons


def test_a_connection_on_which_nobody_speaks() -> None:
    bench = Calls(config=GRPC)
    bench.client.check(monotonic() + 1000)
    assert refused(bench.context) == {Reason.REQUEST_TIMEOUT: 1}


def test_connections_for_calls_beyond_the_bound() -> None:
    bench = Calls(config=GRPC)
    for number in range(3):
        link = GrpcServerConnection(bench.context, b"http")
        link.connection_made(Wire(link, bench.loop))  # type: ignore[arg-type]
        assert refused(bench.context).get(Reason.TOO_MANY_CONNECTIONS, 0) == number


def test_a_call_that_comes_when_none_are_taken_any_more() -> None:
    bench = Calls(config=GRPC)
    bench.of_client.hear(START)
    bench.client.http2.refusing = True
    bench.talk(called(1, b"x", 9), b"", [], [])
    assert refused(bench.context) == {Reason.DRAINING: 1}


def test_a_client_that_asks_and_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Calls(config=GRPC)
    monkeypatch.setattr(bench.of_client, "get_write_buffer_size", lambda: MAX_UNSENT + 1)
    bench.client.pause_writing()
    bench.talk(START + encode_frame(SETTINGS, 0, 0), b"", [], [])
    assert refused(bench.context) == {Reason.FLOOD: 1}
    assert bench.of_client.is_closing()
