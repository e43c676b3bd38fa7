"""Promise: a client that leaves spares no candidate and costs next to nothing; what is nobody's fault is booked so."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from proxy.model import Arm, Lane, State
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.request.driver import RequestDriver
from proxy.request.legs import Leg
from proxy.worker.downstream.http1 import DownstreamConnection
from tests.request.test_exchange import CANARY, LIVE, SHADOW, pairs_of
from tests.worker.rig import PATIENCE, Call, Model, Rig, Script, always, eventually, hang, ok, resets, rig

CONFIG = SHADOW.replace("url: '{0}'", "url: '{0}', timeout: 60s").replace(
    "latency_block: 0s", "latency_block: 0s\n        fallback: {after: 60s}"
)
"""The candidate's own timeout is 300 ms; live has all the time there is, and nobody is hedged."""
PATIENT = CONFIG.replace("300ms", "60s")
ASKED = b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: a\n\n\r\n"
STATES = [(CANARY, State.CANARY), (10_000, State.PROMOTED)]


def stream(*steps: bytes | asyncio.Event, gone: Callable[[], None] = lambda: None) -> Script:
    """Send bytes, wait for events; then nothing more, until the proxy gives up."""

    async def script(call: Call) -> None:
        await call.read_body()
        for step in (EVENTS, *steps):
            if isinstance(step, bytes):
                await call.send(step)
            else:
                await step.wait()
        await call.reader.read()
        gone()
        raise ConnectionError

    return script


LONG = 2 * PATIENCE
"""Seconds that `patient` makes of a client's patience: more than a test waits, less than the arms' timeouts."""


def patient(it: Rig) -> RequestDriver:
    """The request in hand, whose client has waited `LONG` for it: counted from earlier, for nobody to sit through."""
    (client,) = it.worker.context.clients
    assert isinstance(client, DownstreamConnection)
    assert isinstance(client.exchange, RequestDriver)
    client.exchange.ready -= LONG
    return client.exchange


async def leaves_after(it: Rig, answered: bytes, candidate: Model) -> None:
    """Ask, wait for so much of the answer, leave with a reset."""
    reader, writer = await it.connect()
    writer.write(ASKED)
    if answered:
        await asyncio.wait_for(reader.readuntil(answered), PATIENCE)
    else:
        await eventually(lambda: candidate.calls)
    resets(writer)
    writer.transport.abort()


@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_a_stream_that_hangs_in_the_middle_is_the_candidates_failure(weight: int, state: State) -> None:
    """Canary or promoted, where nothing is held: the leg runs on to its own timeout, and live is asked for the pair."""
    live, candidate = Model(always(LIVE)), Model(stream(EVENT))
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane(weight=weight, state=state)
        for _ in range(3):
            await leaves_after(it, EVENT, candidate)
        for pair in await pairs_of(it, 3):
            assert (pair.served, pair.candidate.reason, pair.live.body) == (Arm.CANDIDATE, "timeout", b'{"a":1}')
            assert read_pair(None, pair).fault == Reason.TIMEOUT
        assert len(live.calls) == 3
        assert it.trial.client_gone == 0


@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_a_stream_that_breaks_off_behind_the_client_is_a_failure(weight: int, state: State) -> None:
    gone = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(EVENTS + EVENT)
        await gone.wait()
        raise ConnectionError

    candidate = Model(script)
    async with rig(PATIENT, (Model(always(LIVE)), candidate)) as it:
        await it.lane(weight=weight, state=state)
        await leaves_after(it, EVENT, candidate)
        await eventually(lambda: not it.worker.context.clients)
        gone.set()
        (pair,) = await pairs_of(it, 1)
        assert pair.candidate.reason == "disconnect"


@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_a_stream_that_goes_on_is_dropped_and_nobodys_fault(weight: int, state: State) -> None:
    """A stop button: neither arm generates to its end for a client that is gone."""
    gone, dropped = asyncio.Event(), asyncio.Event()
    live, candidate = Model(always(LIVE)), Model(stream(EVENT, gone, EVENT, gone=dropped.set))
    async with rig(PATIENT, (live, candidate)) as it:
        await it.lane(weight=weight, state=state)
        await leaves_after(it, EVENT, candidate)
        await eventually(lambda: not it.worker.context.clients)
        assert it.trial.in_flight == 1  # within the budget of copies
        gone.set()
        await asyncio.wait_for(dropped.wait(), PATIENCE)
        await it.settled()
        assert (it.trial.client_gone, it.trial.sent, live.calls) == (1, 0, [])


