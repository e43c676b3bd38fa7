"""What a person wants to see of a rollout beside its findings: distributions, latencies, labels, and how it went.

This decides nothing and costs next to nothing: a pair leaves a small tuple behind, and everything is worked out when
somebody looks. The evidence itself cannot be drawn, because its counts are differences within pairs.

Invariants
- Memory is bounded: `RECENT` pairs with at most `ROWS` rows each, and three numbers or 80 characters of each row,
  `POINTS` points of history.
- History spans the whole trial, over restarts of the controller: when it is full, every second point goes and the step
  between points doubles.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.evidence.divergences import recent
from proxy.evidence.input.distances import confidence, top
from proxy.evidence.rules.registry import GUARDS
from proxy.evidence.words import title
from proxy.model import Assessment, Guard, Kind, Plan, Prediction, Reading

RECENT = 1000
"""Pairs that distributions, labels and latencies are drawn from."""

FRESH = 1.0
"""Seconds for which a drawing is good enough; drawing holds the event loop for some milliseconds."""

ROWS = 4
POINTS = 240
BINS = 32
LABELS = 12
"""Labels with a row of their own in the agreement table; the others share one."""

LONGEST = 1e6
"""Seconds; what claims to have taken longer is not drawn."""

QUANTILES = (0.5, 0.9, 0.95, 0.99)
OTHER = "(other)"
_DRAWN = frozenset({Kind.LABEL, Kind.SCORE, Kind.NUMBER, Kind.PROBABILITIES})

_LABEL, _PROBABILITIES = Kind.LABEL, Kind.PROBABILITIES  # looking up a member costs 0.1 µs in Python 3.11

Floats = NDArray[np.float64]


def unit(guard: Guard) -> str:
    """How a guard's value is written: `percent`, `times`, `seconds` or `number`.

    >>> unit(Guard("p99_latency", 1.2, relative=True)), unit(Guard("max_disagreement", 0.02))
    ('times', 'percent')
    """
    return GUARDS[guard.name].unit.chart(guard)


class _History:
    """How the guards went, thinned as it grows."""

    def __init__(self) -> None:
        self._points: list[dict[str, Any]] = []
        self._step = 1.0

    def add(self, now: float, assessment: Assessment, weight: float) -> None:
        if self._points and now < self._points[-1]["time"] + self._step:
            return
        if len(self._points) >= POINTS:
            self._points = self._points[::2]
            self._step *= 2.0
        guards = {f.guard: (f.value, f.evidence) for f in assessment.findings if f.segment is None}
        self._points.append({"time": now, "weight": weight, "guards": guards})

    def dump(self) -> dict[str, Any]:
        return {"points": self._points, "step": self._step}

    def load(self, saved: dict[str, Any]) -> None:
        self._points, self._step = list(saved["points"]), float(saved["step"])

    def shown(self) -> dict[str, Any]:
        names = dict.fromkeys(name for point in self._points for name in point["guards"])
        none = (None, None)
        columns = {name: [point["guards"].get(name, none) for point in self._points] for name in names}
        return {
            "time": [point["time"] for point in self._points],
            "weight": [point["weight"] for point in self._points],
            "guards": {
                name: {"value": [_finite(value) for value, _ in column], "evidence": [e for _, e in column]}
                for name, column in columns.items()
            },
        }


class Charts:
    """The drawable side of one trial."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Kind | None, Any, Any, float, float]] = deque(maxlen=RECENT)
        self._kind: Kind | None = None  # of the latest answers; with `kind: auto` earlier ones may be of another
        self._history = _History()
        self._drawn: dict[str, Any] | None = None
        self._drawn_at = 0.0

    def add(self, readings: Sequence[Reading]) -> None:
        """Remember readings of the trial."""
        remember = self._recent.append
        for reading in readings:
            live, candidate = reading.live, reading.candidate
            kind = ours = theirs = None
            if live is not None and candidate is not None and live.kind in _DRAWN:
                kind = self._kind = live.kind
                ours, theirs = _drawn(live), _drawn(candidate)
            remember((kind, ours, theirs, reading.live_seconds, reading.seconds))

    def dump(self) -> dict[str, Any]:
        """How it went so far, as JSON values: at most `POINTS` points."""
        return self._history.dump()

    def load(self, saved: dict[str, Any]) -> None:
        """Go on where another controller's charts ended; distributions begin anew, being of the latest pairs only."""
        self._history.load(saved)

    def look(self, now: float, assessment: Assessment, weight: float) -> None:
        """Remember how the guards stand; `now` in epoch seconds, `weight` in percent."""
        self._history.add(now, assessment, weight)

    def shown(self, plan: Plan, now: float) -> dict[str, Any]:
        """Everything, as JSON values; worked out at most once in `FRESH` seconds, however many look at it."""
        if self._drawn is None or not self._drawn_at <= now < self._drawn_at + FRESH:
            self._drawn, self._drawn_at = self._draw(plan), now
        return self._drawn

    def _draw(self, plan: Plan) -> dict[str, Any]:
        times = np.array([(live, candidate) for *_, live, candidate in self._recent], dtype=np.float64).reshape(-1, 2)
        return {
            "pairs": len(self._recent),
            "window": RECENT,
            "units": {guard.name: unit(guard) for guard in plan.guards},
            "titles": {guard.name: title(guard) for guard in plan.guards},
            "latency": _latency(times[:, 0], times[:, 1]),
            "predictions": self._predictions(plan),
            "history": self._history.shown(),
        }

    def _predictions(self, plan: Plan) -> dict[str, Any] | None:
        found = self._distributed(plan)
        values = self._scalars() if found is not None else None
        if found is not None and values is not None:
            found["divergences"] = [asdict(one) for one in recent(*values)]
        return found

    def _both(self) -> list[tuple[Any, Any]]:
        """What is drawn of the recent pairs whose answers are of the present kind."""
        return [(live, candidate) for kind, live, candidate, *_ in self._recent if kind is self._kind]

    def _scalars(self) -> tuple[Floats, Floats] | None:
        """One number of each recent answer of both arms, if the kind has one: its first row's."""
        if self._kind is None or self._kind is Kind.LABEL:
            return None
        at = _SCALAR if self._kind is Kind.PROBABILITIES else None
        rows = [(a[0], b[0]) for a, b in self._both()]
        both = rows if at is None else [(a[at], b[at]) for a, b in rows]
        live, candidate = np.array(both, dtype=np.float64).reshape(-1, 2).T
        return live, candidate

    def _distributed(self, plan: Plan) -> dict[str, Any] | None:
        if self._kind is None:
            return None
        both = [(a, b) for live, candidate in self._both() for a, b in zip(live, candidate, strict=False)]
        found: dict[str, Any] = {"kind": self._kind.value, "labels": None, "values": None, "divergences": []}
        if self._kind is Kind.LABEL:
            found["labels"] = _agreement(both)
        elif self._kind is Kind.PROBABILITIES:
            found["labels"] = _agreement([(str(a[_TOP]), str(b[_TOP])) for a, b in both])
            found["values"] = _distributions([(a[_SURE], b[_SURE]) for a, b in both], (0.0, 1.0))
        else:
            span = (plan.prediction.low, plan.prediction.high) if self._kind is Kind.SCORE else None
            found["values"] = _distributions(both, span)
        return found


