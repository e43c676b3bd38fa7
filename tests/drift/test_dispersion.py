"""Promise: D is about 1 for independent values, as large as days or hours differ where they do, and a lasting shift
hardly raises it."""

from __future__ import annotations

import numpy as np

from proxy.drift.dispersion import Dispersion

CHANNELS, BLOCKS = 200, 144


def days(count: int, by_day: float = 0.0, by_hour: float = 0.0, shift: float = 0.0) -> np.ndarray:
    """D of 200 scores after so many days of blocks of ten values, which differ by day, by hour, or from the last day
    on."""
    rng, dispersion = np.random.default_rng(1), Dispersion(np.zeros(CHANNELS, np.bool_), days=True)
    for day in range(count):
        moved = rng.normal(0.0, by_day, CHANNELS) + shift * (day >= count - 3)
        for block in range(BLOCKS):
            if block % 6 == 0:
                hour = rng.normal(0.0, by_hour, CHANNELS)
            sums = rng.normal(0.0, np.sqrt(10.0), CHANNELS) + 10.0 * (moved + hour)
            dispersion.add(sums, np.full(CHANNELS, 10.0), np.full(CHANNELS, 10.0), (day * BLOCKS + block) // 6)
    return dispersion.sizes()


def test_independent_values() -> None:
    found = days(28)
    assert 1.0 < np.median(found) < 1.7
    assert np.quantile(found, 0.99) < 3.5


def test_days_that_differ() -> None:
    """Of 1,440 values in a day, with 0.1 standard deviations between days: 1 + 1,440 · 0.01."""
    found = days(42, by_day=0.1)
    assert 12.0 < np.median(found) < 21.0
    assert np.quantile(found, 0.05) > 6.0


def test_hours_that_differ() -> None:
    assert 5.5 < np.median(days(14, by_hour=0.3)) < 9.0  # 1 + 60 · 0.09


def test_a_lasting_shift_hardly_counts() -> None:
    assert np.median(days(21, shift=0.5)) < 1.35 * np.median(days(21))


def test_events_that_begin_to_come_are_no_bursts() -> None:
    """A rate that was nothing and is 2 % now: the drift itself must not make its evidence small."""
    rng, dispersion = np.random.default_rng(2), Dispersion(np.ones(1, np.bool_), days=True)
    for block in range(600):
        events = float(rng.binomial(10, 0.02 if block >= 500 else 0.0))
        dispersion.add(np.array([events - 1e-4]), np.array([events]), np.full(1, 10.0), block // 6)
    assert dispersion.sizes()[0] < 2.0


def test_events_in_clumps_are() -> None:
    rng, dispersion = np.random.default_rng(3), Dispersion(np.ones(1, np.bool_), days=True)
    for block in range(3000):
        events = 20.0 * float(rng.random() < 0.02)
        dispersion.add(np.array([events - 0.4]), np.array([events]), np.full(1, 10.0), block // 6)
    assert dispersion.sizes()[0] > 12.0


def test_what_differs_by_day_counts_more_when_more_comes() -> None:
    """Ten times the traffic: a day's sum of values that differ by day is ten times as uncertain, per value."""
    rng, dispersion, found = np.random.default_rng(4), Dispersion(np.zeros(CHANNELS, np.bool_), days=True), []
    for day in range(32):
        moved, n = rng.normal(0.0, 0.1, CHANNELS), 10.0 if day < 30 else 100.0
        for block in range(BLOCKS):
            sums, all_n = rng.normal(0.0, np.sqrt(n), CHANNELS) + n * moved, np.full(CHANNELS, n)
            dispersion.add(sums, all_n, all_n, (day * BLOCKS + block) // 6)
        found.append(float(np.median(dispersion.sizes())))
    assert found[29] < 25.0
    assert found[31] > 60.0  # 1 + 14,400 · 0.01 = 145; spans of two thirds more are taken as usual
