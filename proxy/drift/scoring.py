"""From the values of a column to the scores of its channels: one scorer per field, chosen by its kind.

A scorer learns from the first `FIRST` values what it compares with (bins, frequent labels), then never changes, but for
the labels that are known, which grow for the first half of the reference. `score` gives (n, channels) scores and as
many trials: 1 where the observation counts for the channel, else 0."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from proxy.drift.binned import Binned
from proxy.drift.channels import FREQUENT, channels_of
from proxy.drift.observations import Absent, FieldValue
from proxy.drift.plan import DriftField
from proxy.evidence.input.projections import PROJECTIONS, signs
from proxy.evidence.process.wealth import Bools, Floats, Ints
from proxy.model import Kind

FIRST = 2000
"""Values from which bins and frequent labels are chosen."""
OFTEN = 10
"""Times that a label must be among the first values to have a share of its own."""
KNOWN = 1000
"""Labels that are told from new ones; a field with more of them has no new labels."""
LONGEST_LABEL = 200
LARGEST = 1e100
"""What is beyond counts as unreadable, so that squares are finite."""
Scored: TypeAlias = tuple[Floats, Floats, Ints, Floats]
"""Scores (n, channels), trials (n, channels), the chart's bin of each value (−1: none), and the values themselves (nan
where they are no numbers)."""


class Scorer(Protocol):
    """What a kind of field must do."""

    @property
    def details(self) -> dict[int, str]:
        """Names of channels that only the reference gives, by number of the channel."""

    @property
    def bins(self) -> int:
        """Bins of the chart."""

    def levels(self) -> dict[int, Binned]:
        """By number of the channel, the bins of each level; its spread is the channel after it, if that is one."""

    def score(self, column: Sequence[FieldValue]) -> Scored:
        """Scores of n values."""

    def learn(self, column: Sequence[FieldValue]) -> None:
        """These belong to the reference."""

    def dump(self) -> dict[str, Any]:
        """What `scorer_from` needs."""


def _finite(value: FieldValue) -> float:
    # compared, not converted: an integer may be beyond all floats
    return float(value) if isinstance(value, int | float) and -LARGEST <= value <= LARGEST else math.nan


def _numbers(column: Sequence[FieldValue]) -> Floats:
    """Floats (n,), nan where there is none."""
    return np.array([_finite(value) for value in column], np.float64)


def present(kind: Kind, column: Sequence[FieldValue]) -> Bools:
    """Where a column has a value of its kind, (n,).

    >>> present(Kind.NUMBER, [1.0, Absent.MISSING, float("nan"), "1"]).tolist()
    [True, False, False, False]
    """
    if kind is Kind.NUMBER:
        return np.isfinite(_numbers(column))
    if kind is Kind.LABEL:
        return np.array([isinstance(value, str) for value in column], np.bool_)
    return np.array([_is_vector(value) for value in column], np.bool_)


def _label(value: str) -> str:
    """A label as it is kept: what is longer is cut, and half a character is replaced, which UTF-8 does not have."""
    value = value[:LONGEST_LABEL]
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _is_vector(value: FieldValue) -> bool:
    if isinstance(value, str | int | float | Absent) or not len(value):
        return False
    return all(-LARGEST <= x <= LARGEST for x in value)


def limit_scores(field: DriftField, column: Sequence[FieldValue]) -> Scored:
    """Scores of the channels that have a limit, which need no reference; the others have no trial.

    >>> column = [5.0, -1.0, Absent.MISSING]
    >>> scores, trials, *_ = limit_scores(DriftField("amount", Kind.NUMBER, missing=0.01, minimum=0.0), column)
    >>> scores.sum(0).tolist(), trials.sum(0).tolist()
    ([1.0, 0.0, 0.0, 0.0, 1.0], [3.0, 0.0, 0.0, 0.0, 2.0])
    """
    here, channels = present(field.kind, column), channels_of(field)
    scores, trials = np.zeros((2, len(column), len(channels)))
    if field.missing is not None:
        scores[:, 0], trials[:, 0] = ~here, 1.0
    if channels[-1].limit is not None and len(channels) > 1:
        known = {_label(label) for label in field.labels}
        if field.kind is Kind.NUMBER:
            broken = _outside(field, _numbers(column))
        else:
            broken = np.array([isinstance(value, str) and _label(value) not in known for value in column], np.bool_)
        scores[:, -1], trials[:, -1] = broken & here, here
    return scores, trials, np.full(len(column), -1), np.full(len(column), np.nan)


def _outside(field: DriftField, values: Floats) -> Bools:
    low, high = field.minimum, field.maximum
    return np.asarray((values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high)))


class NumberScorer:
    """Level, spread, far, and invalid where the field has limits."""

    def __init__(self, field: DriftField, binned: Binned) -> None:
        self.binned = binned
        self.bins = len(binned.wide) + 1
        self.details: dict[int, str] = {}
        self._field = field
        self._width = len(channels_of(field))

    def levels(self) -> dict[int, Binned]:
        """See `Scorer`."""
        return {1: self.binned}

    def score(self, column: Sequence[FieldValue]) -> Scored:
        """See `Scorer`."""
        values = _numbers(column)
        here = np.isfinite(values)
        x = np.where(here, values, self.binned.edges[0])
        scores = np.zeros((len(x), self._width))
        scores[:, 0] = ~here
        scores[:, 1:3] = self.binned.scores[self.binned.bins(x)]
        scores[:, 3] = self.binned.far(x)
        if self._width > 4:
            scores[:, 4] = _outside(self._field, x)
        trials = np.repeat(here[:, None].astype(np.float64), self._width, axis=1)
        trials[:, 0] = 1.0
        return scores * trials, trials, np.where(here, np.searchsorted(self.binned.wide, x, "right"), -1), values

    def learn(self, column: Sequence[FieldValue]) -> None:
        """Nothing: bins stand."""

    def dump(self) -> dict[str, Any]:
        """See `Scorer`."""
        return _dump_binned(self.binned)


class LabelScorer:
    """Shares of the most frequent labels, of the others, and of new ones."""

    def __init__(self, field: DriftField, frequent: Sequence[str], known: Mapping[str, int]) -> None:
        self.frequent = tuple(frequent)
        self.bins = FREQUENT + 2
        self.details = {1 + i: label for i, label in enumerate(self.frequent)}
        self._number = {label: i for i, label in enumerate(self.frequent)}
        self._known = dict.fromkeys(field.labels, 2) if field.labels else dict(known)
        self._given = bool(field.labels)

    def levels(self) -> dict[int, Binned]:
        """See `Scorer`."""
        return {}

    def score(self, column: Sequence[FieldValue]) -> Scored:
        """See `Scorer`."""
        place = np.array([self._place(value) for value in column], np.int64)
        scores = np.zeros((len(place), FREQUENT + 3))
        scores[np.arange(len(place)), place + 1] = 1.0
        scores[:, FREQUENT + 1] = place >= FREQUENT
        trials = np.repeat((place >= 0).astype(np.float64)[:, None], FREQUENT + 3, axis=1)
        trials[:, 0] = 1.0
        if len(self._known) >= KNOWN:
            trials[:, -1] = 0.0
        return scores * trials, trials, place, np.full(len(place), np.nan)

    def _place(self, value: FieldValue) -> int:
        """Which frequent label it is, `FREQUENT` for another known one, one more for a new one, −1 for none."""
        if not isinstance(value, str):
            return -1
        value = _label(value)
        if self._given and value not in self._known:
            return FREQUENT + 1
        if (number := self._number.get(value)) is not None:
            return number
        return FREQUENT + (value not in self._known)

    def learn(self, column: Sequence[FieldValue]) -> None:
        """Labels of the reference are known."""
        if not self._given:
            for value in column:
                label = _label(value) if isinstance(value, str) else None
                if label is not None and (label in self._known or len(self._known) < KNOWN):
                    self._known[label] = min(2, self._known.get(label, 0) + 1)

    @property
    def once(self) -> int:
        """Labels that were seen once in the reference: Good's estimate (1953) of new ones among as many more."""
        return sum(count == 1 for count in self._known.values())

    def dump(self) -> dict[str, Any]:
        """See `Scorer`."""
        return {"frequent": list(self.frequent), "known": self._known}


