"""Promise: when every guard has passed and only time is waited for, few pairs are made and it is said why; a candidate
that breaks then is rolled back all the same."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.e2e.harness import running, served


def config(live: str, candidate: str) -> dict[str, Any]:
    rollout = {
        "candidate": "v2",
        "stages": [{"shadow": "100%", "min_pairs": 50, "min_time": "1h"}],
        "guards": {"max_response_mismatch": "5%", "max_extra_errors": "5%"},
        "latency_block": "0s",
        "mirror": {"idle_pairs_per_second": 5},
    }
    route = {"name": "r", "live": "v1", "rollouts": [rollout]}
    return {"upstreams": {"v1": {"url": live}, "v2": {"url": candidate}}, "routes": [route]}


@asynccontextmanager
async def model(broken: asyncio.Event) -> AsyncIterator[str]:
    """A server that gives back what it got, until it is broken."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=500) if broken.is_set() else web.json_response(await request.json())

    app = web.Application()
    app.router.add_post("/x", handle)
    async with served(app) as url:
        yield url


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[itertools.count[int]]:
    """One client that asks one request after the other, each another one."""
    numbers = itertools.count(1)

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.post(f"{url}/x", json={"n": next(numbers)}) as reply:
                    await reply.read()

    task = asyncio.create_task(client())
    try:
        yield numbers
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_few_pairs_are_made_while_only_time_is_waited_for_and_a_break_is_found(tmp_path: Path) -> None:
    broken = asyncio.Event()
    async with (
        model(asyncio.Event()) as live,
        model(broken) as candidate,
        running(tmp_path, config(live, candidate)) as understudy,
        asking(understudy.data_url) as numbers,
    ):
        few = await understudy.until("r/v2", lambda now: (now["idle_budget"] or {"share": 1})["share"] < 0.5, 60.0)
        broken.set()
        ended = await understudy.until("r/v2", lambda now: now["state"] == "rolled_back", 60.0)
        asked = next(numbers)
    assert (few["idle_budget"]["limit"], few["idle_budget"]["reason"]) == (5, "every guard has passed")
    said = few["stage"]["waiting_for"]
    assert "of its pairs are made (`idle_pairs_per_second`): every guard has passed." in said
    assert ended["ledger"]["sampled"] < asked - 1
