"""What a person wants to see of a rollout beside its findings: distributions, latencies, labels, and how it went.

This decides nothing and costs next to nothing: a pair leaves a small tuple behind, and everything is worked out when
somebody looks. The evidence itself cannot be drawn, because its counts are differences within pairs.

Invariants
- Memory is bounded: two times and a few figures of each of `RECENT` pairs, what `prediction_chart` keeps of each
  prediction, `POINTS` points of history.
- History spans the whole trial, over restarts of the controller: when it is full, every second point goes and the step
  between points doubles.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from proxy.controller.admin.chart_view import ChartsJson, HistoryJson, LatencyJson
from proxy.controller.arm_figures import ArmFigures
from proxy.controller.prediction_chart import BINS, RECENT, Floats, PredictionChart, histograms
from proxy.evidence.aspect import parts_of
from proxy.evidence.rules.registry import GUARDS
from proxy.evidence.words import title
from proxy.model import Assessment, Guard, Plan, Reading

FRESH = 1.0
"""Seconds for which a drawing is good enough; drawing holds the event loop for some milliseconds."""

POINTS = 240
LONGEST = 1e6
"""Seconds; what claims to have taken longer is not drawn."""

QUANTILES = (0.5, 0.9, 0.95, 0.99)
_TIMES = attrgetter("live_seconds", "seconds")


def unit(guard: Guard) -> str:
    """How a guard's value is written: `percent`, `points`, `times`, `seconds` or `number`.

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
        guards = {f.key: (f.value, f.evidence) for f in assessment.findings if f.segment is None}
        self._points.append({"time": now, "weight": weight, "guards": guards})

    def dump(self) -> dict[str, Any]:
        return {"points": self._points, "step": self._step}

    def load(self, saved: dict[str, Any]) -> None:
        self._points, self._step = list(saved["points"]), float(saved["step"])

    def shown(self) -> HistoryJson:
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
        self._times: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._figures = ArmFigures(RECENT)
        self._predictions: dict[str, PredictionChart] = {}
        self._history = _History()
        self._drawn: ChartsJson | None = None
        self._drawn_at = 0.0

    def add(self, readings: Sequence[Reading], plan: Plan) -> None:
        """Remember readings of the trial."""
        self._times.extend(map(_TIMES, readings))
        self._figures.add(readings)
        for spec, part in zip(plan.aspects, parts_of(readings, plan), strict=True):
            self._predictions.setdefault(spec.name, PredictionChart()).add(part)

    def dump(self) -> dict[str, Any]:
        """How it went so far, as JSON values: at most `POINTS` points."""
        return self._history.dump()

    def load(self, saved: dict[str, Any]) -> None:
        """Go on where another controller's charts ended; distributions begin anew, being of the latest pairs only."""
        self._history.load(saved)

    def look(self, now: float, assessment: Assessment, weight: float) -> None:
        """Remember how the guards stand; `now` in epoch seconds, `weight` in percent."""
        self._history.add(now, assessment, weight)

    def shown(self, plan: Plan, now: float) -> ChartsJson:
        """Everything, as JSON values; worked out at most once in `FRESH` seconds, however many look at it."""
        if self._drawn is None or not self._drawn_at <= now < self._drawn_at + FRESH:
            self._drawn, self._drawn_at = self._draw(plan), now
        return self._drawn

    def _draw(self, plan: Plan) -> ChartsJson:
        times = np.array(self._times, dtype=np.float64).reshape(-1, 2)
        drawn = {spec.name: self._predictions.get(spec.name, PredictionChart()).shown(spec) for spec in plan.aspects}
        return {
            "pairs": len(self._times),
            "window": RECENT,
            "units": {guard.key: unit(guard) for guard in plan.guards},
            "titles": {guard.key: title(guard) for guard in plan.guards},
            "latency": _latency(times[:, 0], times[:, 1]),
            "predictions": drawn.pop("", None),
            "aspects": drawn,
            "arms": self._figures.shown(self._refusals(plan)),
            "history": self._history.shown(),
        }

    def _refusals(self, plan: Plan) -> tuple[float, float] | None:
        """The share of refusals of both arms: by the prediction that reads them, else by how texts open."""
        specs = sorted(plan.aspects, key=lambda spec: spec.output != "refusal")
        known = (self._predictions[spec.name].refusals(spec) for spec in specs if spec.name in self._predictions)
        return next((shares for shares in known if shares is not None), None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _latency(live: Floats, candidate: Floats) -> LatencyJson | None:
    """Quantiles of both arms' seconds, and both histograms on a logarithmic scale."""
    live, candidate = (arm[(arm > 0.0) & (arm < LONGEST)] for arm in (live, candidate))
    if not (live.size and candidate.size):
        return None
    low, high = (float(f(f(live), f(candidate))) for f in (min, max))
    edges = np.geomspace(low * 0.999, max(high, low * 1.01) * 1.001, BINS + 1)
    return {
        "quantiles": {"live": _quantiles(live), "candidate": _quantiles(candidate)},
        **histograms(live, candidate, edges),
    }


def _quantiles(seconds: Floats) -> dict[str, float]:
    return {f"p{q * 100:g}": float(np.quantile(seconds, q)) for q in QUANTILES}
