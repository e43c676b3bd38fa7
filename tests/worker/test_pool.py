"""Promise: few connections, reused, bounded, only to URLs that work; whatever hangs or leaves, books return to 0."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from proxy.request.legs import Leg
from proxy.worker.upstream.endpoint import Endpoint
from proxy.worker.upstream.pool import MAX_WAITING
from tests.ports import swallows
from tests.request.test_exchange import SHADOW
from tests.worker.rig import Call, Model, eventually, hang, ok, resets, rig

ONE = """
server: {listen: '127.0.0.1:0'}
upstreams: {m: {url: '{0}', timeout: 2s, connect_timeout: 300ms, max_connections: 2}}
routes: [{name: all, live: m}]
"""
TWO = """
server: {listen: '127.0.0.1:0'}
upstreams: {m: {urls: ['{0}', '{1}'], timeout: 300ms}}
routes: [{name: all, live: m}]
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_connections_are_reused() -> None:
    model = Model()
    async with rig(ONE, (model,)) as it:
        for _ in range(5):
            assert (await it.ask())[0] == 200
        assert model.connections == 1


async def test_bounded_and_waits_in_a_timed_queue() -> None:
    model = Model(hang)
    async with rig(ONE, (model,)) as it:
        asked = [asyncio.create_task(it.ask()) for _ in range(4)]
        await eventually(lambda: it.worker.pools["m"].counts == (0, 2, 2))
        answers = sorted(status for status, _, _ in await asyncio.gather(*asked))
        assert answers == [503, 503, 504, 504]
        assert model.connections == 2
        await it.settled()


async def test_waiting_leg_gets_the_next_free_connection() -> None:
    go = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await go.wait()
        await call.send(ok())

    async with rig(ONE, (Model(script),)) as it:
        asked = [asyncio.create_task(it.ask()) for _ in range(4)]
        await eventually(lambda: it.worker.pools["m"].counts[2] == 2)
        go.set()
        assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 4
        await it.settled()


async def test_waiting_leg_gets_the_place_of_a_connection_that_ended() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        await eventually(lambda: len(model.calls) == 4 or it.worker.pools["m"].counts[2] == 2)
        await call.send(ok(b"", b"Connection: close"))

    model = Model(script)
    async with rig(ONE, (model,)) as it:
        answers = await asyncio.gather(*(it.ask() for _ in range(4)))
        assert [status for status, _, _ in answers] == [200] * 4
        assert model.connections == 4
        await it.settled()


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that does not even accept: its backlog is full, and what comes is dropped."""
    with swallows("127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def test_a_server_that_does_not_accept_is_given_up(silent: str) -> None:
    async with rig(ONE.replace("{0}", silent)) as it:
        status, headers, _ = await it.ask()
        assert (status, headers["x-understudy-error"]) == (504, "connect_timeout")
        await it.settled()


async def test_a_client_that_leaves_the_queue_is_not_served() -> None:
    model = Model(hang)
    async with rig(
        ONE.replace("timeout: 2s, connect_timeout: 300ms", "timeout: 60s, connect_timeout: 60s"), (model,)
    ) as it:
        pool = it.worker.pools["m"]
        ends = [await it.connect() for _ in range(3)]
        for _, writer in ends:
            writer.write(GET)
        await eventually(lambda: pool.counts == (0, 2, 1))
        resets(ends[2][1])
        ends[2][1].close()
        await eventually(lambda: pool.counts == (0, 2, 0))
        for _, writer in ends:
            writer.close()
        await it.settled()
        assert len(model.calls) == 2


async def test_a_client_that_leaves_ends_the_attempt_to_connect(silent: str) -> None:
    async with rig(ONE.replace("{0}", silent).replace("300ms", "60s")) as it:
        _, writer = await it.connect()
        writer.write(GET)
        await eventually(lambda: it.worker.pools["m"].counts[1] == 1)
        writer.close()
        await it.settled()
        assert it.worker.pools["m"].endpoints[0].busy == 0


@pytest.fixture
def closes() -> Iterator[str]:
    """The URL of a server that accepts and closes at once: one that drains, or a port published before its program
    listens. In a thread, so that the end falls anywhere."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


