"""Promise: before a trial `check` says what its copies will cost, from prices and an answer that is assumed."""

from __future__ import annotations

import pytest

from proxy.cli import main
from proxy.config import parse
from proxy.config.effort import seconds_to_pass
from proxy.config.trial_costs import AssumedAnswer, stage_cost
from proxy.config.verdict_costs import question_cost
from proxy.config.words import describe
from tests.config.files import PLAIN


def priced(rollout: str) -> str:
    text = (PLAIN % rollout).replace("9001}", "9001, price: {input: 2, output: 10}}")
    return text.replace("9002}", "9002, price: {hour: 3.6}}")


def test_a_stage_costs_the_copies_of_the_time_until_it_passes() -> None:
    """Shadow of a tenth: the candidate's answers. Canary: live's answers to what the candidate serves, too."""
    config = parse(priced("stages: [{shadow: 10%}, {canary: 25%, mirror: 40%}]"))
    (plan,) = config.plans.values()
    answer = AssumedAnswer(into=1000, out=200, seconds=2.0)
    live, candidate, rate = 1000 * 2e-6 + 200 * 10e-6, 2.0 * 0.001, 50.0
    shadow, canary = plan.stages
    assert stage_cost(plan, shadow, rate, answer) == pytest.approx(
        seconds_to_pass(plan, shadow, rate)[0] * rate * 0.1 * candidate
    )
    assert stage_cost(plan, canary, rate, answer) == pytest.approx(
        seconds_to_pass(plan, canary, rate)[0] * rate * (0.25 * live + 0.75 * 0.4 * candidate)
    )


def test_check_says_it_and_what_a_budget_makes_of_the_time() -> None:
    wanted = parse(priced("shadow: 10%\n        mirror: {max_cost: 0.50/hour}") + "currency: EUR\n")
    said = describe(wanted, [100.0], AssumedAnswer(500, 50, 3.0))
    assert "Copies may cost EUR 0.50 an hour, spread evenly." in said
    assert "for answers of 500 tokens in and 50 out (--tokens IN/OUT) that take 3 s (--seconds)" in said
    (line,) = [line for line in said.splitlines() if "with mirror.max_cost" in line]
    (plan,) = wanted.plans.values()
    cost = stage_cost(plan, plan.stages[0], 100.0, AssumedAnswer(500, 50, 3.0))
    assert f"EUR {cost:.2f}   takes {cost / 0.45:.0f} h with mirror.max_cost 0.5/hour" in line


def test_nothing_is_said_where_an_arm_has_no_price() -> None:
    assert "Copies cost about" not in describe(parse(PLAIN % "shadow: 10%"))
    assert "Copies cost about" not in describe(
        parse((PLAIN % "shadow: 10%").replace("9001}", "9001, price: {hour: 1}}"))
    )


@pytest.mark.parametrize("value", ["800", "800/", "a/b", "-1/3", "1.5/2"])
def test_tokens_that_are_none_are_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--tokens", value])
    assert ended.value.code == 2
    assert "tokens in and out, such as 800/150" in capsys.readouterr().err


JUDGED = """
judges:
  helpful: {url: "http://127.0.0.1:9003/v1", model: large, share: 20%, price: {input: 1, output: 10}, max_cost: 5/day}
"""
ASKED = "prediction: {protocol: openai, output: text, kind: text, judge: helpful}"


def judged(asked: str = ASKED, rest: str = "") -> str:
    rollout = "stages: [{shadow: 10%}, {canary: 25%, mirror: 40%}]\n        guards: {min_win_rate: -10pp}" + rest
    return (PLAIN % rollout).replace("prediction: {protocol: v2, kind: label}", asked) + JUDGED


def test_check_says_what_verdicts_will_cost_also_where_copies_have_no_price() -> None:
    config = parse(judged())
    (plan,) = config.plans.values()
    answer, rate = AssumedAnswer(into=1000, out=200), 50.0
    said = describe(config, [rate], answer)
    assert "Verdicts of large cost about, until then, for answers of 200 tokens to requests of 1,000 and 400" in said
    lines = said.partition("Verdicts of large")[2].splitlines()[1:3]
    question = question_cost(config.judges["helpful"], plan.aspects[0], answer, floored=False)
    assert question is not None
    # the request, two answers, rubric and frame; then a verdict of 400 tokens at 10 a million
    assert 1400 + 100 < (question - 400 * 10e-6) / 1e-6 < 1400 + 1000
    for stage, line, pairs in zip(plan.stages, lines, (0.1, 0.25 + 0.75 * 0.4), strict=True):
        cost = seconds_to_pass(plan, stage, rate)[0] * rate * pairs * 0.2 * question
        assert line.endswith(f" ${cost:,.2f}"), line  # less than a day's budget, which is not spread over the day
        poor = describe(parse(judged().replace("5/day", f"{cost / 2.5:.6f}/hour")), [rate], answer)
        assert f" ${cost:,.2f}   takes 2 h with the judge's max_cost " in poor


def test_check_says_what_embeddings_will_cost_where_they_have_a_price() -> None:
    like = "prediction: {protocol: openai, output: text, kind: text, similarity: {upstream: v2, model: small}}"
    text = judged(like).replace("min_win_rate: -10pp", "min_similarity: 0.8").partition("judges:")[0]
    assert "Embeddings" not in describe(parse(text))
    assert "Embeddings by small cost about" in describe(parse(text.replace("9002}", "9002, price: {input: 2}}")))


def test_nothing_is_said_of_verdicts_of_a_judge_without_a_price() -> None:
    free = judged().replace(", price: {input: 1, output: 10}, max_cost: 5/day", "")
    assert "Verdicts of" not in describe(parse(free))
