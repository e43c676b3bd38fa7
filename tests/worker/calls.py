"""Calls over HTTP/2 without sockets, on both sides of a worker; what both sides were told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxy.http.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Headers,
    encode_frame,
    encoded,
)
from proxy.model.worker_config import WorkerConfig
from proxy.worker.downstream.grpc import GrpcServerConnection
from proxy.worker.process import Worker
from proxy.worker.upstream.grpc import GrpcClientConnection
from tests.worker.configs import for_worker
from tests.worker.test_cuts import UUID, Wire, cut
from tests.worker.turns import Clock

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
START = PREFACE + encode_frame(SETTINGS, 0, 0)


class Calls:
    """One gRPC client and one connection to the model, face to face without sockets."""

    def __init__(
        self, work: tuple[int, int, int] | None = None, config: WorkerConfig = CALLS, greets: bool = True
    ) -> None:
        self.loop = Clock()
        self.worker = worker = Worker(0, 1, Path(), self.loop)  # type: ignore[arg-type]
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
            self.of_model.hear(encode_frame(SETTINGS, 0, 0))
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
    return encode_frame(HEADERS, END_HEADERS, number, encoded(CALL)) + b"".join(
        encode_frame(DATA, END_STREAM if at == len(pieces) - 1 else 0, number, piece) for at, piece in enumerate(pieces)
    )


def answered(number: int, body: bytes, size: int, interim: bool) -> bytes:
    message = b"\0" + len(body).to_bytes(4, "big") + body
    return (
        (encode_frame(HEADERS, END_HEADERS, number, encoded([(b":status", b"103")])) if interim else b"")
        + encode_frame(HEADERS, END_HEADERS, number, encoded(ANSWER))
        + b"".join(encode_frame(DATA, 0, number, message[at : at + size]) for at in range(0, len(message), size))
        + encode_frame(
            HEADERS, END_HEADERS | END_STREAM, number, encoded([(b"grpc-status", b"0"), (b"x", b"y" * len(body))])
        )
    )
