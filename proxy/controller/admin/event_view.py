"""What webhooks carry, in the template `standard`: the part `webhooks` of the API's description, and
`docs/webhook.schema.json`."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import TypedDict

from proxy.controller.admin.describing import Schema, json_schemas
from proxy.controller.admin.drift_view import DriftEventJson, ToldJson
from proxy.controller.admin.registry_view import LineageJson
from proxy.controller.admin.rollout_view import FindingJson, LedgerJson
from proxy.controller.store.interface import HeadJson
from proxy.evidence.input.costs import CostJson
from proxy.json_types import SchemaWords, Timestamp
from proxy.model import State, Verdict


class ReplacedJson(TypedDict):
    """The trial in whose place another one begins."""

    version: str
    state: State
    lineage: LineageJson | None
    """Where the version comes from, as a model registry says it; null where the file named it."""


class RolloutEventJson(ToldJson):
    """The `data` of an event of a rollout."""

    rollout: str
    """ROUTE/CANDIDATE"""
    route: str
    live: str
    candidate: str
    version: str
    lineage: NotRequired[LineageJson | None]
    """Where the version comes from, as a model registry says it; null where the file named it."""
    replaces: NotRequired[ReplacedJson | None]
    """The trial in whose place this one begins."""
    state: State
    stage: str
    weight: Annotated[float, SchemaWords(minimum=0, maximum=100)]
    """Percent."""
    verdict: Verdict
    reason: str
    actor: str
    """Who did it, as it was proven; `understudy` for the controller itself."""
    findings: list[FindingJson]
    """Those that the verdict rests on: all that fail, or that pass on all requests."""
    ledger: LedgerJson
    cost: NotRequired[CostJson | None]
    journal: NotRequired[HeadJson]
    """The entry of the journal that goes with it, and the hash of all up to it (`judge --verify --head`)."""


class RolloutBodyJson(TypedDict):
    """A whole body about a rollout."""

    type: Literal[
        "rollout.began", "rollout.rolled_back", "rollout.promoted", "rollout.advanced", "rollout.stalled",
        "rollout.completed", "rollout.removed",
    ]  # fmt: skip
    timestamp: Timestamp
    data: RolloutEventJson


class DriftBodyJson(TypedDict):
    """A whole body about drift."""

    type: Literal["drift.detected", "drift.ended"]
    timestamp: Timestamp
    data: DriftEventJson


BODIES: dict[str, type] = {"rollout": RolloutBodyJson, "drift": DriftBodyJson}
"""Bodies of the template `standard`, by what they are about."""


def webhook_schema() -> Schema:
    """One JSON Schema (2020-12) of every body."""
    each, components = json_schemas(list(BODIES.values()))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A webhook of Understudy, template `standard`",
        "oneOf": each,
        "components": {"schemas": components},
    }
