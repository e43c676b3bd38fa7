"""Promise: a connection to a gRPC server that ends, at whatever moment, costs no call that the server has not begun,
and a server that takes no calls is told from one that does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from proxy.config.server import Health
from proxy.model.reasons import Reason
from proxy.worker.upstream.endpoint import EJECT_AFTER_TIMEOUTS, UNHEALTHY_AFTER
from tests.ports import free_port
from tests.worker.configs import for_worker
from tests.worker.grpc.models import Client, GrpcModel, hangs
from tests.worker.grpc.raw import PLAIN, Raw
from tests.worker.rig import Rig, eventually, rig
from tests.worker.test_books import Bench

GOAWAY = Raw.frame(7, 0, 0, bytes(8))
"""No stream was taken."""
HEADERS_OF_A_CALL = b"te\x08trailers"
ANSWER = [
    (1, 4, b"\x88\0\x0ccontent-type\x10application/grpc"),
    (0, 0, b"\0\0\0\0\1y"),
    (1, 5, b"\0\x0bgrpc-status\x010"),
]


class Links:
    """A server by hand: `script` gets each connection, counted from 0, once SETTINGS were exchanged."""

    def __init__(self, script: Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.script, self.made, self.port = script, 0, 0

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.port = free_port()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.made = self.made, self.made + 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"SM\r\n\r\n")
            writer.write(Raw.SETTINGS)
            await self.script(number, reader, writer)
        writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: int = 1) -> None:
    await reader.readuntil(HEADERS_OF_A_CALL)
    writer.write(b"".join(Raw.frame(kind, flags, stream, payload) for kind, flags, payload in ANSWER))
    await writer.drain()


@contextlib.asynccontextmanager
async def links(script: Callable[..., Awaitable[None]], config: str = PLAIN) -> AsyncIterator[tuple[Rig, Links]]:
    model = Links(script)
    async with rig(config, [model], grpc=True) as it:
        yield it, model
        await it.settled()


async def test_a_server_that_takes_no_calls_is_not_dialled_again_and_again() -> None:
    """Its GOAWAY comes with its SETTINGS."""

    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GOAWAY)
        await writer.drain()

    async with links(script) as (it, model):
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x")
        assert (told.code, told.found["x-understudy-error"]) == (grpc.StatusCode.UNAVAILABLE, "disconnect")
        assert model.made == 1


async def test_a_call_that_the_server_has_not_taken_goes_again() -> None:
    """A server that closes an idle connection (`max_connection_idle`, a load balancer) just as a call is under way to
    it names the last one that it took (RFC 9113, 6.8); whatever the call, it was not begun."""

    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        if number == 0:
            await reader.readuntil(HEADERS_OF_A_CALL)
            writer.write(Raw.frame(7, 0, 0, b"\0\0\0\1" + bytes(4)))
            await writer.drain()
        else:
            await reader.read()

    async with links(script) as (it, model):
        with Client(it.grpc_port) as client:
            for _ in range(2):
                assert (await client.ask(b"x")).answer == b"y"
        assert model.made == 2


async def test_a_call_that_the_server_refuses_goes_again_once() -> None:
    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for stream in (1, 3, 5):
            await reader.readuntil(HEADERS_OF_A_CALL)
            writer.write(Raw.frame(3, 0, stream, b"\0\0\0\7"))

    async with links(script) as (it, model):
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x")
        assert (told.code, told.found["x-understudy-error"]) == (grpc.StatusCode.UNAVAILABLE, "disconnect")
        assert model.made == 1


@pytest.mark.parametrize("refusal", [Raw.frame(3, 0, 1, b"\0\0\0\7"), GOAWAY])
async def test_an_answer_that_has_begun_is_not_followed_by_another_one(refusal: bytes) -> None:
    """Whatever its server says then: refused is what was not begun."""

    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if number:
            await answer(reader, writer)
            return
        await reader.readuntil(HEADERS_OF_A_CALL)
        writer.write(b"".join(Raw.frame(kind, flags, 1, payload) for kind, flags, payload in ANSWER[:2]) + refusal)
        await reader.read()

    async with links(script) as (it, model):
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x")
        assert (told.code, told.found["x-understudy-error"]) == (grpc.StatusCode.UNAVAILABLE, "disconnect")
        assert model.made == 1


async def test_a_call_that_may_have_been_begun_does_not_go_again() -> None:
    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        await reader.readuntil(HEADERS_OF_A_CALL)

    async with links(script) as (it, model):
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x")).answer == b"y"
            told = await client.ask(b"x")
        assert (told.code, told.found["x-understudy-error"]) == (grpc.StatusCode.UNAVAILABLE, "disconnect")
        assert model.made == 1


async def test_a_stream_of_which_the_server_has_taken_nothing_goes_again() -> None:
    """Its head went out alone; what follows goes where it was taken."""

    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if number == 0:
            await reader.readuntil(HEADERS_OF_A_CALL)
            writer.write(GOAWAY)
            await writer.drain()
        else:
            await answer(reader, writer)
            await reader.read()

    async with links(script) as (it, model):
        with Client(it.grpc_port) as client:
            going = asyncio.Event()
            loop = asyncio.get_running_loop()

            def messages():  # type: ignore[no-untyped-def]
                asyncio.run_coroutine_threadsafe(going.wait(), loop).result()
                yield b"x"

            call = client.stream(messages())
            await eventually(lambda: model.made == 2)
            going.set()
            assert (await asyncio.to_thread(client.read, call)).answer == b"y"


async def test_a_call_goes_on_though_its_upstream_has_left_the_file() -> None:
    """It waits for a connection while a reload puts another upstream in the place of its own."""
    dialled, go = asyncio.Event(), asyncio.Event()

    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        await reader.read()

    class Late(Links):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            dialled.set()
            await go.wait()
            await super()._serve(reader, writer)

    model, other = Late(script), GrpcModel()
    async with rig(PLAIN, [model, other], grpc=True) as it:
        with Client(it.grpc_port) as client:
            call = asyncio.create_task(client.ask(b"x"))
            await dialled.wait()
            old = it.worker.pools["m"]
            it.worker.configure(for_worker(PLAIN.replace("{0}", other.url)))
            go.set()
            assert (await call).answer == b"y"
            assert (await client.ask(b"z")).answer == b"z"
        await eventually(lambda: old.open == 0, "the connection of the old pool is closed")
        await it.settled()


async def test_a_url_that_accepts_calls_and_hangs_is_ejected() -> None:
    models = [GrpcModel(hangs), GrpcModel()]
    config = PLAIN.replace('url: "{0}", timeout: 2s', 'urls: ["{0}", "{1}"], timeout: 300ms')
    async with rig(config, models, grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = [await client.ask(b"x") for _ in range(30)]
        late = sum(one.code is grpc.StatusCode.DEADLINE_EXCEEDED for one in told)
        assert late == EJECT_AFTER_TIMEOUTS
        assert [one.answer for one in told if one.code is grpc.StatusCode.OK] == [b"x"] * (30 - late)


async def test_a_connection_without_calls_is_closed_after_idle_timeout() -> None:
    model = GrpcModel()
    async with rig(PLAIN.replace("timeout: 2s", "timeout: 2s, idle_timeout: 100ms"), [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            for _ in range(2):
                assert (await client.ask(b"x")).answer == b"x"
                await eventually(lambda: it.worker.pools["m"].open == 0)


async def test_health_checks_do_not_make_up_for_calls_that_hang() -> None:
    model = GrpcModel()
    config = PLAIN.replace("timeout: 2s", "timeout: 2s, health: {path: /a.b/C, interval: 20ms}")
    async with rig(config, [model], grpc=True) as it:
        endpoint = it.worker.pools["m"].endpoints[0]
        endpoint.timed_out()
        before = len(model.calls)
        await eventually(lambda: len(model.calls) > before + 2)
        assert endpoint.timeouts == 1
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x")).answer == b"x"
        assert endpoint.timeouts == 0


async def test_a_connection_that_is_not_needed_makes_room_for_no_other_but_is_used() -> None:
    """With as many connections as allowed to one URL, a call that was meant for another goes there."""
    config = PLAIN.replace('url: "{0}"', 'urls: ["{0}", "{1}"], max_connections: 1')
    models = [GrpcModel(), GrpcModel()]
    async with rig(config, models, grpc=True) as it:
        with Client(it.grpc_port) as client:
            for _ in range(8):
                assert (await client.ask(b"x")).answer == b"x"
        assert it.worker.pools["m"].open == 1


async def test_a_check_of_health_that_was_not_sent_says_nothing() -> None:
    """There was no connection for it: the calls have them all."""
    pool = Bench(grpc=True, urls=1).pool
    (endpoint,) = pool.endpoints
    for reason, healthy in ((Reason.POOL_FULL, True), (Reason.TIMEOUT, False)):
        for _ in range(UNHEALTHY_AFTER):
            pool.new_probe(endpoint, Health(path="/grpc.health.v1.Health/Check")).refused(reason)
        assert endpoint.healthy is healthy
