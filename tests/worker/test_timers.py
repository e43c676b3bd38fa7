"""Promise: what has ended is held by nobody, so that a flood of connections costs what is open, not what was."""

from __future__ import annotations

import asyncio
import gc
from time import monotonic
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.worker.downstream.http1 import DownstreamConnection
from proxy.worker.timers import TICK, PreciseTimer, TimerWheel
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.grpc.raw import PLAIN, Raw
from tests.worker.rig import PATIENCE, Model, always, eventually, ok, rig
from tests.worker.test_pool import ONE


class Thing:
    """Something to watch; `due` is what its next check answers."""

    slot = 0

    def __init__(self) -> None:
        self.due = 0.0
        self.checked: list[float] = []

    def check(self, now: float) -> float:
        self.checked.append(now)
        return self.due


STEPS = st.lists(st.tuples(st.sampled_from(("watch", "forget", "sweep")), st.integers(0, 3), st.floats(0.0, 5.0)))


@given(STEPS)
def test_each_thing_is_held_once_and_asked_in_time(steps: list[tuple[str, int, float]]) -> None:
    """Against the plainest wheel: the earliest time that each thing is watched for."""
    wheel, things, now = TimerWheel(), [Thing() for _ in range(4)], 0.0
    due: dict[int, float] = {}
    for what, n, time in steps:
        if what == "watch":
            wheel.watch(things[n], now + time)
            due[n] = min(due.get(n, 1e9), now + time)
        elif what == "forget":
            wheel.forget(things[n])
            due.pop(n, None)
        else:
            now += time
            before = [len(thing.checked) for thing in things]
            wheel.sweep(now)
            for number, thing in enumerate(things):
                asked = len(thing.checked) - before[number]
                assert asked <= (number in due and due[number] <= now)
                assert asked or number not in due or due[number] > now - 2 * TICK
                if asked:
                    due.pop(number)
        assert len(wheel) == len(due)
        assert {number for number, thing in enumerate(things) if thing.slot} == due.keys()


async def test_the_wheel_holds_nothing_of_connections_that_have_ended() -> None:
    model = Model(always(ok(b"{}", b"Connection: close")))
    async with rig(ONE, (model,)) as it:
        context = it.worker.context
        for _ in range(50):
            _, writer = await it.connect()  # says nothing
            writer.close()
            assert (await it.ask())[0] == 200  # as its connection to the model, it is closed at once
        await eventually(lambda: not context.clients)
        await it.settled()
        await eventually(lambda: it.worker.pools["m"].open == 0)
        assert len(context.wheel) == 0


def how_many(kind: type) -> int:
    return sum(isinstance(one, kind) for one in gc.get_objects())


async def test_nothing_holds_a_client_that_has_left() -> None:
    """No cycle of references either, which would wait for the garbage collector."""
    async with rig(ONE, (Model(),)) as it:
        context = it.worker.context
        gc.collect()
        gc.disable()
        try:
            _, writer = await it.connect()
            await eventually(lambda: context.clients)
            assert how_many(DownstreamConnection) == 1
            writer.close()
            await eventually(lambda: how_many(DownstreamConnection) == 0, "the client is forgotten")
        finally:
            gc.enable()


async def test_the_wheel_holds_nothing_of_grpc_connections_that_have_ended() -> None:
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        context = it.worker.context
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", it.grpc_port)
            writer.write(Raw.PREFACE)
            writer.close()
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x")).answer == b"x"
        await model.stop()
        await eventually(lambda: not context.clients)
        pool = it.worker.pools["m"]
        await eventually(lambda: pool.open == 0)
        assert len(context.wheel) == (pool.slot > 0)  # a pool stays


async def test_one_late_thing_that_raises_stops_the_clock_of_nobody_else() -> None:
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))

    class Broken:
        def late(self) -> None:
            raise RuntimeError("broken")

    class Fine:
        def late(self) -> None:
            called.set()

    precise_timer = PreciseTimer(loop, monotonic)
    now = monotonic()
    precise_timer.add(Broken(), now)
    precise_timer.add(Fine(), now)
    precise_timer.add(Fine(), now + 0.05)
    await asyncio.wait_for(called.wait(), PATIENCE)
    called.clear()
    await asyncio.wait_for(called.wait(), PATIENCE)
    assert [str(context["exception"]) for context in seen] == ["broken"]
