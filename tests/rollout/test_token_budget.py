"""Promise: copies cost at most the budget in any minute (but for what was under way), and nearly all of it is used,
whatever the traffic, the length of answers and how long they take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import BUCKETS
from proxy.rollout.token_budget import START, Spending, Spent, spend, worth_telling

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
        assert (after.affords == 0) == (after.last_minute + step.pending * after.cost >= budget)
        state = after


def test_a_clock_that_stands_still_or_goes_back_changes_nothing() -> None:
    first = spend(Spending(), 1000, 5.0, Spent(0, 0, 0, 0))
    for now in (5.0, 4.0):
        assert spend(first, 1000, now, Spent(0, 0, 10, 0)).share == START


@pytest.mark.parametrize(("told", "affords", "worth"), [(0, 0, False), (0, 1, True), (1, 0, True), (1, 2, True)])
def test_what_workers_are_told(told: int, affords: int, worth: bool) -> None:
    assert worth_telling(told, affords) is worth
