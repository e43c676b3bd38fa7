"""What is measured on a pair of predictions, per kind: numbers the rules can count.

Rows of one request are one cluster, not independent: measures for means are the request's mean, all others use *one*
row, drawn by the PRF. The estimand is per request.

    differs    0/1: another label, another top-1, another side of the middle (score), not the same text
    shift      mean of candidate − live, in the score's own units, or in interquartile ranges for numbers (cut at ±8)
    distance   mean distance in [0, 1]
    jump       size of the change of the drawn row in its own unit; of kinds that are no numbers, its distance
    jump_iqr   the same of scores and numbers, in live's interquartile ranges
    live, candidate   the drawn row as one number, for KS, PSI and spread
    spread     |c − med|/s − |l − med|/s of the drawn row, clipped to ±8
    projection0…3  what each random projection of the drawn vector moved by, cut at ±8 (`projections`)
    excess     mean distance of candidate to live minus that of live to its own second answer, in [−1, 1]
    excess_differs   the same of `differs`, on the drawn row
    event_increase   +1 where the candidate's drawn row has the event and live's has not, −1 the other way, else 0

A pair without a value (a failure, another kind) is nan everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter, ne
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.evidence.input.distances import (
    LARGE,
    confidence,
    confidences,
    cosine_distance,
    mean_distance,
    rank_biased_distance,
    relative_change,
    text_distance,
    top,
    total_variation,
    vectors_differ,
)
from proxy.evidence.input.projections import PROJECTION_NAMES, PROJECTIONS, projected
from proxy.evidence.input.reference import Reference
from proxy.evidence.process.wealth import Floats
from proxy.model import VALID, Kind, Prediction, PredictionSpec, Reading
from proxy.predictions.calls import calls_distance

CLIP = 8.0


@dataclass(frozen=True, slots=True)
class Metric:
    """How rows of one kind are compared. `scalar` makes one number of a row (or there is none), `distance` is in
    [0, 1], `differs` is the same decision or not; where that is the side of a `middle`, a whole batch is asked. `has`
    says whether a row has the event whose rate is counted; that of a score is to lie above the middle."""

    distance: Callable[[Any, Any], float]
    differs: Callable[[Any, Any], bool]
    scalar: Callable[[Any], float] | None = None
    middle: float | None = None
    has: Callable[[Any], bool] | None = None


def metric_of(kind: Kind, spec: PredictionSpec) -> Metric:
    """The metric of a kind; a score has a range and a threshold.

    >>> wide = PredictionSpec(high=2.0)
    >>> metric_of(Kind.SCORE, wide).distance(0.5, 1.5), metric_of(Kind.RANKING, wide).differs("ab", "ac")
    (0.5, False)
    """
    middle, span = spec.middle, spec.high - spec.low
    metrics = {
        Kind.AUTO: Metric(lambda _a, _b: 0.0, lambda _a, _b: False),  # nothing is of this kind: it is not known yet
        Kind.LABEL: Metric(lambda a, b: float(a != b), ne, has=lambda row: bool(row == spec.event)),
        Kind.SCORE: Metric(
            lambda a, b: min(1.0, abs(a - b) / span), lambda a, b: (a > middle) != (b > middle), float, middle
        ),
        Kind.NUMBER: Metric(relative_change, ne, float),
        Kind.PROBABILITIES: Metric(total_variation, lambda a, b: top(a) != top(b), confidence),
        Kind.VECTOR: Metric(cosine_distance, vectors_differ),
        Kind.RANKING: Metric(rank_biased_distance, lambda a, b: a[:1] != b[:1]),
        Kind.TEXT: Metric(text_distance, ne, lambda a: float(len(a))),
        Kind.CALLS: Metric(calls_distance, ne),
        Kind.JSON: Metric(
            lambda a, b: float(_is_valid_only_one(a, b)), _is_valid_only_one, has=lambda row: bool(row != VALID)
        ),
    }
    return metrics[kind]


def _is_valid_only_one(a: str, b: str) -> bool:
    return (a == VALID) != (b == VALID)


Rows = Sequence[Sequence[Any]]
_BOTH = attrgetter("live", "candidate")


def comparable(kind: Kind, readings: Sequence[Reading]) -> tuple[Sequence[int], Rows, Rows]:
    """Positions of the readings in which both arms gave rows of this kind, as many of each, with live's rows and the
    candidate's."""
    found = [
        (i, live[1], candidate[1])
        for i, (live, candidate) in enumerate(map(_BOTH, readings))
        if live is not None
        and candidate is not None
        and live[0] is kind
        and candidate[0] is kind
        and len(live[1]) == len(candidate[1]) > 0
    ]
    who, ours, theirs = zip(*found, strict=True) if found else ((), (), ())
    return who, ours, theirs


def same_kind(kind: Kind, live: Prediction, other: Prediction) -> bool:
    """Whether two predictions are of this kind and of the same number of rows.

    >>> same_kind(Kind.LABEL, Prediction(Kind.LABEL, (1, 2)), Prediction(Kind.LABEL, (1,)))
    False
    """
    return live.kind is kind and other.kind is kind and len(live.rows) == len(other.rows) > 0


