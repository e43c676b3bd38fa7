"""Promise: while no guard needs more pairs there are as many a second as the file says, and at once all of them again
when one does; `all` makes no fewer."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.config import Mirror
from proxy.controller.sampling import SampleBudget
from proxy.model import BUCKETS, Ledger
from proxy.rollout.pair_budget import PairPace

TICK = 0.5


def runs(budget: SampleBudget, rate: float, why: list[str], start: float = 0.0) -> list[int]:
    """Pairs of each step of half a second at so many requests a second, in which it is `why` that none are needed."""
    source, sampled, found = np.random.default_rng(1), getattr(budget, "_seen", 0), []
    for number, reason in enumerate(why):
        budget.turn(start + number * TICK, Ledger(sampled=sampled), PairPace(), reason)
        pairs = int(source.binomial(source.poisson(rate * TICK), budget.affords / BUCKETS))
        sampled += pairs
        found.append(pairs)
    return found


def made(**mirror: object) -> SampleBudget:
    budget = SampleBudget()
    budget.follow(Mirror.model_validate(mirror))
    return budget


@pytest.mark.parametrize("rate", [50.0, 2000.0])
def test_ten_pairs_a_second_are_made_while_none_are_needed_and_all_when_they_are(rate: float) -> None:
    budget = made()
    pairs = runs(budget, rate, [""] * 20 + ["every guard has passed"] * 200 + [""] * 20)
    assert np.mean(pairs[:20]) == pytest.approx(rate * TICK, rel=0.2)
    assert np.mean(pairs[40:220]) == pytest.approx(9.5 * TICK, rel=0.2)
    assert np.mean(pairs[221:]) == pytest.approx(rate * TICK, rel=0.2)


def test_traffic_that_is_less_is_not_thinned() -> None:
    budget = made()
    runs(budget, 3.0, ["every guard has passed"] * 200)
    assert budget.affords == BUCKETS
    assert budget.idle == "every guard has passed"


def test_all_is_all() -> None:
    budget = made(idle_pairs_per_second="all")
    runs(budget, 500.0, ["promoted, and watched"] * 40)
    assert (budget.affords, budget.idle) == (BUCKETS, "")


def test_another_trial_begins_with_all() -> None:
    budget = made(idle_pairs_per_second=1)
    runs(budget, 500.0, ["promoted, and watched"] * 40)
    assert budget.affords < BUCKETS // 100
    budget.renew()
    assert budget.affords == BUCKETS


def test_the_least_share_holds() -> None:
    budget = made(max_pairs_per_second=2)
    runs(budget, 500.0, ["promoted, and watched"] * 60)
    assert budget.affords == pytest.approx(BUCKETS * 1.9 / 500, rel=0.6)
    assert budget.affords == min(budget.told_pairs, budget.told_idle)
