"""Promise: a bet on a block has mean at most 1 while its mean is as expected, and wealth grows no faster than time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.drift.bets import SIZES, BetGrid, RestartSums, cumulants_of
from proxy.drift.binned import Binned
from proxy.drift.channels import DriftChannel

EVENT = BetGrid.of((DriftChannel("share"),))
SCORE = BetGrid.of((DriftChannel("level", rate=False),))


@pytest.mark.parametrize("rate", [0.0003, 0.02, 0.5, 0.97])
@pytest.mark.parametrize("n", [1, 4])
def test_events_at_their_expected_rate_win_nothing(rate: float, n: int) -> None:
    total = np.zeros(12)
    for events in product((0, 1), repeat=n):
        chance = rate ** sum(events) * (1.0 - rate) ** (n - sum(events))
        args = np.array([[sum(events)], [n], [rate], [0.0]], np.float64)
        total += chance * np.exp(EVENT.factors(*args, np.zeros((1, 12)))[0])
    np.testing.assert_allclose(total, 1.0)


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 1)), min_size=2, max_size=60),
    st.integers(1, 30),
)
def test_values_of_the_reference_win_nothing_whatever_its_distribution(values: list[float], repeats: int) -> None:
    """Ties, zeros, one value alone among others, heavy tails: E[factor] ≤ 1 for every bet, up and down."""
    binned = Binned.of(np.array(values * repeats))
    for scores in (binned.scores - binned.mass @ binned.scores).T:
        cumulants = cumulants_of(scores, binned.mass)[None]
        each = [
            np.exp(SCORE.factors(*np.array([[score], [1.0], [0.0], [0.0]]), cumulants)[0]) for score in scores.tolist()
        ]
        assert (binned.mass @ np.array(each) <= 1.0 + 1e-9).all()


def test_an_uncertain_mean_makes_every_bet_less() -> None:
    sure, unsure = (
        SCORE.factors(*np.array([[3.0], [4.0], [0.1], [error]]), 0.5 * SCORE.sizes**2) for error in (0.0, 0.05)
    )
    assert (unsure < sure).all()


def test_wealth_of_a_fair_game_is_the_time_that_passed() -> None:
    """E[M] after a time t is t, by simulation; so P(M ≥ c before t) ≤ t / c."""
    rng, runs, blocks = np.random.default_rng(1), 4000, 60
    grid = BetGrid.of((DriftChannel("level", rate=False),) * runs)
    restarts, highest = RestartSums(runs), np.zeros(runs)
    for _ in range(blocks):
        sums = rng.normal(0.0, 3.0, runs)
        logs = grid.factors(sums, np.full(runs, 9.0), np.zeros(runs), np.zeros(runs), 0.5 * grid.sizes**2)
        restarts.step(logs, np.full(logs.shape, 1.0 / blocks), np.zeros(runs, np.bool_), np.zeros((4, runs)))
        highest = np.maximum(highest, restarts.wealth.mean(1))
    small = restarts.wealth[:, [0, 1, 6, 7]].mean()  # large bets win seldom and much, which 4,000 runs do not show
    assert abs(small - 1.0) < 0.05
    assert (highest >= 20.0).mean() <= 1.0 / 20.0


def test_since_is_when_it_began() -> None:
    grid, restarts = SCORE, RestartSums(1)
    rng = np.random.default_rng(2)
    for block in range(310):
        sums = np.array([10.0 * (block >= 300) + rng.normal(0.0, 4.0)])
        facts = np.array([[float(block)], [16.0], sums, [0.0]])
        logs = grid.factors(sums, np.array([16.0]), np.zeros(1), np.zeros(1), 0.5 * grid.sizes**2)
        restarts.step(logs, np.full(logs.shape, 1e-4), np.zeros(1, np.bool_), facts)
    best = int(np.argmax(restarts.wealth[0]))
    since, trials, apart, _ = restarts.since[:, 0, best]
    assert abs(since - 300.0) < 3.0
    assert abs(trials - 160.0) < 40.0
    assert apart / trials == pytest.approx(10.0 / 16.0, abs=0.2)
    assert abs(SIZES[best % 6] - 0.625) < 0.2
