"""What the copies of each stage cost until a good candidate passes, for answers of a size that is assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proxy.config.effort import seconds_to_pass
from proxy.model import Plan, Stage
from proxy.model.price import Price, TokenUsage
from proxy.money import MoneyBudget, money_text
from proxy.rollout.requirements import rough
from proxy.rollout.spending import AIM


class AssumedAnswer(NamedTuple):
    """A request and its answer: tokens `into` and `out`, and the seconds that it takes."""

    into: int = 1000
    out: int = 300
    seconds: float = 1.0

    def cost(self, price: Price) -> float:
        """What it costs.

        >>> round(AssumedAnswer().cost(Price(input=1e-6, output=5e-6)), 6)
        0.0025
        """
        return price.of(TokenUsage(self.into, self.out), self.seconds)

    def words(self, prices: Sequence[Price]) -> str:
        """What was assumed that these prices depend on, and the option that says otherwise.

        >>> AssumedAnswer(800, 100).words([Price(input=1e-6)])
        'for answers of 800 tokens in and 100 out (--tokens IN/OUT)'
        >>> AssumedAnswer().words([Price(input=1e-6), Price(second=1e-3)])
        'for answers of 1,000 tokens in and 300 out (--tokens IN/OUT) that take 1 s (--seconds)'
        """
        tokens = f" of {self.into:,} tokens in and {self.out:,} out (--tokens IN/OUT)"
        time = f" that take {self.seconds:g} s (--seconds)"
        by_tokens = any(price.by_tokens for price in prices)
        return "for answers" + tokens * by_tokens + time * any(not price.by_tokens for price in prices)


def copies_per_second(plan: Plan, stage: Stage, rate: float) -> tuple[float, float]:
    """Copies that live and that the candidate get at `rate` requests per second on the route, and live's second answers
    for the noise floor.

    >>> from proxy.model import State
    >>> plan = Plan("r/c", "r", "l", "c", "1", (), ())
    >>> copies_per_second(plan, Stage(State.SHADOW, 10.0), 50.0)
    (0.0, 5.0)
    >>> copies_per_second(plan, Stage(State.CANARY, 20.0, mirror=50.0), 100.0)
    (20.0, 40.0)
    """
    share, weight = stage.share / 10_000, stage.weight / 10_000
    live, candidate = rate * weight, rate * (1.0 - weight) * share
    return live + plan.noise_floor * (live + candidate), candidate


def stage_cost(plan: Plan, stage: Stage, rate: float, answer: AssumedAnswer) -> float:
    """What the copies of a stage cost until a good candidate passes; infinite where it never does. Both arms have a
    price."""
    if plan.live_price is None or plan.candidate_price is None:
        raise ValueError(f"an arm of {plan.name} has no price")
    live, candidate = copies_per_second(plan, stage, rate)
    each = live * answer.cost(plan.live_price) + candidate * answer.cost(plan.candidate_price)
    return seconds_to_pass(plan, stage, rate)[0] * each


def trial_costs(plan: Plan, rates: Sequence[float], answer: AssumedAnswer, budget: MoneyBudget | None) -> Iterator[str]:
    """The lines of `check` on what copies cost; none where an arm has no price."""
    if plan.live_price is None or plan.candidate_price is None:
        return
    prices = (plan.live_price, plan.candidate_price)
    yield f"    Copies cost about, until then, {answer.words(prices)}"
    for stage in plan.stages:
        costs = [stage_cost(plan, stage, rate, answer) for rate in rates]
        late = ""
        if budget is not None:
            pace = AIM * budget.amount / budget.period
            least = [seconds_to_pass(plan, stage, rate)[0] for rate in rates]
            times = [max(cost / pace, seconds) for cost, seconds in zip(costs, least, strict=True)]
            late = f"   takes {', '.join(map(rough, times))} with mirror.max_cost {budget}"
        yield cost_row(stage, costs, plan.currency) + late


def cost_row(stage: Stage, costs: Sequence[float], currency: str) -> str:
    """The line of a stage: what it costs at each rate."""
    return f"      {stage.name:12}" + "".join(_amount(cost, currency).rjust(14) for cost in costs)


def _amount(cost: float, currency: str) -> str:
    return money_text(cost, currency) if cost < float("inf") else "never"