@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_a_candidate_that_is_slower_than_live_is_not_spared(weight: int, state: State) -> None:
    """Live begins sooner than the client was patient, so the client left for the candidate's sake."""
    live, candidate = Model(always(LIVE)), Model(hang)
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane(weight=weight, state=state)
        _, writer = await it.connect()
        writer.write(ASKED)
        await eventually(lambda: candidate.calls)
        patient(it)
        resets(writer)
        writer.transport.abort()
        (pair,) = await pairs_of(it, 1)
        assert (pair.candidate.reason, pair.live.body, pair.served) == ("timeout", b'{"a":1}', Arm.CANDIDATE)


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize(("weight", "state"), STATES)
async def test_where_live_is_as_slow_both_are_dropped_soon(weight: int, state: State, hedged: bool) -> None:
    live, candidate = Model(hang), Model(hang)
    config = PATIENT.replace("after: 60s", "after: 20ms") if hedged else PATIENT
    async with rig(config, (live, candidate)) as it:
        await it.lane(weight=weight, state=state)
        _, writer = await it.connect()
        writer.write(ASKED)
        await eventually(lambda: candidate.calls and (live.calls or not hedged))
        resets(writer)
        writer.transport.abort()
        await it.settled()  # within seconds, where the arms' own timeouts are a minute
        await eventually(lambda: live.open == candidate.open == 0)
        assert (it.trial.client_gone, it.trial.sent, len(live.calls)) == (1, 0, 1)


async def test_live_as_a_hedge_has_no_longer_to_begin_than_the_client_gave_the_candidate() -> None:
    """From its own start: else pairs of two arms that are alike would be kept where live was the slower by so much."""
    live, candidate = Model(hang), Model(hang)
    async with rig(PATIENT.replace("after: 60s", "after: 100ms"), (live, candidate)) as it:
        await it.lane(weight=CANARY)
        _, writer = await it.connect()
        writer.write(ASKED)
        await eventually(lambda: live.calls)
        exchange = patient(it)
        assert exchange.hedge is not None
        exchange.hedge.sent -= LONG
        resets(writer)
        writer.transport.abort()
        await it.settled()  # soon: as long as the client was patient, from its leaving, would be `LONG`
        assert it.trial.client_gone == 1


async def test_a_candidate_that_failed_is_judged_though_its_client_leaves_before_live_is_ready() -> None:
    """Live, asked in its place, begins within what the client had waited, most of it for the candidate."""
    asked = asyncio.Event()

    async def fails(call: Call) -> None:
        await call.read_body()
        await call.send(ok(b"no", status=b"500 No"))

    async def slow(call: Call) -> None:
        await call.read_body()
        asked.set()
        await eventually(lambda: not it.worker.context.clients)
        await call.send(LIVE)

    async with rig(PATIENT, (Model(slow), Model(fails))) as it:
        await it.lane(weight=CANARY)
        _, writer = await it.connect()
        writer.write(ASKED)
        await asyncio.wait_for(asked.wait(), PATIENCE)
        patient(it)
        resets(writer)
        writer.transport.abort()
        (pair,) = await pairs_of(it, 1)
        assert (pair.candidate.status, pair.live.body, pair.fell_back) == (500, b'{"a":1}', True)


