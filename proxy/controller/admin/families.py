"""Families of metrics out of plain counts, for those who collect them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar

PREFIX = "understudy_"
_NONE: Mapping[Any, Any] = {}


def counter(
    name: str, text: str, labels: Sequence[str], values: Mapping[Any, float], exemplars: Mapping[Any, Exemplar] = _NONE
) -> Metric:
    """A counter: its values by label, or by a tuple of labels."""
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        names = [key] if isinstance(key, str) else list(key)
        family.add_metric(names, value, exemplar=exemplars.get(key))
    return family


def gauge(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    """A gauge, likewise."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family


def cumulative(
    bounds: Sequence[float], counts: Sequence[int], exemplars: Mapping[int, Exemplar] = _NONE
) -> list[tuple[str, float, Exemplar | None]]:
    """Prometheus' buckets of plain ones: each counts what is at or below its bound.

    >>> cumulative((1.0, 2.0), [3, 4, 5])
    [('1.0', 3.0, None), ('2.0', 7.0, None), ('+Inf', 12.0, None)]
    """
    total, buckets = 0.0, list[tuple[str, float, Exemplar | None]]()
    for n, (bound, count) in enumerate(zip((*map(str, bounds), "+Inf"), counts, strict=True)):
        total += count
        buckets.append((bound, total, exemplars.get(n)))
    return buckets


def buckets_of(
    name: str,
    text: str,
    labels: Sequence[str],
    bounds: Sequence[float],
    values: Mapping[Any, tuple[list[int], float]],
    exemplars: Mapping[Any, Mapping[int, Exemplar]] = _NONE,
) -> Metric:
    """A histogram of plain buckets and the sum of what is in them, likewise."""
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for key, (counts, total) in values.items():
        buckets: Any = cumulative(bounds, counts, exemplars.get(key, _NONE))  # typed for two of the three it takes
        family.add_metric([key] if isinstance(key, str) else list(key), buckets, total)
    return family


def binned(bounds: Sequence[float], values: Mapping[str, list[float]], names: Iterable[str]) -> dict[Any, Any]:
    """Plain buckets of single values, for each of `names`."""
    found = {}
    for name in names:
        counts = [0] * (len(bounds) + 1)
        for value in values.get(name, ()):
            counts[bisect_left(bounds, value)] += 1
        found[name] = (counts, sum(values.get(name, ())))
    return found