async def test_a_server_that_closes_at_once_is_told_at_once_and_leaks_nothing(closes: str) -> None:
    async with rig(ONE.replace("{0}", closes).replace("timeout: 2s", "timeout: 60s")) as it:
        for _ in range(20):
            for status, headers, _ in await asyncio.gather(*(it.ask() for _ in range(2))):
                assert (status, headers["x-understudy-error"]) == (502, "disconnect")
        await it.settled()
        assert it.worker.pools["m"].open == 0


async def test_a_candidate_that_closes_at_once_keeps_no_budget(closes: str) -> None:
    """Its copies end, each of them, and what they held of `max_in_flight` and memory is free again."""
    model = Model()
    async with rig(SHADOW.replace("{1}", closes), (model,)) as it:
        await it.lane()
        for _ in range(20):
            assert {status for status, _, _ in await asyncio.gather(*(it.ask() for _ in range(5)))} == {200}
        await it.settled()
        assert it.trial.sent + it.trial.shed == it.trial.sampled == 100
        assert it.worker.pools["v2"].open == 0


async def test_a_name_that_cannot_be_one_is_an_answer_too() -> None:
    async with rig(ONE.replace("{0}", "http://a..b:80")) as it:
        status, headers, _ = await it.ask()
        assert (status, headers["x-understudy-error"]) == (502, "connect")
        await it.settled()


async def test_the_queue_is_bounded() -> None:
    """In number as in time: one more is refused at once."""
    model = Model(hang)
    async with rig(ONE.replace("timeout: 2s, connect_timeout: 300ms", "timeout: 20s"), (model,)) as it:
        pool = it.worker.pools["m"]
        ends = [await it.connect() for _ in range(2)]
        for _, writer in ends:
            writer.write(GET)
        await eventually(lambda: pool.counts[1] == 2)
        pool._waiting = {Leg(pool, 1.0): monotonic() for _ in range(MAX_WAITING)}
        status, headers, _ = await it.ask()
        assert (status, headers["x-understudy-error"]) == (503, "pool_full")
        pool._waiting = {}
        for _, writer in ends:
            writer.close()
        await it.settled()


async def test_idle_connections_are_closed_before_the_model_does_it() -> None:
    model = Model()
    async with rig(ONE, (model,)) as it:
        await it.ask()
        connection = next(iter(it.worker.pools["m"].endpoints[0].idle))
        connection._since -= 10.0
        await eventually(lambda: it.worker.pools["m"].open == 0)
        await eventually(lambda: model.open == 0)


async def test_refused_connection_goes_to_another_url() -> None:
    dead, good = Model(), Model()
    async with rig(TWO, (dead, good)) as it:
        await dead.stop()
        answers = [(await it.ask())[0] for _ in range(10)]
        assert answers == [200] * 10


async def test_the_less_busy_of_two_urls_is_asked() -> None:
    models = Model(), Model()
    async with rig(TWO, models) as it:
        for busy, model in zip(it.worker.pools["m"].endpoints, reversed(models), strict=True):
            before = len(model.calls)
            busy.busy += 5
            for _ in range(8):
                assert (await it.ask())[0] == 200
            busy.busy -= 5
            assert len(model.calls) == before + 8


def test_one_failed_check_is_none_and_one_that_succeeds_is_enough() -> None:
    endpoint = Endpoint("http://a:1")
    for good, healthy in ((False, True), (False, False), (False, False), (True, True), (False, True)):
        endpoint.was_checked(good)
        assert endpoint.healthy is healthy


async def test_active_health_checks() -> None:
    sick, well = Model(), Model()
    healthy = True

    async def script(call: Call) -> None:
        await call.read_body()
        check = call.head.startswith(b"GET /health ")
        await call.send(ok(status=b"503 No" if check and not healthy else b"200 OK"))

    sick.script = script
    config = TWO.replace("timeout: 300ms", "timeout: 300ms, health: {path: /health, interval: 50ms}")
    async with rig(config, (sick, well)) as it:
        endpoint = it.worker.pools["m"].endpoints[0]
        await eventually(lambda: sick.calls)
        healthy = False
        await eventually(lambda: not endpoint.healthy)
        asked = sum(b"/infer" in call.head for call in sick.calls)
        for _ in range(10):
            assert (await it.ask())[0] == 200
        assert sum(b"/infer" in call.head for call in sick.calls) == asked
        healthy = True
        await eventually(lambda: endpoint.healthy)
