"""From raw values and a kind to the rows of a prediction: the checks that all protocols share.

A protocol hands over a `Tensor`: values in row-major order and their shape. What a row is follows from the kind: a
label, score, number or text is one value, so `[n]` and `[n, 1]` are n rows; probabilities, a vector or a ranking are a
sequence, so `[k]` is one row and `[n, k]` are n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from math import isfinite, prod
from typing import Any

from proxy.model import Kind, Prediction, PredictionSpec, make
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, NODES, Bounds, too_many
from proxy.predictions.exact_json import fits_64_bits
from proxy.predictions.json_tools import word_for
from proxy.predictions.json_validity import json_rows
from proxy.predictions.unreadable import Rounded, Unreadable

MAX_RANK = 8
"""Dimensions of a tensor."""

MAX_ROWS = 8192
"""Rows of one answer; the evidence treats them as one cluster, so more would add cost and no knowledge."""

SUM_TOLERANCE = 0.02
"""How far from 1 the probabilities of a row may add up: half precision and rounding to two digits stay within it."""

_LEAST, _MOST = 1.0 - SUM_TOLERANCE, 1.0 + SUM_TOLERANCE

EDGE = 1e-6
"""How far outside its range a value may lie and be taken for rounding; it is moved to the edge."""


# Looking up a member of an enum costs 0.1 µs in Python 3.11.
_AUTO, _LABEL, _NUMBER, _SCORE, _TEXT = Kind.AUTO, Kind.LABEL, Kind.NUMBER, Kind.SCORE, Kind.TEXT
_PROBABILITIES, _VECTOR = Kind.PROBABILITIES, Kind.VECTOR


@dataclass(slots=True)
class Tensor:
    """Values in row-major order and their shape; `len(data) == prod(shape)`.

    `hint` is the kind if the owner left it open, `names` those of the values in a row, `tokens` how many tokens a
    language model says it wrote in a stream (0 where it does not say), `pieces` how many events of that carried
    something. `exact` says that no whole number in it has been rounded; without it a
    double of 2^63 or more may have been one of other digits.
    """

    data: list[Any]
    shape: tuple[int, ...]
    hint: Kind = _AUTO
    names: tuple[str, ...] = ()
    tokens: int = 0
    exact: bool = False
    pieces: int = 0

    @property
    def width(self) -> int:
        """Values per row, if the first dimension counts rows."""
        return prod(self.shape[1:])


def tensor(value: Any, hint: Kind = Kind.AUTO) -> Tensor:
    """A JSON value, nested arrays or a single one, as a tensor; raises `Unreadable` with `bad_shape` or `too_deep`.

    >>> tensor([[1, 2], [3, 4]])
    Tensor(data=[1, 2, 3, 4], shape=(2, 2), hint=<Kind.AUTO: 'auto'>, names=(), tokens=0, exact=False, pieces=0)
    """
    if type(value) is not list:
        return Tensor([value], (), hint)
    shape = [len(value)]
    while value and type(value[0]) is list:
        if not all(type(item) is list for item in value):
            raise Unreadable(Reason.BAD_SHAPE, "arrays and single values are mixed")
        if len({len(item) for item in value}) > 1:
            raise Unreadable(Reason.BAD_SHAPE, "the rows differ in length")
        if len(shape) == MAX_RANK:
            raise Unreadable(Reason.TOO_DEEP, f"arrays nested more than {MAX_RANK} levels deep")
        shape.append(len(value[0]))
        value = list(chain.from_iterable(value))
    return Tensor(value, tuple(shape), hint)


def check_rows(count: int) -> None:
    """Raise `Unreadable` when an answer has too many rows; the sooner it is asked the less is done for nothing.

    >>> check_rows(MAX_ROWS)
    """
    if count > MAX_ROWS:
        raise too_many(count, MAX_ROWS, "rows")


def predict(spec: PredictionSpec, values: Tensor, kind: Kind = Kind.AUTO, bounds: Bounds = DEFAULT) -> Prediction:
    """The prediction in a tensor. `kind` is live's, for reading the candidate's by it; raises `Unreadable`.

    >>> predict(PredictionSpec(kind=Kind.PROBABILITIES), Tensor([0.25, 0.75, 1.0, 0.0], (2, 2))).rows
    ((0.25, 0.75), (1.0, 0.0))
    """
    if not values.data:
        raise Unreadable(Reason.EMPTY, "the output holds no values")
    if kind is _AUTO:
        kind = spec.kind if spec.kind is not _AUTO else guess(values)
    return Prediction(kind, _ROWS[kind](values, spec, bounds), values.names)


def one_row(spec: PredictionSpec, value: Any) -> Prediction | None:
    """The prediction in a single value, or in a list of those of one row, if it is beyond doubt; `None` leaves it to
    `predict`.

    >>> score, wide = PredictionSpec(kind=Kind.SCORE), PredictionSpec(kind=Kind.PROBABILITIES)
    >>> one_row(score, 0.5), one_row(score, 1.5), one_row(wide, [0.25, 0.75]).rows, one_row(wide, [0.25, 0.5])
    (Prediction(kind=<Kind.SCORE: 'score'>, rows=(0.5,), names=()), None, ((0.25, 0.75),), None)
    """
    kind = spec.kind
    if type(value) is float:
        known = spec.low <= value <= spec.high if kind is _SCORE else kind is _NUMBER and isfinite(value)
    elif type(value) is list:
        if kind is not _PROBABILITIES and kind is not _VECTOR:
            return one_row(spec, value[0]) if len(value) == 1 and type(value[0]) is not list else None
        row = _numbers_of_row(kind, value)
        return make(Prediction, (kind, (row,), ())) if row is not None else None
    else:
        known = (kind is _LABEL and type(value) in _NAMES) or (
            kind is _TEXT and type(value) is str and len(value) <= NODES
        )
    return make(Prediction, (kind, (value,), ())) if known else None


def _numbers_of_row(kind: Kind, values: list[Any]) -> tuple[float, ...] | None:
    """One row of probabilities or a vector, if there is no doubt about any of its values."""
    types = set(map(type, values))
    if types != _FLOATS:
        if not types <= _NUMBERS:
            return None
        values = list(map(float, values))
    total = sum(values)
    if kind is _VECTOR:
        return tuple(values) if values and isfinite(total) else None
    known = len(values) > 1 and min(values) >= 0.0 and max(values) <= 1.0 and _LEAST <= total <= _MOST
    return tuple(values) if known else None


def only_row(value: Any) -> Any:
    """A JSON value, or of nested arrays that hold one row that row, as `one_row` takes it.

    >>> only_row(0.5), only_row([0.25, 0.75]), only_row([[0.25, 0.75]]), only_row([[1], [2]])
    (0.5, [0.25, 0.75], [0.25, 0.75], [[1], [2]])
    """
    return value[0] if type(value) is list and len(value) == 1 and type(value[0]) is list else value


_NAMES = (int, str)
_FLOATING = ({float}, {float, int})


def guess(values: Tensor) -> Kind:
    """The kind of a tensor whose owner left it open: what its protocol hints at, else by its values.

    >>> guess(Tensor([0.2, 0.8], (1, 2))), guess(Tensor([7, 3], (2,))), guess(Tensor([7.5], (1, 1)))
    (<Kind.PROBABILITIES: 'probabilities'>, <Kind.LABEL: 'label'>, <Kind.NUMBER: 'number'>)
    """
    if values.hint is not Kind.AUTO:
        return values.hint
    if set(map(type, values.data)) not in _FLOATING:
        return Kind.LABEL
    if values.width == 1:
        return Kind.NUMBER
    try:
        _probabilities(values, PredictionSpec(), DEFAULT)
    except Unreadable:
        return Kind.VECTOR
    return Kind.PROBABILITIES


# --- one value per row -----------------------------------------------------------------------------------------------


def _singles(values: Tensor, kind: str) -> list[Any]:
    data = values.data
    if len(data) != 1 and values.width != 1:
        raise Unreadable(Reason.BAD_SHAPE, f"shape {_show(values.shape)} has several values per row, a {kind} is one")
    check_rows(len(data))
    return data


_LABELS = {str, int, bool}
_BEYOND = 2.0**63
"""JSON's whole numbers from here on may have been rounded to a double."""