async def test_who_leaves_live_in_the_candidates_place_is_nobodys_fault() -> None:
    live, candidate = Model(stream(EVENT)), Model(always(ok(b"no", status=b"500 No")))
    async with rig(PATIENT, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        await leaves_after(it, EVENT, live)
        await it.settled()
        await eventually(lambda: live.open == 0)
        assert (it.trial.client_gone, it.trial.sent) == (1, 0)


async def test_what_runs_on_is_bounded_by_the_budget_of_copies() -> None:
    config = PATIENT.replace("fallback:", "mirror: {max_in_flight: 2}\n        fallback:")
    candidate = Model(stream(EVENT))
    async with rig(config, (Model(always(LIVE)), candidate)) as it:
        await it.lane(weight=CANARY)
        for _ in range(5):
            await leaves_after(it, EVENT, candidate)
        await eventually(lambda: not it.worker.context.clients)
        await eventually(lambda: it.trial.shed == 3)
        await eventually(lambda: candidate.open == 2)
        assert it.trial.in_flight == 2


async def test_what_runs_on_lasts_no_longer_than_a_copy() -> None:
    """Silence is counted between pieces: only `max_duration` ends a leg that always says something."""
    config = PATIENT.replace("fallback:", "mirror: {timeout: 300ms, max_duration: 400ms}\n        fallback:")
    asked = asyncio.Event()

    async def dribbles(call: Call) -> None:
        await call.read_body()
        asked.set()
        await eventually(lambda: not it.worker.context.clients)
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await asyncio.sleep(0.05)
            await call.send(b"x")

    async with rig(config, (Model(always(LIVE)), Model(dribbles))) as it:
        await it.lane(weight=CANARY)
        _, writer = await it.connect()
        writer.write(ASKED)
        await asyncio.wait_for(asked.wait(), PATIENCE)
        patient(it)
        resets(writer)
        writer.transport.abort()
        await it.settled()
        assert (it.trial.too_long, it.trial.sent) == (1, 0)


async def test_other_candidates_are_not_asked_for_a_client_that_is_gone() -> None:
    two = PATIENT.replace("  v2:", "  v3: {url: '{2}'}\n  v2:").replace(
        "      - candidate: v2", "      - {candidate: v3, latency_block: 0s, shadow: 100%}\n      - candidate: v2"
    )
    third, candidate = Model(), Model(stream(EVENT))
    async with rig(two, (Model(always(LIVE)), candidate, third)) as it:
        trials = list(it.worker.trials.values())
        serving = next(trial for trial in trials if trial.settings.name == "r/v2")
        await it.controller.publish(
            *(Lane(t.settings.name, t.settings.trial, State.CANARY, CANARY * (t is serving), 10_000, 1) for t in trials)
        )
        await leaves_after(it, EVENT, candidate)
        other = next(trial for trial in trials if trial is not serving)
        await eventually(lambda: other.client_gone == 1)
        assert third.calls == []
        assert (serving.in_flight, other.in_flight) == (1, 0)


# --- and nothing is left of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0, 10_000])
async def test_a_request_that_was_given_up_is_held_by_nobody(weight: int) -> None:
    """Its body goes with it, instead of waiting for the garbage collector, beyond every bound on memory."""
    live, candidate = Model(hang), Model(hang)
    async with rig(PATIENT, (live, candidate)) as it:
        await it.lane(weight=weight, state=State.PROMOTED if weight else State.SHADOW)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                asked = candidate if weight else live
                before = len(asked.calls)
                _, writer = await it.connect()
                writer.write(ASKED)
                await eventually(lambda asked=asked, before=before: len(asked.calls) > before)  # type: ignore[misc]
                resets(writer)
                writer.transport.abort()
            await eventually(nothing_held, "all is gone")
        finally:
            gc.enable()


def nothing_held() -> bool:
    return not any(isinstance(one, RequestDriver | Leg) for one in gc.get_objects())


@pytest.mark.parametrize("begun", [False, True])
async def test_nor_is_one_whose_pair_was_made_all_the_same(begun: bool) -> None:
    live, candidate = Model(always(LIVE)), Model(stream(EVENT) if begun else hang)
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane(weight=10_000, state=State.PROMOTED)
        gc.collect()
        gc.disable()
        try:
            reader, writer = await it.connect()
            writer.write(ASKED)
            await (
                asyncio.wait_for(reader.readuntil(EVENT), PATIENCE) if begun else eventually(lambda: candidate.calls)
            )
            patient(it)
            resets(writer)
            writer.transport.abort()
            assert len(await pairs_of(it, 1)) == 1
            del reader, writer
            await eventually(nothing_held, "all is gone")
        finally:
            gc.enable()
