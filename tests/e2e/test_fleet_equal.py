"""Promise: eight replicas of the whole program come to the verdict, the findings and the counts of one machine that saw
the same requests. (To the bit, and over the order in which pairs come: `tests/controller/fleet/test_equal.py`.)"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.fleets import NAME, fleet, settings
from tests.e2e.harness import Rollout, Understudy, running
from tests.fakes import model_process, question, set_mood
from tests.postgres import Postgres

REPLICAS, REQUESTS = 8, 400
PATIENCE = 180.0
"""Seconds for what takes ten on a machine that does nothing else: 24 processes start."""
STAGES = [{"shadow": "100%", "min_pairs": 1_000_000}]
GUARDS = {"max_disagreement": "30%", "max_extra_errors": "10%"}


async def asked(replicas: list[Understudy]) -> None:
    """The same requests whoever is there: each replica gets every n-th, all of them at the same time."""

    async def ask(replica: Understudy, numbers: range) -> None:
        async with aiohttp.ClientSession() as session:
            for number in numbers:
                async with session.post(f"{replica.data_url}/r/infer", data=question(number)) as answer:
                    assert answer.status == 200

    parts = [range(n, REQUESTS, len(replicas)) for n in range(len(replicas))]
    await asyncio.gather(*(ask(one, part) for one, part in zip(replicas, parts, strict=True)))


async def judged(asks: Understudy) -> Rollout:
    """What comes of all of them, when the last look has seen them."""

    def seen(rollout: Rollout) -> bool:
        return rollout["ledger"]["compared"] == REQUESTS and all(
            one["pairs"] == REQUESTS for one in rollout["findings"]
        )

    return await asks.until(NAME, seen, PATIENCE)


def said(rollout: Rollout) -> dict[str, Any]:
    """What does not depend on the order in which pairs came, nor on the seed of a trial."""
    findings = [
        {key: one[key] for key in ("guard", "segment", "value", "limit", "low", "high", "pairs", "verdict")}
        for one in rollout["findings"]
    ]
    keys = ("state", "verdict", "ledger", "candidate_failures", "response_mismatches", "repeats")
    return {key: rollout[key] for key in keys} | {"findings": findings}


@pytest.mark.slow
async def test_eight_replicas_say_what_one_machine_says(tmp_path: Path, postgres: Postgres) -> None:
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        await set_mood(candidate, wrong=0.1)
        config = settings(live, candidate, stages=STAGES, guards=GUARDS)
        for name in ("alone", "fleet"):
            (tmp_path / name).mkdir()
        async with running(tmp_path / "alone", config, within=PATIENCE) as alone:
            await asked([alone])
            one = said(await judged(alone))
        it = await stack.enter_async_context(fleet(tmp_path / "fleet", postgres.url, config, REPLICAS, lease="10s"))
        leader = await it.settled(PATIENCE)
        await asked(it.replicas)
        assert said(await judged(it.replicas[-1])) == one
        assert one["verdict"] == "pass"
        assert one["ledger"]["sampled"] == REQUESTS
        assert 0.05 < next(finding["value"] for finding in one["findings"]) < 0.2
        await it.until(lambda: counted(leader), PATIENCE)


async def counted(leader: Understudy) -> bool:
    """Whether the leader has heard of what each replica has served, which takes a second."""
    traffic = await leader.api("/api/v1/traffic")
    routes = [one["routes"].get("r", {}) for one in traffic["replicas"]]
    served = [upstreams.get("live", {}).get("served", {}).get("exchanges") for upstreams in routes]
    whole: int = traffic["routes"]["r"]["live"]["served"]["exchanges"]
    return served == [REQUESTS // REPLICAS] * REPLICAS and whole == REQUESTS
