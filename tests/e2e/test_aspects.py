"""Promise: with several predictions a candidate that is worse in one is rolled back for that one, and the API, the
metrics and a recording's judge say which; one that is as good in all is promoted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.harness import command_says, running, served

PREDICTIONS = {
    "intent": {"protocol": "json", "pointer": "/intent", "kind": "label"},
    "refusal": {"protocol": "json", "pointer": "/refused", "kind": "label"},
}
GUARDS = {
    "intent": {"max_disagreement": "10%"},
    "refusal": {"max_rate_increase": "5%"},
    "max_extra_errors": "5%",
}


@asynccontextmanager
async def model(refuses: int) -> AsyncIterator[str]:
    """A server that refuses one request in so many (0: none)."""

    async def handle(request: web.Request) -> web.Response:
        number = (await request.json())["n"]
        return web.json_response({"intent": "ab"[number % 2], "refused": bool(refuses and number % refuses == 0)})

    app = web.Application()
    app.router.add_post("/{route}", handle)
    async with served(app) as url:
        yield url


def config(live: str, candidate: str) -> dict[str, Any]:
    stages = [{"shadow": "100%", "min_pairs": 50}, {"canary": "50%", "min_pairs": 50}]
    rollout = {"candidate": "v2", "stages": stages, "guards": GUARDS, "latency_block": "0s",
               "record": {"path": "pairs.jsonl", "share": "100%"}}  # fmt: skip
    route = {"name": "r", "live": "v1", "predictions": PREDICTIONS, "rollouts": [rollout]}
    return {"upstreams": {"v1": {"url": live}, "v2": {"url": candidate}}, "routes": [route]}


async def judged(folder: Path, refuses: int) -> tuple[dict[str, Any], str, str]:
    """How the rollout of a candidate ended: it, the metrics, and what `judge` says of the recording."""
    async with model(0) as live, model(refuses) as candidate, running(folder, config(live, candidate)) as understudy:
        numbers = itertools.count(1)
        async with aiohttp.ClientSession() as session:

            async def client() -> None:
                while True:
                    async with session.post(f"{understudy.data_url}/x", json={"n": next(numbers)}) as reply:
                        await reply.read()

            clients = [asyncio.create_task(client()) for _ in range(8)]
            try:
                ended = await understudy.until("r/v2", lambda now: now["state"] in ("promoted", "rolled_back"))
            finally:
                for one in clients:
                    one.cancel()
                for one in clients:
                    with contextlib.suppress(asyncio.CancelledError):
                        await one
            async with session.get(f"{understudy.admin_url}/metrics") as reply:
                metrics = await reply.text()
    _, said = await command_says("judge", str(folder / "pairs.jsonl"), "--config", str(folder / "understudy.yaml"))
    return ended, metrics, said


@pytest.mark.parametrize("refuses", [0, 5])
async def test_a_candidate_is_judged_in_each(tmp_path: Path, refuses: int) -> None:
    ended, metrics, said = await judged(tmp_path, refuses)
    keys = {finding["key"]: finding for finding in ended["findings"]}
    assert set(keys) >= {"intent.max_disagreement", "refusal.max_rate_increase", "max_extra_errors"}
    assert ended["guards"]["refusal.max_rate_increase"] == "5%"
    assert ended["kinds"] == {"intent": "label", "refusal": "label"}
    assert 'aspect="refusal",guard="max_rate_increase"' in metrics
    if refuses:
        assert ended["state"] == "rolled_back"
        assert ended["reason"].startswith("refusal: rate increase now ")
        assert keys["refusal.max_rate_increase"]["verdict"] == "fail"
        assert "fail      refusal: rate increase now " in said
    else:
        assert ended["state"] == "promoted"
        assert "refusal: rate increase now 0 % (" in said
