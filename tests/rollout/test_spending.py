"""Promise: copies cost at most the budget in any period (but for what was under way), and nearly all of it is used,
spread over the period, whatever the traffic, the length of answers and how long they take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import BUCKETS
from proxy.rollout.spending import ENTRIES, HOUR, START, Spending, Spent, begin_spending, spend, worth_telling

TICK = 0.5


def run(
    budget: int, rate: Callable[[float], float], cost: Callable[[random.Random], int], delay: float, minutes: int
) -> tuple[list[int], list[Spending]]:
    """Tokens of the answers of each step, and the states. Requests are drawn by share, as a worker's hash does."""
    source = random.Random(7)
    state, spent, states, under_way = Spending(), [], [], []
    now, carry, last = 0.0, 0.0, (0, 0, 0)
    while now < minutes * 60:
        carry += rate(now) * TICK
        asked = sum(source.random() * BUCKETS < state.affords for _ in range(int(carry)))
        carry -= int(carry)
        under_way += [(now + delay * source.uniform(0.5, 1.5), cost(source)) for _ in range(asked)]
        done = [tokens for at, tokens in under_way if at <= now]
        under_way = [entry for entry in under_way if entry[0] > now]
        last = (len(done), sum(done), asked)
        state = spend(state, budget, now, Spent(*last, pending=len(under_way)))
        spent.append(last[1])
        states.append(state)
        now += TICK
    return spent, states


COSTS: dict[str, Callable[[random.Random], int]] = {
    "even": lambda _: 500,
    "long tails": lambda source: int(source.lognormvariate(5.5, 1.2)),
}


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize("rate", [0.5, 5.0, 100.0])
@pytest.mark.parametrize("delay", [0.2, 20.0])
def test_a_budget_is_kept_and_used(costs: str, rate: float, delay: float) -> None:
    budget = 60_000
    spent, states = run(budget, lambda _: rate, COSTS[costs], delay, minutes=12)
    minute = int(60 / TICK)
    windows = [sum(spent[at : at + minute]) for at in range(len(spent) - minute)]
    assert max(windows) <= 1.1 * budget + max(spent)  # an answer far beyond the mean is known when it has come
    mean = sum(spent[len(spent) // 2 :]) / (len(spent) / 2) * minute
    wanted = rate * 60 * 500
    assert mean >= 0.6 * min(budget, wanted * (0.8 if costs == "even" else 0.7))
    if wanted < budget / 2 and costs == "even":
        assert states[-1].affords == BUCKETS  # nobody pays for a budget that is not reached


def test_a_burst_of_a_hundredfold_is_over_within_the_budget() -> None:
    spent, states = run(30_000, lambda now: 200.0 if 300 <= now < 420 else 2.0, COSTS["even"], 5.0, minutes=12)
    minute = int(60 / TICK)
    assert max(sum(spent[at : at + minute]) for at in range(len(spent) - minute)) <= 2 * 30_000
    assert states[-1].affords > 0


@given(
    st.lists(
        st.builds(Spent, *(st.integers(0, 10**6) for _ in range(4))),
        max_size=30,
    ),
    st.integers(1, 10**9),
)
def test_whatever_is_counted_the_share_is_one_and_rises_no_faster_than_said(steps: list[Spent], budget: int) -> None:
    state = Spending()
    for number, step in enumerate(steps):
        after = spend(state, budget, number * TICK, step)
        assert 0 <= after.affords <= BUCKETS
        assert math.isfinite(after.cost)
        assert after.share <= max(state.share * 2 ** (TICK / 10) * (1 + 1e-9), 1 / BUCKETS)
        assert (after.affords == 0) == (after.in_period + step.pending * after.cost >= budget)
        state = after


def test_a_clock_that_stands_still_or_goes_back_changes_nothing() -> None:
    first = spend(Spending(), 1000, 5.0, Spent(0, 0, 0, 0))
    for now in (5.0, 4.0):
        assert spend(first, 1000, now, Spent(0, 0, 10, 0)).share == START


@pytest.mark.parametrize(("told", "affords", "worth"), [(0, 0, False), (0, 1, True), (1, 0, True), (1, 2, True)])
def test_what_workers_are_told(told: int, affords: int, worth: bool) -> None:
    assert worth_telling(told, affords) is worth


DAY = 24 * HOUR


def spend_money(
    budget: float, period: float, rate: float, cost: Callable[[np.random.Generator], float], periods: int, tick: float
) -> tuple[np.ndarray, np.ndarray]:
    """Money of the answers of each step, and what was afforded, basis points; answers take some 5 s."""
    source = np.random.default_rng(7)
    state, spent, affords = begin_spending(period), [], []
    under_way: list[tuple[float, float]] = []
    for now in np.arange(0.0, periods * period, tick).tolist():
        asked = source.binomial(source.poisson(rate * tick), state.affords / BUCKETS)
        under_way += [(now + source.uniform(2.5, 7.5), cost(source)) for _ in range(asked)]
        done = [money for at, money in under_way if at <= now]
        under_way = [entry for entry in under_way if entry[0] > now]
        state = spend(state, budget, now, Spent(len(done), sum(done), asked, len(under_way)), period)
        assert len(state.window) <= ENTRIES + 1
        spent.append(sum(done))
        affords.append(state.affords)
    return np.array(spent), np.array(affords)


@pytest.mark.parametrize(
    ("budget", "period", "rate", "tick"),
    [(20.0, DAY, 1.0, 10.0), (20.0, DAY, 20.0, 10.0), (2.0, DAY, 20.0, 10.0), (20.0, HOUR, 20.0, 1.0)],
)
@pytest.mark.parametrize("tail", [False, True])
def test_money_is_kept_within_its_day_or_hour_used_and_spread_over_it(
    budget: float, period: float, rate: float, tick: float, tail: bool
) -> None:
    """A pair costs a cent on average; with a Pareto tail of 1.5 single ones cost a hundred times as much."""

    def cost(source: np.random.Generator) -> float:
        return 0.01 / 3 * (1.0 + source.pareto(1.5)) if tail else 0.01

    spent, _ = spend_money(budget, period, rate, cost, 2, tick)
    whole = np.concatenate([[0.0], np.cumsum(spent)])
    each = round(period / tick)
    windows = whole[each:] - whole[:-each]
    assert windows.max() <= budget + spent.max() + 0.05 * budget
    assert windows[-1] >= (0.4 if tail else 0.7) * budget
    quarters = np.diff(whole[-each - 1 :: each // 4])
    if not tail:
        assert quarters.max() <= 2.0 * budget / 4


def test_a_share_below_a_basis_point_is_made_of_hours_that_are_spent_early_and_never_of_a_whole_day() -> None:
    """1,000 requests a second, of which one in 4,000,000 could be paid for: each 24th of the day has its own part."""
    spent, affords = spend_money(20.0, DAY, 1000.0, lambda _: 0.01, 2, 10.0)
    parts = spent[len(spent) // 2 :].reshape(24, -1).sum(axis=1)
    assert parts.max() <= 2 * 20.0 / 24 + 0.1
    assert (parts > 0).sum() >= 12
    assert 0.5 < (affords == 0).mean() < 1.0


def test_copies_that_were_lost_cost_what_others_do() -> None:
    one = spend(Spending(), 1000, 0.0, Spent(pairs=10, amount=500.0, sampled=10, pending=0))
    assert spend(one, 1000, 1.0, Spent(0, 0.0, 0, 0, lost=4)).in_period == 700.0
