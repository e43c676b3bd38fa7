"""Promise: a candidate that writes twice as many tokens is rolled back by `max_cost`, a cheaper one is promoted, and
what they cost is told by the API, the metrics, the webhook, the journal and `judge`, whose exit code fails a build;
copies cost no more than `mirror.max_cost` allows."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.harness import Rollout, command_says, running, served
from tests.predictions import language_examples as examples

PRICE = {"input": 2.0, "output": 8.0}
WORDS = 20
"""Tokens of most answers of live's; one in twenty has ten times as many."""


def length(number: int, times: float) -> int:
    return round(WORDS * times * (10 if number % 20 == 0 else 1) * (1 + number % 3))


@asynccontextmanager
async def chat(times: float, *, says: bool = True) -> AsyncIterator[str]:
    """A chat model whose answers have `times` as many tokens as live's, whole or streamed, which it says or not."""

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        written = length(asked["n"], times)
        usage = {"prompt_tokens": 100, "completion_tokens": written, "total_tokens": 100 + written} if says else None
        if not asked["stream"]:
            message = {"role": "assistant", "content": "word" * written}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})
        events = examples.chat_stream({"content": "word" * written}, lambda text: [text])
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(examples.sse([*events, *([{"choices": [], "usage": usage}] if says else [])]))
        await answer.write_eof()
        return answer

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with served(app) as url:
        yield url


def config(live: str, candidate: str, hook: str = "", min_time: str = "0s", **mirror: Any) -> dict[str, Any]:
    stages = [{"shadow": "100%", "min_pairs": 50, "min_time": min_time}, {"canary": "50%", "min_pairs": 50}]
    guards = {"max_cost": "1.3x", "max_extra_errors": "5%", "max_response_mismatch": "5%"}
    rollout = {"candidate": "v2", "stages": stages, "guards": guards, "latency_block": "0s", "mirror": mirror,
               "record": {"path": "pairs.jsonl", "share": "100%"}}  # fmt: skip
    wanted: dict[str, Any] = {
        "currency": "EUR",
        "upstreams": {"v1": {"url": live, "price": PRICE}, "v2": {"url": candidate, "price": PRICE}},
        "routes": [{"name": "r", "live": "v1", "rollouts": [rollout]}],
    }
    if hook:
        events = ["rollout.rolled_back", "rollout.promoted"]
        wanted["webhooks"] = [{"url": hook, "secret": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "events": events}]
    return wanted


@asynccontextmanager
async def asking(url: str, *, stream: bool = False) -> AsyncIterator[itertools.count[int]]:
    """Four clients that ask one question after the other, each another one; every other answer may be a stream."""
    numbers = itertools.count(1)
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            while True:
                n = next(numbers)
                question = {"n": n, "stream": stream and n % 2 == 0, "messages": [{"role": "user", "content": "?"}]}
                async with session.post(f"{url}/v1/chat/completions", json=question) as reply:
                    assert reply.status == 200
                    await reply.read()

        clients = [asyncio.create_task(client()) for _ in range(4)]
        try:
            yield numbers
        finally:
            for one in clients:
                one.cancel()
            for one in clients:
                with contextlib.suppress(asyncio.CancelledError):
                    await one