def _labels(values: Tensor, _spec: PredictionSpec, _bounds: Bounds) -> tuple[Any, ...]:
    return tuple(_as_labels(values, _singles(values, "label")))


def _as_labels(values: Tensor, data: list[Any]) -> list[Any]:
    if not values.exact and set(map(type, data)) <= _LABELS:  # orjson's whole numbers have at most 64 bits
        return data
    return [_label(value, values.exact) for value in data]


def _label(value: Any, exact: bool) -> Any:
    """Text or a whole number. One beyond 64 bits is kept as its digits: that is the most that JSON has here."""
    kind = type(value)
    if kind is str or kind is bool:
        return value
    if kind is float and value.is_integer():  # XGBoost and others write class numbers as floats
        if not exact and abs(value) >= _BEYOND:
            raise Rounded(value)
        value = int(value)
    elif kind is not int:
        raise Unreadable(Reason.BAD_TYPE, f"{_show_value(value)} is not a label (text or a whole number)")
    return value if fits_64_bits(value) else str(value)


def label_name(value: Any) -> str:
    """A label of JSON as the name of its score; raises `Rounded` when its digits are not known.

    >>> label_name(3), label_name("cat")
    ('3', 'cat')
    """
    if type(value) is float and abs(value) >= _BEYOND and isfinite(value):
        raise Rounded(value)
    return str(value)


