"""What judges and embeddings of each stage cost until a good candidate passes, for answers of an assumed size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from proxy.config.effort import pairs_per_second, seconds_to_pass
from proxy.config.judges import JudgeConfig
from proxy.config.trial_costs import AssumedAnswer, cost_row
from proxy.judges.question import ANSWER_TOKENS, BYTES_PER_TOKEN, Asking, question_in_order
from proxy.model import Plan, PredictionSpec, Stage
from proxy.model.price import TokenUsage
from proxy.money import MoneyBudget
from proxy.rollout.requirements import rough

ANCHOR_QUESTIONS = 0.3
"""Questions about anchors for each verdict."""


def questions_per_pair(plan: Plan, spec: PredictionSpec, judge: JudgeConfig) -> float:
    """Questions to a judge for each pair of a stage: of those that are drawn, with a noise floor only of those for
    which live was asked twice, and then two.

    >>> from proxy.config.judges import JudgeConfig
    >>> plan, judge = Plan("r/c", "r", "l", "c", "1", (), (), noise_floor=0.25), JudgeConfig(url="http://j", model="m")
    >>> questions_per_pair(plan, PredictionSpec(judge="j", judge_share=0.5), judge)
    0.25
    """
    asked = 2.0 * plan.noise_floor if plan.noise_floor else 1.0
    return spec.judge_share * asked * (1.0 + ANCHOR_QUESTIONS * bool(judge.anchor_pairs))


def question_cost(judge: JudgeConfig, spec: PredictionSpec, answer: AssumedAnswer, *, floored: bool) -> float | None:
    """What a question costs before one was asked, where two answers of that size are judged or embedded; `None` where
    that has no price. `floored`: live's first answer is embedded for two questions."""
    if judge.price is None:
        return None
    if spec.embedded:
        return judge.price.price.of(TokenUsage(round(answer.out * (1.5 if floored else 2.0)), 0), answer.seconds)
    bare = question_in_order(Asking(b"", judge.model, judge.rubric_text, tuple(judge.set_json.items())), "", "", "")
    into = round(len(bare) / BYTES_PER_TOKEN) + answer.into + 2 * answer.out
    return judge.price.price.of(TokenUsage(into, ANSWER_TOKENS), answer.seconds)


def verdict_costs(
    plan: Plan, judges: Mapping[str, JudgeConfig], rates: Sequence[float], answer: AssumedAnswer
) -> Iterator[str]:
    """The lines of `check` on what judging costs, for each prediction that is judged at a price."""
    for spec in plan.aspects:
        judge = judges.get(spec.judge)
        each = question_cost(judge, spec, answer, floored=plan.noise_floor > 0) if judge is not None else None
        if judge is None or each is None:
            continue
        what = f"{spec.name}: " if spec.name else ""
        who = f"Embeddings by {judge.model}" if spec.embedded else f"Verdicts of {judge.model}"
        size = f"answers of {answer.out:,} tokens"
        size += "" if spec.embedded else f" to requests of {answer.into:,} and {ANSWER_TOKENS} for a verdict"
        yield f"    {what}{who} cost about, until then, for {size}"
        for stage in plan.stages:
            costs = [each * questions(plan, spec, judge, stage, rate) for rate in rates]
            yield cost_row(stage, costs, plan.currency) + _late(plan, stage, rates, costs, judge.max_cost)


def _late(plan: Plan, stage: Stage, rates: Sequence[float], costs: Sequence[float], budget: MoneyBudget | None) -> str:
    """How long a stage takes where a budget is spent before it has passed: nothing more is judged in that period."""
    if budget is None or all(cost <= budget.amount for cost in costs):
        return ""
    least = [seconds_to_pass(plan, stage, rate)[0] for rate in rates]
    waits = [cost // budget.amount * budget.period if cost < inf else inf for cost in costs]
    times = [max(wait, seconds) for wait, seconds in zip(waits, least, strict=True)]
    return f"   takes {', '.join(map(rough, times))} with the judge's max_cost {budget}"


def questions(plan: Plan, spec: PredictionSpec, judge: JudgeConfig, stage: Stage, rate: float) -> float:
    """Questions of a stage until a good candidate passes, at `rate` requests per second; infinite where none does."""
    pairs = seconds_to_pass(plan, stage, rate)[0] * pairs_per_second(stage, rate)
    return pairs * questions_per_pair(plan, spec, judge)
