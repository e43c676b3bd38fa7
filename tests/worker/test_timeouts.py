"""Promise: `timeout` is silence, by one rule for both arms and every leg; a copy that lasts too long is no fault."""

from __future__ import annotations

import asyncio

import pytest

from proxy.model import State
from proxy.model.reasons import Reason
from tests.request.test_exchange import CANARY, LIVE, SHADOW, pairs_of
from tests.worker.rig import PATIENCE, Call, Model, Script, always, eventually, rig

CONFIG = SHADOW.replace("url: '{0}'", "url: '{0}', timeout: 300ms").replace(
    "latency_block: 0s", "latency_block: 0s\n        fallback: {after: 60s}"
)
BY = {"shadow": (0, State.SHADOW), "canary": (CANARY, State.CANARY), "promoted": (10_000, State.PROMOTED)}
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS, OTHER, WHOLE = (
    CHUNKED % b"text/event-stream",
    CHUNKED % b"application/json",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
)
PIECE = {EVENTS: b"9\r\ndata: 1\n\n\r\n", OTHER: b"1\r\n1\r\n", WHOLE: b"1"}


def dribbles(head: bytes, pause: float, pieces: int = 8) -> Script:
    """An answer with a pause before each of its pieces, the head included."""

    async def script(call: Call) -> None:
        await call.read_body()
        await asyncio.sleep(pause)
        await call.send(head)
        for _ in range(pieces):
            await asyncio.sleep(pause)
            await call.send(PIECE[head])
        if head is not WHOLE:
            await call.send(b"0\r\n\r\n")

    return script


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("head", [EVENTS, OTHER, WHOLE], ids=["events", "chunks", "known length"])
async def test_an_answer_that_is_never_silent_for_long_may_take_longer_than_the_timeout(by: str, head: bytes) -> None:
    """1.4 s in all, 200 ms before the head and each piece, where 1.2 s are allowed: served, held or a copy."""
    weight, state = BY[by]
    models = Model(dribbles(head, 0.2, 6)), Model(dribbles(head, 0.2, 6))
    async with rig(CONFIG.replace("300ms", "1200ms"), models) as it:
        await it.lane(weight=weight, state=state)
        status, headers, _ = await it.ask()
        assert (status, headers["x-served-by"]) == (200, "v2" if weight else "v1")
        (pair,) = await pairs_of(it, 1)
        assert (pair.live.reason, pair.candidate.reason) == ("", "")
        assert pair.live.seconds > 1.2
        assert pair.candidate.seconds > 1.2


@pytest.mark.parametrize("weight", [0, CANARY])
async def test_silence_between_two_pieces_is_a_timeout(weight: int) -> None:
    async def halts(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        await asyncio.sleep(0.2)
        await call.send(b"a")
        await call.reader.read()
        raise ConnectionError

    async with rig(CONFIG, (Model(always(LIVE)), Model(halts))) as it:
        await it.lane(weight=weight)
        assert (await it.ask())[1]["x-served-by"] == "v1"
        (pair,) = await pairs_of(it, 1)
        assert pair.candidate.reason == Reason.TIMEOUT
        assert pair.candidate.seconds > 0.45  # counted from the last piece


async def test_bytes_of_half_a_head_are_no_sign_of_an_answer() -> None:
    async def drips(call: Call) -> None:
        await call.read_body()
        for byte in OTHER * 10:
            await call.send(bytes([byte]))
            await asyncio.sleep(0.05)

    async with rig(CONFIG, (Model(drips), Model(always(LIVE)))) as it:
        await it.lane()
        assert (await it.ask())[0] == 504


@pytest.mark.parametrize("copied", ["candidate", "live"])
async def test_a_copy_that_lasts_too_long_makes_no_pair_and_is_no_fault(copied: str) -> None:
    config = CONFIG.replace("fallback:", "mirror: {max_duration: 600ms}\n        fallback:")
    endless = Model(dribbles(EVENTS, 0.1, 1000))
    models = (endless, Model(always(LIVE))) if copied == "live" else (Model(always(LIVE)), endless)
    async with rig(config, models) as it:
        await it.lane(weight=CANARY if copied == "live" else 0)
        assert (await it.ask())[0] == 200
        await it.settled()
        await eventually(lambda: endless.open == 0, "left alone")
        assert (it.trial.too_long, it.trial.sent) == (1, 0)
        assert not it.worker.pools["v1" if copied == "live" else "v2"].endpoints[0].failures


async def test_served_answers_may_last_for_ever() -> None:
    config = CONFIG.replace("fallback:", "mirror: {max_duration: 400ms}\n        fallback:")
    async with rig(config, (Model(dribbles(EVENTS, 0.1, 15)), Model(always(LIVE)))) as it:
        await it.lane()
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).count(b"data:") == 15
        writer.close()
        await pairs_of(it, 1)
