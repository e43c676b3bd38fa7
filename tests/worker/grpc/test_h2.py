"""Promise: what is no gRPC call is answered as grpc-go answers it, and connections whose stream numbers run out are
replaced without a call lost. With the package `h2` as the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

from proxy.http.http2.frames import GOAWAY, MAX_INT31, encode_frame
from tests.worker.grpc.models import INFER, Client, GrpcModel
from tests.worker.rig import PATIENCE, eventually, rig

PLAIN = """
server: {listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'}
upstreams: {m: {url: "{0}", timeout: 2s}}
routes: [{name: m, live: m}]
"""
MESSAGE = b"\0\0\0\0\1x"
GRPC = "application/grpc"


class Peer:
    """A client by `h2`, and all that it was told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.events: list[Event] = []
        self.heard = b""

    async def ask(self, number: int, method: str = "POST", kind: str = GRPC, body: bytes | None = MESSAGE) -> None:
        """Send a request and read until its stream has ended."""
        head = [(":method", method), (":scheme", "http"), (":path", INFER), (":authority", "m"), ("te", "trailers")]
        head += [("content-type", kind)] if kind else []
        self.http2.send_headers(number, head, end_stream=body is None)
        if body is not None:
            self.http2.send_data(number, body, end_stream=True)
        self.writer.write(self.http2.data_to_send())
        async with asyncio.timeout(PATIENCE):
            while not self.told(number, StreamEnded) and not self.told(number, StreamReset):
                data = await self.reader.read(65536)
                self.heard += data
                self.events += self.http2.receive_data(data)
                self.writer.write(self.http2.data_to_send())

    def told(self, number: int, kind: type) -> list[Event]:
        return [one for one in self.events if isinstance(one, kind) and getattr(one, "stream_id", None) == number]

    def head(self, number: int) -> dict[str, str]:
        (event,) = self.told(number, ResponseReceived)
        return dict(event.headers)  # type: ignore[attr-defined]


@asynccontextmanager
async def peer(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("method", "kind", "body", "status", "code"),
    [
        ("GET", "", None, "415", "3"),
        ("HEAD", "", None, "415", "3"),
        ("POST", "application/json", b"{}", "415", "3"),
        ("POST", "", b"{}", "415", "3"),
        ("GET", GRPC, None, "405", "13"),
        ("PUT", GRPC + "+proto", MESSAGE, "405", "13"),
    ],
)
async def test_what_is_no_call_is_answered_and_the_connection_goes_on(
    method: str, kind: str, body: bytes | None, status: str, code: str
) -> None:
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it, peer(it.grpc_port) as client:
        await client.ask(1, method, kind, body)
        head = client.head(1)
        assert (head[":status"], head["grpc-status"], head.get("allow")) == (
            status,
            code,
            "POST" if status == "405" else None,
        )
        assert client.told(1, StreamEnded)
        await client.ask(3)
        assert client.head(3)[":status"] == "200"
        assert dict(client.told(3, TrailersReceived)[0].headers)["grpc-status"] == "0"  # type: ignore[attr-defined]
        assert len(model.calls) == 1, "none of it reached the model"


async def test_a_client_whose_numbers_run_out_is_asked_to_connect_anew() -> None:
    """A GOAWAY that leaves room for all, then the answer. `h2` takes nothing more after one, so bytes are looked at."""
    async with rig(PLAIN, [GrpcModel()], grpc=True) as it, peer(it.grpc_port) as client:
        await client.ask(1)
        await client.ask(MAX_INT31 - 3000)
        assert client.head(MAX_INT31 - 3000)[":status"] == "200"
        assert not [one for one in client.events if isinstance(one, ConnectionTerminated)]
        with pytest.raises(ProtocolError):
            await client.ask(MAX_INT31 - 4)
        goodbye = encode_frame(GOAWAY, 0, 0, MAX_INT31.to_bytes(4, "big") + bytes(4))
        assert goodbye in client.heard
        answer = client.heard.partition(goodbye)[2]
        assert (MAX_INT31 - 4).to_bytes(4, "big") + b"\0\0\0\0\1x" in answer


async def test_a_connection_to_a_model_whose_numbers_run_out_is_replaced() -> None:
    """The calls on it end, and no call is sent with a number that does not exist."""
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x")).code == grpc.StatusCode.OK
            (link,) = it.worker.pools["m"]._every  # type: ignore[attr-defined]
            link.http2._next = MAX_INT31 - 2
            told = await asyncio.gather(*(client.ask(b"x") for _ in range(8)))
            assert [one.code for one in told] == [grpc.StatusCode.OK] * 8
        assert link.leaving
        await eventually(lambda: link.closed)
        await it.settled()