@asynccontextmanager
async def receiver(told: asyncio.Queue[dict[str, Any]]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        await told.put(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    async with served(app) as url:
        yield f"{url}/hook"


async def a_build_fails(folder: Path, ratio: float) -> None:
    judge = ("judge", str(folder / "pairs.jsonl"), "--config", str(folder / "understudy.yaml"))
    code, said = await command_says(*judge)
    assert code == 1, said
    assert "cost now 1." in said
    assert "an answer costs EUR 0.00" in said
    code, report = await command_says(*judge, "--json")
    assert json.loads(report)["cost"]["ratio"] == pytest.approx(ratio, rel=0.05)


async def test_a_candidate_that_writes_twice_as_much_is_rolled_back_and_all_say_what_it_costs(tmp_path: Path) -> None:
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    async with (
        chat(1.0) as live,
        chat(2.0) as candidate,
        receiver(told) as hook,
        running(tmp_path, config(live, candidate, hook)) as understudy,
        asking(understudy.data_url, stream=True),
    ):
        ended = await understudy.until("r/v2", lambda now: now["state"] == "rolled_back", within=60.0)
        event = await asyncio.wait_for(told.get(), 20.0)
        entries = (await understudy.api("/api/v1/rollouts/r/v2/journal"))["journal"]
        (journal,) = [one for one in entries if one["kind"] == "rolled_back"]
        metrics = await understudy.metrics()
        code, status = await command_says("status", "--admin", understudy.admin_url)
    assert ended["reason"].startswith("cost now 1."), ended["reason"]
    cost = ended["cost"]
    # 100 tokens in and on average 58 out: 0.00066 of live, 0.00113 of the candidate
    assert (cost["currency"], cost["counted"]) == ("EUR", 0)
    assert cost["live"]["mean"] == pytest.approx(0.00066, rel=0.25)
    assert 1.5 < cost["ratio"] < 1.9
    assert cost["copies"] >= cost["candidate"]["total"] > 0
    assert event["type"] == "rollout.rolled_back"
    assert event["data"]["cost"]["ratio"] == pytest.approx(cost["ratio"], rel=0.01)
    assert journal["detail"]["cost"]["live"]["total"] == pytest.approx(cost["live"]["total"], rel=0.01)
    for arm in ("live", "candidate"):
        assert f'understudy_cost_total{{arm="{arm}",rollout="r/v2"}}' in metrics
    assert 'understudy_copy_cost_total{rollout="r/v2"}' in metrics
    assert (code, "an answer costs EUR 0.00" in status, "x live's, mean of" in status) == (0, True, True)
    await a_build_fails(tmp_path, cost["ratio"])


@pytest.mark.parametrize("says", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_a_cheaper_candidate_is_promoted_whether_or_not_it_says_its_tokens(tmp_path: Path, says: bool) -> None:
    async with (
        chat(1.0) as live,
        chat(0.5, says=says) as candidate,
        running(tmp_path, config(live, candidate, min_time="3s")) as understudy,
        asking(understudy.data_url),
    ):
        seen = await understudy.until("r/v2", lambda now: bool(now["stage"]["forecast"]), within=60.0)
        assert seen["stage"]["forecast"]["text"].startswith("This verdict needs ")
        assert seen["stage"]["forecast"]["cost"] is not None
        ended = await understudy.until("r/v2", lambda now: now["state"] == "promoted", within=90.0)
    cost = ended["cost"]
    assert cost["ratio"] < 0.9
    assert (cost["counted"] > 0) is not says
    (finding,) = [one for one in ended["findings"] if one["guard"] == "max_cost"]
    assert ("tokens were estimated in" in finding["reason"]) is not says
    code, said = await command_says(
        "judge", str(tmp_path / "pairs.jsonl"), "--config", str(tmp_path / "understudy.yaml")
    )
    assert code == 0, said


def is_all_paid(now: Rollout) -> bool:
    """Whether the period has what copies have cost: a pair counts for the two at different moments."""
    return bool(now["cost_budget"]["in_period"] == pytest.approx(now["cost"]["copies"], rel=0.05))


async def test_copies_cost_no_more_than_their_budget(tmp_path: Path) -> None:
    """A copy costs some 0.0007: 0.02 an hour pay for 30 of them, and for 2 or 3 within 150 s (2/24 of it)."""
    async with (
        chat(1.0) as live,
        chat(1.0) as candidate,
        running(tmp_path, config(live, candidate, max_cost="0.02/hour")) as understudy,
        asking(understudy.data_url) as numbers,
    ):
        seen = await understudy.until("r/v2", lambda now: now["cost_budget"]["in_period"] > 0, within=60.0)
        assert seen["cost_budget"]["limit"] == "0.02/hour"
        stopped = await understudy.until("r/v2", lambda now: now["cost_budget"]["share"] < 0.001, within=60.0)
        sampled, asked = stopped["ledger"]["sampled"], next(numbers)
        await understudy.until("r/v2", lambda _: next(numbers) > asked + 500, within=60.0)
        after = await understudy.until("r/v2", is_all_paid, within=60.0)
        metrics = await understudy.metrics()
    budget = after["cost_budget"]
    # what was under way when it was found out what answers cost, at a thousandth of the requests and little more
    assert budget["in_period"] <= 0.02
    assert after["ledger"]["sampled"] <= sampled + 10
    assert 'understudy_cost_budget_share_ratio{rollout="r/v2"}' in metrics
