"""Promise: an upgrade that the model takes up makes one pipe of two connections, for as long as somebody uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.pairs import link
from proxy.pairs.link import Frame
from tests.request.test_exchange import CANARY, SHADOW
from tests.worker.rig import PATIENCE, Call, Model, Rig, always, eventually, parsed, rig
from tests.worker.test_conformance import CONFIG

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
ASK = b"GET /infer HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: other, echo\r\n\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def shout(call: Call) -> None:
    """Take up the upgrade and send everything back in upper case; hang up when told to."""
    await call.send(SWITCH)
    while data := await call.reader.read(1 << 16):
        if data == b"bye":
            call.writer.close()
            return
        await call.send(data.upper())


@asynccontextmanager
async def tunnel(it: Rig, named: bytes = b"\r\nx-request-id: ") -> AsyncIterator[Ends]:
    reader, writer = await it.connect()
    writer.write(ASK)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nconnection: upgrade\r\nupgrade: echo\r\n" in head
    assert named in head
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_models_own_request_id_is_in_the_101() -> None:
    async def script(call: Call) -> None:
        await call.send(SWITCH[:-2] + b"X-Request-Id: req_1\r\n\r\n")

    model = Model(script)
    async with rig(CONFIG, (model,)) as it, tunnel(it, b"\r\nx-understudy-request-id: ") as _:
        pass


async def talk(ends: Ends, pieces: int, pause: float = 0.0) -> None:
    reader, writer = ends
    for number in range(pieces):
        writer.write(b"a%d" % number)
        assert await asyncio.wait_for(reader.readexactly(len(b"a%d" % number)), PATIENCE) == b"A%d" % number
        await asyncio.sleep(pause)


async def test_bytes_pass_both_ways_from_the_first_on() -> None:
    async def script(call: Call) -> None:
        assert call.headers["upgrade"] == "other, echo"
        assert call.headers["connection"] == "upgrade"
        await call.send(SWITCH + b"hi")
        while data := await call.reader.read(100):
            await call.send(data.upper())

    async with rig(CONFIG, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(ASK + b"early")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(7) == b"hiEARLY"
        await talk((reader, writer), 3)
        writer.close()
        await it.settled()
        await eventually(lambda: not it.worker.context.clients)


async def test_a_tunnel_in_use_outlives_the_idle_timeout() -> None:
    """300 ms here: neither the client's nor the model's connection is timed as one that waits for a request."""
    async with rig(CONFIG, (Model(shout),)) as it, tunnel(it) as ends:
        await talk(ends, 20, 0.05)


async def test_an_idle_tunnel_is_closed() -> None:
    model = Model(shout)
    async with rig(CONFIG, (model,)) as it, tunnel(it) as (reader, _):
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        await eventually(lambda: not model.open)
        await it.settled()


@pytest.mark.parametrize("side", ["client", "client resets", "model"])
async def test_when_one_side_ends_so_does_the_other(side: str) -> None:
    model = Model(shout)
    async with rig(CONFIG.replace("idle: 300ms", "idle: 30s"), (model,)) as it, tunnel(it) as (reader, writer):
        await talk((reader, writer), 1)
        if side == "model":
            writer.write(b"bye")
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        elif side == "client":
            writer.close()
        else:
            writer.transport.abort()
        await eventually(lambda: not model.open)
        await eventually(lambda: not it.worker.context.clients)
        await it.settled()


async def test_a_tunnel_is_left_to_end_by_itself_when_the_worker_drains() -> None:
    async with rig(CONFIG.replace("idle: 300ms", "idle: 30s"), (Model(shout),)) as it, tunnel(it) as ends:
        it.control.send(link.note(Frame.DRAIN, {"delay": 0.0}))
        await talk(ends, 30, 0.05)
        ends[1].close()
        await asyncio.wait_for(asyncio.shield(it.task), PATIENCE)


@pytest.mark.parametrize("weight", [0, CANARY])
async def test_a_tunnel_goes_to_live_and_makes_no_copy(weight: int) -> None:
    live, candidate = Model(shout), Model()
    async with rig(SHADOW, (live, candidate)) as it:
        await it.lane(weight=weight)
        async with tunnel(it) as ends:
            await talk(ends, 3)
        await it.settled()
        assert (len(live.calls), candidate.calls, it.trial.sampled) == (1, [], 0)


@pytest.mark.parametrize("slow", ["client", "model"])
async def test_who_does_not_read_holds_up_who_writes(slow: str) -> None:
    """Either way: what the worker holds of 64 MB stays small, and all of it arrives."""
    size, piece = 64 << 20, bytes(1 << 20)
    go, read = asyncio.Event(), 0

    async def script(call: Call) -> None:
        nonlocal read
        await call.send(SWITCH)
        if slow == "model":
            await go.wait()
            while read < size and (data := await call.reader.read(1 << 20)):
                read += len(data)
            await call.send(b".")
        else:
            for _ in range(size // len(piece)):
                await call.send(piece)
            await call.reader.read()

    async def push(writer: asyncio.StreamWriter) -> None:
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()

    async with rig(CONFIG.replace("idle: 300ms", "idle: 30s"), (Model(script),)) as it:
        pool = it.worker.pools["m"]
        async with tunnel(it) as (reader, writer):
            (client,), (connection,) = it.worker.context.clients, pool._all
            if slow == "client":
                await eventually(lambda: client.transport.get_write_buffer_size() > 0)
                await stands_still(lambda: client.transport.get_write_buffer_size())
                got = 0
                while got < size and (data := await asyncio.wait_for(reader.read(1 << 20), PATIENCE)):
                    got += len(data)
            else:
                upload = asyncio.create_task(push(writer))
                await eventually(lambda: connection.transport.get_write_buffer_size() > 0)
                await stands_still(lambda: connection.transport.get_write_buffer_size())
                go.set()
                assert await asyncio.wait_for(reader.readexactly(1), PATIENCE) == b"."
                await upload


async def stands_still(held) -> None:  # type: ignore[no-untyped-def]
    """What is held stays small while the writer goes on as long as it can."""
    before = -1
    while held() != before:
        before = held()
        assert before < 1 << 20
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "offered"),
    [
        (SWITCH, b"X: y"),
        (SWITCH.replace(b"Upgrade: echo\r\n", b""), b"Connection: upgrade\r\nUpgrade: echo"),
        (SWITCH.replace(b"echo", b"h2c"), b"Connection: upgrade\r\nUpgrade: echo, h2c"),
        (SWITCH.replace(b"echo", b"echo, h2c"), b"Connection: upgrade\r\nUpgrade: echo"),
        (SWITCH[:-2] + b"Upgrade: h2c\r\n\r\n", b"Connection: upgrade\r\nUpgrade: echo"),
    ],
    ids=["nobody asked", "to what it does not say", "to what was kept back", "to one more", "in another line"],
)
async def test_a_101_out_of_place_is_no_answer(answer: bytes, offered: bytes) -> None:
    async with rig(CONFIG, (Model(always(answer)),)) as it:
        status, headers, _ = parsed(await it.raw(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % offered, close=True))
        assert (status, headers["x-understudy-error"]) == (502, "bad_reply")
        await it.settled()


@pytest.mark.parametrize(("body", "protocol"), [(b"body", b"h2c"), (b"", b"h2c"), (b"body", b"websocket")])
async def test_an_offer_that_is_not_passed_on(body: bytes, protocol: bytes) -> None:
    """HTTP/2 would pass requests that nobody here could see; and with a body, nobody says where it ends."""
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        status, _, _ = await it.ask(
            body, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, b"HTTP2-Settings: x"
        )
        assert status == 200
        assert model.calls[0].body == body
        assert protocol not in model.calls[0].head
        assert b"http2-settings" not in model.calls[0].head.lower()


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        ((b"h2c", b"websocket"), b"websocket"),
        ((b"websocket", b"H2C"), b"websocket"),
        ((b"WebSocket,\t h2c ,x/1",), b"WebSocket, x/1"),
        ((b",h2c",), b""),
        ((b"HTTP/2.0, TLS/1.0, h2, h3, HTTP/1.1",), b""),
        ((b'"h2c", h2c;q=1, h2c h2c',), b""),
        ((b", ,",), b""),
    ],
)
async def test_http_is_offered_in_no_company(lines: tuple[bytes, ...], offered: bytes) -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        status, _, _ = await it.ask(b"", b"Connection: Upgrade", *(b"Upgrade: " + line for line in lines))
        assert status == 200
        assert model.calls[0].headers.get("upgrade", "").encode() == offered
        assert ("connection" in model.calls[0].headers) is bool(offered)
        assert model.calls[0].head.lower().count(b"\r\nupgrade:") == bool(offered)


async def test_an_offer_that_the_model_passes_over_is_a_request_like_any_other() -> None:
    """And what follows on the connection is read as requests again."""
    async with rig(CONFIG, (Model(),)) as it:
        got = await it.raw(ASK + ASK.replace(b"keep-alive, Upgrade", b"close") + b"junk")
        assert got.count(b"HTTP/1.1 200 OK") == 2
        assert b"junk" not in got
