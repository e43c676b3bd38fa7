"""Promise: what one call promises is what one request promises: streams as they come, one ruler for time, and a
candidate that is not spared by clients that leave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from proxy.model import State
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from tests.worker.grpc.models import Client, GrpcModel, Script, Seen, hangs, says
from tests.worker.grpc.test_pairs import CONFIG, pairs
from tests.worker.rig import eventually, rig

UNHURRIED = CONFIG.replace("after: 100ms", "after: 30s")
BRIEF = UNHURRIED.replace("timeout: 2s", "timeout: 400ms").replace("timeout: 1s", "timeout: 400ms")
STATES = [(9_999, State.CANARY), (10_000, State.PROMOTED)]


def once(go_on: threading.Event, *more: bytes) -> Script:
    """One message at once, the rest when told to, or never when the call ends before."""

    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        seen.messages.extend(messages)
        yield b"first"
        while not go_on.wait(0.01) and not seen.ended.is_set():
            pass
        yield from more

    return script


def dribbles(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
    """A second in all, never silent for long."""
    seen.messages.extend(messages)
    for number in range(6):
        time.sleep(0.2)  # in a thread of the model's own
        yield b"%d" % number


async def test_a_stream_whose_second_message_is_long_in_coming_is_given_as_it_comes() -> None:
    go_on = threading.Event()
    live, candidate = GrpcModel(once(go_on, b"last")), GrpcModel(once(go_on, b"last"))
    async with rig(UNHURRIED, [live, candidate], grpc=True) as it:
        await it.lane(weight=9_999)
        with Client(it.grpc_port) as client:
            call = client.stream([b"x"])
            assert await asyncio.to_thread(next, call) == b"first"  # a held answer would hang here
            go_on.set()
            assert await asyncio.to_thread(next, call) == b"last"
            assert await asyncio.to_thread(next, call, None) is None
        (pair,) = await pairs(it, 1)
        assert not it.worker.context.precise_timer._due
    assert (pair.candidate.reason, pair.fell_back, pair.hedged) == (Reason.NONE, False, False)


@pytest.mark.parametrize("weight", [0, 9_999])
async def test_both_arms_are_timed_by_silence(weight: int) -> None:
    config = BRIEF.replace("timeout: 3s", "timeout: 400ms")
    async with rig(config, [GrpcModel(dribbles), GrpcModel(dribbles)], grpc=True) as it:
        await it.lane(weight=weight)
        with Client(it.grpc_port) as client:
            told = await asyncio.to_thread(client.read, client.stream([b"x"]))
            assert len(told.answers) == 6
        (pair,) = await pairs(it, 1)
    for outcome in (pair.live, pair.candidate):
        assert outcome.reason is Reason.NONE
        assert outcome.seconds > 1


async def test_a_copy_that_lasts_too_long_makes_no_pair() -> None:
    config = BRIEF.replace("timeout: 400ms, headers", "timeout: 400ms, max_duration: 700ms, headers")
    async with rig(config, [GrpcModel(says(b"live")), GrpcModel(dribbles)], grpc=True) as it:
        await it.lane()
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x")).answer == b"live"
        await it.settled()
        assert (it.trial.too_long, it.trial.sent) == (1, 0)


@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_a_stream_that_hangs_in_the_middle_is_the_candidates_failure(weight: int, state: State) -> None:
    live, candidate = GrpcModel(says(b"live")), GrpcModel(once(threading.Event()))
    async with rig(BRIEF, [live, candidate], grpc=True) as it:
        await it.lane(weight=weight, state=state)
        with Client(it.grpc_port) as client:
            call = client.stream([b"x"])
            assert await asyncio.to_thread(next, call) == b"first"
            call.cancel()
            (pair,) = await pairs(it, 1)
    assert (read_pair(None, pair).fault, pair.live.body[5:]) == (Reason.TIMEOUT, b"live")


@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_a_stream_that_goes_on_is_dropped_and_nobodys_fault(weight: int, state: State) -> None:
    go_on = threading.Event()
    live, candidate = GrpcModel(says(b"live")), GrpcModel(once(go_on, b"more", b"and more"))
    async with rig(UNHURRIED, [live, candidate], grpc=True) as it:
        await it.lane(weight=weight, state=state)
        with Client(it.grpc_port) as client:
            call = client.stream([b"x"])
            assert await asyncio.to_thread(next, call) == b"first"
            call.cancel()
            await eventually(lambda: it.trial.in_flight == 1)
            go_on.set()
            await it.settled()
    assert (it.trial.client_gone, it.trial.sent, live.calls) == (1, 0, [])


@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_where_live_is_as_slow_both_are_dropped_soon(weight: int, state: State) -> None:
    live, candidate = GrpcModel(hangs), GrpcModel(hangs)
    async with rig(UNHURRIED, [live, candidate], grpc=True) as it:
        await it.lane(weight=weight, state=state)
        with Client(it.grpc_port) as client:
            call = client.stream([b"x"], timeout=60)
            await eventually(lambda: candidate.calls)
            call.cancel()
            await eventually(lambda: it.trial.client_gone == 1)
            await eventually(lambda: all(seen.ended.is_set() for seen in (*live.calls, *candidate.calls)))
            await it.settled()
    assert it.trial.sent == 0