@dataclass(frozen=True, slots=True)
class Compared:
    """The comparable pairs of a batch. `at[i]` is the row drawn of pair i; `who[i]` its place in the batch. `drawn` are
    live's and the candidate's drawn rows, `scalars` (2, n) one number of each (nan where the kind has none)."""

    readings: Sequence[Reading]
    who: NDArray[np.intp]
    live: Rows
    candidate: Rows
    at: list[int]
    drawn: tuple[list[Any], list[Any]]
    scalars: Floats
    single: bool  # every pair has one row only
    tables: tuple[Floats, Floats] | None  # the drawn rows as arrays (n, width), if they are few numbers each
    kind: Kind
    metric: Metric
    reference: Reference | None
    key: int

    @property
    def scale(self) -> float:
        """What a difference is divided by: 1, or live's interquartile range (nan until known) for unbounded numbers."""
        if self.kind not in (Kind.NUMBER, Kind.TEXT):
            return 1.0
        return self.reference.scale if self.reference is not None else float("nan")

    def again(self, i: int) -> Sequence[Any] | None:
        """Live's second answer to pair i, if it was asked and can be compared."""
        reading = self.readings[int(self.who[i])]
        if reading.again is None or reading.live is None or not same_kind(self.kind, reading.live, reading.again):
            return None
        return reading.again.rows


def compared(
    readings: Sequence[Reading], kind: Kind, metric: Metric, draw: Floats, reference: Reference | None, key: int
) -> Compared | None:
    """The pairs of a batch that can be compared, if there are any. `draw` (n,) in [0, 1) picks the row, `key` the
    random projections."""
    places, live, candidate = comparable(kind, readings)
    if not places:
        return None
    who = np.array(places)
    single = max(map(len, live)) == 1
    tables = _tables(live, candidate) if single and kind is Kind.PROBABILITIES else None
    if kind in _WIDE and tables is None:
        live, candidate = list(map(_arrays, live)), list(map(_arrays, candidate))
    if single:
        at = [0] * len(who)
        drawn = [row for (row,) in live], [row for (row,) in candidate]
    else:
        at = [int(u * len(rows)) for u, rows in zip(draw[who].tolist(), live, strict=True)]
        drawn = _pick(live, at), _pick(candidate, at)
    scalar = metric.scalar
    if tables is not None:
        scalars = np.stack([confidences(table) for table in tables])
    elif scalar is None:
        scalars = np.full((2, len(who)), np.nan)
    else:
        scalars = np.array(drawn if scalar is float else [list(map(scalar, arm)) for arm in drawn], dtype=np.float64)
    return Compared(readings, who, live, candidate, at, drawn, scalars, single, tables, kind, metric, reference, key)


_WIDE = frozenset((Kind.PROBABILITIES, Kind.VECTOR))


def _tables(live: Rows, candidate: Rows) -> tuple[Floats, Floats] | None:
    """The only rows of both arms, as one array each (n, width); `None` where they are of different widths or wide."""
    ours, theirs = ([row for (row,) in arm] for arm in (live, candidate))
    widths = {*map(len, ours), *map(len, theirs)}
    if len(widths) > 1 or max(widths) >= LARGE:
        return None
    return np.array(ours, dtype=np.float64), np.array(theirs, dtype=np.float64)


def _arrays(rows: Sequence[Any]) -> Any:
    """Rows of many values as one array (rows, width), others as they are."""
    return np.array(rows, dtype=np.float64) if len(rows) * len(rows[0]) >= LARGE else rows


def _pick(arm: Rows, at: Sequence[int]) -> list[Any]:
    return [rows[i] for rows, i in zip(arm, at, strict=True)]


def measure(
    readings: Sequence[Reading],
    kind: Kind,
    metric: Metric,
    draw: Floats,
    reference: Reference | None,
    wanted: frozenset[str],
    key: int = 0,
) -> dict[str, Floats]:
    """Columns (n,) of the `wanted` measures. `draw` (n,) in [0, 1) picks the row, `key` the random projections."""
    names = wanted & MEASURES
    pairs = compared(readings, kind, metric, draw, reference, key) if names else None
    if pairs is None:
        return {name: np.full(len(readings), np.nan) for name in names}
    # The size of a change is then the distance itself, and not worked out twice.
    once = pairs.single and kind not in _SCALAR and "distance" in names
    asked = names & _COLUMNS.keys() - ({"jump"} if once else frozenset())
    found = {name: np.asarray(_COLUMNS[name](pairs), dtype=np.float64) for name in asked}
    if once and "jump" in names:
        found["jump"] = found["distance"]
    if names & SEEN:
        found |= zip(PROJECTION_NAMES, _projected(pairs).T, strict=True)
    if len(pairs.who) == len(readings):
        return found
    columns = {}
    for name, values in found.items():
        columns[name] = np.full(len(readings), np.nan)
        columns[name][pairs.who] = values
    return columns


