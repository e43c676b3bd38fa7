"""Promise: few connections, reused, bounded, only to URLs that work; whatever hangs or leaves, books return to 0."""

from __future__ import annotations

import asyncio

import pytest

from proxy.plane.pool import EJECT_AFTER, Endpoint, Pool
from proxy.plane.upstream import Connection
from tests.plane.rig import Call, Model, always, eventually, hang, ok, rig
from tests.plane.test_cuts import Bench, Wire

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


async def test_idle_connections_are_closed_before_the_model_does_it() -> None:
    model = Model()
    async with rig(ONE, (model,)) as it:
        await it.ask()
        connection = next(iter(it.worker.pools["m"].endpoints[0].idle))
        connection._since -= 10.0
        await eventually(lambda: it.worker.pools["m"].open == 0)
        await eventually(lambda: model.open == 0)


@pytest.mark.parametrize(("method", "status"), [(b"GET", 200), (b"POST", 502)])
async def test_stale_connection_is_retried_only_when_safe(method: bytes, status: int) -> None:
    """The model takes the second request of a connection and closes without a byte."""
    seen = []

    async def script(call: Call) -> None:
        await call.read_body()
        seen.append(call.writer)
        if len(seen) == 2:
            raise ConnectionError
        await call.send(ok())

    model = Model(script)
    async with rig(ONE, (model,)) as it:
        assert (await it.ask())[0] == 200
        assert (await it.ask(method=method))[0] == status
        assert model.connections == (2 if status == 200 else 1)
        await it.settled()


STALE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"


def stale(end: str, used: bool) -> tuple[Bench, Pool]:
    """A POST is about to be written when, in the same turn, the model says something or ends the connection."""
    bench = Bench()
    bench.model._used = used
    bench.client.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
    wire = bench.model.transport
    if end == "speaks":
        bench.model.data_received(STALE)
    else:
        assert not bench.model.eof_received()
        wire.close()
        bench.model.connection_lost(None)
    bench.loop.turn()
    assert wire.out == b""  # type: ignore[attr-defined]
    return bench, bench.model.pool


@pytest.mark.parametrize("end", ["speaks", "ends"])
def test_a_request_of_which_nothing_was_written_goes_again_whatever_its_method(end: str) -> None:
    bench, pool = stale(end, used=True)
    assert bench.client.transport.out == b""  # type: ignore[attr-defined]
    (leg,) = pool._waiting  # `Bench` has no other connection; here is one
    pool._waiting.clear()
    other = Connection(pool, pool.endpoints[0])
    other.connection_made(Wire(other))  # type: ignore[arg-type]
    other.start(leg)
    bench.loop.turn()
    assert other.transport.out.endswith(b"\r\n\r\nab")  # type: ignore[attr-defined]
    other.data_received(ok(b"fresh"))
    bench.loop.turn()
    assert bench.client.transport.out.endswith(b"fresh")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("end", "reason"), [("speaks", b"bad_reply"), ("ends", b"disconnect")])
def test_what_a_new_connection_says_before_it_is_asked_is_no_answer(end: str, reason: bytes) -> None:
    """And a model that ends every connection at once is not dialled for ever."""
    bench, pool = stale(end, used=False)
    assert b"x-understudy-error: " + reason in bench.client.transport.out  # type: ignore[attr-defined]
    assert not pool._waiting


def test_a_request_that_goes_on_while_its_connection_ends_is_not_sent_again() -> None:
    """Its next piece is not at hand any more."""
    bench = Bench()
    bench.model._used = True
    bench.client.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    bench.model.transport.close()
    bench.model.transport.write = lambda data: None  # type: ignore[method-assign, assignment]  # as one does that is lost
    bench.client.data_received(b"cd")
    bench.model.connection_lost(None)
    bench.loop.turn()
    assert b"x-understudy-error: disconnect" in bench.client.transport.out  # type: ignore[attr-defined]


async def test_refused_connection_goes_to_another_url() -> None:
    dead, good = Model(), Model()
    async with rig(TWO, (dead, good)) as it:
        await dead.stop()
        answers = [(await it.ask())[0] for _ in range(10)]
        assert answers == [200] * 10


async def test_failing_url_is_ejected_and_returns() -> None:
    bad, good = Model(always(b"garbage\r\n\r\n")), Model()
    async with rig(TWO, (bad, good)) as it:
        while len(bad.calls) < EJECT_AFTER:
            await it.ask()
        before = len(bad.calls)
        assert [(await it.ask())[0] for _ in range(10)] == [200] * 10
        assert len(bad.calls) == before
        bad.script = bad.answer
        it.worker.pools["m"].endpoints[0]._out_until = 0.0
        await eventually_asked(it, bad, before)
        assert (await it.ask())[0] == 200


async def eventually_asked(it, model: Model, before: int) -> None:  # type: ignore[no-untyped-def]
    for _ in range(100):
        await it.ask()
        if len(model.calls) > before:
            return
    raise AssertionError("the URL never returned")


def test_ejection_grows_and_one_failure_is_enough_on_return() -> None:
    endpoint = Endpoint("http://a:1")
    for _ in range(EJECT_AFTER - 1):
        endpoint.failed()
    assert endpoint.usable(1e12 - 1)
    endpoint.failed()
    first = endpoint._out_until
    endpoint.failed()
    assert endpoint._out_until > first + 0.5
    for _ in range(3000):  # a URL that is dead for hours
        endpoint.failed()
    endpoint.succeeded()
    endpoint.failed()
    assert endpoint.failures == 1


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


HANG_AT = {
    "before reading": b"",
    "in the head": b"HTTP/1.1 200 OK\r\nCont",
    "after the head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("where", HANG_AT)
@pytest.mark.parametrize("reset", [False, True])
async def test_client_that_leaves_cancels_the_model(where: str, reset: bool) -> None:
    async def script(call: Call) -> None:
        await call.send(HANG_AT[where])
        await call.reader.read()

    model = Model(script)
    async with rig(ONE, (model,)) as it:
        _, writer = await it.connect()
        writer.write(GET)
        await eventually(lambda: model.calls)
        if reset:
            writer.transport.abort()
        else:
            writer.close()
        await it.settled()
        await eventually(lambda: model.open == 0)
        await eventually(lambda: not it.worker.plane.clients)
        assert it.worker.pools["m"].open == 0


@pytest.mark.parametrize("sent", [b"POST / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"])
async def test_client_that_leaves_while_sending(sent: bytes) -> None:
    model = Model()
    async with rig(ONE, (model,)) as it:
        _, writer = await it.connect()
        writer.write(sent)
        await eventually(lambda: it.worker.plane.clients)
        await writer.drain()
        writer.close()
        await eventually(lambda: not it.worker.plane.clients)
        await it.settled()
        await eventually(lambda: model.open == 0)
