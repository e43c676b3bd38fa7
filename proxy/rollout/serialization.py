"""Plans and rollouts out of JSON: the inverse of `orjson.dumps` on the frozen values, for the store and the journal.

Invariant: `plan_from(loads(dumps(plan))) == plan`, and the same for a rollout (property test).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.model import Guard, Kind, Plan, PredictionSpec, Segments, Stage, State
from proxy.model.lineage import Lineage
from proxy.model.price import Price
from proxy.rollout.events import RolloutState


def rollout_from(value: Mapping[str, Any]) -> RolloutState:
    """A rollout's state; raises `TypeError`, `ValueError` or `KeyError` when it is not one."""
    return RolloutState(**{**value, "state": State(value["state"])})


def plan_from(value: Mapping[str, Any]) -> Plan:
    """A plan; raises `TypeError`, `ValueError` or `KeyError` when it is not one."""
    parts = {
        "stages": tuple(Stage(**{**stage, "kind": State(stage["kind"])}) for stage in value["stages"]),
        "guards": tuple(Guard(**guard) for guard in value["guards"]),
        "prediction": _prediction_from(value["prediction"]),
        "predictions": tuple(map(_prediction_from, value.get("predictions", ()))),
        "live_price": _price_from(value.get("live_price")),
        "candidate_price": _price_from(value.get("candidate_price")),
        "lineage": None if value.get("lineage") is None else Lineage(**value["lineage"]),
        "segments": None if value["segments"] is None else Segments(**value["segments"]),
    }
    return Plan(**{**value, **parts})


def _price_from(value: Mapping[str, Any] | None) -> Price | None:
    return None if value is None else Price(**value)


def _prediction_from(value: Mapping[str, Any]) -> PredictionSpec:
    return PredictionSpec(**{**value, "kind": Kind(value["kind"]), "ignore": tuple(value["ignore"])})
