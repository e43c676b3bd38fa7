"""Promise: a value beyond all that was is an outlier, a few in succession are drift, and one that is sent again is no
other; and the bets on them are fair, value by value."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from proxy.drift import DriftDetector, DriftField, DriftFinding, DriftPlan, Observations
from proxy.drift.bets import JUMPS
from proxy.drift.binned import far_bounds
from proxy.drift.jumps import jump_costs, restarted
from proxy.model import Kind

FIRST, MONTH = 10_000, 30_000
AMOUNT = DriftField("amount", Kind.NUMBER)


@pytest.mark.parametrize("rate", [0.0003, 0.02, 0.5])
def test_restarts_at_every_observation_win_nothing(rate: float) -> None:
    """The mean over all events of four observations is the time that passed; with no value it is that anyway."""
    sizes, trials = JUMPS[None], np.ones((4, 1))
    costs, mean = jump_costs(np.array([rate]), np.zeros(1), sizes), np.zeros((1, 6))
    for events in product((0.0, 1.0), repeat=4):
        chance = rate ** sum(events) * (1.0 - rate) ** (4.0 - sum(events))
        mean += chance * restarted(np.full((1, 6), 7.0), np.array(events)[:, None], trials, sizes, costs, 4.0)
    np.testing.assert_allclose(mean, 11.0)
    np.testing.assert_allclose(restarted(mean, 0.0 * trials, 0.0 * trials, sizes, costs, 4.0), 15.0)


@cache
def after_a_month(seed: int) -> DriftDetector:
    """A detector that saw what is usual, one value a minute."""
    usual = np.random.default_rng(seed).normal(20.0, 5.0, MONTH)
    detector = DriftDetector(DriftPlan((AMOUNT,), first=FIRST, alarms=0.1))
    assert detector.add(Observations((60.0 * np.arange(MONTH)).tolist(), (usual.tolist(),))) == ()
    return detector


def watched(seed: int, values: Any = ()) -> tuple[DriftDetector, list[DriftFinding]]:
    """A detector that saw what is usual, and then these; it is looked at after each of them."""
    detector = deepcopy(after_a_month(seed))
    found: list[DriftFinding] = []
    for i, value in enumerate(values):
        found += detector.add(Observations([60.0 * (MONTH + i)], ([float(value)],)))
    return detector, found


def test_a_few_in_succession_are_drift_and_usual_values_in_between_do_not_hide_it() -> None:
    _, (found,) = watched(1, [20e3, 15e3, 25e3])
    assert found.what == "far"
    _, (found,) = watched(1, [20e3, 21.0, 15e3, 18.0, 25e3, 22e3])
    assert found.what == "far"


@pytest.mark.parametrize("wild", [20e3, -1e9, 9999.0])
def test_one_is_an_outlier_however_wild_and_however_often_one_comes(wild: float) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(20.0, 5.0, 4000)
    values[::400] = wild * rng.uniform(0.5, 2.0, 10)  # one in 400: more often than the reference could know
    assert watched(1, values[:1200])[1] == []


def test_one_that_is_sent_again_counts_once_and_one_that_stays_is_drift() -> None:
    detector, _ = watched(1)
    start = 60.0 * MONTH
    again = Observations([start + i for i in range(30)], ([20e3, 19.0, 22.0] * 10,))
    assert detector.add(again) == ()
    found: list[DriftFinding] = []
    for i in range(6):
        found += detector.add(Observations([start + 120.0 + 120.0 * i], ([20e3],)))
    assert [one.what for one in found] == ["far"]


def test_values_from_before_bets_began_are_none_that_was_bet_on() -> None:
    """The block in which half of the reference is full: its wild values came while nobody knew what is usual."""
    values = np.random.default_rng(6).normal(20.0, 5.0, 4000)
    values[2945:2948] = 20e3, 15e3, 25e3
    detector = DriftDetector(DriftPlan((AMOUNT,), first=6000))
    for at in range(0, 4000, 50):
        assert (
            detector.add(Observations((60.0 * np.arange(at, at + 50)).tolist(), (values[at : at + 50].tolist(),))) == ()
        )


def test_values_that_heavy_tails_lead_to_expect_are_not_far() -> None:
    rng = np.random.default_rng(4)
    for tail in (1.0, 1.5, 3.0):
        low, high = far_bounds(1.0 + rng.pareto(tail, 2000))
        later = 1.0 + rng.pareto(tail, 100_000)
        assert ((later < low) | (later > high)).mean() < 4e-4
        assert (1000.0 * later[:1000] > high).mean() > 0.5 or tail < 1.5  # and another unit is


def test_up_to_one_wild_value_in_256_has_no_part_in_what_is_far() -> None:
    values = np.random.default_rng(5).normal(size=2000)
    low, high = far_bounds(values)
    values[:6] = 1e6
    assert far_bounds(values) == pytest.approx((low, high), rel=0.1)
