"""Promise: the bounds on slow clients hold for calls as for requests: what is not read is held, counted and bounded, a
message has to come, and neither is timed while it is not the client that is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import grpc
import pytest

from proxy.model.reasons import Reason
from proxy.worker.downstream.grpc import GrpcServerConnection
from proxy.worker.downstream.grpc_stream import GrpcServerStream
from proxy.worker.pace import GRACE
from tests.worker.grpc.models import Client, GrpcModel, says
from tests.worker.grpc.raw import PLAIN, Raw
from tests.worker.rig import PATIENCE, Rig, eventually, rig

NO_WINDOW = Raw.frame(4, 0, 0, b"\0\4\0\0\0\0")
"""SETTINGS with an initial window of nothing."""
SHORT, LONG = 200_000, 900_000
"""Bytes of a message that the buffer takes, and of one that it does not."""


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


def slow(it: Rig) -> int:
    """Clients that were cut off."""
    return it.worker.context.refusals.codes.get(Reason.SLOW_CLIENT, 0)


@contextlib.asynccontextmanager
async def asked(
    it: Rig, *frames: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, GrpcServerStream]]:
    """A call by hand, of which these frames were sent, on a connection that leaves no room for an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.grpc_port)
    writer.write(Raw.PREFACE[:24] + NO_WINDOW + Raw.head(1) + b"".join(frames))
    await eventually(
        lambda: any(getattr(link, "http2", None) and link.http2.streams for link in it.worker.context.clients)
    )
    (link,) = it.worker.context.clients
    assert isinstance(link, GrpcServerConnection)
    caller = link.http2.streams[1].taker
    assert isinstance(caller, GrpcServerStream)
    yield reader, writer, caller
    writer.close()
    await eventually(lambda: not it.worker.context.clients)
    assert it.worker.context.buffered == 0
    await it.settled()


def window(size: int) -> bytes:
    return Raw.frame(8, 0, 0, size.to_bytes(4, "big")) + Raw.frame(8, 0, 1, size.to_bytes(4, "big"))


WHOLE = Raw.frame(0, 1, 1, message(b"x"))


@pytest.mark.parametrize("size", [SHORT, LONG])
async def test_what_is_not_read_is_held_as_far_as_the_buffer_goes(size: int) -> None:
    async with (
        rig(PLAIN, [GrpcModel(says(bytes(size)))], grpc=True) as it,
        asked(it, WHOLE) as (reader, writer, caller),
    ):
        await eventually(lambda: caller.blocked)
        context, pool = it.worker.context, it.worker.pools["m"]
        if size == SHORT:
            await eventually(lambda: pool.counts[1] == 0, "a model that has done its work")
            assert context.buffered == size + 5
        else:
            await eventually(lambda: context.buffered > context.limits.buffer)
            assert context.buffered < context.limits.buffer + 200_000
            assert pool.counts[1] == 1
        writer.write(window(size + 5))
        got = b""
        while b"grpc-status" not in got:
            got += await asyncio.wait_for(reader.read(1 << 20), PATIENCE)
        assert len(got) > size
        await eventually(lambda: context.buffered == 0)
        assert slow(it) == 0


async def test_who_reads_nothing_is_cut_off() -> None:
    async with rig(PLAIN, [GrpcModel(says(bytes(LONG)))], grpc=True) as it, asked(it, WHOLE) as (reader, _, caller):
        await eventually(lambda: caller.blocked)
        now = monotonic()
        link = caller.link
        assert link.check(now + GRACE / 2) <= now + GRACE / 2 + 1
        assert slow(it) == 0
        link.check(now + GRACE + 1)
        link.flush()
        assert slow(it) == 1
        await asyncio.wait_for(reader.readuntil(Raw.frame(3, 0, 1, b"\0\0\0\x08")), PATIENCE)
        assert not any(endpoint.failures for endpoint in it.worker.pools["m"].endpoints)


