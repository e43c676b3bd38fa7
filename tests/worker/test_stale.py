"""Promise: a request that meets a connection that the model has given up goes again, once, and only if it is safe."""

from __future__ import annotations

import pytest

from proxy.worker.upstream.http1 import UpstreamConnection
from proxy.worker.upstream.pool import Pool
from tests.worker.rig import Call, Model, ok, rig
from tests.worker.test_cuts import STREAMS, Bench, Wire
from tests.worker.test_pool import ONE


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


async def test_nothing_is_sent_again_once_an_answer_has_begun() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        if len(model.calls) == 2:
            await call.send(b"HTTP/1.1 200 OK\r\nCont")
            raise ConnectionError
        await call.send(ok())

    model = Model(script)
    async with rig(ONE, (model,)) as it:
        assert (await it.ask(method=b"GET"))[0] == 200
        assert (await it.ask(method=b"GET"))[0] == 502
        assert (len(model.calls), model.connections) == (2, 1)


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
    other = UpstreamConnection(pool, pool.endpoints[0])
    other.connection_made(Wire(other, bench.loop))  # type: ignore[arg-type]
    other.start(leg)
    bench.loop.turn()
    assert other.transport.out.endswith(b"\r\n\r\nab")  # type: ignore[attr-defined]
    other.data_received(ok(b"fresh"))
    bench.loop.turn()
    assert bench.client.transport.out.endswith(b"fresh")  # type: ignore[attr-defined]


def test_it_goes_again_once() -> None:
    bench, pool = stale("ends", used=True)
    (leg,) = pool._waiting
    pool._waiting.clear()
    other = UpstreamConnection(pool, pool.endpoints[0])
    other.connection_made(Wire(other, bench.loop))  # type: ignore[arg-type]
    other._used = True
    other.start(leg)
    other.transport.close()
    other.connection_lost(None)
    bench.loop.turn()
    assert not pool._waiting
    assert b"x-understudy-error: disconnect" in bench.client.transport.out  # type: ignore[attr-defined]


@pytest.mark.parametrize(("end", "reason"), [("speaks", b"bad_reply"), ("ends", b"disconnect")])
def test_what_a_new_connection_says_before_it_is_asked_is_no_answer(end: str, reason: bytes) -> None:
    """And a model that ends every connection at once is not dialled for ever."""
    bench, pool = stale(end, used=False)
    assert b"x-understudy-error: " + reason in bench.client.transport.out  # type: ignore[attr-defined]
    assert not pool._waiting


def test_a_request_that_goes_on_while_its_connection_ends_is_not_sent_again() -> None:
    """Its next piece is not at hand any more."""
    bench = Bench(config=STREAMS)
    bench.model._used = True
    bench.client.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    bench.model.transport.close()
    bench.model.transport.write = lambda data: None  # type: ignore[method-assign, assignment]  # as one does that is lost
    bench.client.data_received(b"cd")
    bench.model.connection_lost(None)
    bench.loop.turn()
    assert b"x-understudy-error: disconnect" in bench.client.transport.out  # type: ignore[attr-defined]
