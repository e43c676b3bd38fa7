"""HTTP/2 on both sides, under any bytes: tried by Hypothesis (`test_calls.py`) and by atheris (`run.py`).

One input becomes a client's bytes, a model's bytes, and where both are cut: as they stand, or as a row of frames
(`built`), since bytes at random hardly ever are one. The protocols run without sockets. Whatever comes in:

- nothing raises;
- what went out on either side is read by `h2`, an independent and strict implementation, without an objection;
- a client's call is answered once, and no more is sent on its stream.
"""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event

from loadtests.hostile.attacks import ANSWER, START, call, frame, settings, text
from proxy.http.http2.frames import CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, WINDOW_UPDATE
from tests.fuzz.glue import WORKS, Work
from tests.worker.calls import Calls
from tests.worker.configs import for_worker
from tests.worker.test_cuts import cut

MARK = b"\x00|\x00"
"""Between the client's and the model's bytes of one input."""
CONFIG = for_worker(
    "server: {grpc_listen: '127.0.0.1:0', limits: {max_header: 4KiB, max_body: 64KiB}}\n"
    "upstreams: {g: {url: 'grpc://127.0.0.1:1'}}\nroutes: [{name: all, live: g}]"
)
MESSAGE = b"\0\0\0\0\5hello"
STATUS = text(b"grpc-status", b"0")
ONE = 1
"""The stream that prebuilt frames are on until they are given another."""
OF_CLIENT = (
    call(ONE, message=None),
    call(ONE, message=b"hello"),
    call(ONE, "/grpc.health.v1.Health/Check"),
    frame(DATA, 0, ONE, MESSAGE),
    frame(DATA, 1, ONE, MESSAGE),
    frame(DATA, 1, ONE),
    frame(HEADERS, 5, ONE, text(b"x", b"y")),
    frame(RST_STREAM, 0, ONE, b"\0\0\0\x08"),
    frame(WINDOW_UPDATE, 0, ONE, b"\0\0\0\1"),
    settings((4, 0)),
    settings((4, 70_000), (3, 0)),
    frame(WINDOW_UPDATE, 0, 0, b"\0\1\0\0"),
    frame(PING, 0, 0, bytes(8)),
    frame(HEADERS, 4, ONE, b"\x83\x86\x84"),
)
OF_MODEL = (
    ANSWER,
    frame(DATA, 0, ONE, MESSAGE),
    frame(HEADERS, 5, ONE, STATUS),
    frame(HEADERS, 5, ONE, b"\x88" + text(b"content-type", b"application/grpc") + STATUS),
    frame(HEADERS, 4, ONE, text(b":status", b"103")),
    frame(DATA, 1, ONE, MESSAGE),
    frame(RST_STREAM, 0, ONE, b"\0\0\0\x07"),
    frame(GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0"),
    frame(WINDOW_UPDATE, 0, ONE, b"\0\1\0\0"),
    settings((3, 1), (4, 1)),
    settings((4, 0)),
    frame(PING, 0, 0, bytes(8)),
    frame(CONTINUATION, 4, ONE, text(b"x", b"y")),
)


class CallBench(Calls):
    """One client and one connection to the model, face to face without sockets. `together`: how many pieces come in one
    turn of the loop; `work`: what one connection may cause at once, when it has waited, and all of them in a turn."""

    def __init__(self, together: int = 1, work: Work | None = None) -> None:
        super().__init__(work, CONFIG, greets=False)
        self.together = together

    def feed(self, calls: bytes, answers: bytes, cuts: list[int], back: list[int]) -> tuple[bytes, bytes]:
        """What the model got and what the client got."""
        for wire, pieces in ((self.of_client, cut(calls, cuts)), (self.of_model, cut(answers, back))):
            for number, piece in enumerate(pieces, 1):
                wire.hear(piece)
                if number % self.together == 0:
                    self.loop.turn()
            self.loop.turn()
        return self.of_model.out, self.of_client.out


def built(data: bytes, ready: tuple[bytes, ...]) -> bytes:
    """A row of frames: of each, two bytes say which it is (one that is ready, or a kind and its flags), one its stream
    and, where it is not ready, one how long it is.

    >>> built(b"\\x02\\x00\\x03\\x04wxyz", ()) == frame(2, 0, 3, b"wxyz")
    True
    >>> built(b"\\xff\\x00\\x05", (frame(6, 0, 1, bytes(8)),)) == frame(6, 0, 5, bytes(8))
    True
    """
    out, at = [], 0
    while at + 3 <= len(data):
        kind, flags, stream = data[at], data[at + 1], data[at + 2] % 16
        at += 3
        if kind >= 16 and ready:
            out.append(on_stream(ready[flags % len(ready)], stream | 1))
            continue
        size = data[at] if at < len(data) else 0
        out.append(frame(kind % 16, flags, stream, data[at + 1 : at + 1 + size]))
        at += 1 + size
    return b"".join(out)


def on_stream(frames: bytes, stream: int) -> bytes:
    """Frames of one stream, on another; those of the connection stay."""
    out, at = bytearray(frames), 0
    while at < len(out):
        if out[at + 5 : at + 9] != bytes(4):
            out[at + 5 : at + 9] = stream.to_bytes(4, "big")
        at += 9 + int.from_bytes(out[at : at + 3], "big")
    return bytes(out)


def once(data: bytes) -> None:
    """Run one input: two bytes that say how it is cut and what it is, the client's bytes, `MARK`, the model's."""
    cuts, how = (data[0], data[1]) if len(data) > 2 else (0, 0)
    calls, _, answers = data[2:].partition(MARK)
    if how & 1:
        calls, answers = START + built(calls, OF_CLIENT), settings() + built(answers, OF_MODEL)
    step = cuts % 17 * 7 + 1
    places = list(range(0, len(calls) + len(answers), step)) if cuts % 2 else []
    model, client = CallBench(how // 2 % 5 + 1, WORKS[how // 10 % len(WORKS)]).feed(calls, answers, places, places)
    read_as_server(model)
    read_as_client(client)


def read_as_server(data: bytes) -> list[Event]:
    """`h2` reads what a model got, without an objection."""
    other = H2Connection(H2Configuration(client_side=False))
    other.initiate_connection()
    return received(other, data)


def read_as_client(data: bytes) -> list[Event]:
    """The same of what a client got, who has begun the streams that are answered."""
    other = H2Connection(H2Configuration(client_side=True))
    other.initiate_connection()
    kinds = list(frames(data))
    begun = [stream for kind, stream, _ in kinds if stream and kind in (HEADERS, DATA, RST_STREAM, WINDOW_UPDATE)]
    for stream in sorted(set(begun)):
        other.send_headers(stream, [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "m")])
    for stream in set(begun):
        ends = [
            kind == RST_STREAM or (kind in (HEADERS, DATA) and bool(flags & 1))
            for kind, at, flags in kinds
            if at == stream
        ]
        assert ends.count(True) <= 2, "ended twice"  # a whole answer, and then perhaps RST_STREAM with NO_ERROR (8.1)
    return received(other, data)


def received(other: H2Connection, data: bytes) -> list[Event]:
    """All that `h2` makes of it; nothing may come behind the last GOAWAY that says why the connection ends."""
    events: list[Event] = []
    at = 0
    for kind, _, _ in frames(data):
        size = 9 + int.from_bytes(data[at : at + 3], "big")
        events += other.receive_data(data[at : at + size])
        at += size
        if kind == GOAWAY and any(isinstance(one, ConnectionTerminated) for one in events):
            break  # `h2` reads nothing behind one
    return events


def frames(data: bytes) -> list[tuple[int, int, int]]:
    """Kind, stream and flags of each frame; the preface of a client is none."""
    out, at = [], 24 if data.startswith(b"PRI") else 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        assert at + 9 + size <= len(data), "half a frame"
        out.append((data[at + 3], int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 4]))
        at += 9 + size
    return out


CONVERSATIONS = (
    ([16, 1, 1], [16, 0, 1, 16, 1, 1, 16, 2, 1]),
    ([16, 0, 1, 16, 3, 1, 16, 5, 1], [16, 0, 1, 16, 1, 1, 16, 1, 1, 16, 2, 1]),
    ([16, 1, 1, 16, 1, 3, 16, 7, 1], [16, 3, 3]),
    ([16, 9, 0, 16, 1, 1, 16, 8, 1, 16, 10, 0], [16, 0, 1, 16, 1, 1, 16, 2, 1]),
    ([16, 2, 1, 16, 12, 0, 16, 13, 3], [16, 11, 0]),
    ([16, 1, 1], [16, 6, 1, 16, 7, 0, 16, 4, 1, 16, 5, 1]),
)
SEEDS = (
    *(b"\x03\x01" + bytes(client) + MARK + bytes(model) for client, model in CONVERSATIONS),
    b"\x03\x00" + START + call(1, message=b"x") + MARK + settings() + ANSWER,
)
