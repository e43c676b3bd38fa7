"""Promise: a body that comes slowly takes no connection to its model before it is whole or longer than the buffer, what
it holds meanwhile is counted, and the model sees the same request as if it had come at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.request.test_exchange import SHADOW, pairs_of
from tests.worker.configs import for_worker
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.grpc.raw import PLAIN as CALLS
from tests.worker.grpc.raw import Raw
from tests.worker.rig import PATIENCE, Call, Model, Rig, eventually, ok, read_answer, rig
from tests.worker.test_cuts import BODIES, CUTS, PLAIN, SIZES, TOGETHER, Bench, message
from tests.worker.test_pool import ONE

HALF = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc"
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
OLD = b"POST / HTTP/1.0\r\nContent-Length: 6\r\n\r\nabc"
SMALL = ONE.replace("server: {", "server: {limits: {buffer: 8B}, ")


async def echo(call: Call) -> None:
    await call.send(ok(await call.read_body()))


async def slow(it: Rig, begun: bytes, number: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """So many clients that have sent no more than this, all of it read."""
    opened = [await it.connect() for _ in range(number)]
    for _, writer in opened:
        writer.write(begun)
    size = len(begun.partition(b"\r\n\r\n")[2])
    await eventually(lambda: it.worker.context.buffered == number * size, "all that they have sent")
    return opened


@pytest.mark.parametrize("half", [(HALF, b"def"), (CHUNKS, b"3\r\ndef\r\n0\r\n\r\n"), (OLD, b"def")])
async def test_slow_uploads_hold_no_connection_to_the_model(half: tuple[bytes, bytes]) -> None:
    """Ten of them, where two connections are allowed."""
    model = Model(echo)
    async with rig(ONE, (model,)) as it:
        opened = await slow(it, half[0], 10)
        assert model.connections == 0
        assert (await it.ask(b"quick"))[2] == b"quick"
        for reader, writer in opened[:5]:
            writer.write(half[1])
            body = (await read_answer(reader))[2]
            assert body in (b"abcdef", b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
        for _, writer in opened:
            writer.close()
        await eventually(lambda: not it.worker.context.clients)
        assert it.worker.context.buffered == 0
        await it.settled()


async def test_a_body_longer_than_the_buffer_goes_on_as_it_comes() -> None:
    seen = []

    async def script(call: Call) -> None:
        seen.append(await call.reader.readexactly(9))
        await call.send(ok(await call.reader.readexactly(3)))

    async with rig(SMALL, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n12345678")
        await eventually(lambda: it.worker.context.buffered == 8)
        writer.write(b"9")
        await eventually(lambda: seen == [b"123456789"], "what is more than the buffer")
        assert it.worker.context.buffered == 0
        writer.write(b"abc")
        assert (await read_answer(reader))[2] == b"abc"
        writer.close()


async def test_without_memory_a_body_goes_on_as_it_comes() -> None:
    config = ONE.replace("server: {", "server: {limits: {max_memory: 5B}, ")
    model = Model(echo)
    async with rig(config, (model,)) as it:
        _, first = await it.connect()
        first.write(HALF)
        await eventually(lambda: it.worker.context.buffered == 3)
        reader, second = await it.connect()
        second.write(HALF)
        await eventually(lambda: model.calls, "there is room for three bytes more, not for six")
        assert it.worker.context.buffered == 3
        second.write(b"def")
        assert (await read_answer(reader))[2] == b"abcdef"
        first.close()
        second.close()
        await eventually(lambda: not it.worker.context.buffered)


@pytest.mark.parametrize("length", [6, 9])
async def test_a_body_kept_back_for_100_is_asked_for_unless_it_is_long(length: int) -> None:
    """Whether a long one is wanted is for the model to say."""
    model = Model(echo)
    async with rig(SMALL, (model,)) as it:
        reader, writer = await it.connect()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length
        writer.write(head)
        if length == 6:
            assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert not model.calls
        else:
            await eventually(lambda: model.calls)
        writer.write(bytes(length))
        assert (await read_answer(reader))[2] == bytes(length)
        assert ("expect" in model.calls[0].headers) is (length == 9)
        writer.close()


async def test_a_sampled_upload_in_pieces_becomes_a_pair() -> None:
    async with rig(SHADOW, (Model(echo), Model(echo))) as it:
        await it.lane()
        reader, writer = await it.connect()
        writer.write(HALF.replace(b"/", b"/infer", 1))
        await eventually(lambda: it.worker.context.buffered == 3)
        writer.write(b"def")
        assert (await read_answer(reader))[2] == b"abcdef"
        (pair,) = await pairs_of(it, 1)
        assert (pair.request_body, pair.live.body, pair.candidate.body) == (b"abcdef",) * 3
        writer.close()


@settings(max_examples=60, deadline=None)
@given(BODIES, SIZES, st.booleans(), CUTS, TOGETHER, st.integers(0, 400), st.integers(0, 400))
def test_what_the_model_and_the_client_get_does_not_depend_on_the_buffer(
    body: bytes, sizes: list[int], chunked: bool, cuts: list[int], together: int, buffer: int, memory: int
) -> None:
    request = message(b"POST /x HTTP/1.1\r\nHost: a\r\n", body, sizes, chunked)
    config = for_worker(f"server: {{limits: {{buffer: {buffer}B, max_memory: {memory}B}}}}\n{PLAIN}")
    bench = Bench(together, config)
    said = bench.feed(request, ok(b"yes", b"Date: now"), cuts, [])
    assert said == Bench().feed(request, ok(b"yes", b"Date: now"), [], [])
    assert bench.client.context.buffered == 0


# --- gRPC ---


def message_of(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


async def half_a_message(it: Rig) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", it.grpc_port)
    writer.write(Raw.PREFACE + Raw.head(1) + Raw.frame(0, 0, 1, message_of(b"abcdef")[:8]))
    await eventually(lambda: it.worker.context.buffered == 8, "all of it")
    return writer


async def test_half_a_message_holds_no_call_to_the_model() -> None:
    model = GrpcModel()
    async with rig(CALLS, (model,), grpc=True) as it:
        writer = await half_a_message(it)
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"quick")).answer == b"quick"
        assert [call.messages for call in model.calls] == [[b"quick"]]
        writer.write(Raw.frame(0, 1, 1, message_of(b"abcdef")[8:]))
        await eventually(lambda: [call.messages for call in model.calls] == [[b"quick"], [b"abcdef"]])
        assert it.worker.context.buffered == 0
        writer.close()


async def test_streams_are_not_waited_for() -> None:
    """Neither a call whose server speaks first, nor one that waits for an answer to its first message."""
    model = GrpcModel()
    async with rig(CALLS, (model,), grpc=True) as it:
        with Client(it.grpc_port) as client:
            go = asyncio.Event()
            loop = asyncio.get_running_loop()

            def messages() -> Any:
                yield b"one"
                asyncio.run_coroutine_threadsafe(go.wait(), loop).result(PATIENCE)
                yield b"two"

            call = client.stream(messages())
            assert await asyncio.to_thread(next, call) == b"one"
            go.set()
            assert await asyncio.to_thread(next, call) == b"two"
        _, writer = await asyncio.open_connection("127.0.0.1", it.grpc_port)
        writer.write(Raw.PREFACE + Raw.head(1))
        await eventually(lambda: len(model.calls) == 2, "a head alone")
        writer.close()


async def test_a_client_that_leaves_gives_back_what_it_held() -> None:
    async with rig(CALLS, (GrpcModel(),), grpc=True) as it:
        writer = await half_a_message(it)
        writer.close()
        await eventually(lambda: not it.worker.context.buffered)
