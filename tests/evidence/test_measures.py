"""Promise: what is measured on a pair is what its kind means, within its range, whatever the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evidence.input.distances import (
    cosine_distance,
    rank_biased_distance,
    relative_change,
    text_distance,
    total_variation,
)
from proxy.evidence.input.labels import loss
from proxy.evidence.input.measures import measure, metric_of
from proxy.evidence.input.reference import freeze
from proxy.evidence.process.means import BINS, bins, centres
from proxy.model import Kind, PredictionSpec
from tests.evidence.streams import make_reading

finite = st.floats(allow_nan=False, allow_infinity=False)


def one(name: str, kind: Kind, live: object, candidate: object, draw: float = 0.0, **fields: object) -> float:
    reading = make_reading(0, live, candidate, kind=kind, **fields)
    metric = metric_of(kind, PredictionSpec())
    return float(measure([reading], kind, metric, np.array([draw]), None, frozenset({name}))[name][0])


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12), st.sampled_from([0, 700]))
def test_a_ranked_distance_is_what_its_paper_says_however_long(a: list[int], b: list[int], more: int) -> None:
    a, b = a + list(range(10, 10 + more)), b + list(range(10, 10 + more))
    agreement = weight = 0.0
    for d in range(max(len(a), len(b))):
        agreement += 0.9**d * len(set(a[: d + 1]) & set(b[: d + 1])) / (d + 1)
        weight += 0.9**d
    expected = 1.0 - agreement / weight if weight else 0.0
    assert rank_biased_distance(a, b) == pytest.approx(expected, abs=1e-12)


shares = st.lists(st.sampled_from((0.0, 0.125, 0.25, 0.5, 1.0, -0.0)), min_size=2, max_size=4).map(tuple)


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=6))
def test_rows_of_probabilities_are_measured_together_as_each_by_itself(rows: list[tuple[Any, Any]]) -> None:
    rows = [(live, (*candidate, *live)[: len(live)]) for live, candidate in rows]
    readings = [make_reading(n, *row, kind=Kind.PROBABILITIES) for n, row in enumerate(rows)]
    metric = metric_of(Kind.PROBABILITIES, PredictionSpec())
    names = frozenset({"differs", "live", "candidate", "shift", "distance", "jump"})
    found = measure(readings, Kind.PROBABILITIES, metric, np.zeros(len(rows)), None, names)
    assert found["differs"].tolist() == [float(metric.differs(*row)) for row in rows]
    assert metric.scalar is not None
    for arm, name in enumerate(("live", "candidate")):
        assert found[name].tolist() == [metric.scalar(row[arm]) for row in rows]
    assert found["distance"].tolist() == found["jump"].tolist() == [metric.distance(*row) for row in rows]


def test_a_long_ranking_takes_no_longer_than_a_short_one() -> None:
    """By the square of its length it would be an hour, in which the controller judges nobody."""
    long = tuple(range(1_000_000))
    assert rank_biased_distance(long, long[::-1]) == 1.0


@given(st.lists(finite, min_size=1, max_size=6), st.data())
def test_distances_stay_in_their_range(a: list[float], data: st.DataObject) -> None:
    b = data.draw(st.lists(finite, min_size=len(a), max_size=len(a)))
    assert 0.0 <= cosine_distance(a, b) <= 1.0
    assert cosine_distance(a, a) <= 1e-6 or not any(a) or min(abs(x) for x in a if x) < 1e-150
    assert 0.0 <= relative_change(a[0], b[0]) <= 1.0


@given(st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(0, 9), max_size=8))
def test_rankings(a: list[int], b: list[int]) -> None:
    assert 0.0 <= rank_biased_distance(a, b) <= 1.0
    assert rank_biased_distance(a, b) == pytest.approx(rank_biased_distance(b, a))


@given(st.text(max_size=40), st.text(max_size=40))
def test_texts(a: str, b: str) -> None:
    assert text_distance(a, a) == 0.0
    assert 0.0 <= text_distance(a, b) == text_distance(b, a) <= 1.0


def test_a_change_at_the_top_of_a_ranking_weighs_more_than_one_below() -> None:
    assert rank_biased_distance("abcd", "bacd") > rank_biased_distance("abcd", "abdc") > 0.0


@pytest.mark.parametrize(
    ("kind", "live", "candidate", "expected"),
    [
        (Kind.LABEL, "a", "b", 1.0),
        (Kind.LABEL, 3, 3, 0.0),
        (Kind.SCORE, 0.49, 0.51, 1.0),
        (Kind.SCORE, 0.9, 0.6, 0.0),
        (Kind.PROBABILITIES, (0.6, 0.4), (0.4, 0.6), 1.0),
        (Kind.PROBABILITIES, (0.6, 0.4), (0.9, 0.1), 0.0),
        (Kind.RANKING, ("a", "b"), ("a", "c"), 0.0),
        (Kind.TEXT, "Yes", "yes", 1.0),
    ],
)
def test_what_a_disagreement_is(kind: Kind, live: object, candidate: object, expected: float) -> None:
    assert one("differs", kind, live, candidate) == expected


def test_means_are_over_rows_and_rates_over_one_drawn_row() -> None:
    rows, others = [0.1, 0.2, 0.9], [0.1, 0.4, 0.2]
    assert one("shift", Kind.SCORE, rows, others) == pytest.approx((0.2 - 0.7) / 3)
    assert [one("differs", Kind.SCORE, rows, others, draw) for draw in (0.0, 0.5, 0.999)] == [0.0, 0.0, 1.0]
    assert one("jump", Kind.SCORE, rows, others, 0.999) == pytest.approx(0.7)


def test_two_classes_are_one_score_and_many_their_confidence() -> None:
    assert one("shift", Kind.PROBABILITIES, (0.7, 0.3), (0.6, 0.4)) == pytest.approx(0.1)
    assert one("shift", Kind.PROBABILITIES, (0.7, 0.2, 0.1), (0.1, 0.2, 0.7)) == pytest.approx(0.0)
    assert total_variation((0.7, 0.2, 0.1), (0.1, 0.2, 0.7)) == pytest.approx(0.6)


def test_unbounded_numbers_wait_for_their_scale() -> None:
    reading = [make_reading(0, 10.0, 20.0, kind=Kind.NUMBER)]
    metric, draw, wanted = (
        metric_of(Kind.NUMBER, PredictionSpec()),
        np.zeros(1),
        frozenset({"shift", "spread", "jump_iqr"}),
    )
    before = measure(reading, Kind.NUMBER, metric, draw, None, wanted)
    assert all(np.isnan(before[name][0]) for name in wanted)
    reference = freeze(np.linspace(0.0, 8.0, 500))
    after = measure(reading, Kind.NUMBER, metric, draw, reference, wanted)
    assert after["shift"][0] == pytest.approx(10.0 / reference.scale)
    assert after["spread"][0] == pytest.approx(10.0 / reference.scale)
    wild = measure([make_reading(0, -1e308, 1e308, kind=Kind.NUMBER)], Kind.NUMBER, metric, draw, reference, wanted)
    assert wild["shift"][0] == 8.0


@given(st.floats(-1.0, 1.0), st.integers(0, 2**32))
def test_rounding_keeps_the_mean_and_moves_by_less_than_a_bin(value: float, seed: int) -> None:
    uniform = np.random.default_rng(seed).random(4000)
    rounded = centres(-1.0, 1.0)[bins(np.full(4000, value), uniform, -1.0, 1.0)]
    assert np.abs(rounded - value).max() <= 2 / (BINS - 1) + 1e-12
    assert abs(float(rounded.mean()) - value) < 6 * (1 / (BINS - 1)) / np.sqrt(4000) + 1e-12


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (7, (7, "7", "007", 7.0), (8, "8", "0070", "seven", "7_", True)),
        ("7", ("7", 7, 7.0), ("007", 8, "7.0")),
        ("007", ("007",), ("7", 7)),
        (True, (True, "true", "True", 1), (False, "false", "yes")),
        ("true", ("true", True), ("True", 1, "false", False)),
        ("9" * 30, ("9" * 30,), ("9" * 29,)),
    ],
)
@pytest.mark.parametrize("kind", [Kind.LABEL, Kind.TEXT, Kind.RANKING])
def test_a_label_is_compared_as_what_was_predicted(kind: Kind, row: Any, right: Any, wrong: Any) -> None:
    rows = (row, "other") if kind is Kind.RANKING else row
    assert [loss(kind, rows, truth, 0.0, 1.0, 1.0) for truth in right] == [0.0] * len(right)
    assert [loss(kind, rows, truth, 0.0, 1.0, 1.0) for truth in wrong] == [1.0] * len(wrong)


@pytest.mark.parametrize("kind", [Kind.SCORE, Kind.NUMBER, Kind.PROBABILITIES])
def test_a_text_that_is_a_number_counts_as_one_beside_numbers(kind: Kind) -> None:
    row = (0.25, 0.75) if kind is Kind.PROBABILITIES else 0.25
    assert loss(kind, row, "1", 0.0, 1.0, 1.0) == loss(kind, row, "true", 0.0, 1.0, 1.0) == loss(kind, row, 1, 0, 1, 1)
    assert loss(kind, row, "one", 0.0, 1.0, 1.0) is None


def test_losses() -> None:
    assert loss(Kind.SCORE, 0.2, True, 0.0, 1.0, 1.0) == pytest.approx(0.64)
    assert loss(Kind.NUMBER, 10.0, 2.0, 0.0, 1.0, 4.0) == pytest.approx(0.25)
    assert loss(Kind.RANKING, ("a", "b"), "b", 0.0, 1.0, 1.0) == 1.0
    assert loss(Kind.PROBABILITIES, (0.5, 0.5), 2, 0.0, 1.0, 1.0) is None


@given(st.lists(finite, min_size=1, max_size=600))
def test_a_reference_can_be_made_of_anything_finite(values: list[float]) -> None:
    reference = freeze(np.array(values))
    assert list(reference.thresholds) == sorted(set(reference.thresholds))
    assert 0.0 < reference.scale < np.inf
    assert len(reference.thresholds) <= 42
    assert len(reference.edges) <= 9
