"""Plans and rollouts out of JSON: the inverse of `orjson.dumps` on the frozen values, for the store and the journal.

Invariant: `plan_from(loads(dumps(plan))) == plan`, and the same for a rollout (property test).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.model import Guard, Kind, Plan, PredictionSpec, Segments, Stage, State
from proxy.rollout.events import RolloutState


def rollout_from(value: Mapping[str, Any]) -> RolloutState:
    """A rollout's state; raises `TypeError`, `ValueError` or `KeyError` when it is not one."""
    return RolloutState(**{**value, "state": State(value["state"])})


def plan_from(value: Mapping[str, Any]) -> Plan:
    """A plan; raises `TypeError`, `ValueError` or `KeyError` when it is not one."""
    prediction = value["prediction"]
    read = {**prediction, "kind": Kind(prediction["kind"]), "ignore": tuple(prediction["ignore"])}
    parts = {
        "stages": tuple(Stage(**{**stage, "kind": State(stage["kind"])}) for stage in value["stages"]),
        "guards": tuple(Guard(**guard) for guard in value["guards"]),
        "prediction": PredictionSpec(**read),
        "segments": None if value["segments"] is None else Segments(**value["segments"]),
    }
    return Plan(**{**value, **parts})
