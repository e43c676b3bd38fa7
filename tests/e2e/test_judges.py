"""Promise: a whole `understudy serve` asks a judge about pairs of chat answers, rolls a worse candidate back for
`min_win_rate`, passes one that is as good, and whatever the judge does, no live answer waits for it or fails."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.controller.judging.test_gate import anchor_file, right
from tests.e2e.harness import Rollout, Understudy, running, served
from tests.stand_in_judge import StandInJudge

KEY = "sk-judge-0123456789"
Length = Callable[[str], int]


def equal(salt: str) -> Length:
    """Answers whose length has nothing to do with the other model's."""
    return lambda asked: 10 + zlib.crc32((salt + asked).encode()) % 1000


@asynccontextmanager
async def chat(name: str, length: Length) -> AsyncIterator[str]:
    """An OpenAI-compatible model whose answers are so long."""

    async def handle(request: web.Request) -> web.Response:
        asked = (await request.json())["messages"][-1]["content"]
        message = {"role": "assistant", "content": f"{name} says " + "w" * length(asked)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with served(app) as url:
        yield url


def config(live: str, candidate: str, judge: str, **more: Any) -> dict[str, Any]:
    rollout = {
        "candidate": "v2", "stages": [{"shadow": "100%", "min_pairs": 50}], "on_pass": "hold", "latency_block": "0s",
        "guards": {"quality": {"min_win_rate": "-20pp"}, "max_extra_errors": "5%"},
        "record": {"path": "pairs.jsonl", "share": "100%"},
    }  # fmt: skip
    quality = {"protocol": "openai", "output": "text", "kind": "text", "judge": "helpful"}
    helpful = {
        "url": judge, "model": "large", "headers": {"authorization": "Bearer ${JUDGE_KEY}"}, "share": "100%",
        "concurrency": 8, "price": {"input": 1, "output": 10}, "max_cost": "100/day", **more,
    }  # fmt: skip
    return {
        "upstreams": {"v1": {"url": live}, "v2": {"url": candidate}},
        "judges": {"helpful": helpful},
        "routes": [{"name": "chat", "live": "v1", "predictions": {"quality": quality}, "rollouts": [rollout]}],
    }


class Clients:
    """Clients that ask on and on; `answered` counts answers of live with status 200, `wrong` all else."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count()
        self.answered = self.wrong = 0

    async def _one(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                message = {"role": "user", "content": f"question {next(self._numbers)}"}
                body = {"model": "any", "messages": [message]}
                async with session.post(f"{self._url}/v1/chat/completions", json=body) as reply:
                    said = await reply.json()
                    good = reply.status == 200 and said["choices"][0]["message"]["content"].startswith("live says")
                    self.answered, self.wrong = self.answered + good, self.wrong + (not good)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._one()) for _ in range(8)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    async def more(self, count: int) -> None:
        """Wait for so many more answers."""
        goal = self.answered + count
        async with asyncio.timeout(60):
            while self.answered < goal:  # noqa: ASYNC110 - answers have no event of their own
                await asyncio.sleep(0.01)


@asynccontextmanager
async def trial(
    folder: Path, judge: StandInJudge, candidate: Length, **more: Any
) -> AsyncIterator[tuple[Understudy, Clients]]:
    async with (
        chat("live", equal("live")) as live,
        chat("candidate", candidate) as other,
        judge.listening() as url,
        running(folder, config(live, other, url, **more), environment={"JUDGE_KEY": KEY}) as understudy,
    ):
        clients = Clients(understudy.data_url)
        async with clients.asking():
            yield understudy, clients
        assert clients.wrong == 0
        judge.released.set()


def judged(rollout: Rollout) -> dict[str, Any]:
    found: dict[str, Any] = rollout["judges"][0]
    return found


async def test_a_candidate_that_the_judge_likes_less_is_rolled_back_and_it_says_why(tmp_path: Path) -> None:
    judge = StandInJudge()
    async with trial(tmp_path, judge, lambda _: 5) as (understudy, _):
        ended = await understudy.until("chat/v2", lambda now: now["state"] == "rolled_back", 60)
        pairs = await understudy.api("/api/v1/rollouts/chat/v2/pairs?order=judged&limit=50")
        metrics = await understudy.metrics()
        log = understudy.output
        shown = repr((ended, pairs, await understudy.api("/api/v1/rollouts/chat/v2/journal")))
    assert ended["reason"].startswith("quality: win rate now ")
    said = judged(ended)
    assert (said["aspect"], said["judge"], said["model"]) == ("quality", "helpful", "large")
    assert said["verdicts"]["loss"] > 0
    assert said["verdicts"]["win"] == 0
    assert said["cost"]["spent"] > 0
    seen = [pair["judged"][0] for pair in pairs["pairs"] if pair["judged"]]
    assert any(
        one["verdict"] == "loss" and one["reason"] and one["order"] and one["aspect"] == "quality" for one in seen
    )
    assert 'understudy_judge_verdicts_total{aspect="quality",rollout="chat/v2",verdict="loss"}' in metrics
    assert set(judge.keys) == {f"Bearer {KEY}"}
    recorded = (tmp_path / "pairs.jsonl").read_text()
    for text in (shown, metrics, log, recorded):
        assert KEY not in text


@pytest.mark.slow
async def test_a_candidate_that_the_judge_likes_as_well_passes(tmp_path: Path) -> None:
    async with trial(tmp_path, StandInJudge(), equal("candidate")) as (understudy, _):
        passed = await understudy.until("chat/v2", lambda now: now["verdict"] == "pass", 60)
    assert passed["state"] == "shadow"
    assert 0.3 < judged(passed)["first"]["rate"] < 0.7


@pytest.mark.slow
async def test_a_judge_that_likes_one_place_costs_pairs_and_no_candidate(tmp_path: Path) -> None:
    async with trial(tmp_path, StandInJudge(mood="first"), equal("candidate")) as (understudy, _):
        passed = await understudy.until("chat/v2", lambda now: now["verdict"] == "pass", 60)
    assert judged(passed)["first"]["rate"] == 1.0


@pytest.mark.parametrize(
    ("mood", "settings", "reason"),
    [
        ("slow", {"max_waiting": 20, "timeout": "10m"}, "queue_full"),
        pytest.param("slow", {"timeout": "200ms"}, "timeout", marks=pytest.mark.slow),
        pytest.param("busy", {"timeout": "200ms"}, "status", marks=pytest.mark.slow),
        pytest.param("nonsense", {}, "not_json", marks=pytest.mark.slow),
    ],
)
async def test_a_judge_that_fails_costs_nothing_but_verdicts(
    tmp_path: Path, mood: str, settings: dict[str, Any], reason: str
) -> None:
    """The judge that is held never answers: 300 requests of clients do."""
    judge = StandInJudge(mood=mood)
    async with trial(tmp_path, judge, lambda _: 5, **settings) as (understudy, clients):
        await clients.more(300)
        now = await understudy.until("chat/v2", lambda now: judged(now)["not_judged"].get(reason, 0) > 0)
        metrics = await understudy.metrics()
    assert (now["state"], now["verdict"]) == ("shadow", "inconclusive")
    assert sum(judged(now)["verdicts"].values()) == 0
    assert f'reason="{reason}"' in metrics
    assert KEY not in understudy.output


@pytest.mark.slow
async def test_a_judge_that_is_away_and_comes_back_is_asked_again(tmp_path: Path) -> None:
    judge = StandInJudge(mood="busy")
    async with trial(tmp_path, judge, lambda _: 5, timeout="300ms") as (understudy, _):
        await understudy.until("chat/v2", lambda now: judged(now)["down"])
        judge.mood = "honest"
        ended = await understudy.until("chat/v2", lambda now: now["state"] == "rolled_back", 60)
        assert not judged(ended)["down"]
        assert understudy.events("judge.no_answer")
        assert understudy.events("judge.answers")


@pytest.mark.slow
async def test_a_judge_that_changes_rolls_nobody_back_and_is_told(tmp_path: Path) -> None:
    """Candidates lose from the moment at which the judge is another; the anchors say so before it counts."""

    def before(request: str, first: str, second: str) -> str:
        return right(request, first, second) if request.startswith("q") and len(request) < 4 else "tie"

    judge = StandInJudge(verdict=before)
    async with trial(tmp_path, judge, equal("candidate"), anchors=anchor_file(tmp_path)) as (understudy, _):
        await understudy.until("chat/v2", lambda now: judged(now)["anchors"]["state"] == "unchanged", 120)
        judge.verdict = lambda _, first, second: "first" if first.startswith("live") else "second"
        await understudy.until("chat/v2", lambda now: judged(now)["anchors"]["state"] == "changed", 120)
        assert understudy.events("judge.moved")
        await understudy.until("chat/v2", lambda now: judged(now)["not_judged"].get("moved", 0) > 0)
        now = await understudy.until("chat/v2", lambda now: "judge has changed" in repr(now["findings"]))
        metrics = await understudy.metrics()
    assert (now["state"], now["verdict"]) == ("shadow", "inconclusive")
    assert "quality: " in next(one["reason"] for one in now["findings"] if "judge has changed" in one["reason"])
    assert 'understudy_judge_moved{judge="helpful"} 1.0' in metrics
