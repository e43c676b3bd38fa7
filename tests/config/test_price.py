"""Promise: a price reads like what a provider publishes, and one that means nothing is refused where it stands."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from proxy.config import parse, schema
from proxy.config.words import describe
from proxy.model.price import Price, TokenUsage
from proxy.money import MoneyBudget, money_budget, money_text
from proxy.units import Unfit
from tests.config.files import PLAIN, mistakes


def _priced(price: str, top: str = "") -> str:
    text = (PLAIN % "shadow: 5%").replace("9002}", f"9002, price: {price}}}")
    return text + top


def test_prices_of_tokens_are_per_million_and_what_is_not_given_costs_what_input_costs() -> None:
    (plan,) = parse(_priced("{input: 3, output: 15, cached_input: 0.3}", "currency: EUR\n")).plans.values()
    assert (plan.live_price, plan.currency) == (None, "EUR")
    usage = TokenUsage(input=1_000_000, output=2_000_000, cached=10_000_000, written=500_000)
    assert plan.candidate_price is not None
    assert plan.candidate_price.of(usage, 99.0) == pytest.approx(3 + 30 + 3 + 1.5)


def test_prices_of_a_thousand_tokens_are_a_thousand_times_those_of_a_million() -> None:
    few, many = (
        parse(_priced(text)).plans["all/v2"].candidate_price
        for text in ("{input: 1, output: 4, per: 1k tokens}", "{input: 1000, output: 4000}")
    )
    assert few is not None
    assert few == many
    assert few.by_tokens


def test_an_hour_of_a_machine_is_divided_among_what_it_does_at_once() -> None:
    price = parse(_priced("{hour: 3.6, concurrency: 4}")).plans["all/v2"].candidate_price
    assert price == Price(second=0.00025)
    assert price is not None
    assert not price.by_tokens
    assert price.of(TokenUsage(10**9, 10**9), 4.0) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("price", "at", "said"),
    [
        ("{output: 15}", "", "has neither `input` nor `hour`"),
        ("{hour: 3, output: 15}", ".output", "has no meaning beside `hour`"),
        ("{input: 3, concurrency: 2}", ".concurrency", "has no meaning without `hour`"),
        ("{input: -3}", ".input", "an amount such as 0.15"),
        ("{input: $3}", ".input", "an amount such as 0.15, without a currency"),
        ("{input: 3, ouput: 1}", ".ouput", "did you mean `output`?"),
        ("{hour: 3, concurrency: 0}", ".concurrency", "at least 1"),
        ("{input: 3, per: 1M}", ".per", "expected '1M tokens' or '1k tokens'"),
        ("3", "", "expected a mapping"),
    ],
)
def test_a_price_that_means_nothing_is_refused_once(price: str, at: str, said: str) -> None:
    found = mistakes(_priced(price))
    assert list(found) == [f"upstreams.v2.price{at}"]
    assert said in found[f"upstreams.v2.price{at}"]


def test_a_limit_on_cost_needs_the_price_of_both_arms() -> None:
    text = (PLAIN % "guards: {max_cost: 1.3x}\n        shadow: 5%").replace("9001}", "9001, price: {input: 1}}")
    found = mistakes(text)
    assert found == {"routes[0].rollouts[0].guards.max_cost": "`v2` has no price (give `upstreams.v2` a `price`)"}
    assert parse(text.replace("9002}", "9002, price: {hour: 1}}")).plans["all/v2"].guards[0].limit == 1.3
    worse = mistakes(text.replace("1.3x", "130%"))
    assert "did you mean `1.3x`?" in worse["routes[0].rollouts[0].guards.max_cost"]


def test_the_schema_takes_one_way_of_paying_only() -> None:
    check = jsonschema.Draft202012Validator(schema())
    for price, valid in (
        ("{input: 1, output: 2}", True),
        ("{hour: 1}", True),
        ("{input: 1, hour: 2}", False),
        ("{}", False),
    ):
        assert check.is_valid(yaml.safe_load(_priced(price))) is valid, price


@pytest.mark.parametrize(
    ("value", "hint"),
    [(20, "`/day` or `/hour` is missing"), ("20/h", "did you mean `20/hour`?"), ("0/day", ""), ("$5/day", ""),
     ("20/month", ""), (True, ""), ("1e3/day", "")],
)  # fmt: skip
def test_a_budget_without_its_period_is_refused(value: object, hint: str) -> None:
    with pytest.raises(Unfit) as caught:
        money_budget(value)
    assert caught.value.hint == hint


def test_a_budget_is_written_as_it_was_read() -> None:
    assert [str(money_budget(text)) for text in ("20/day", "0.5/hour", "1000000/day")] == [
        "20/day", "0.5/hour", "1000000/day",
    ]  # fmt: skip
    assert money_budget(" 5 / hour ") == MoneyBudget(5.0, 3600.0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.094, "$0.094"), (0.095, "$0.10"), (99.999, "$100.00"), (0.000012, "$1.2e-05"),
     (1e6, "$1,000,000.00")],
)  # fmt: skip
def test_small_amounts_keep_two_digits(value: float, shown: str) -> None:
    assert money_text(value) == shown


@pytest.mark.parametrize("price", ["{input: -1}", "{hour: -1}", "{input: 1, output: -1}"])
def test_the_price_of_a_judge_that_is_mistaken_is_refused_once(price: str) -> None:
    judge = f"\njudges: {{j: {{url: 'http://j', model: m, price: {price}, max_cost: 5/day}}}}\n"
    (at,) = mistakes((PLAIN % "shadow: 5%") + judge)
    assert at.startswith("judges.j.price.")


def test_a_price_of_one_arm_alone_is_warned_of() -> None:
    said = "v2 has a `price` and v1 has none, so costs are not compared or forecast"
    assert said in describe(parse(_priced("{input: 1}")))
    both = _priced("{input: 1}").replace("9001}", "9001, price: {input: 2}}")
    assert "so costs are not compared" not in describe(parse(both))
    assert "so costs are not compared" not in describe(parse(PLAIN % "shadow: 5%"))


@pytest.mark.parametrize("price", ["{input: 0}", "{input: 0, output: 0}", "{hour: 0}"])
def test_a_live_that_costs_nothing_is_warned_of_where_a_ratio_is_asked_for(price: str) -> None:
    guarded = (PLAIN % "guards: {max_cost: 1.3x}\n        shadow: 5%").replace("9002}", "9002, price: {input: 1}}")
    said = "v1 costs nothing, so `max_cost` has no ratio to judge and never passes"
    assert said in describe(parse(guarded.replace("9001}", f"9001, price: {price}}}")))
    assert said not in describe(parse(guarded.replace("9001}", "9001, price: {input: 0, output: 1}}")))
    slow = guarded.replace("max_cost: 1.3x", "p99_latency: 2x").replace("9001}", f"9001, price: {price}}}")
    assert said not in describe(parse(slow))