_TOP, _SURE, _SCALAR = range(3)


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


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _agreement(both: list[tuple[str, str]]) -> dict[str, Any]:
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


def _histograms(live: Floats, candidate: Floats, edges: Floats) -> dict[str, Any]:
    def counts(values: Floats) -> list[int]:
        return [int(n) for n in np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]]

    return {"edges": [float(edge) for edge in edges], "live": counts(live), "candidate": counts(candidate)}


def _distributions(both: list[tuple[float, float]], span: tuple[float, float] | None) -> dict[str, Any] | None:
    values = np.clip(np.array(both, dtype=np.float64).reshape(-1, 2), -1e300, 1e300)  # so that a span is finite
    if not len(values):
        return None
    low, high = span or (float(values.min()), float(values.max()))
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return _histograms(values[:, 0], values[:, 1], np.linspace(low, high, BINS + 1))


def _latency(live: Floats, candidate: Floats) -> dict[str, Any] | None:
    """Quantiles of both arms' seconds, and both histograms on a logarithmic scale."""
    live, candidate = (arm[(arm > 0.0) & (arm < LONGEST)] for arm in (live, candidate))
    if not (live.size and candidate.size):
        return None
    low, high = (float(f(f(live), f(candidate))) for f in (min, max))
    edges = np.geomspace(low * 0.999, max(high, low * 1.01) * 1.001, BINS + 1)
    quantiles = {
        name: {f"p{q * 100:g}": float(np.quantile(values, q)) for q in QUANTILES}
        for name, values in (("live", live), ("candidate", candidate))
    }
    return {"quantiles": quantiles} | _histograms(live, candidate, edges)
