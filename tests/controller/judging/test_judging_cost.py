"""Promise: what a verdict still costs counts what the judge will be paid: the mean of a question so far, of those pairs
only that it is asked about; before the first answer as `check` reckons it."""

from __future__ import annotations

import pytest

from proxy.config.judges import JudgeConfig
from proxy.config.trial_costs import AssumedAnswer
from proxy.config.verdict_costs import question_cost
from proxy.controller.judging_cost import judging_each
from proxy.model import Assessment, Finding, Plan, Stage, State, Verdict
from proxy.rollout.events import Looked
from proxy.rollout.forecast import stage_forecast
from proxy.rollout.machine import begin
from tests.controller.judging.test_rollout_judging import Queue, Run

PRICED = JudgeConfig.model_validate({"url": "http://judge", "model": "m", "share": "100%", "price": {"input": 100}})


async def test_before_the_first_answer_it_is_what_check_reckons() -> None:
    queue = Queue(PRICED)
    run = Run(queue)
    assert judging_each(run.judging, run.plan) == question_cost(
        PRICED, run.plan.aspects[0], AssumedAnswer(), floored=False
    )
    assert judging_each(None, run.plan) is None


async def test_without_a_price_nothing_is_said() -> None:
    run = Run(Queue())
    assert judging_each(run.judging, run.plan) is None


async def test_then_it_is_the_mean_of_questions_and_of_pairs_that_were_asked_about() -> None:
    queue = Queue(PRICED)
    run = Run(queue)
    queue.asker.stats.cost = 12.0
    queue.asker.stats.answered.update(first=20, second=20)
    counts = run.judging.aspects[0].counts
    counts.verdicts.update(win=20, loss=20, tie=20)
    counts.same = 20
    counts.repeats = 20
    assert judging_each(run.judging, run.plan) == pytest.approx(12.0 / 40 * 40 / 80)
    counts.not_judged.update(budget=80)
    assert judging_each(run.judging, run.plan) == pytest.approx(12.0 / 40 * 40 / 160)


async def test_a_noise_floor_asks_twice_of_those_pairs_for_which_live_was_asked_twice() -> None:
    run = Run(Queue(PRICED), noise_floor=0.25)
    once = question_cost(PRICED, run.plan.aspects[0], AssumedAnswer(), floored=True)
    assert once is not None
    assert judging_each(run.judging, run.plan) == pytest.approx(once * 0.5)


def forecast(copies: float | None, judging: float | None) -> tuple[int, float | None, float | None, str]:
    plan = Plan("r/c", "r", "l", "c", "1", (Stage(State.SHADOW, 100.0, min_pairs=100),), ())
    rollout, _ = begin(plan, 0.0)
    one = Finding("min_win_rate", None, Verdict.INCONCLUSIVE, 0.5, 0.4, 0.6, 0.45, 0.0, 100, 200.0, "")
    look = Looked(100.0, Assessment(Verdict.INCONCLUSIVE, (one,)), 500, 0, rate=10.0)
    found = stage_forecast(rollout, look, plan, copies, judging)
    assert found is not None
    return found.pairs, found.cost, found.judging, found.words("$")


def test_the_sum_is_of_copies_and_judges_and_says_what_is_the_judges() -> None:
    text = "This verdict needs about 2,000 more pairs, 3.3 min"
    assert forecast(0.001, 0.002) == (2000, 6.0, 4.0, f"{text}, $6.00, of which $4.00 for judging.")
    assert forecast(None, 0.002) == (2000, 4.0, 4.0, f"{text}, $4.00, of which $4.00 for judging.")
    assert forecast(0.001, None) == (2000, 2.0, None, f"{text}, $2.00.")
    assert forecast(None, None) == (2000, None, None, f"{text}.")
