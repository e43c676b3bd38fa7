"""Rows of drift: how often it is told where there is none, and how late where there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from proxy.drift import DriftDetector, DriftField, DriftPlan, DriftState, Observations
from proxy.drift.plan import DAY
from tests.calibration import drift_streams as streams
from tests.calibration.cases import Case, Row, share_of
from tests.calibration.drift_streams import FIELDS, TEN, FieldStream, arrivals

DAYS, PER_HOUR = 90, 60.0
Change = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]


def plan(*fields: DriftField, part: float = 1.0, per_hour: float = PER_HOUR) -> DriftPlan:
    """One alarm in 90 days over ten fields, of which these are a `part`; where little comes, a shorter reference."""
    return DriftPlan(fields, first=10_000 if per_hour >= PER_HOUR else 1500, period=DAY, alarms=part)


def false_alarms(seed: int, per_hour: float, wild: bool, days: int = DAYS) -> int:
    """Alarms of ten fields in 90 days without drift, whose numbers have wild ones among them or none."""
    rng = np.random.default_rng([41, seed])
    times = arrivals(rng, days, per_hour)
    values = [stream(times, rng) for _, stream in TEN.values()]
    columns = tuple((streams.with_wild_ones(one, rng) if wild else one).tolist() for one in values)
    found = DriftDetector(plan(*FIELDS, per_hour=per_hour)).add(Observations(times.tolist(), columns))
    return sum(one.state is DriftState.DRIFTING for one in found)


def changed(
    seed: int, stream: FieldStream, change: Change, per_hour: float, wild: bool = False
) -> tuple[np.ndarray, np.ndarray, float]:
    """Times, values, and when it changes: between the 30th and the 40th day."""
    rng = np.random.default_rng([42, seed])
    times, at = arrivals(rng, DAYS, per_hour), (30.0 + 10.0 * rng.random()) * DAY
    values = change(stream(times, rng), times, at, rng)
    return times, streams.with_wild_ones(values, rng) if wild else values, at


def first_alarm(
    field: DriftField, times: np.ndarray, values: np.ndarray, at: float, per_hour: float = PER_HOUR
) -> tuple[float, bool]:
    """Hours from the change to the alarm (infinite: none in 90 days), and whether there was one before it."""
    detector, start = DriftDetector(plan(field, part=0.1, per_hour=per_hour)), int(np.searchsorted(times, at))
    early = bool(detector.add(Observations(times[:start].tolist(), (values[:start].tolist(),))))
    steps = np.append(np.arange(start, start + 200), np.arange(start + 200, len(times), 10))
    for i, until in zip(steps.tolist(), np.append(steps[1:], len(times)).tolist(), strict=True):
        now = slice(i, until)
        found = detector.add(Observations(times[now].tolist(), (values[now].tolist(),)))
        if any(one.state is DriftState.DRIFTING for one in found):
            return (float(times[now][-1]) - at) / 3600.0, early
    return float("inf"), early


def quiet(name: str, per_hour: float, runs: int, wild: bool = False) -> Case:
    """At most one false alarm in 95 % of the runs; a single run must be one of those."""

    def case(share: float) -> Row:
        n, days = max(1, round(runs * share)), DAYS if share >= 0.1 else DAYS // 2
        alarms = np.array([false_alarms(seed, per_hour, wild, days) for seed in range(n)])
        many = int((alarms > 1).sum())
        most = 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / n)
        text = f"two or more {share_of(many, n)} of {n} runs, {alarms.mean():.2f} alarms per run"
        return Row(f"no drift, {name}", "drift: ten fields, 90 days", "two or more ≤ 5 %", text, "", many / n <= most)

    return case


def late(
    name: str,
    field: str,
    change: Change,
    most: float | None,
    runs: int = 40,
    per_hour: float = PER_HOUR,
    wild: bool = False,
) -> Case:
    """The median delay, which is no promise where `most` (hours) is `None`."""

    def case(share: float) -> Row:
        n = max(1, round(runs * share))
        kind, stream = TEN[field]
        found = [
            first_alarm(DriftField(field, kind), *changed(seed, stream, change, per_hour, wild), per_hour)
            for seed in range(n)
        ]
        hours = np.array([one for one, _ in found])
        middle, early = float(np.median(hours)), sum(before for _, before in found)
        text = f"{middle:.3g} h, {int(np.isfinite(hours).sum())} of {n} runs; {early} alarms before"
        target = "no promise" if most is None else f"median ≤ {most:g} h"
        ok = most is None or (middle <= 1.25 * most and early <= round(0.1 * n))
        return Row(f"drift after 30 days: {name}", f"{field}, {per_hour:g}/h", target, text, "", ok)

    return case


def drift_rows() -> Iterator[Case]:
    """All of them."""
    yield quiet("60 values an hour", PER_HOUR, 60)
    yield quiet("6 values an hour", 6.0, 60)
    yield quiet("60 an hour, one in 1,500 wild", PER_HOUR, 60, wild=True)
    yield late("0.2 standard deviations", "temperature", streams.shifted, 30.0)
    yield late("a new label, 2 %", "country", streams.new_label, 9.0)
    yield late("°C → °F", "temperature", streams.fahrenheit, 0.5)
    yield late("× 1,000", "temperature", streams.thousandfold, 0.3)
    yield late("× 1,000 where one in 1,500 is wild", "temperature", streams.thousandfold, 0.3, wild=True)
    yield late("× 1,000, heavy tails", "pareto", streams.thousandfold, 0.3)
    yield late("0.02 standard deviations a day", "temperature", streams.ramped, 200.0)
    others: tuple[tuple[str, str, Any], ...] = (
        ("0.2 standard deviations, days that differ", "moody", streams.shifted),
        ("a second daily cycle grows in 30 days", "temperature", streams.wider_cycle),
        ("one working day like a Sunday", "temperature", streams.holiday),
    )
    for name, field, change in others:
        yield late(name, field, change, None)
    yield late("0.2 standard deviations, few values", "temperature", streams.shifted, None, per_hour=6.0)
