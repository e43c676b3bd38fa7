"""Promise: in a fleet each user is exposed once, whichever replicas it asks, and each outcome counts once, whichever
replica takes it; that a leader dies loses and doubles none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.e2e.fleets import NAME, Fleet, fleet, kill, settings
from tests.e2e.harness import Rollout, Understudy
from tests.fakes import model_process, question
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

WITHIN = 30.0
PATIENCE = 60.0


def config(live: str, candidate: str) -> dict[str, Any]:
    """A canary that stays one: a user counts for at most 100, and a drop by 90 of a mean of 1 is none."""
    drop = {"name": "revenue", "drop": 90, "most": 100, "within": f"{WITHIN:g}s"}
    guards = {"max_disagreement": "60%", "max_extra_errors": "50%", "max_outcome_drop": drop}
    whole = settings(live, candidate, stages=[{"canary": "50%", "min_pairs": 100_000}], guards=guards)
    whole["routes"][0]["sticky"] = {"header": "x-user"}
    return whole


async def ask(replicas: Iterable[Understudy], users: Iterable[str]) -> None:
    """Each user asks each of the replicas twice, and is on one arm everywhere."""
    async with aiohttp.ClientSession() as session:
        for number, user in enumerate(users):
            arms = set()
            for replica in replicas:
                for _ in range(2):
                    headers = {"x-user": user}
                    async with session.post(
                        f"{replica.data_url}/r/infer", data=question(number), headers=headers
                    ) as answer:
                        assert answer.status == 200
                        arms.add(answer.headers["x-served-by"])
            assert len(arms) == 1, f"{user} is on both arms"


async def post(replica: Understudy, users: Iterable[str]) -> dict[str, Any]:
    """Post 1 of each user, one a line."""
    lines = b"\n".join(orjson.dumps({"key": user, "name": "revenue", "value": 1}) for user in users)
    headers = {"content-type": "application/x-ndjson"}
    async with aiohttp.request("POST", f"{replica.admin_url}/api/v1/outcomes", data=lines, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


def of_both(rollout: Rollout, what: str) -> Any:
    """A figure of both arms together; none before a leader knows of users."""
    users = rollout["users"]
    return users and sum(users[arm][what] for arm in ("live", "candidate"))


async def exposed(replica: Understudy, users: int) -> Rollout:
    """The rollout once so many users are exposed; never more."""
    found = await replica.until(NAME, lambda one: (of_both(one, "exposed") or 0) >= users, PATIENCE)
    assert of_both(found, "exposed") == users
    return found


async def killed(it: Fleet, leader: Understudy) -> Understudy:
    """Kill all of the leading replica; who leads next, once it answers for its store."""
    processes = await leader.processes()
    for pid in (processes["supervisor"], processes["controller"]):
        kill(pid)
    return await it.leader(PATIENCE, but=leader)


async def test_no_user_and_no_outcome_is_lost_or_counted_twice_when_the_leader_dies(
    tmp_path: Path, postgres: Postgres
) -> None:
    first, second, third = ([f"{wave}-{n}" for n in range(40)] for wave in ("early", "between", "late"))
    async with (
        model_process("live") as (_, live),
        model_process("c") as (_, candidate),
        fleet(tmp_path, postgres.url, config(live, candidate), replicas=2) as it,
    ):
        leader = await it.settled()
        (standby,) = await it.standbys()
        await leader.until(NAME, lambda one: one["state"] == "canary" and one["users"], PATIENCE)
        await ask(it.replicas, first)
        await exposed(standby, len(first))
        took = await post(standby, first[:20])
        assert (took["joined"], took["lines"]) == (20, 20)
        dying = asyncio.create_task(killed(it, leader))
        await ask([standby], second)  # whoever leads, or nobody
        after = await dying
        assert after is standby
        await ask([after], [*first, *third])
        rollout = await exposed(after, len(first) + len(second) + len(third))
        assert of_both(rollout, "outcomes") == 20, "what was answered as joined is there, once"
        took = await post(after, [*first[20:], *second[:10], *third])
        assert took["joined"] == 20 + 10 + 40
        done = await after.until(NAME, lambda one: of_both(one, "waiting") == 0, PATIENCE + WITHIN)
        users = done["users"]
        assert of_both(done, "counted") == len(first) + len(second) + len(third)
        assert of_both(done, "with_value") == of_both(done, "outcomes") == 40 + 10 + 40
        summed = sum(users[arm]["mean"] * users[arm]["counted"] for arm in ("live", "candidate"))
        assert summed == pytest.approx(90.0)
        assert (users["lost"], users["unknown"], of_both(done, "late"), of_both(done, "switched")) == (0, 0, 0, 0)
