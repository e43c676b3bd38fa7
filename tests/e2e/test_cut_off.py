"""Promise: a replica that is cut off from the leader takes the weight of unproven candidates away, alone, and comes
back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.fleets import NAME, Fleet, fleet, settings
from tests.e2e.harness import Understudy
from tests.e2e.wires import Cable, listening
from tests.fakes import Load, model_process, question
from tests.ports import free_port
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

REPLICAS = 3
LOST = 4.0
PATIENCE = 60.0
ASKED = 60
"""Requests after which a canary of 20 % would have answered one, but for one time in a million."""


async def serves_candidate(replica: Understudy) -> bool:
    """Whether any of a replica's next answers is the candidate's."""
    async with aiohttp.ClientSession() as session:
        for number in range(ASKED):
            async with session.post(f"{replica.data_url}/r/infer", data=question(number)) as answer:
                assert answer.status == 200
                if answer.headers["x-served-by"] == "c":
                    return True
    return False


async def test_a_replica_that_is_cut_off_loses_its_canary_alone_and_gets_it_back(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        ports = [free_port() for _ in range(REPLICAS)]
        cables = [Cable(port) for port in ports]
        for cable in cables:
            await stack.enter_async_context(listening(cable))

        def own(number: int) -> dict[str, dict[str, object]]:
            links = {"listen": f"127.0.0.1:{ports[number]}", "advertise": f"127.0.0.1:{cables[number].port}"}
            return {"fleet": links, "server": {"controller_lost": f"{LOST}s"}}

        config = settings(live, candidate)
        it = await stack.enter_async_context(fleet(tmp_path, postgres.url, config, REPLICAS, own=own))
        loads = [await stack.enter_async_context(Load(f"{one.data_url}/r/infer", 30.0)) for one in it.replicas]
        await play(it, cables)
        assert [problem for load in loads for problem in load.problems()] == []


async def play(it: Fleet, cables: list[Cable]) -> None:
    """Cut one replica's cable, and mend it."""
    leader = await it.settled()
    await leader.until(NAME, lambda rollout: rollout["state"] == "canary", PATIENCE)
    for replica in it.replicas:
        await it.until(lambda replica=replica: serves_candidate(replica), PATIENCE)  # type: ignore[misc]
    victim, other = await it.standbys()
    names = {one["address"]: one["name"] for one in (await leader.api("/api/v1/fleet"))["replicas"]}
    name = names[f"127.0.0.1:{cables[it.replicas.index(victim)].port}"]
    for cable in cables:
        cable.cut.add(name)
    began = asyncio.get_running_loop().time()
    await it.until(lambda: _not(serves_candidate(victim)), PATIENCE)
    took = asyncio.get_running_loop().time() - began
    print(f"weight 0 after {took:.1f} s, controller_lost {LOST:g} s")  # noqa: T201 - the figures of this run
    assert took >= LOST - 1.5, "its controller was silent for less"  # the last ALIVE may be a moment old
    await _others_go_on(it, leader, other)
    assert not await serves_candidate(victim)
    for cable in cables:
        cable.cut.clear()
    await it.until(lambda: serves_candidate(victim), PATIENCE)
    await _others_go_on(it, leader, other)
    await it.until(lambda: _sees_all(leader), PATIENCE)
    entries = (await leader.api(f"/api/v1/rollouts/{NAME}/journal"))["journal"]
    assert [entry["kind"] for entry in entries if entry["kind"] != "restored"] == ["advanced", "began"]
    assert len(it.events("fleet.leading")) == 1, "a link that is cut changes no leader"


async def _others_go_on(it: Fleet, leader: Understudy, other: Understudy) -> None:
    before = (await leader.rollout(NAME))["ledger"]["compared"]
    await leader.until(NAME, lambda rollout: rollout["ledger"]["compared"] > before + 20, PATIENCE)
    for replica in (leader, other):
        assert await serves_candidate(replica), it.output
    rollout = await other.rollout(NAME)  # asked through the one that still follows
    assert (rollout["state"], rollout["weight"]) == ("canary", 20.0)


async def _sees_all(leader: Understudy) -> bool:
    said = await leader.metrics()
    return f'understudy_fleet_replicas{{state="standby"}} {REPLICAS - 1}.0' in said


async def _not(asked: Coroutine[None, None, bool]) -> bool:
    return not await asked
