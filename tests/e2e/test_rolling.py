"""Promise: a new version is rolled out over a fleet, one replica after the other; no client and no evidence is lost."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleets import NAME, Fleet, fleet, settings
from tests.e2e.harness import Rollout
from tests.e2e.wires import Balancer, listening
from tests.fakes import Load, model_process
from tests.postgres import Postgres

PATIENCE = 120.0
DRAIN = {"timeouts": {"drain_delay": "1s"}}


async def replaced(it: Fleet, number: int) -> None:
    """As an orchestrator does it: SIGTERM, then another process."""
    await it.replace(number)


async def upgraded(it: Fleet, number: int) -> None:
    """On its machine: SIGUSR2."""
    replica = it.replicas[number]
    before = len(replica.events("upgrade.done"))
    replica.process.send_signal(signal.SIGUSR2)
    await it.until(lambda: _true(len(replica.events("upgrade.done")) > before), PATIENCE)


async def _true(value: bool) -> bool:
    return value


Way = Callable[[Fleet, int], Awaitable[None]]


async def roll(it: Fleet, way: Way, rounds: int) -> Rollout:
    """Give each replica its turn, so often; the rollout afterwards."""
    compared, leader = 0, await it.settled()
    for _ in range(rounds):
        for number in range(len(it.replicas)):
            await way(it, number)
            leader = await it.settled(PATIENCE)
            await it.until(lambda number=number: it.replicas[number].takes_requests(), PATIENCE)  # type: ignore[misc]
            rollout = await leader.until(NAME, _compares_more_than(compared), PATIENCE)
            compared = rollout["ledger"]["compared"]
            assert (rollout["state"], rollout["weight"]) == ("canary", 20.0), it.output
    return await leader.until(NAME, lambda r: True, PATIENCE)


def _compares_more_than(count: int) -> Callable[[Rollout], bool]:
    return lambda rollout: bool(rollout["ledger"]["compared"] > count)


async def play(folder: Path, url: str, way: Way, replicas: int, rate: float, rounds: int) -> dict[str, Any]:
    """Roll over a fleet with clients behind a balancer, half of them on connections that they keep; what is left."""
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        config = settings(live, candidate)
        it = await stack.enter_async_context(fleet(folder, url, config, replicas, own=lambda _: {"server": DRAIN}))
        balancer = Balancer(lambda: it.replicas)
        await stack.enter_async_context(listening(balancer))
        leader, loads = await it.settled(), list[Load]()
        await it.until(lambda: _true(len(balancer.ready) == replicas))
        async with AsyncExitStack() as clients:
            for reuse in (True, False):
                load = Load(f"http://127.0.0.1:{balancer.port}/r/infer", rate / 2, reuse=reuse)
                loads.append(await clients.enter_async_context(load))
            await leader.until(NAME, lambda rollout: rollout["state"] == "canary", PATIENCE)
            await roll(it, way, rounds)
        leader = await it.settled(PATIENCE)
        rollout = await leader.until(NAME, lambda r: r["ledger"]["pending"] == 0, PATIENCE)
        entries = (await leader.api(f"/api/v1/rollouts/{NAME}/journal"))["journal"]
        problems = [problem for load in loads for problem in load.problems()]
        assert problems == [], (len(problems), problems[:5], it.output)
        terms = [entry["term"] for entry in it.events("fleet.leading")]
        return {
            "requests": sum(len(load.seen) for load in loads),
            "late": max(max(load.latencies()) for load in loads),
            "ledger": rollout["ledger"],
            "journal": [entry["kind"] for entry in entries],
            "terms": terms,
        }


def check(left: dict[str, Any], leaders: int) -> None:
    """The evidence is that of all requests but those of which the ledger says that they were lost on the way: what came
    while their replica had no controller, which takes as long as the machine takes to start one."""
    ledger = left["ledger"]
    assert ledger["compared"] + ledger["link_full"] + ledger["shed"] == ledger["sampled"], ledger
    assert ledger["compared"] > ledger["link_full"], ledger
    assert left["journal"] == ["advanced", "began"]
    assert left["terms"] == sorted(set(left["terms"]))
    assert len(left["terms"]) > leaders, "no turn was a leader's"


@pytest.mark.slow
async def test_each_replica_of_two_is_replaced_under_load(tmp_path: Path, postgres: Postgres) -> None:
    check(await play(tmp_path, postgres.url, replaced, replicas=2, rate=60.0, rounds=1), leaders=1)


@pytest.mark.slow
@pytest.mark.parametrize("way", [replaced, upgraded])
async def test_four_replicas_at_300_requests_a_second_are_upgraded_twice(
    tmp_path: Path, postgres: Postgres, way: Way
) -> None:
    left = await play(tmp_path, postgres.url, way, replicas=4, rate=300.0, rounds=2)
    print({**left, "way": way.__name__})  # noqa: T201 - the figures of this run, shown with -s
    check(left, leaders=2)