class VectorScorer:
    """Level and spread of the projections, level of the length, and whether it has other dimensions (or no length)."""

    def __init__(self, dimensions: int, key: int, binned: Sequence[Binned]) -> None:
        self.bins = len(binned[0].wide) + 1
        self.details: dict[int, str] = {}
        self._dimensions, self._key, self._binned = dimensions, key, tuple(binned)

    def levels(self) -> dict[int, Binned]:
        """See `Scorer`."""
        return {1 + 2 * i: binned for i, binned in enumerate(self._binned)}

    def score(self, column: Sequence[FieldValue]) -> Scored:
        """See `Scorer`."""
        here = present(Kind.VECTOR, column)
        usual = [v if ok and len(v) == self._dimensions else None for ok, v in zip(here, column, strict=True)]  # type: ignore[arg-type]
        same = np.array([v is not None for v in usual], np.bool_)
        seen = np.zeros((len(here), PROJECTIONS + 1))
        if same.any():
            seen[same] = projections([v for v in usual if v is not None], self._key)
        width = 2 * PROJECTIONS + 3
        scores = np.zeros((len(here), width))
        for i, binned in enumerate(self._binned[:-1]):
            scores[:, 1 + 2 * i : 3 + 2 * i] = binned.scores[binned.bins(seen[:, i])]
        scores[:, width - 2] = self._binned[-1].scores[self._binned[-1].bins(seen[:, -1]), 0]
        trials = np.repeat(same[:, None].astype(np.float64), width, axis=1)
        trials[:, 0], trials[:, -1] = 1.0, here
        scores[:, 0], scores[:, -1] = ~here, ~same
        bins = np.searchsorted(self._binned[0].wide, seen[:, 0], "right")
        return scores * trials, trials, np.where(same, bins, -1), np.full(len(here), np.nan)

    @property
    def binned(self) -> Binned:
        """Bins of the first projection."""
        return self._binned[0]

    def learn(self, column: Sequence[FieldValue]) -> None:
        """Nothing: bins stand."""

    def dump(self) -> dict[str, Any]:
        """See `Scorer`."""
        return {"dimensions": self._dimensions, "binned": [_dump_binned(one) for one in self._binned]}


