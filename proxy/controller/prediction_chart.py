"""What one prediction of a rollout looks like over the latest pairs: distributions, and which labels agree.

It decides nothing: a pair leaves little behind, and everything is worked out when somebody looks: most pairs have been
forgotten by then. Memory is bounded: `RECENT` pairs with at most `ROWS` rows each, and three numbers or 80 characters
of each row, 200 of a text, or a row of `FEW` as it is.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.controller.admin.chart_view import AgreementJson, HistogramsJson, PredictionChartJson
from proxy.evidence.divergences import recent
from proxy.evidence.input.distances import confidence, top
from proxy.model import Kind, Prediction, PredictionSpec, Reading
from proxy.predictions.text_checks import is_refusal

RECENT = 1000
"""Pairs that distributions, labels and latencies are drawn from."""

ROWS = 4
FEW = 8
"""Probabilities of an only row that are kept as they are."""
BINS = 32
OPENING = 200
"""Characters kept of a text: how it opens, by which refusals are known."""
LABELS = 12
"""Labels with a row of their own in the agreement table; the others share one."""

OTHER = "(other)"
_DRAWN = frozenset({Kind.LABEL, Kind.SCORE, Kind.NUMBER, Kind.PROBABILITIES})
_LABEL, _PROBABILITIES, _TEXT = (
    Kind.LABEL,
    Kind.PROBABILITIES,
    Kind.TEXT,
)  # looking up a member costs 0.1 µs in Python 3.11

_BOTH = attrgetter("live", "candidate")
Floats = NDArray[np.float64]


class PredictionChart:
    """The drawable side of one prediction of a trial."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Kind | None, Any, Any]] = deque(maxlen=RECENT)
        self._kind: Kind | None = None  # of the latest answers; with `kind: auto` earlier ones may be of another

    def add(self, readings: Sequence[Reading]) -> None:
        """Remember readings of this prediction."""
        remember = self._recent.append
        for live, candidate in map(_BOTH, readings):
            kind = ours = theirs = None
            if live is not None and candidate is not None and live.kind in _DRAWN:
                kind = self._kind = live.kind
                ours, theirs = _kept(live), _kept(candidate)
            elif live is not None and candidate is not None and live.kind is _TEXT:
                kind, ours, theirs = _TEXT, live.rows[0][:OPENING], candidate.rows[0][:OPENING]
            remember((kind, ours, theirs))

    def refusals(self, spec: PredictionSpec) -> tuple[float, float] | None:
        """The share of both arms' recent answers that refuse; `None` where this prediction does not tell."""
        if spec.output == "refusal":
            found = [(a[0] == "True", b[0] == "True") for kind, a, b in self._recent if kind is _LABEL]
        else:
            found = [(is_refusal(a), is_refusal(b)) for kind, a, b in self._recent if kind is _TEXT]
        if not found:
            return None
        live, candidate = zip(*found, strict=True)
        return sum(live) / len(found), sum(candidate) / len(found)

    def shown(self, spec: PredictionSpec) -> PredictionChartJson | None:
        """Distributions, agreement and divergences of the recent pairs, as JSON values; `None` before there are any."""
        drawn = self._both()
        found = self._distributed(spec, drawn)
        values = self._scalars(drawn) if found is not None else None
        if found is not None and values is not None:
            found["divergences"] = [asdict(one) for one in recent(*values)]
        return found

    def _both(self) -> list[tuple[Any, Any]]:
        """What is drawn of the recent pairs whose answers are of the present kind."""
        found = ((live, candidate) for kind, live, candidate in self._recent if kind is self._kind)
        return [(_drawn_of(live), _drawn_of(candidate)) for live, candidate in found]

    def _scalars(self, drawn: list[tuple[Any, Any]]) -> tuple[Floats, Floats] | None:
        """One number of each recent answer of both arms, if the kind has one: its first row's."""
        if self._kind is None or self._kind is Kind.LABEL:
            return None
        at = _SCALAR if self._kind is Kind.PROBABILITIES else None
        rows = [(a[0], b[0]) for a, b in drawn]
        both = rows if at is None else [(a[at], b[at]) for a, b in rows]
        live, candidate = np.array(both, dtype=np.float64).reshape(-1, 2).T
        return live, candidate

    def _distributed(self, spec: PredictionSpec, drawn: list[tuple[Any, Any]]) -> PredictionChartJson | None:
        if self._kind is None:
            return None
        both = [(a, b) for live, candidate in drawn for a, b in zip(live, candidate, strict=False)]
        found: PredictionChartJson = {"kind": self._kind, "labels": None, "values": None, "divergences": []}
        if self._kind is Kind.LABEL:
            found["labels"] = _agreement(both)
        elif self._kind is Kind.PROBABILITIES:
            found["labels"] = _agreement([(str(a[_TOP]), str(b[_TOP])) for a, b in both])
            found["values"] = _distributions([(a[_SURE], b[_SURE]) for a, b in both], (0.0, 1.0))
        else:
            span = (spec.low, spec.high) if self._kind is Kind.SCORE else None
            found["values"] = _distributions(both, span)
        return found


