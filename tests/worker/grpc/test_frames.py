"""Promise: frames that are not HTTP/2, and calls that are not what they say, end by the error of the RFC and harm no
other call."""

from __future__ import annotations

import asyncio

import pytest

from tests.worker.grpc.models import INFER, Client, GrpcModel
from tests.worker.grpc.raw import PLAIN, Raw
from tests.worker.rig import PATIENCE, rig


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        (Raw.PREFACE[:24] + Raw.frame(6, 0, 0, bytes(8)), 1),  # SETTINGS comes first
        (Raw.PREFACE + Raw.frame(6, 0, 0, bytes(7)), 6),
        (Raw.PREFACE + Raw.frame(0, 0, 1, b"x"), 1),  # a stream that never began
        (Raw.PREFACE + Raw.frame(8, 0, 0, bytes(4)), 1),  # a window of nothing
        (Raw.PREFACE + Raw.frame(8, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (Raw.PREFACE + Raw.frame(5, 4, 1, bytes(4)), 1),  # server push is disabled
        (Raw.PREFACE + Raw.frame(1, 4, 2, b""), 1),  # even streams are the server's
        (Raw.PREFACE + Raw.frame(1, 0, 1, b"") + Raw.frame(6, 0, 0, bytes(8)), 1),  # a head broken off
        (Raw.PREFACE + Raw.frame(1, 4, 1, b"\xff\xff\xff\xff\xff"), 9),  # no such index
        (Raw.PREFACE + Raw.frame(1, 0, 1, b"") + Raw.frame(9, 0, 1, b"") * 10_000, 11),  # a head without end
        (Raw.PREFACE + b"\xff\xff\xff\0\0\0\0\0\1", 6),
    ],
)
async def test_what_is_not_http2_is_told_so_and_dropped(sent: bytes, code: int) -> None:
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.grpc_port)
        writer.write(sent)
        heard = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        assert heard[-17:-8] == Raw.frame(7, 0, 0, bytes(8))[:9]
        assert int.from_bytes(heard[-4:], "big") == code
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x")).answer == b"x"


LENGTH = (b"content-length", b"6")
MESSAGE = b"\0\0\0\0\1x"


@pytest.mark.parametrize(
    ("sent", "good"),
    [
        (Raw.head(1, INFER.encode(), LENGTH) + Raw.frame(0, 1, 1, MESSAGE), True),
        (Raw.head(1) + Raw.frame(0, 0, 1, MESSAGE) + Raw.frame(1, 5, 1, b"\0\1x\1y"), True),
        (Raw.head(1, INFER.encode(), LENGTH) + Raw.frame(0, 1, 1, MESSAGE + b"y"), False),
        (Raw.head(1, INFER.encode(), LENGTH) + Raw.frame(0, 0, 1, MESSAGE[:3]) + Raw.frame(0, 1, 1), False),
        (Raw.head(1, INFER.encode(), LENGTH) + Raw.frame(1, 5, 1, b"\0\1x\1y"), False),
        (Raw.head(1, INFER.encode(), (b"content-length", b"x")) + Raw.frame(0, 1, 1, MESSAGE), False),
        (Raw.head(1) + Raw.frame(0, 0, 1, MESSAGE) + Raw.frame(1, 5, 1, b"\0\7:method\4POST"), False),
        (Raw.head(1) + Raw.frame(0, 0, 1, MESSAGE) + Raw.frame(1, 5, 1, b"\0\1X\1y"), False),
    ],
)
async def test_a_call_that_is_not_what_it_says_is_reset(sent: bytes, good: bool) -> None:
    """RFC 9113, 8.1.1: its length, and trailers that are none."""
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.grpc_port)
        writer.write(Raw.PREFACE + sent)
        reset, heard = Raw.frame(3, 0, 1, bytes([0, 0, 0, 1])), b""
        while not (b"grpc-status" in heard if good else reset in heard):
            piece = await asyncio.wait_for(reader.read(1 << 16), PATIENCE)
            assert piece
            heard += piece
        writer.close()
        assert (reset in heard) is not good