async def test_who_reads_enough_is_not_cut_off() -> None:
    async with rig(PLAIN, [GrpcModel(says(bytes(LONG)))], grpc=True) as it, asked(it, WHOLE) as (_, writer, caller):
        await eventually(lambda: caller.blocked)
        now = monotonic()
        for number in range(1, 11):
            waiting = caller._stream.waiting
            writer.write(window(10_000))
            await eventually(lambda waiting=waiting: caller._stream.waiting != waiting)  # type: ignore[misc]
            caller.link.check(now + 5 * number)
        assert slow(it) == 0


async def test_who_is_full_whatever_the_call_is_cut_off_whole() -> None:
    async with rig(PLAIN, [GrpcModel(says(bytes(SHORT)))], grpc=True) as it, asked(it, WHOLE) as (_, _, caller):
        await eventually(lambda: caller.blocked)
        link, now = caller.link, monotonic()
        link.pause_writing()
        link.check(now + GRACE - 1)
        assert slow(it) == 0
        link.resume_writing()
        link.check(now + GRACE + 1)
        assert slow(it) == 0, "the call's own time began when its connection took something again"
        link.pause_writing()
        link.check(now + 100)
        assert slow(it) == 1
        await eventually(lambda: link.closed)


async def answered(reader: asyncio.StreamReader) -> bytes:
    got = b""
    while b"x-understudy-error" not in got:
        piece = await asyncio.wait_for(reader.read(1 << 16), PATIENCE)
        assert piece
        got += piece
    return got


@pytest.mark.parametrize(
    ("seconds", "reason"), [(GRACE + 1, b"slow_client"), (GRACE - 1, b""), (61.0, b"request_timeout")]
)
async def test_a_message_that_does_not_come_is_not_waited_for(seconds: float, reason: bytes) -> None:
    half = Raw.frame(0, 0, 1, message(b"abcdef")[:8])
    async with rig(PLAIN, [GrpcModel()], grpc=True) as it, asked(it, half) as (reader, _, caller):
        await eventually(lambda: it.worker.context.buffered == 8)
        now = monotonic()
        if reason == b"request_timeout":  # though it keeps the rate
            assert caller._receiving is not None
            caller._receiving.moved(1 << 20, now + seconds)
        caller.link.check(now + seconds)
        caller.link.flush()
        if reason:
            got = await answered(reader)
            assert reason in got
            assert b"grpc-status\x014" in got
        assert slow(it) == (reason == b"slow_client")


async def test_a_stream_may_last_and_rest_between_its_messages() -> None:
    """Each message has its own time, whether the cuts fall between them or not."""
    one = message(b"x" * 100)
    async with (
        rig(PLAIN, [GrpcModel(says(b"y"))], grpc=True) as it,
        asked(it, Raw.frame(0, 0, 1, one + one[:50])) as it_is,
    ):
        _, writer, caller = it_is
        now = monotonic()
        for number in range(1, 20):
            seen = caller.messages.begun
            writer.write(Raw.frame(0, 0, 1, one[50:] + one[:50]))
            await eventually(lambda seen=seen: caller.messages.begun > seen)  # type: ignore[misc]
            receiving: Any = caller._receiving
            assert receiving._began > now, "when this message began"
            receiving._pace.begin(now + 9.0 * number)
            receiving._since = receiving._began = now + 9.0 * number
            caller.link.check(now + 9.0 * number)
        writer.write(Raw.frame(0, 0, 1, one[50:]))
        await eventually(lambda: caller.messages.whole)
        assert caller._receiving is None
        caller.link.check(now + GRACE + 20)
        assert slow(it) == 0
        assert caller.exchange is not None


async def test_in_all_too_slow_is_told_to_a_client_of_grpc() -> None:
    """As its own library reads it."""
    config = PLAIN.replace("timeouts: {", "timeouts: {body: 100ms, ")
    async with rig(config, [GrpcModel()], grpc=True) as it:
        with Client(it.grpc_port) as client:
            go = asyncio.Event()
            loop = asyncio.get_running_loop()

            def messages() -> Any:
                asyncio.run_coroutine_threadsafe(go.wait(), loop).result(PATIENCE)
                yield b"late"

            told = await asyncio.to_thread(client.read, client.stream(messages()))
            go.set()
        assert (told.code, told.found["x-understudy-error"]) == (grpc.StatusCode.DEADLINE_EXCEEDED, "request_timeout")
