"""Promise: values and a kind become rows of that kind, never empty and never non-finite, or a reason word."""

from __future__ import annotations

from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.shapes import MAX_RANK, MAX_ROWS, predict, tensor
from proxy.predictions.unreadable import Unreadable


def rows(kind: Kind, value: Any, **spec: Any) -> tuple[Any, ...]:
    return predict(PredictionSpec(kind=kind, **spec), tensor(value)).rows


def refusal(kind: Kind, value: Any, **spec: Any) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        rows(kind, value, **spec)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.LABEL, "cat", ("cat",)),
        (Kind.LABEL, [3, 1], (3, 1)),
        (Kind.LABEL, [[3], [1]], (3, 1)),
        (Kind.LABEL, [2.0, True, "x"], (2, True, "x")),
        (Kind.SCORE, 0.5, (0.5,)),
        (Kind.SCORE, [[0.5], [1]], (0.5, 1.0)),
        (Kind.SCORE, [-1e-9, 1.0000001], (0.0, 1.0)),
        (Kind.NUMBER, [-5, 1e300], (-5.0, 1e300)),
        (Kind.NUMBER, [1e308, 1e308], (1e308, 1e308)),
        (Kind.PROBABILITIES, [0.25, 0.75], ((0.25, 0.75),)),
        (Kind.PROBABILITIES, [[0.25, 0.75], [1, 0]], ((0.25, 0.75), (1.0, 0.0))),
        (Kind.PROBABILITIES, [[[0.25, 0.75]], [[1, 0]]], ((0.25, 0.75), (1.0, 0.0))),
        (Kind.VECTOR, [1, 2.5, -3], ((1.0, 2.5, -3.0),)),
        (Kind.VECTOR, [[[1, 2], [3, 4]]], ((1.0, 2.0, 3.0, 4.0),)),
        (Kind.RANKING, ["a", "b"], (("a", "b"),)),
        (Kind.RANKING, [[1, 2], [2.0, 1]], ((1, 2), (2, 1))),
        (Kind.TEXT, "hello", ("hello",)),
        (Kind.TEXT, ["a", ""], ("a", "")),
    ],
)
def test_rows(kind: Kind, value: Any, expected: tuple[Any, ...]) -> None:
    assert rows(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "reason", "words"),
    [
        (Kind.LABEL, 0.5, Reason.BAD_TYPE, "0.5 is not a label"),
        (Kind.LABEL, None, Reason.BAD_TYPE, "null is not a label"),
        (Kind.LABEL, {"a": 1}, Reason.BAD_TYPE, "an object is not a label"),
        (Kind.LABEL, [[0.1, 0.9]], Reason.BAD_SHAPE, "shape [1, 2] has several values per row, a label is one"),
        (Kind.SCORE, 1.5, Reason.OUT_OF_RANGE, "1.5 is outside 0 to 1"),
        (Kind.SCORE, "0.5", Reason.BAD_TYPE, "value 0 is the text '0.5', expected a number"),
        (Kind.SCORE, True, Reason.BAD_TYPE, "a boolean"),
        (Kind.SCORE, [0.1, None], Reason.NOT_FINITE, "value 1 is null"),
        (Kind.SCORE, nan, Reason.NOT_FINITE, "value 0 is nan"),
        (Kind.NUMBER, [1.0, -inf], Reason.NOT_FINITE, "value 1 is -inf"),
        (Kind.NUMBER, [inf, -inf], Reason.NOT_FINITE, "value 0 is inf"),
        (Kind.NUMBER, 10**400, Reason.NOT_FINITE, "too large"),
        (Kind.NUMBER, [], Reason.EMPTY, "no values"),
        (Kind.NUMBER, [[], []], Reason.EMPTY, "no values"),
        (Kind.PROBABILITIES, 0.5, Reason.BAD_SHAPE, "single value"),
        (Kind.PROBABILITIES, [[0.5], [0.5]], Reason.BAD_SHAPE, "one value per row"),
        (Kind.PROBABILITIES, [[0.5, 0.6]], Reason.OUT_OF_RANGE, "row 0 add up to 1.1"),
        (Kind.PROBABILITIES, [[0.5, 0.5], [2, -1]], Reason.OUT_OF_RANGE, "outside 0 to 1"),
        (Kind.PROBABILITIES, [[[0.5, 0.5], [0.5, 0.5]]], Reason.BAD_SHAPE, "[1, 2, 2]"),
        (Kind.VECTOR, [[1, 2], [3]], Reason.BAD_SHAPE, "differ in length"),
        (Kind.VECTOR, [[1, 2], 3], Reason.BAD_SHAPE, "mixed"),
        (Kind.VECTOR, [3, [1, 2]], Reason.BAD_TYPE, "an array"),
        (Kind.TEXT, 5, Reason.BAD_TYPE, "expected text, found a number"),
        (Kind.NUMBER, [0] * (MAX_ROWS + 1), Reason.TOO_MANY_ELEMENTS, "at most"),
    ],
)
def test_refusals(kind: Kind, value: Any, reason: Reason, words: str) -> None:
    why = refusal(kind, value)
    assert why.reason is reason
    assert words in why.detail


def test_depth_is_bounded() -> None:
    value: Any = 1
    for _ in range(MAX_RANK + 1):
        value = [value]
    assert refusal(Kind.NUMBER, value).reason is Reason.TOO_DEEP


def test_a_score_lives_on_the_range_its_owner_gave() -> None:
    assert rows(Kind.SCORE, [300, 850], low=300, high=850) == (300.0, 850.0)
    assert refusal(Kind.SCORE, 299, low=300, high=850).reason is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("cat", Kind.LABEL), ([1, 2], Kind.LABEL), ([True], Kind.LABEL), (0.5, Kind.NUMBER),
        ([[0.5], [7]], Kind.NUMBER),
        ([[0.5, 0.5]], Kind.PROBABILITIES), ([[0.5, -0.5]], Kind.VECTOR), ([[0.5, 0.5, 3]], Kind.VECTOR),
    ],
)  # fmt: skip
def test_auto_looks_at_the_values(value: Any, kind: Kind) -> None:
    assert predict(PredictionSpec(), tensor(value)).kind is kind


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just({})
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=20)


@given(st.sampled_from(Kind), VALUES)
def test_rows_are_never_empty_and_never_non_finite(kind: Kind, value: Any) -> None:
    try:
        prediction = predict(PredictionSpec(kind=kind), tensor(value))
    except Unreadable:
        return
    assert prediction.rows
    flat = [item for row in prediction.rows for item in (row if isinstance(row, tuple) else (row,))]
    assert flat
    assert all(isinstance(item, str) or isfinite(item) for item in flat)
