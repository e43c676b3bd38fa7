"""What a hostile peer sends, as tables: cheap, mostly legal things, again and again, as fast as they are taken.

An attack opens `connections`, on each says `first` and then `again` without end. A client's goes to the proxy; a
model's waits until it is asked (for gRPC: until a call has come, which is stream 1) and then answers with it. One that
is closed comes anew. Everything here is bytes; nothing is sent from this file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CLIENT, MODEL = "client", "model"
HTTP, GRPC = "HTTP/1", "gRPC"
METHOD = "/a.B/C"
"""The gRPC method that has a live model behind each proxy."""
PATH = "/v2/models/credit/infer"
LONG, LONG_SIZE = "/long", 4_000_000
"""A path whose answers are longer than what the kernel keeps for a client that does not read."""


@dataclass(frozen=True)
class Attack:
    """One row of the table."""

    side: str
    protocol: str
    name: str
    first: bytes = b""
    again: bytes = b""
    """Repeated without end. Without it the connection is closed once `first` was answered, or held if not `reads`."""
    connections: int = 1
    reads: bool = True
    """Whether what the proxy says is taken off the wire."""
    piece: int = 1 << 18
    """The most that one write hands over."""
    stride: int = 0
    """How far the streams of `again` move on each time: a stream's number is used once (RFC 9113, 5.1.1)."""


# --- HTTP/1 ----------------------------------------------------------------------------------------------------------