def projections(vectors: Sequence[Any], key: int) -> Floats:
    """Projections of directions, as `projected` has them, and the logarithm of the length, (n, `PROJECTIONS` + 1).

    >>> projections([(3.0, 4.0)], 7)[0, -1].round(3), projections([(0.0, 0.0)], 7)[0, -1].round(3)
    (np.float64(1.609), np.float64(-690.776))
    """
    x = np.asarray(vectors, np.float64).reshape(len(vectors), -1)
    largest = np.abs(x).max(axis=1, initial=0.0, keepdims=True)
    x = x / np.where(largest > 0.0, largest, 1.0)  # so that squares neither overflow nor vanish
    length = np.maximum(np.sqrt(np.einsum("ij,ij->i", x, x)), 1e-300)[:, None]
    logs = np.log(np.maximum(largest, 1e-300)) + np.log(np.maximum(length, 1.0))
    return np.concatenate([(x / length) @ signs(key, x.shape[1]), logs], axis=1)


def scorer_of(field: DriftField, column: Sequence[FieldValue], key: int) -> Scorer:
    """The scorer of a field whose first values are these; at least one is present."""
    values = [value for value, here in zip(column, present(field.kind, column), strict=True) if here]
    if field.kind is Kind.NUMBER:
        return NumberScorer(field, Binned.of(_numbers(values)))
    if field.kind is Kind.LABEL:
        counts = Counter(_label(value) for value in values if isinstance(value, str))
        return LabelScorer(field, [label for label, count in counts.most_common(FREQUENT) if count >= OFTEN], {})
    sizes: Any = Counter(len(value) for value in values)  # type: ignore[arg-type]
    dimensions = sizes.most_common(1)[0][0]
    seen = projections([value for value in values if len(value) == dimensions], key)  # type: ignore[arg-type]
    return VectorScorer(dimensions, key, [Binned.of(one) for one in seen.T])


def scorer_from(field: DriftField, kept: dict[str, Any], key: int) -> Scorer:
    """The scorer that was dumped."""
    if field.kind is Kind.NUMBER:
        return NumberScorer(field, _load_binned(kept))
    if field.kind is Kind.LABEL:
        return LabelScorer(field, kept["frequent"], kept["known"])
    return VectorScorer(kept["dimensions"], key, [_load_binned(one) for one in kept["binned"]])


def _dump_binned(binned: Binned) -> dict[str, Any]:
    return {"edges": binned.edges, "counts": binned.counts, "before": binned.before, "bounds": binned.bounds}


def _load_binned(kept: dict[str, Any]) -> Binned:
    edges = np.asarray(kept["edges"], np.float64)
    span = max(float(edges[-1] - edges[0]), 1e-9 * abs(float(edges[-1])))
    bounds = kept.get("bounds", (edges[0] - span, edges[-1] + span))  # what was far to the build that has none
    return Binned.rebuilt(edges, np.asarray(kept["counts"], np.int64), tuple(kept["before"]), tuple(bounds))
