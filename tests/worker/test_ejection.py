"""Promise: a URL that fails or hangs is left out while others work, and tried with one request before it gets more."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic

import pytest

from proxy.model.reasons import Reason
from proxy.request.legs import Leg
from proxy.worker.upstream.endpoint import EJECT_AFTER, EJECT_AFTER_TIMEOUTS, Endpoint
from tests.worker.configs import for_worker
from tests.worker.rig import Call, Model, Rig, always, eventually, hang, ok, rig
from tests.worker.test_cuts import Bench
from tests.worker.test_pool import GET, ONE, TWO


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


async def test_failures_that_are_not_in_a_row_eject_nobody() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(ok() if len(model.calls) % EJECT_AFTER == 0 else b"garbage\r\n\r\n")

    model = Model(script)
    async with rig(ONE, (model,)) as it:
        endpoint = it.worker.pools["m"].endpoints[0]
        for _ in range(3 * EJECT_AFTER):
            await it.ask()
            assert endpoint.usable(monotonic())


async def asked_of_two(it: Rig, n: int) -> Counter[int]:
    """The statuses of `n` requests, four at a time."""
    numbers = iter(range(n))

    async def client() -> list[int]:
        return [(await it.ask())[0] for _ in numbers]

    return Counter(status for seen in await asyncio.gather(*(client() for _ in range(4))) for status in seen)


async def test_a_url_that_accepts_and_hangs_is_ejected() -> None:
    """`EJECT_AFTER_TIMEOUTS` of the requests of four clients find out, and those that are under way by then."""
    bad, good = Model(hang), Model()
    async with rig(TWO, (bad, good)) as it:
        endpoint, seen = it.worker.pools["m"].endpoints[0], Counter[int]()
        while endpoint.usable(monotonic()):
            seen += await asked_of_two(it, 20)
            assert seen[504] < EJECT_AFTER_TIMEOUTS + 4
        assert seen.keys() == {200, 504}
        assert seen[504] >= EJECT_AFTER_TIMEOUTS
        assert (await asked_of_two(it, 20))[200] >= 19
        await it.settled()


async def test_a_url_that_returns_gets_one_request_first() -> None:
    bad, good = Model(hang), Model()
    async with rig(TWO.replace("300ms", "60s"), (bad, good)) as it:
        endpoint = it.worker.pools["m"].endpoints[0]
        for _ in range(EJECT_AFTER_TIMEOUTS):
            endpoint.timed_out()
        endpoint._out_until = 0.0
        asked = [asyncio.create_task(it.ask()) for _ in range(20)]
        await eventually(lambda: sum(task.done() for task in asked) >= 19)
        assert len(bad.calls) <= 1
        while not bad.calls:
            asked.append(asyncio.create_task(it.ask()))
            await eventually(lambda: bad.calls or all(task.done() for task in asked))
        assert [(await it.ask())[0] for _ in range(20)] == [200] * 20
        assert len(bad.calls) == 1
        endpoint.succeeded()
        assert endpoint.usable(monotonic())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


class Patient(Leg):
    """A leg that ends without a word."""

    def head(self, piece: bytes, done: bool) -> None: ...

    def body(self, piece: bytes, done: bool) -> None: ...

    def failed(self, reason: Reason) -> None: ...


@pytest.mark.parametrize(
    ("timeout", "is_check", "counts"),
    [
        (2.0, False, True),
        (0.5, False, False),  # a copy whose own time is shorter
        (2.0, True, False),
    ],
)
def test_only_silence_for_the_upstreams_own_timeout_is_held_against_a_url(
    timeout: float, is_check: bool, counts: bool
) -> None:
    """Else an impatient copy would take live's URL out of service."""
    bench = Bench(config=for_worker(ONE.replace("{0}", "http://127.0.0.1:1")))
    pool, endpoint = bench.model.pool, bench.model.endpoint
    leg = Patient(pool, timeout)
    leg.is_check, leg.opening = is_check, GET
    pool.submit(leg)
    bench.loop.turn()
    bench.model._since -= timeout
    bench.model.check(monotonic())
    assert leg.reason is Reason.TIMEOUT
    assert endpoint.timeouts == counts


async def test_health_checks_do_not_make_up_for_requests_that_hang() -> None:
    model = Model()
    config = ONE.replace("timeout: 2s", "timeout: 2s, health: {path: /health, interval: 20ms}")
    async with rig(config, (model,)) as it:
        endpoint = it.worker.pools["m"].endpoints[0]
        endpoint.timed_out()
        before = len(model.calls)
        await eventually(lambda: len(model.calls) > before + 2)
        assert endpoint.timeouts == 1
        assert (await it.ask())[0] == 200
        assert endpoint.timeouts == 0


async def test_one_url_is_asked_however_often_it_was_silent() -> None:
    model = Model(hang)
    async with rig(ONE.replace("timeout: 2s", "timeout: 50ms"), (model,)) as it:
        for _ in range(EJECT_AFTER_TIMEOUTS + 2):
            assert (await it.ask())[0] == 504
        model.script = model.answer
        assert (await it.ask())[0] == 200


async def test_when_every_url_is_out_they_are_asked_all_the_same() -> None:
    async with rig(TWO, (Model(), Model())) as it:
        for endpoint in it.worker.pools["m"].endpoints:
            endpoint._out_until = monotonic() + 60.0
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
    assert endpoint._out_until == first  # what fails while it is out, fails for the same reason
    endpoint._out_until = 0.0
    endpoint.failed()
    assert endpoint._out_until > first + 0.5
    for _ in range(3000):  # a URL that is dead for hours
        endpoint._out_until = 0.0
        endpoint.failed()
    endpoint.succeeded()
    endpoint.failed()
    assert endpoint.failures == 1