def _texts(values: Tensor, _spec: PredictionSpec, bounds: Bounds) -> tuple[str, ...]:
    data = _singles(values, "text")
    for value in data:
        if type(value) is not str:
            raise Unreadable(Reason.BAD_TYPE, f"expected text, found {word_for(value)}")
    room = bounds.nodes
    if sum(map(len, data)) > room:  # a word is a character at least
        for value in data:
            room -= len(value.split(None, room))
            if room <= 0:
                raise too_many(bounds.nodes + 1, bounds.nodes, "words")
    return tuple(data)


def _scores(values: Tensor, spec: PredictionSpec, _bounds: Bounds) -> tuple[float, ...]:
    data = floats(_singles(values, "score"))
    low, high = spec.low, spec.high
    if min(data) >= low and max(data) <= high:
        return tuple(data)
    return tuple(_within(value, low, high) for value in data)


def _within(value: float, low: float, high: float) -> float:
    slack = EDGE * max(1.0, high - low)
    if not low - slack <= value <= high + slack:
        raise Unreadable(Reason.OUT_OF_RANGE, f"{value:g} is outside {low:g} to {high:g}")
    return min(max(value, low), high)


def _numbers(values: Tensor, _spec: PredictionSpec, _bounds: Bounds) -> tuple[float, ...]:
    return tuple(floats(_singles(values, "number")))


# --- a sequence per row ----------------------------------------------------------------------------------------------