def live_scalars(readings: Sequence[Reading], kind: Kind, metric: Metric, draw: Floats) -> list[float]:
    """One number of each live answer of this kind (its drawn row), for the reference; others are left out."""
    if metric.scalar is None:
        return []
    found = []
    for reading, u in zip(readings, draw.tolist(), strict=True):
        if reading.live is not None and reading.live.kind is kind:
            rows = reading.live.rows
            found.append(metric.scalar(rows[int(u * len(rows))]))
    return found


def _differs(pairs: Compared) -> Any:
    metric, (live, candidate) = pairs.metric, pairs.drawn
    if pairs.tables is not None:
        ours, theirs = (table.argmax(axis=1) for table in pairs.tables)
        return ours != theirs
    if metric.middle is not None:
        sides = pairs.scalars > metric.middle
        return sides[0] != sides[1]
    return list(map(metric.differs, live, candidate))


def _distance(pairs: Compared) -> list[float]:
    distance = pairs.metric.distance
    return [mean_distance(distance, a, b) for a, b in zip(pairs.live, pairs.candidate, strict=True)]


def _shift(pairs: Compared) -> Floats:
    scalar, scale = pairs.metric.scalar, pairs.scale
    if scalar is None or np.isnan(scale):
        return np.full(len(pairs.who), np.nan)
    clip = np.inf if scale == 1.0 and pairs.kind in (Kind.SCORE, Kind.PROBABILITIES) else CLIP
    if pairs.single:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip((pairs.scalars[1] - pairs.scalars[0]) / scale, -clip, clip))
    means = []
    for live, candidate in zip(pairs.live, pairs.candidate, strict=True):
        with np.errstate(over="ignore"):
            rows = np.array([scalar(b) - scalar(a) for a, b in zip(live, candidate, strict=True)]) / scale
        means.append(float(np.clip(rows, -clip, clip).mean()))
    return np.array(means)


def _jump(pairs: Compared) -> Any:
    if pairs.kind in _SCALAR:
        with np.errstate(over="ignore"):  # two finite numbers may lie further apart than the largest one
            return np.abs(pairs.scalars[1] - pairs.scalars[0])
    return list(map(pairs.metric.distance, *pairs.drawn))


def _jump_iqr(pairs: Compared) -> Floats:
    if pairs.kind not in (Kind.SCORE, Kind.NUMBER) or pairs.reference is None:
        return np.full(len(pairs.who), np.nan)
    with np.errstate(over="ignore"):
        return np.asarray(np.abs(pairs.scalars[1] - pairs.scalars[0]) / pairs.reference.scale)


def _spread(pairs: Compared) -> Floats:
    (live, candidate), ref = pairs.scalars, pairs.reference
    if ref is None:
        return np.full(len(live), np.nan)
    with np.errstate(over="ignore"):
        far = [np.minimum(np.abs(x - ref.median) / ref.scale, 1e6) for x in (candidate, live)]
    return np.asarray(np.clip(far[0] - far[1], -CLIP, CLIP))


def _excess(pairs: Compared) -> list[float]:
    distance, values = pairs.metric.distance, []
    for i, (live, candidate) in enumerate(zip(pairs.live, pairs.candidate, strict=True)):
        again = pairs.again(i)
        floor = float("nan") if again is None else mean_distance(distance, again, live)
        values.append(mean_distance(distance, candidate, live) - floor)
    return values


def _excess_differs(pairs: Compared) -> list[float]:
    differs, values = pairs.metric.differs, []
    for i, (live, candidate) in enumerate(zip(*pairs.drawn, strict=True)):
        again = pairs.again(i)
        floor = float("nan") if again is None else float(differs(again[pairs.at[i]], live))
        values.append(float(differs(candidate, live)) - floor)
    return values


def _event_increase(pairs: Compared) -> Any:
    metric = pairs.metric
    if metric.middle is not None:
        has = pairs.scalars > metric.middle
    elif metric.has is not None:
        has = np.array([list(map(metric.has, arm)) for arm in pairs.drawn], dtype=bool)
    else:
        return np.full(len(pairs.who), np.nan)
    return has[1].astype(np.float64) - has[0]


def _projected(pairs: Compared) -> Floats:
    """What each projection saw move, (n, projections); nan for anything but vectors."""
    if pairs.kind is not Kind.VECTOR:
        return np.full((len(pairs.who), PROJECTIONS), np.nan)
    moved = [projected(b, pairs.key) - projected(a, pairs.key) for a, b in zip(*pairs.drawn, strict=True)]
    return np.asarray(np.clip(moved, -CLIP, CLIP))


_SCALAR = frozenset((Kind.SCORE, Kind.NUMBER))
_COLUMNS: dict[str, Callable[[Compared], Any]] = {
    "differs": _differs,
    "shift": _shift,
    "distance": _distance,
    "jump": _jump,
    "jump_iqr": _jump_iqr,
    "live": lambda pairs: pairs.scalars[0],
    "candidate": lambda pairs: pairs.scalars[1],
    "spread": _spread,
    "excess": _excess,
    "excess_differs": _excess_differs,
    "event_increase": _event_increase,
}

SEEN = frozenset(PROJECTION_NAMES)
MEASURES = SEEN.union(_COLUMNS)
"""Names of all measures."""
