"""Promise: what is expected at an hour of the week comes near what is true there, and a pattern that is not there costs
next to nothing; what is not known is not learned at once."""

from __future__ import annotations

import numpy as np

from proxy.drift.plan import DAY
from proxy.drift.reference import LATE, CycleReference

HOUR = 3600.0


def learned(pattern: np.ndarray, weeks: int, n: int, period: float | None = DAY) -> tuple[CycleReference, np.ndarray]:
    """A reference that saw `n` values of variance 1 in each hour of the weeks, and its means."""
    rng, reference = np.random.default_rng(1), CycleReference(period, 1)
    for hour in range(168 * weeks):
        sums = np.array([[n * pattern[hour % 168] + rng.normal(0.0, np.sqrt(n))]])
        reference.learn(np.array([reference.cell(hour * HOUR)]), sums, np.full((1, 1), float(n)), slice(0, 1))
    yes, no = np.ones(1, np.bool_), np.zeros(1, np.bool_)
    reference.refresh(np.ones(1), np.ones(1), yes, no, np.zeros(1))
    return reference, reference.means[:, 0]


def test_a_flat_week_is_expected_flat() -> None:
    _, means = learned(np.zeros(168), 2, 30)
    assert np.sqrt(np.mean(means**2)) < 0.06  # a cell alone has seen 60 values: 0.13


def test_days_and_weekends_and_what_is_peculiar_to_an_hour() -> None:
    hours = np.arange(168)
    pattern = np.sin(2 * np.pi * hours / 24) - 1.0 * (hours // 24 >= 5) + 2.0 * (hours == 50)
    _, means = learned(pattern, 4, 30)
    assert np.sqrt(np.mean((means - pattern) ** 2)) < 0.12
    assert abs(means[50] - pattern[50]) < 0.6


def test_without_a_period_there_is_one_mean() -> None:
    reference, means = learned(np.sin(np.arange(168.0)), 1, 10, None)
    assert means.shape == (1,)
    assert reference.unsure[0] == 1.0 / 1680.0


def test_learning_is_a_day_late_and_what_is_forgotten_never_comes() -> None:
    reference = CycleReference(DAY, 2)
    for hour in range(LATE):
        assert not reference.wait(hour * HOUR, np.array([1.0, 1.0]), np.ones(2))
    assert reference.sums.sum() == 0.0
    reference.forget(slice(1, 2), all_of_it=False)
    assert reference.wait(LATE * HOUR, np.zeros(2), np.zeros(2))
    assert reference.sums.sum(0).tolist() == [1.0, 0.0]
    assert reference.wait(300 * HOUR, np.zeros(2), np.zeros(2))  # after a long silence all that waited is learned
    assert reference.sums.sum(0).tolist() == [24.0, 0.0]
