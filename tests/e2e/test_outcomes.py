"""Promise: what users do later, posted over the API by sticky key or request id, rolls a canary back whose users
convert less though every pair is alike, and promotes one whose users convert as live's do, over a killed controller."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.e2e.harness import Rollout, Understudy, route, running
from tests.fakes import FakeModel, question

pytestmark = pytest.mark.slow

NAME = "m/v2"
WITHIN = 8.0
"""Seconds in which an outcome must have been posted, on a busy machine too."""
BATCH = 40
"""Users that ask at a time."""


def config(live: str, candidate: str, sticky: bool) -> dict[str, Any]:
    outcome = {"name": "conversion", "drop": "20pp", "within": f"{WITHIN:g}s"}
    guards = {"max_disagreement": "60%", "max_extra_errors": "50%", "max_outcome_drop": outcome}
    stages = [{"shadow": "100%", "min_pairs": 20}, {"canary": "50%", "min_pairs": 20}]
    one = route("m", "v1", "v2", stages, guards=guards, latency_block="0s")
    one |= {"sticky": {"header": "x-user"}} if sticky else {}
    return {"upstreams": {"v1": {"url": live}, "v2": {"url": candidate}}, "routes": [one]}


@asynccontextmanager
async def program(folder: Path, *, sticky: bool) -> AsyncIterator[tuple[Understudy, aiohttp.ClientSession]]:
    """A running one whose models say the same, in its canary."""
    live, candidate = await FakeModel("v1").start(), await FakeModel("v2").start()
    try:
        async with (
            running(folder, config(live.url, candidate.url, sticky)) as understudy,
            aiohttp.ClientSession() as session,
        ):
            asked = 0
            while (await understudy.rollout(NAME))["state"] == "shadow":
                await asyncio.gather(*(ask(session, understudy, f"early-{asked + n}") for n in range(BATCH)))
                asked += BATCH
                assert asked < 20_000
            yield understudy, session
    finally:
        await live.stop()
        await candidate.stop()


async def ask(session: aiohttp.ClientSession, understudy: Understudy, user: str) -> tuple[str, str]:
    """Who answered a user, and the id of the answer."""
    headers = {"content-type": "application/json", "x-user": user}
    body = question(random.randrange(1 << 40))
    async with session.post(f"{understudy.data_url}/m/infer", data=body, headers=headers) as answer:
        assert answer.status == 200
        return orjson.loads(await answer.read())["model_name"], answer.headers["x-request-id"]


async def visit(
    session: aiohttp.ClientSession, understudy: Understudy, user: str, converts: dict[str, float]
) -> dict[str, Any] | None:
    """A user asks three times, always of one arm; what there is to post: by its key, or by the id of a request."""
    sticky = not user.startswith("nobody")
    answers = [await ask(session, understudy, user) for _ in range(3 if sticky else 1)]
    served_by = [name for name, _ in answers]
    changes = sum(one != other for one, other in pairwise(served_by))
    assert changes <= 1, "a user stays on one arm, but where the rollout ends between two of its requests"
    if random.random() >= converts[served_by[0]]:
        return None
    whose = {"key": user} if sticky else {"id": answers[0][1]}
    return {**whose, "name": "conversion", "value": 1}


async def day(
    session: aiohttp.ClientSession, understudy: Understudy, first: int, prefix: str, **converts: float
) -> dict[str, int]:
    """A batch of users, and what became of what is posted of them; `posted` is how many that is."""
    names = [f"{prefix}-{first + n}" for n in range(BATCH)]
    visits = await asyncio.gather(*(visit(session, understudy, name, converts) for name in names))
    posted = [one for one in visits if one is not None]
    found: dict[str, int] = await understudy.api("/api/v1/outcomes", posted)  # type: ignore[arg-type]
    return {"posted": len(posted)} | found


async def day_of_nobody(understudy: Understudy) -> dict[str, int]:
    """What becomes of an outcome that no rollout asks for."""
    other: Any = [{"key": "x", "name": "other", "value": 1}]
    found: dict[str, int] = await understudy.api("/api/v1/outcomes", other)
    return found


async def days_until(
    session: aiohttp.ClientSession, understudy: Understudy, state: str, prefix: str, first: int = 0, **converts: float
) -> Rollout:
    """Batches of users until the rollout is in this state."""
    async with asyncio.timeout(300.0):
        while (rollout := await understudy.rollout(NAME))["state"] == "canary":
            await day(session, understudy, first, prefix, **converts)
            first += BATCH
    assert rollout["state"] == state, rollout
    return rollout


async def killed(understudy: Understudy) -> None:
    """Kill the controller, and wait for the next."""
    first = (await understudy.processes())["controller"]
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(60.0):
        while True:
            with suppress(aiohttp.ClientError, OSError):
                if (await understudy.processes())["controller"] != first and await understudy.is_ready():
                    return
            await asyncio.sleep(0.05)


def of_users(rollout: Rollout, what: str) -> int:
    """A figure of both arms together."""
    return sum(rollout["users"][arm][what] for arm in ("live", "candidate"))


async def test_fewer_conversions_roll_back_what_pairs_find_alike_over_a_killed_controller(tmp_path: Path) -> None:
    async with program(tmp_path, sticky=True) as (understudy, session):
        found = await day(session, understudy, 0, "user", v1=1.0, v2=0.0)
        converted = found.pop("posted")
        assert found.keys() <= {"joined", "early", "unknown"}
        assert (found["joined"] + found.get("early", 0), found["unknown"]) == (converted, 0)
        assert converted > 5
        assert (await day_of_nobody(understudy))["unasked"] == 1
        before = await understudy.until(NAME, lambda one: of_users(one, "outcomes") == converted)
        await day(session, understudy, 0, "user", v1=0.0, v2=0.0)  # the same users again
        await killed(understudy)
        await day(session, understudy, 0, "user", v1=0.0, v2=0.0)
        await day(session, understudy, BATCH, "user", v1=0.7, v2=0.0)
        after = await understudy.until(NAME, lambda one: one["users"] and of_users(one, "exposed") >= 2 * BATCH)
        most = (
            of_users(before, "exposed") + BATCH
        )  # of those that had just been told and never came again some are lost
        assert of_users(after, "exposed") <= most, "each user once, however often it asks and whoever is told"
        assert of_users(after, "outcomes") >= found["joined"], "what was answered as joined is there"
        rollout = await days_until(session, understudy, "rolled_back", "user", 2 * BATCH, v1=0.7, v2=0.05)
        assert rollout["cause"] == "fail"
        assert "outcome drop now" in rollout["reason"]
        assert "conversion" in rollout["guards"]["max_outcome_drop"]
        verdicts = {one["guard"]: one["verdict"] for one in rollout["findings"]}
        assert verdicts.pop("max_outcome_drop") == "fail"
        assert "fail" not in verdicts.values(), "nothing else has seen anything"
        metrics = await understudy.metrics()
        assert 'understudy_users{arm="candidate",result="counted",rollout="m/v2"}' in metrics


async def test_as_many_conversions_promote(tmp_path: Path) -> None:
    async with program(tmp_path, sticky=True) as (understudy, session):
        rollout = await days_until(session, understudy, "promoted", "user", v1=0.1, v2=0.1)
        verdicts = {one["guard"]: one["verdict"] for one in rollout["findings"]}
        assert set(verdicts) >= {"max_disagreement"}
        journal = (await understudy.api(f"/api/v1/rollouts/{NAME}/journal"))["journal"]
        assert journal[0]["kind"] == "promoted"


async def test_without_sticky_keys_each_request_is_a_user_and_its_id_says_which(tmp_path: Path) -> None:
    async with program(tmp_path, sticky=False) as (understudy, session):
        rollout = await days_until(session, understudy, "rolled_back", "nobody", v1=0.8, v2=0.05)
        assert "outcome drop now" in rollout["reason"]
