"""Promise: who is sampled, what is kept and how it ends is not for a client or a candidate to choose."""

from __future__ import annotations

import asyncio

import pytest

from proxy.model.reasons import Reason
from proxy.rollout.pair_budget import FULL
from tests.request.test_exchange import CANARY, GOOD, LIVE, SHADOW
from tests.worker.rig import Call, Model, always, eventually, ok, rig

OVERRIDE = SHADOW.replace("    live: v1\n", "    live: v1\n    override: {header: x-arm}\n")


async def test_a_caller_who_chooses_the_arm_is_not_sampled() -> None:
    """Neither counted nor waited for: a hole in the sequence would stop all evidence behind it."""
    live, candidate = Model(always(LIVE)), Model(always(GOOD))
    async with rig(OVERRIDE, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask(b"{}", b"x-arm: live"))[1]["x-served-by"] == "v1"
        assert (await it.ask(b"{}", b"x-arm: candidate"))[1]["x-served-by"] == "v2"
        await it.ask()
        await eventually(lambda: len(it.controller.pairs) == 1)
        assert it.controller.pairs[0].sequence == 0
        assert it.trial.sampled == 1
        await it.settled()


async def test_an_upload_keeps_no_more_than_the_memory_allows() -> None:
    config = SHADOW.replace(
        "latency_block: 0s", "latency_block: 0s\n        mirror: {max_memory: 280KiB, max_body: 70KiB}"
    )
    live, candidate = Model(always(LIVE)), Model(always(GOOD))
    async with rig(config, (live, candidate)) as it:
        it.streams()
        await it.lane()
        writers = []
        for _ in range(10):
            _, writer = await it.connect()
            writer.write(b"POST /infer HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            writers.append(writer)
        await eventually(lambda: it.trial.shed >= 6)
        assert it.trial.memory <= 280 * 1024
        for writer in writers:
            writer.write(b"0\r\n\r\n")
        await eventually(lambda: len(live.calls) == 10)
        await it.settled()
        for writer in writers:
            writer.close()


async def test_what_is_set_on_copies_is_not_told_to_live() -> None:
    """The candidate's token is a secret, and beside the caller's own it would have live refuse the copy."""
    headers = "mirror: {headers: {set: {authorization: Bearer candidate}}}"
    config = SHADOW.replace("latency_block: 0s", f"latency_block: 0s\n        {headers}")
    live, candidate = Model(always(LIVE)), Model(always(GOOD))
    async with rig(config, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        await it.ask(b"{}", b"Authorization: Bearer caller")
        await eventually(lambda: len(it.controller.pairs) == 1)
        assert live.calls[0].headers["authorization"] == "Bearer caller"
        assert live.calls[0].headers["x-shadow"] == "v1"
        await it.lane(weight=0)
        await it.ask(b"{}", b"Authorization: Bearer caller")
        await eventually(lambda: len(it.controller.pairs) == 2)
        assert candidate.calls[1].headers["authorization"] == "Bearer candidate"
        assert candidate.calls[1].headers["x-shadow"] == "v2"
        await it.settled()


async def test_a_candidate_is_not_spared_by_the_patience_of_its_clients() -> None:
    """The client leaves, the candidate hangs on to its timeout: a compared timeout, not a missing pair."""

    async def silent(call: Call) -> None:
        await call.read_body()
        await asyncio.Event().wait()

    config = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        fallback: off")
    live = Model(always(LIVE))
    async with rig(config, (live, Model(silent))) as it:
        await it.lane(weight=CANARY)
        _, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: m\r\nContent-Length: 2\r\n\r\n{}")
        await eventually(lambda: it.trial.sampled == 1)
        writer.transport.abort()
        await eventually(lambda: len(it.controller.pairs) == 1)
        pair = it.controller.pairs[0]
        assert (pair.candidate.reason, pair.live.status) == (Reason.TIMEOUT, 200)
        await it.settled()


async def test_a_link_that_fills_spares_requests_before_they_are_sampled_where_pairs_are_paced() -> None:
    paced = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        mirror: {max_pairs_per_second: auto}")
    for config, spared in ((paced, 3), (SHADOW, 0)):
        live, candidate = Model(always(LIVE)), Model(always(GOOD))
        async with rig(config, (live, candidate)) as it:
            await it.lane()
            counts = it.worker.context.counts
            it.worker.context.publisher.connected(FullLink())  # type: ignore[arg-type]
            it.worker.context.publisher.backlog = FULL
            for _ in range(3):
                assert (await it.ask())[0] == 200
            assert (counts.spared, it.trial.sampled) == (spared, 3 - spared)
            assert counts.report()["paced"] == [float(spared), spared, spared]


class FullLink:
    """A link that takes more, and in which much waits already."""

    waiting = FULL

    def send(self, data: bytes) -> bool:
        return True


@pytest.mark.parametrize("framed", ["length", "chunked"])
async def test_a_canary_serves_answers_as_long_as_live_s(framed: str) -> None:
    """Longer than a pair's may be: known of live's by what its head announces, or by what has come of it."""
    config = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        mirror: {max_body: 2MiB}")
    long = b"x" * (4 << 20)  # its first piece is far below half of the limit
    said = ok(long)
    if framed == "chunked":
        said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(long), long)
    live, candidate = Model(always(said)), Model(always(said))
    async with rig(config, (live, candidate)) as it:
        await it.lane(weight=0)
        assert (await it.ask(b"{}"))[1]["x-served-by"] == "v1"
        await it.lane(weight=CANARY)
        assert (await it.ask(b"{}"))[1]["x-served-by"] == "v2"
        await it.settled()
        assert it.trial.too_large == 2
