"""Promise: whoever does not read holds up whoever writes, and what the worker holds meanwhile stays small."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from proxy.http.local_replies import error
from proxy.model.reasons import Reason
from tests.request.test_exchange import LIVE, SHADOW
from tests.worker.rig import PATIENCE, Call, Model, Rig, always, eventually, ok, rig
from tests.worker.test_cuts import Bench
from tests.worker.test_pool import GET, ONE

DATE = b"date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"
LITTLE = 1 << 20
"""Bytes: what one read may bring, a few times over, and far less than what is sent."""


async def stands_still(it: Rig) -> int:
    """Wait until the only client's answers wait for it and no more come; what is held then."""
    (client,) = it.worker.context.clients
    await eventually(lambda: client.blocked, "a client that is full")
    held = -1
    while held != client.transport.get_write_buffer_size():
        held = client.transport.get_write_buffer_size()
        await asyncio.sleep(0.1)
    return held


async def read_all(reader: asyncio.StreamReader, size: int) -> int:
    got = 0
    while got < size:
        data = await asyncio.wait_for(reader.read(1 << 20), PATIENCE)
        assert data
        got += len(data)
    return got


@pytest.mark.parametrize("path", [b"/infer", b"/-/other"])
async def test_pipelined_requests_wait_while_their_answers_are_not_read(path: bytes) -> None:
    """Each asks for much with few bytes: a client that never reads could have filled the memory."""
    answer = ok(bytes(200_000)) if path == b"/infer" else error(Reason.NO_ROUTE, b"", True, False, DATE)
    model = Model(always(answer))
    one = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path
    number = 300 if path == b"/infer" else 40_000
    async with rig(ONE, (model,)) as it:
        reader, writer = await it.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(one * number)
        assert await stands_still(it) < LITTLE
        (client,) = it.worker.context.clients
        assert len(client._ahead) < LITTLE
        asked = len(model.calls)
        assert asked < number
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await read_all(reader, number * len(answer)) >= number * len(answer)
        assert len(model.calls) in (0, number)
        writer.close()


def test_a_client_that_is_full_gets_one_answer_and_then_no_other_until_there_is_room() -> None:
    """However many requests have come with the first."""
    bench = Bench()
    wire = bench.client.transport
    write, asked = wire.write, b"GET /-/healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    def full(data: bytes) -> None:
        write(data)
        bench.client.pause_writing()

    wire.write = full  # type: ignore[method-assign]
    bench.client.data_received(asked * 3)
    for answers in (1, 2, 3):
        assert wire.out.count(b"HTTP/1.1 200") == answers  # type: ignore[attr-defined]
        assert not bench.client._reading
        bench.client.resume_writing()
    assert bench.client._reading


def test_a_client_that_is_full_when_its_answer_is_written_is_not_read() -> None:
    """An answer leaves at the end of a turn, when nothing is in hand any more."""
    bench = Bench()
    bench.feed(GET, ok(), [], [])
    bench.client.pause_writing()
    assert not bench.client._reading


async def test_an_answer_that_begins_behind_one_that_is_not_read_is_held_back_too() -> None:
    """The last answer that fits fills the client when the next request is under way already; the transport says "full"
    once."""
    full: list[Call] = []

    async def script(call: Call) -> None:
        await call.read_body()
        (client,) = it.worker.context.clients
        if full or not client.blocked:
            await call.send(ok(bytes(100_000)))
        else:
            full.append(call)
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
            for _ in range(64):
                await call.send(bytes(1 << 20))

    async with rig(ONE, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET * 300)
        await eventually(lambda: full, "an answer behind one that is not read")
        assert await stands_still(it) < LITTLE
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await read_all(reader, (64 << 20) + 299 * 100_000)
        writer.close()


async def test_an_answer_given_up_for_want_of_memory_holds_the_model_back_from_there_on() -> None:
    """A slow client does not hold up an answer that is kept for a pair; one that no pair needs any more it does."""
    kept = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20) + bytes(16 << 20))
        await kept.wait()
        for _ in range(48):
            await call.send(bytes(1 << 20))

    mirror = "latency_block: 0s\n        mirror: {max_memory: 512MB, max_body: 128MB}"
    async with rig(SHADOW.replace("latency_block: 0s", mirror), (Model(script), Model(always(LIVE)))) as it:
        await it.lane()
        reader, writer = await it.connect()
        writer.write(GET.replace(b"/", b"/infer", 1))
        await eventually(lambda: it.trial.memory == 16 << 20, "a quarter of it, kept")
        (client,) = it.worker.context.clients
        assert client.blocked
        it.trial.memory += 512 << 20  # other pairs take it all
        kept.set()
        assert await stands_still(it) < (16 << 20) + LITTLE
        it.trial.memory -= 512 << 20
        await read_all(reader, 64 << 20)
        assert it.trial.shed == 1
        writer.close()


async def test_a_slow_client_is_not_the_models_fault() -> None:
    """It takes longer than the model may, and gets all of it."""
    async with rig(ONE, (Model(always(ok(bytes(32 << 20)))),)) as it:
        reader, writer = await it.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET)
        await stands_still(it)
        (connection,) = it.worker.pools["m"]._all
        for _ in range(3):
            connection._since -= 3.0
            await stands_still(it)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await read_all(reader, 32 << 20)
        writer.close()


async def test_slow_client_stops_the_model() -> None:
    """A client that does not read its 64 MB: what the worker holds stays small."""
    sent = 0

    async def script(call: Call) -> None:
        nonlocal sent
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            await call.send(b"x" * (1 << 20))
            sent += 1

    async with rig(ONE, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(GET)
        await eventually(lambda: any(client.blocked for client in it.worker.context.clients))
        client = next(iter(it.worker.context.clients))
        held = client.transport.get_write_buffer_size()
        assert held < 1 << 20
        await read_all(reader, 64 << 20)
        assert sent == 64
        writer.close()


async def test_slow_model_stops_the_client() -> None:
    """A model that does not read a 64 MB upload: what the worker holds stays small."""
    go = asyncio.Event()

    async def script(call: Call) -> None:
        await go.wait()
        await call.read_body()
        await call.send(ok())

    config = ONE.replace("server: {", "server: {limits: {max_body: 100MB}, ")
    async with rig(config, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        upload = asyncio.create_task(push(writer))
        await eventually(lambda: it.worker.pools["m"]._all, "a connection")
        await eventually(lambda: any(not client._reading for client in it.worker.context.clients))
        connection = next(iter(it.worker.pools["m"]._all))
        assert connection.transport.get_write_buffer_size() < 1 << 20
        go.set()
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE)).startswith(b"HTTP/1.1 200")
        await upload
        writer.close()


async def test_a_slow_upload_is_not_the_models_fault() -> None:
    """The client takes longer than the model may, between two pieces of its own."""
    model = Model()
    async with rig(ONE, (model,)) as it:
        it.streams()
        reader, writer = await it.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\na")
        await eventually(lambda: model.calls)
        (connection,) = it.worker.pools["m"]._all
        for _ in range(3):
            connection._since -= 3.0
            assert connection.check(monotonic()) > 0.0
        writer.write(b"b")
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def push(writer: asyncio.StreamWriter) -> None:
    for _ in range(64):
        writer.write(b"x" * (1 << 20))
        await writer.drain()
