"""Promise: judges follow the file: a reload that does not change one leaves it at work, another key or budget goes on
with what was spent and said, another rubric with the money alone; what was spent survives the controller."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.config import Config, parse
from proxy.controller.judging.judging import Judging
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.judges.budget import JudgeSpending, spent_now
from proxy.model import Plan
from proxy.money import MoneyBudget
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import begin
from tests.controller.controllers import reload, running

TEXT = """
upstreams: {v1: {url: http://127.0.0.1:1}, v2: {url: http://127.0.0.1:2, version: "1"}}
judges:
  helpful:
    {url: http://127.0.0.1:3, model: big, headers: {authorization: KEY}, price: {input: 1, output: 1}, max_cost: 5/day}
  other: {url: http://127.0.0.1:4, model: larger}
routes:
  - name: chat
    live: v1
    predictions: {quality: {protocol: openai, output: text, kind: text, judge: helpful}}
    rollouts: [{candidate: v2, shadow: 100%, guards: {quality: {min_win_rate: -10pp}}}]
"""
NOW = 20_000 * 86_400.0


def config(*changes: tuple[str, str]) -> Config:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text, environ={})


def run_of(plan: Plan) -> RolloutRun:
    rollout, _ = begin(plan, NOW)
    return RolloutRun(plan, rollout, fresh_evidence(plan), PairLedger())


def started(one: Config, kept: dict[str, object] | None = None) -> tuple[Judging, dict[str, RolloutRun]]:
    judging = Judging(lambda _: None)
    judging.load(kept or {})
    runs = {name: run_of(plan) for name, plan in one.plans.items()}
    judging.configure(one, runs, "secret")
    return judging, runs


async def test_only_judges_that_are_named_are_at_work() -> None:
    judging, runs = started(config())
    assert list(judging.queues) == ["helpful"]
    assert runs["chat/v2"].judging is not None
    nobody = config((", judge: helpful", ""), ("min_win_rate: -10pp", "min_similarity: 0.1"))
    for name, run in runs.items():
        run.adopt(nobody.plans[name])
    judging.configure(nobody, runs, "secret")
    assert (judging.queues, runs["chat/v2"].judging) == ({}, None)
    await judging.close()


async def test_a_reload_that_changes_nothing_of_a_judge_leaves_it_and_what_waits() -> None:
    judging, runs = started(config())
    queue, before = judging.queues["helpful"], runs["chat/v2"].judging
    judging.configure(config(("larger", "huge")), runs, "secret")
    assert judging.queues["helpful"] is queue
    assert runs["chat/v2"].judging is before
    await judging.close()


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [(("KEY", "NEW"), 1), (("5/day", "6/day"), 1), (("model: big,", "model: small,"), 0)],
)
async def test_another_judge_under_the_name_goes_on_with_what_was_spent(change: tuple[str, str], verdicts: int) -> None:
    judging, runs = started(config())
    old = judging.queues["helpful"].asker
    old.spending = JudgeSpending(((480_000, 3.5),))
    old.cache.put(b"k" * 16, "tie", "same")
    judging.configure(config(change), runs, "secret")
    new = judging.queues["helpful"].asker
    assert new is not old
    assert spent_now(new.spending, MoneyBudget(5.0, 86_400.0), NOW) == 3.5
    assert len(new.cache) == verdicts
    await judging.close()


async def test_a_judge_that_was_taken_out_of_the_file_has_not_a_new_budget_when_it_comes_back() -> None:
    judging, _ = started(config())
    judging.queues["helpful"].asker.spending = JudgeSpending(((480_000, 3.5),))
    judging.configure(config(("judge: helpful", "judge: other")), {}, "secret")
    assert not judging.queues
    again, _ = started(config(), judging.dump())
    assert again.queues["helpful"].asker.spending == JudgeSpending(((480_000, 3.5),))
    await again.close()
    await judging.close()


async def test_what_cannot_be_read_of_an_earlier_controller_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    judging, _ = started(config(), {"helpful": {"spending": "all of it"}})
    assert judging.queues["helpful"].asker.spending == JudgeSpending()
    assert "judge.past_unreadable" in caplog.text
    await judging.close()


async def test_a_controller_goes_on_with_what_judges_have_spent(tmp_path: Path) -> None:
    async with running(tmp_path, TEXT) as one:
        one.judging.queues["helpful"].asker.spending = JudgeSpending(((480_000, 3.5),))
        assert await reload(one, TEXT.replace("KEY", "NEW"), tmp_path) == ""
        assert one.judging.queues["helpful"].asker.spending == JudgeSpending(((480_000, 3.5),))
    async with running(tmp_path, TEXT) as two:
        assert two.judging.queues["helpful"].asker.spending == JudgeSpending(((480_000, 3.5),))
        await asyncio.wait_for(two.judging.close(), 20)