def get(path: str, lines: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode()


POST = get(PATH, "Transfer-Encoding: chunked\r\n", "POST")
BULK = get(PATH, "Content-Length: 60000000\r\n", "POST")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = OK + b"Content-Length: 2\r\n\r\nok"


def of_client(name: str, first: bytes = b"", again: bytes = b"", **more: int) -> Attack:
    return Attack(CLIENT, HTTP, name, first, again, **more)  # type: ignore[arg-type]


def of_model(name: str, first: bytes = b"", again: bytes = b"", **more: int) -> Attack:
    return Attack(MODEL, HTTP, name, first, again, **more)  # type: ignore[arg-type]


CLIENTS = (
    of_client("health checks in a row", again=get("/-/healthz") * 4000),
    of_client("requests without a route", again=get("/none") * 4000),
    of_client("requests without a route, answers not read", again=get("/none") * 4000, reads=False),
    of_client("heads of 30 KB without a route", again=get("/none", "X: " + "x" * 30_000 + "\r\n") * 20),
    of_client("heads of 2,000 lines without a route", again=get("/none", "a:b\r\n" * 2000) * 40),
    of_client("HEAD without a route", again=get("/none", method="HEAD") * 4000),
    of_client("requests for a model in a row", again=get(PATH) * 4000),
    of_client("requests for a model, Expect: 100-continue", again=get(PATH, "Expect: 100-continue\r\n") * 4000),
    of_client(
        "requests for a model, an offer to upgrade", again=get(PATH, "Connection: upgrade\r\nUpgrade: x\r\n") * 4000
    ),
    of_client("requests for a model on 50 connections", again=get(PATH) * 4000, connections=50),
    of_client("a body in one-byte chunks", POST, b"1\r\nx\r\n" * 40_000),
    of_client("a body in one-byte chunks with extensions", POST, b"1;a=b;c=d\r\nx\r\n" * 20_000),
    of_client("a body in one-byte chunks on 20 connections", POST, b"1\r\nx\r\n" * 40_000, connections=20),
    of_client("chunked bodies, one after the other", again=(POST + b"1\r\nx\r\n0\r\n\r\n") * 2000),
    of_client("a body in one-byte writes", BULK, b"x" * 65_536, piece=1),
    of_client("a body as fast as it is taken", BULK, b"x" * (1 << 18)),
    of_client("answers of 4 MB in a row", again=get(LONG) * 4000),
    of_client("a head in one-byte writes", again=get("/none", "X: " + "x" * 200 + "\r\n"), piece=1),
    of_client("lines without end for a head", b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 40_000),
    of_client("trailers without end", POST + b"0\r\n", b"a: b\r\n" * 40_000),
    of_client("bytes after a refused request", b"GET / HTTP/9.9\r\n\r\n", b"x" * (1 << 18)),
    of_client("refused requests, a connection each", b"GET / HTTP/9.9\r\n\r\n", connections=8),
    of_client("connections opened and closed", connections=8),
    of_client("a request for a model on each connection", get(PATH), connections=8),
)

MODELS = (
    of_model("a body in one-byte chunks", CHUNKS, b"1\r\nx\r\n" * 40_000),
    of_model("a body in one-byte chunks with extensions", CHUNKS, b"1;a=b;c=d\r\nx\r\n" * 20_000),
    of_model("a body in one-byte writes", OK + b"Content-Length: 60000000\r\n\r\n", b"x" * 65_536, piece=1),
    of_model("a body as fast as it is taken", OK + b"Content-Length: 900000000000\r\n\r\n", b"x" * (1 << 18)),
    of_model("a body until the end as fast as it is taken", OK + b"Connection: close\r\n\r\n", b"x" * (1 << 18)),
    of_model("1xx heads without end", again=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 8000),
    of_model("lines without end for a head", b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 40_000),
    of_model("a head of 60 KB", OK + b"X: " + b"x" * 60_000 + b"\r\nContent-Length: 2\r\n\r\nok"),
    of_model("trailers without end", CHUNKS + b"0\r\n", b"a: b\r\n" * 40_000),
    of_model("a body past its length", SHORT, b"x" * (1 << 18)),
    of_model("answers that nobody asked for", SHORT, SHORT * 4000),
    of_model("no HTTP at all", again=b"\xff" * (1 << 18)),
    of_model("an answer on each connection", OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nok"),
    of_model("connections closed without an answer"),
    of_model("requests are never read", reads=False),
)


@dataclass(frozen=True)
class Slow:
    """A peer that takes its time, as one of a thousand."""

    name: str
    first: bytes
    drip: bytes = b""
    """What follows, a byte each `EVERY` seconds."""
    settles: float = 2.0
    """Seconds until it is slow: what fits into the kernel's buffers passes at once."""


EVERY = 4.0
SLOW = (
    Slow("uploads", get(PATH, "Content-Length: 4000\r\n", "POST") + b"x", b"x"),
    Slow("chunked uploads", POST + b"fa0\r\nx", b"x"),
    Slow("readers", get(LONG), settles=8.0),
    Slow("heads", b"GET /none HTTP/1.1\r\nHost: a\r\nX: ", b"x"),
)

# --- HTTP/2 ----------------------------------------------------------------------------------------------------------

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
ONE = b"\0\0\0\1"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def text(name: bytes, value: bytes) -> bytes:
    """A literal that is not indexed (RFC 7541, 6.2.2), of up to 16,000 bytes."""
    size = len(value)
    head = bytes([size]) if size < 127 else bytes([127, (size - 127) & 127 | 128, (size - 127) >> 7])
    return b"\x00" + bytes([len(name)]) + name + head + value


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def head(path: str = METHOD, extra: bytes = b"") -> bytes:
    named = text(b":path", path.encode()) + text(b":authority", b"m")
    return b"\x83\x86" + named + text(b"content-type", b"application/grpc") + text(b"te", b"trailers") + extra


def call(number: int, path: str = METHOD, extra: bytes = b"", message: bytes | None = b"") -> bytes:
    """A whole call, or one that goes on (`message` is `None`)."""
    if message is None:
        return frame(HEADERS, 4, number, head(path, extra))
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return frame(HEADERS, 4, number, head(path, extra)) + frame(DATA, 1, number, body)


def calls(count: int, path: str = METHOD, extra: bytes = b"", behind: bytes = b"") -> bytes:
    """Calls one after the other; `behind` is the beginning of a frame of four bytes that follows each."""
    return b"".join(
        call(n, path, extra) + (behind + struct.pack(">I", n) + b"\0\0\0\x08" if behind else b"")
        for n in range(1, 2 * count, 2)
    )


START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings()
OPEN = START + call(1, message=None)
BIG_MESSAGE = frame(DATA, 0, 1, b"\0\0\1\0\0")
"""The beginning of a message of 64 KiB."""
HUNDRED = b"".join(call(n, message=None) for n in range(1, 200, 2))
RESIZES = settings(*[(4, 1), (4, 0)] * 1365)
LARGE = text(b"x", b"x" * 15_000)
UNENDED = frame(HEADERS, 0, 1, head())
ANSWER = frame(HEADERS, 4, 1, b"\x88" + text(b"content-type", b"application/grpc"))

ROW = (
    ("PING", frame(PING, 0, 0, b"12345678") * 10_000),
    ("PING acknowledged that was not sent", frame(PING, 1, 0, b"12345678") * 10_000),
    ("SETTINGS", settings() * 20_000),
    ("SETTINGS of 2,700 unknown entries", settings(*[(0x99, 0)] * 2700) * 16),
    ("SETTINGS acknowledged that were not sent", frame(SETTINGS, 1, 0) * 20_000),
    ("PRIORITY", frame(PRIORITY, 0, 1, b"\0\0\0\3\1") * 12_000),
    ("frames of an unknown kind", frame(0x77, 0, 0, b"12345678") * 10_000),
    ("frames of an unknown kind, 16 KB", frame(0x77, 0, 0, b"x" * 16_384) * 16),
    ("WINDOW_UPDATE of the connection", frame(WINDOW_UPDATE, 0, 0, ONE) * 15_000),
    ("WINDOW_UPDATE of a stream", frame(WINDOW_UPDATE, 0, 1, ONE) * 15_000),
    ("RST_STREAM of a stream that ended", frame(RST_STREAM, 0, 1, b"\0\0\0\x08") * 15_000),
    ("empty DATA", frame(DATA, 0, 1) * 20_000),
    ("DATA of one byte", frame(DATA, 0, 1, b"x") * 20_000),
    ("DATA of padding alone", frame(DATA, 8, 1, b"\xff" + bytes(255)) * 1000),
)
"""What either side can send in a row."""


def calling(name: str, first: bytes = b"", again: bytes = b"", **more: int) -> Attack:
    return Attack(CLIENT, GRPC, name, first, again, **more)  # type: ignore[arg-type]


def called(name: str, first: bytes = b"", again: bytes = b"", **more: int) -> Attack:
    return Attack(MODEL, GRPC, name, first, again, **more)  # type: ignore[arg-type]


CALLERS = (
    *(calling(name, OPEN + BIG_MESSAGE, again) for name, again in ROW),
    calling("SETTINGS that resize 100 streams", START + HUNDRED, RESIZES * 16),
    calling("WINDOW_UPDATE while 100 streams wait", START + settings((4, 0)) + calls(100), ROW[8][1]),
    calling("PING, answers not read", OPEN, ROW[0][1], reads=False),
    calling("PING on 20 connections", OPEN, ROW[0][1], connections=20),
    calling("calls of a method without a route", START, calls(2000, "/no.P/Q"), stride=4000),
    calling("calls of a method without a route, 15 KB heads", START, calls(120, "/no.P/Q", LARGE), stride=240),
    calling("health checks in a row", START, calls(2000, "/grpc.health.v1.Health/Check"), stride=4000),
    calling("calls of a model in a row", START, calls(2000), stride=4000),
    calling("calls broken off at once", START, calls(2000, behind=b"\0\0\4\3\0"), stride=4000),
    calling("CONTINUATION without end, of one byte", START + UNENDED, frame(CONTINUATION, 0, 1, b"\x82") * 20_000),
    calling("GOAWAY in a row", OPEN, frame(GOAWAY, 0, 0, bytes(8)) * 12_000),
    calling("connections opened and closed", START, connections=8),
    calling("a call on each connection, not waited for", START + call(1), connections=8),
)

CALLED = (
    *(called(name, ANSWER, again) for name, again in ROW),
    called("SETTINGS that resize, one stream open", ANSWER, RESIZES * 16),
    called("SETTINGS that take all streams and give them back", b"", settings((3, 0), (3, 100)) * 10_000),
    called("1xx heads without end", again=frame(HEADERS, 4, 1, text(b":status", b"103")) * 10_000),
    called("1xx heads of 15 KB", again=frame(HEADERS, 4, 1, text(b":status", b"103") + LARGE) * 16),
    called(
        "CONTINUATION without end, of one byte",
        frame(HEADERS, 0, 1, b"\x88"),
        frame(CONTINUATION, 0, 1, b"\x82") * 20_000,
    ),
    called("a message as fast as it is taken", ANSWER, frame(DATA, 0, 1, bytes(16_384)) * 16),
    called("answers not read, PING", ANSWER, ROW[0][1], reads=False),
    called("GOAWAY, a connection each", frame(GOAWAY, 0, 0, bytes(8))),
    called("connections closed without an answer"),
    called("calls are never read", reads=False),
)

ATTACKS: tuple[Attack, ...] = CLIENTS + CALLERS + MODELS + CALLED
