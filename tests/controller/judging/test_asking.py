"""Promise: a question to a judge ends within its time with a verdict or with the reason why there is none, is paid for
once, never beyond the budget, and tells nobody the key."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from proxy.config.judges import JudgeConfig
from proxy.controller.judging.asker import DOWN_AFTER, JudgeAsker
from proxy.controller.judging.client import JudgeClient
from proxy.controller.judging.queue import MAX_WAIT, JudgeQueue, WaitingQuestion
from proxy.judges.question import JudgeQuestion
from proxy.judges.verdict import MAX_ANSWER, Judgment, NotJudged
from tests.controller.controllers import eventually
from tests.e2e.harness import served
from tests.ports import free_port
from tests.stand_in_judge import StandInJudge

KEY = "sk-judge-0123456789"
PRICE = {"input": 1000.0, "output": 10_000.0}  # of a million: 1,000 and 50 tokens come to 1.5


def config(url: str, **more: Any) -> JudgeConfig:
    headers = {"authorization": f"Bearer {KEY}"}
    return JudgeConfig.model_validate({"url": url, "model": "large", "headers": headers, "proxy": "off", **more})


@asynccontextmanager
async def asking(judge: StandInJudge, **more: Any) -> AsyncIterator[JudgeAsker]:
    async with judge.listening() as url:
        asker = JudgeAsker("helpful", config(url, **more), "secret")
        try:
            yield asker
        finally:
            await asker.close()


async def verdict(asker: JudgeAsker, live: str = "short", candidate: str = "much longer") -> Judgment:
    return await asker.ask(asker.question("2 + 2?", live, candidate).body)


async def test_a_verdict_comes_with_its_reason_and_the_question_is_whole() -> None:
    judge = StandInJudge()
    async with asking(judge, set_json={"/temperature": 0}) as asker:
        question = asker.question("2 + 2?", "short", "much longer")
        found = await asker.ask(question.body)
    assert found == Judgment("first" if question.candidate_first else "second", f"{found.winner} it is", None, 1000, 50)
    assert sorted(judge.asked[0][1:]) == ["much longer", "short"]
    assert judge.asked[0][0] == "2 + 2?"
    assert (judge.bodies[0]["model"], judge.bodies[0]["temperature"]) == ("large", 0)
    assert judge.keys == [f"Bearer {KEY}"]


async def test_what_was_asked_once_is_not_asked_again_nor_while_it_is_under_way() -> None:
    judge = StandInJudge(mood="slow")
    async with asking(judge) as asker:
        both = [asyncio.ensure_future(verdict(asker)) for _ in range(2)]
        await eventually(lambda: judge.asked)
        judge.released.set()
        first, second = await asyncio.gather(*both)
        third = await verdict(asker)
        assert len(judge.asked) == 1
        assert first.winner == second.winner == third.winner
        assert asker.stats.cache_hits == 1
        again = await asker.ask(asker.question("2 + 2?", "short", "much longer").body, anew=True)
        assert (again.winner, len(judge.asked)) == (first.winner, 2)


async def test_a_judge_that_is_busy_is_asked_again_until_it_answers() -> None:
    judge = StandInJudge(mood="busy")
    async with asking(judge) as asker:
        task = asyncio.ensure_future(verdict(asker))
        await eventually(lambda: len(judge.asked) >= 2)
        judge.mood = "honest"
        assert (await task).winner


@pytest.mark.parametrize(
    ("mood", "why"), [("busy", NotJudged.STATUS), ("slow", NotJudged.TIMEOUT), ("nonsense", NotJudged.NOT_JSON)]
)
async def test_a_judge_that_gives_no_verdict_costs_no_more_than_its_time(mood: str, why: NotJudged) -> None:
    async with asking(StandInJudge(mood=mood), timeout="300ms") as asker:
        assert (await verdict(asker)).why is why
        assert asker.stats.not_judged == {why: 1}


async def test_nobody_there_is_no_verdict() -> None:
    asker = JudgeAsker("helpful", config(f"http://127.0.0.1:{free_port()}", timeout="200ms"), "secret")
    assert (await verdict(asker)).why is NotJudged.CONNECT
    await asker.close()


async def test_redirects_and_endless_answers_are_not_followed() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/moved"):
            raise web.HTTPTemporaryRedirect("/v1/chat/completions")
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" " * MAX_ANSWER)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    async with served(app) as url:
        for path, why in (("/moved", NotJudged.STATUS), ("/endless", NotJudged.TOO_LARGE)):
            asker = JudgeAsker("helpful", config(url + path), "secret")
            assert (await verdict(asker)).why is why
            await asker.close()


async def test_the_budget_is_never_exceeded_and_failures_cost_nothing() -> None:
    judge = StandInJudge()
    async with asking(judge, price=PRICE, max_cost="100/day", concurrency=8) as asker:
        found = await asyncio.gather(*(verdict(asker, str(n), "longer than that") for n in range(30)))
        judged = sum(one.why is None for one in found)
        assert 0 < judged < 30
        assert {one.why for one in found} == {None, NotJudged.BUDGET}
        assert asker.spent == pytest.approx(1.5 * judged)
        assert asker.spent <= 100.0
        assert asker.spending.reserved == pytest.approx(0.0)
    judge = StandInJudge(mood="busy")
    async with asking(judge, price=PRICE, max_cost="100/day", timeout="100ms") as asker:
        await verdict(asker)
        assert asker.spent == 0.0


async def test_tokens_that_nobody_counts_are_counted_from_above() -> None:
    judge = StandInJudge(usage=None)
    async with asking(judge, price=PRICE) as asker:
        await verdict(asker)
        assert asker.stats.counted == 1
        assert asker.stats.cost > 1.5


async def test_what_was_spent_and_said_survives_a_restart_and_another_rubric_only_the_money() -> None:
    judge = StandInJudge()
    async with asking(judge, price=PRICE, max_cost="100/day") as asker:
        first = await verdict(asker)
        kept = json.loads(json.dumps(asker.dump()))
        after = JudgeAsker("helpful", asker.config, "secret")
        after.load(kept)
        assert (await verdict(after)).winner == first.winner
        assert (after.spent, after.first, len(judge.asked)) == (asker.spent, asker.first, 1)
        other = JudgeAsker("helpful", asker.config.model_copy(update={"model": "larger"}), "secret")
        other.load(kept)
        assert (other.spent, len(other.cache), other.first.rate) == (asker.spent, 0, None)
        await after.close()
        await other.close()
    for broken in ({}, {"spending": 3}, {"asks": "", "spending": ["x", 1]}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            JudgeAsker("helpful", asker.config, "secret").load(broken)


async def test_the_key_is_in_no_log_no_reason_and_no_state(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def telling(_request: str, first: str, second: str) -> str:
        return f"first {KEY}"  # no verdict; as if the judge had read its own headers

    judge = StandInJudge(verdict=telling, status=401)
    async with asking(judge) as asker:
        for n in range(DOWN_AFTER):
            await verdict(asker, str(n))
        assert asker.down
        judge.mood = "busy"
        await verdict(asker, "busy")
        judge.mood, judge.verdict = "honest", lambda *_: "tie"
        assert "judge.no_answer" in caplog.text
        await verdict(asker, "well")
        assert not asker.down
        said = repr((asker.dump(), asker.stats, asker.config, vars(asker)))
        assert KEY not in said + caplog.text
    async with asking(StandInJudge(), set_json={"/x": 1}) as asker:
        assert asker._masked(f"I saw Bearer {KEY} and {KEY}") == "I saw … and …"


async def test_a_proxy_gets_the_question_and_its_credentials_are_not_the_judges() -> None:
    seen: list[tuple[str, str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(
            (str(request.raw_path), request.headers.get("proxy-authorization", ""), request.headers["authorization"])
        )
        return web.json_response({}, status=503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with served(app) as url:
        through = url.replace("http://", "http://me:pw@")
        client = JudgeClient(config("http://judge.invalid", proxy=through))
        await client.ask(b"{}", 0.05)
        await client.close()
    assert seen[0] == ("http://judge.invalid/v1/chat/completions", "Basic bWU6cHc=", f"Bearer {KEY}")


# --- the queue -------------------------------------------------------------------------------------------------------


def waiting(queue: JudgeQueue, told: list[Judgment], number: int, *, wanted: bool = True) -> WaitingQuestion:
    def make() -> JudgeQuestion:
        return queue.asker.question("r", str(number), "longer than that")

    return WaitingQuestion(lambda: wanted, make, lambda said, _first: told.append(said), 100)


async def all_told(told: list[Judgment], count: int) -> None:
    await eventually(lambda: len(told) >= count)


async def test_no_more_are_asked_at_once_than_is_allowed_and_all_are_told() -> None:
    judge, told = StandInJudge(mood="slow"), list[Judgment]()
    async with asking(judge, concurrency=3) as asker:
        queue = JudgeQueue(asker)
        for n in range(20):
            queue.put(waiting(queue, told, n))
        await eventually(lambda: judge.under_way >= 3)
        judge.released.set()
        await all_told(told, 20)
        assert judge.most_under_way == 3
        await queue.close()


async def test_a_full_queue_and_a_long_wait_are_told_and_what_nobody_wants_is_not_asked() -> None:
    judge, told, now = StandInJudge(mood="slow"), list[Judgment](), [0.0]
    async with asking(judge, concurrency=1, max_waiting=3) as asker:
        queue = JudgeQueue(asker, lambda: now[0])
        queue.put(waiting(queue, told, 0))
        await eventually(lambda: judge.asked)
        queue.put(waiting(queue, told, 1, wanted=False))
        for n in range(2, 4):
            assert queue.has_room
            queue.put(waiting(queue, told, n))
        assert not queue.has_room
        now[0] = MAX_WAIT + 1
        judge.released.set()
        await all_told(told, 4)
        assert [one.why for one in told] == [None, NotJudged.STOPPED, NotJudged.WAITED, NotJudged.WAITED]
        assert len(judge.asked) == 1
        await queue.close()


async def test_the_end_tells_what_waits_and_what_is_under_way_and_takes_no_time() -> None:
    judge, told = StandInJudge(mood="slow"), list[Judgment]()
    async with asking(judge, concurrency=2) as asker:
        queue = JudgeQueue(asker)
        for n in range(6):
            queue.put(waiting(queue, told, n))
        await eventually(lambda: judge.under_way >= 2)
        await asyncio.wait_for(queue.close(), 20)
        assert [one.why for one in told] == [NotJudged.STOPPED] * 6
        queue.put(waiting(queue, told, 9))
        assert told[-1].why is NotJudged.STOPPED
        judge.released.set()


async def test_a_bug_with_one_question_ends_no_other() -> None:
    told = list[Judgment]()
    async with asking(StandInJudge(), concurrency=1) as asker:
        queue = JudgeQueue(asker)

        def make() -> JudgeQuestion:
            raise ZeroDivisionError

        queue.put(WaitingQuestion(lambda: True, make, lambda said, _: told.append(said), 1))
        queue.put(waiting(queue, told, 1))
        await all_told(told, 2)
        assert told[0].why is NotJudged.STOPPED
        assert told[1].winner
        await queue.close()
