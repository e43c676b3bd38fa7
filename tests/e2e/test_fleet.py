"""Promise: several replicas over one PostgreSQL make one decision, whoever of them is killed or frozen."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.fleets import NAME, Fleet, fleet, kill, settings
from tests.e2e.harness import Understudy
from tests.fakes import Load, model_process, question
from tests.postgres import Postgres

ASKED = 60
"""Requests after which a canary of 20 % would have answered one, but for one time in a million."""
LEASE = 2.0
PATIENCE = 30.0
"""Seconds for what takes two on a machine that does nothing else."""


@pytest.fixture
async def models() -> AsyncIterator[tuple[str, str]]:
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        yield live, candidate


async def served_by(replica: Understudy) -> set[str]:
    """Which upstreams answer a replica's clients."""
    found = set()
    async with aiohttp.ClientSession() as session:
        for number in range(ASKED):
            async with session.post(f"{replica.data_url}/r/infer", data=question(number)) as answer:
                assert answer.status == 200
                found.add(answer.headers["x-served-by"])
    return found


async def climbed(it: Fleet) -> Understudy:
    """Bring the rollout to its canary with traffic on every replica; who leads."""
    leader = await it.settled()
    async with AsyncExitStack() as stack:
        for replica in it.replicas:
            await stack.enter_async_context(Load(f"{replica.data_url}/r/infer", 30.0))
        await leader.until(NAME, lambda rollout: rollout["state"] == "canary", 60)
    for replica in it.replicas:
        await it.until(lambda replica=replica: _has_both(replica), PATIENCE)  # type: ignore[misc]
    return leader


async def _has_both(replica: Understudy) -> bool:
    return await served_by(replica) == {"live", "c"}


async def nobody_is_served_by_the_candidate(it: Fleet) -> None:
    for replica in it.replicas:
        assert await served_by(replica) == {"live"}, f"{replica.folder.name}\n{it.output}"


def terms(it: Fleet) -> list[int]:
    """Of each leadership, in order."""
    return [entry["term"] for entry in it.events("fleet.leading")]


@pytest.mark.chaos
async def test_abort_through_a_standby_reaches_every_worker_and_outlives_the_leader(
    tmp_path: Path, postgres: Postgres, models: tuple[str, str]
) -> None:
    async with fleet(tmp_path, postgres.url, settings(*models), replicas=2, lease=f"{LEASE}s") as it:
        leader = await climbed(it)
        (standby,) = [one for one in it.replicas if one is not leader]
        assert (await standby.rollout(NAME))["state"] == "canary", "a standby asks the leader"
        await standby.api(f"/api/v1/rollouts/{NAME}/abort", {"reason": "by hand"})
        await nobody_is_served_by_the_candidate(it)
        term = it.term
        kill((await leader.processes())["controller"])
        other = await it.leader(PATIENCE, after=term)
        assert (await other.until(NAME, lambda rollout: True, PATIENCE))["state"] == "rolled_back"
        await it.settled(PATIENCE)
        await nobody_is_served_by_the_candidate(it)
        assert terms(it) == sorted(set(terms(it)))


async def takes_over(it: Fleet, leader: Understudy, number: signal.Signals) -> tuple[Understudy, float]:
    """Kill or stop the controller of who leads; who leads then, and after how many seconds."""
    pid, term = (await leader.processes())["controller"], it.term
    began = time.monotonic()
    kill(pid, number)
    other = await it.leader(PATIENCE, after=term)
    return other, time.monotonic() - began


@pytest.mark.slow
async def test_leaders_that_are_killed_are_followed(
    tmp_path: Path, postgres: Postgres, models: tuple[str, str]
) -> None:
    async with fleet(tmp_path, postgres.url, settings(*models), lease=f"{LEASE}s") as it:
        leader, times = await climbed(it), []
        for _ in range(3):
            leader, seconds = await takes_over(it, leader, signal.SIGKILL)
            times.append(round(seconds, 2))
            assert (await leader.until(NAME, lambda rollout: True, PATIENCE))["state"] == "canary"
            await it.settled()
        print("seconds until another leads", times)  # noqa: T201 - the figures of this run, shown with -s
        assert terms(it) == [1, 2, 3, 4]


@pytest.mark.slow
async def test_leaders_that_are_frozen_past_their_lease_are_followed_and_obeyed_no_more(
    tmp_path: Path, postgres: Postgres, models: tuple[str, str]
) -> None:
    async with fleet(tmp_path, postgres.url, settings(*models), lease=f"{LEASE}s") as it:
        leader, times = await climbed(it), []
        for _ in range(3):
            frozen, pid = leader, (await leader.processes())["controller"]
            leader, seconds = await takes_over(it, frozen, signal.SIGSTOP)
            times.append(round(seconds, 2))
            kill(pid, signal.SIGCONT)
            await it.settled()
            assert not await it.leads(frozen)
        print("seconds until another leads", times)  # noqa: T201 - the figures of this run, shown with -s
        await leader.api(f"/api/v1/rollouts/{NAME}/abort", {"reason": "by hand"})
        await nobody_is_served_by_the_candidate(it)
        assert terms(it) == sorted(set(terms(it)))
        entries = (await leader.api(f"/api/v1/rollouts/{NAME}/journal"))["journal"]
        assert [entry["kind"] for entry in entries] == ["rolled_back", "advanced", "began"]
