"""What the API shows to be drawn of a rollout. `controller.charts` makes it."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from proxy.json_types import Whole
from proxy.model import Kind


class HistogramsJson(TypedDict):
    """Both arms' counts between edges."""

    edges: list[float]
    live: list[Whole]
    candidate: list[Whole]


class ArmQuantilesJson(TypedDict):
    """Quantiles of both arms, by name (`p99`)."""

    live: dict[str, float]
    candidate: dict[str, float]


class LatencyJson(HistogramsJson):
    """Seconds of both arms' answers."""

    quantiles: ArmQuantilesJson


class AgreementJson(TypedDict):
    """How often each label of live (rows) met each of the candidate's (columns)."""

    names: list[str]
    counts: list[list[Whole]]


class PredictionChartJson(TypedDict):
    """Distributions of the recent predictions."""

    kind: Kind
    labels: AgreementJson | None
    values: HistogramsJson | None
    divergences: list[dict[str, Any]]


class ArmFiguresJson(TypedDict):
    """One language model's figures; null where no pair has them."""

    first_seconds: float | None
    tokens: float | None
    refusals: float | None


class SpokenFiguresJson(TypedDict):
    """Language models: median time to the first token, mean tokens (of streams; `events`: some are counted as events),
    share of refusals, over the recent pairs."""

    pairs: Whole
    events: bool
    live: ArmFiguresJson
    candidate: ArmFiguresJson


class GuardHistoryJson(TypedDict):
    """How a guard went."""

    value: list[float | None]
    evidence: list[float | None]


class HistoryJson(TypedDict):
    """How the guards went, in columns of the same length."""

    time: list[float]
    weight: list[float]
    guards: dict[str, GuardHistoryJson]


class ChartsJson(TypedDict):
    """What can be drawn of a rollout."""

    pairs: Whole
    window: Whole
    units: dict[str, str]
    titles: dict[str, str]
    latency: LatencyJson | None
    predictions: PredictionChartJson | None
    aspects: dict[str, PredictionChartJson | None]
    """Of several predictions, by name, what `predictions` is of the only one."""
    arms: SpokenFiguresJson | None
    history: HistoryJson