def _sequences(values: Tensor, data: list[Any]) -> tuple[tuple[Any, ...], ...]:
    shape = values.shape
    if not shape:
        raise Unreadable(Reason.BAD_SHAPE, "found a single value, expected a sequence per row")
    width = len(data) // shape[0] if len(shape) > 1 else shape[0]
    if len(data) == width:
        return (tuple(data),)
    check_rows(len(data) // width)
    return tuple(tuple(data[at : at + width]) for at in range(0, len(data), width))


def _probabilities(values: Tensor, _spec: PredictionSpec, _bounds: Bounds) -> tuple[tuple[float, ...], ...]:
    shape = values.shape
    if len(shape) > 2 and values.width != max(shape[1:]):
        raise Unreadable(Reason.BAD_SHAPE, f"shape {_show(shape)} is not a list of class probabilities per row")
    data = floats(values.data)
    if min(data) < 0.0 or max(data) > 1.0:
        data = [_within(value, 0.0, 1.0) for value in data]
    rows = _sequences(values, data)
    if len(rows[0]) < 2:
        raise Unreadable(Reason.BAD_SHAPE, f"shape {_show(shape)} has one value per row: kind score, perhaps")
    for row in rows:
        if not _LEAST <= sum(row) <= _MOST:
            at = rows.index(row)
            raise Unreadable(Reason.OUT_OF_RANGE, f"the probabilities of row {at} add up to {sum(row):.4g}, not 1")
    return rows


def _vectors(values: Tensor, _spec: PredictionSpec, _bounds: Bounds) -> tuple[tuple[float, ...], ...]:
    return _sequences(values, floats(values.data))


def _calls(values: Tensor, _spec: PredictionSpec, _bounds: Bounds) -> tuple[tuple[str, ...], ...]:
    """Rows of `calls.row_of_calls`, which only some protocols have."""
    for value in values.data:
        if type(value) is not tuple:
            raise Unreadable(Reason.BAD_TYPE, f"expected calls of tools, found {word_for(value)}")
    check_rows(len(values.data))
    return tuple(values.data)


def _documents(values: Tensor, spec: PredictionSpec, bounds: Bounds) -> tuple[str, ...]:
    return json_rows(_singles(values, "JSON text"), spec.schema, bounds)


def _rankings(values: Tensor, _spec: PredictionSpec, bounds: Bounds) -> tuple[tuple[Any, ...], ...]:
    if len(values.data) > bounds.nodes:
        raise too_many(len(values.data), bounds.nodes, "items of rankings")
    if len(values.shape) > 2:
        raise Unreadable(Reason.BAD_SHAPE, f"shape {_show(values.shape)} is not a list of items per row")
    return _sequences(values, _as_labels(values, values.data))


_ROWS: dict[Kind, Callable[[Tensor, PredictionSpec, Bounds], tuple[Any, ...]]] = {
    Kind.LABEL: _labels,
    Kind.SCORE: _scores,
    Kind.NUMBER: _numbers,
    Kind.PROBABILITIES: _probabilities,
    Kind.VECTOR: _vectors,
    Kind.RANKING: _rankings,
    Kind.TEXT: _texts,
    Kind.CALLS: _calls,
    Kind.JSON: _documents,
}


# --- numbers ---------------------------------------------------------------------------------------------------------


_FLOATS, _NUMBERS = {float}, {float, int}


def floats(data: list[Any]) -> list[float]:
    """Finite floats; raises `Unreadable` with `bad_type` or `not_finite`.

    >>> floats([1, 2.5])
    [1.0, 2.5]
    """
    types = set(map(type, data))
    if types != _FLOATS:
        if not types <= _NUMBERS:
            raise _no_number(data)
        try:
            data = [float(value) for value in data]
        except OverflowError:
            raise Unreadable(Reason.NOT_FINITE, "a number is too large for a double") from None
    # A sum is finite only if every value is; it may overflow although they are, so only then is each one looked at.
    if not isfinite(sum(data)):
        for at, value in enumerate(data):
            if not isfinite(value):
                raise Unreadable(Reason.NOT_FINITE, f"value {at} is {value}")
    return data


def _no_number(data: list[Any]) -> Unreadable:
    at, value = next((at, value) for at, value in enumerate(data) if type(value) not in (float, int))
    if value is None:  # what JSON libraries write for NaN
        return Unreadable(Reason.NOT_FINITE, f"value {at} is null")
    return Unreadable(Reason.BAD_TYPE, f"value {at} is {_show_value(value)}, expected a number")


def _show(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _show_value(value: Any) -> str:
    if type(value) is str:
        return f"the text {value[:40]!r}"
    return f"{value:g}" if type(value) in (int, float) else word_for(value)
