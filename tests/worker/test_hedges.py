"""Promise: live, asked because the candidate is slow or has failed, gives the pair a time like any other of its own."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from proxy.evidence import Evidence
from proxy.model import Guard, Kind, PredictionSpec
from proxy.predictions import read_pair
from tests.evidence.streams import make_plan
from tests.request.test_exchange import CANARY, GOOD, LIVE, SHADOW, pairs_of
from tests.worker.rig import Call, Model, Script, ok, rig

EARLY = 0.01
"""Seconds: timers of the event loop go by the time at which its turn began."""


def hedging(after: float) -> str:
    """A canary that has this many seconds before live is asked too, and 30 in all."""
    return SHADOW.replace("timeout: 300ms", "timeout: 30s").replace(
        "latency_block: 0s", f"latency_block: 0s\n        fallback: {{after: {1000 * after:.0f}ms}}"
    )


def takes(seconds: float, answer: bytes) -> Script:
    async def script(call: Call) -> None:
        await call.read_body()
        await asyncio.sleep(seconds)
        await call.send(answer)

    return script


@pytest.mark.parametrize(
    ("after", "live", "candidate", "answer", "serves"),
    [
        (0.2, 0.1, 0.8, GOOD, "v1"),
        (0.2, 0.6, 0.4, GOOD, "v2"),  # live has been asked in vain, and runs to its end
        (9.0, 0.1, 0.2, ok(b"no", status=b"500 No"), "v1"),
    ],
)
async def test_live_as_hedge_or_fallback_brings_its_own_time(
    after: float, live: float, candidate: float, answer: bytes, serves: str
) -> None:
    """From its own start, which is 0.2 seconds after the candidate's in each case, and into the evidence."""
    async with rig(hedging(after), (Model(takes(live, LIVE)), Model(takes(candidate, answer)))) as it:
        await it.lane(weight=CANARY)
        began = monotonic()
        assert (await it.ask())[1]["x-served-by"] == serves
        (pair,) = await pairs_of(it, 1)
        assert (pair.hedged, pair.fell_back) == (after < 9.0, after == 9.0)
        assert live - EARLY <= pair.live.first <= pair.live.seconds <= monotonic() - began - 0.2 + EARLY
        assert pair.candidate.seconds >= candidate - EARLY
    evidence = Evidence.begin(make_plan(Guard("p99_latency", 1.2, relative=True), kind=Kind.NUMBER), 1)
    evidence.enter_stage(pair.stage)
    evidence.add([read_pair(PredictionSpec("json", Kind.NUMBER, pointer="/a"), pair)])
    assert evidence.assess().findings[0].pairs == 1


@pytest.mark.parametrize("serves", ["v1", "v2"])
async def test_an_arm_that_lost_a_hedge_lasts_no_longer_than_a_copy(serves: str) -> None:
    config = hedging(0.02).replace("fallback:", "mirror: {timeout: 300ms, max_duration: 400ms}\n        fallback:")
    asked, served = asyncio.Event(), asyncio.Event()

    async def dribbles(call: Call) -> None:
        await call.read_body()
        asked.set()
        await served.wait()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await asyncio.sleep(0.05)
            await call.send(b"x")

    async def answers(call: Call) -> None:
        await call.read_body()
        await asked.wait()
        await call.send(LIVE)

    live, candidate = (answers, dribbles) if serves == "v1" else (dribbles, answers)
    async with rig(config, (Model(live), Model(candidate))) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask())[1]["x-served-by"] == serves
        served.set()
        await it.settled()
        assert (it.trial.too_long, it.trial.sent) == (1, 0)