_TOP, _SURE, _SCALAR = range(3)


def _kept(prediction: Prediction) -> Any:
    """What is drawn of a prediction, or itself where that is worked out later."""
    kind, rows, names = prediction
    if kind is _PROBABILITIES and len(rows) == 1 and len(rows[0]) <= FEW and not names:
        return prediction
    return _drawn(prediction)


def _drawn_of(kept: Any) -> Any:
    return _drawn(kept) if type(kept) is Prediction else kept


def _drawn(prediction: Prediction) -> tuple[Any, ...]:
    """What is drawn of the first rows of a prediction: a value, a label cut to what a table can show, or of a row of
    probabilities the first most probable class, how probable it is, and the one number that guards see of the row.

    >>> _drawn(Prediction(Kind.PROBABILITIES, ((0.2, 0.8), (0.5, 0.3, 0.2))))
    ((1, 0.8, 0.8), (0, 0.5, 0.5))
    """
    rows, kind = prediction.rows, prediction.kind
    if len(rows) > ROWS:
        rows = rows[:ROWS]
    if kind is _LABEL:
        return tuple([str(row)[:80] for row in rows])
    if kind is _PROBABILITIES:
        return tuple([(top(row), max(row), confidence(row)) for row in rows])
    return rows


def _agreement(both: list[tuple[str, str]]) -> AgreementJson:
    """How often each label of live met each of the candidate's: rows are live, columns the candidate.

    >>> _agreement([("a", "a"), ("a", "b"), ("a", "a")])
    {'names': ['a', 'b'], 'counts': [[2, 1], [0, 0]]}
    """
    common = Counter(label for pair in both for label in pair).most_common()
    names = sorted((label for label, _ in common[:LABELS]), key=_label_order)
    if len(common) > LABELS:
        names.append(OTHER)
    place = {name: i for i, name in enumerate(names)}
    counts = [[0] * len(names) for _ in names]
    for live, candidate in both:
        counts[place.get(live, len(names) - 1)][place.get(candidate, len(names) - 1)] += 1
    return {"names": names, "counts": counts}


def _label_order(label: str) -> tuple[float, str]:
    """Numbers as numbers, before words."""
    try:
        number = float(label)
    except ValueError:
        number = math.inf
    return (number if not math.isnan(number) else math.inf, label)


def _distributions(both: list[tuple[float, float]], span: tuple[float, float] | None) -> HistogramsJson | None:
    values = np.clip(np.array(both, dtype=np.float64).reshape(-1, 2), -1e300, 1e300)  # so that a span is finite
    if not len(values):
        return None
    low, high = span or (float(values.min()), float(values.max()))
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return histograms(values[:, 0], values[:, 1], np.linspace(low, high, BINS + 1))


def histograms(live: Floats, candidate: Floats, edges: Floats) -> HistogramsJson:
    """Both arms' counts between `edges`, what lies beyond in the last one."""

    def counts(values: Floats) -> list[int]:
        return [int(n) for n in np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]]

    return {"edges": [float(edge) for edge in edges], "live": counts(live), "candidate": counts(candidate)}
