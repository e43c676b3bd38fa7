"""What webhooks carry, as JSON Schema: the part `webhooks` of the API's description, and `docs/webhook.schema.json`."""

from __future__ import annotations

from typing import Any

from proxy.controller.admin.interface import PARTS
from proxy.controller.admin.registry_schemas import LINEAGE
from proxy.controller.admin.schema_words import MOMENT, TEXT, WHOLE, Schema, component, list_of, nullable, object_of
from proxy.model import State, Verdict

_JOURNAL = object_of({"number": WHOLE, "hash": TEXT}) | {
    "description": "The entry of the journal that goes with it, and the hash of all up to it (`judge --verify --head`)."
}
ROLLOUT_EVENT = object_of(
    {
        "rollout": TEXT | {"description": "ROUTE/CANDIDATE"},
        "route": TEXT,
        "live": TEXT,
        "candidate": TEXT,
        "version": TEXT,
        "lineage": LINEAGE,
        "replaces": nullable(object_of({"version": TEXT, "state": {"enum": [*State]}, "lineage": LINEAGE}))
        | {"description": "The trial in whose place this one begins."},
        "state": {"enum": [*State]},
        "stage": TEXT,
        "weight": {"type": "number", "minimum": 0, "maximum": 100, "description": "Percent."},
        "verdict": {"enum": [*Verdict]},
        "reason": TEXT,
        "actor": TEXT | {"description": "Who did it, as it was proven; `understudy` for the controller itself."},
        "findings": list_of(component("Finding"))
        | {"description": "Those that the verdict rests on: all that fail, or that pass on all requests."},
        "ledger": object_of({part: {"type": "integer"} for part in ("sampled", *PARTS, "pending")}),
        "cost": nullable(component("Cost")),
        "replica": TEXT | {"description": "The replica that leads; this machine's name where there is no fleet."},
        "console_url": TEXT,
        "journal": _JOURNAL,
    },
    (
        "rollout", "route", "live", "candidate", "version", "state", "stage", "weight", "verdict", "reason", "actor",
        "findings", "ledger", "replica", "console_url",
    ),
)  # fmt: skip
ROLLOUT_EVENTS = ("began", "rolled_back", "promoted", "advanced", "stalled", "completed", "removed")


def envelope(types: tuple[str, ...], data: Schema) -> Schema:
    """A whole body of one of these types."""
    return object_of({"type": {"enum": list(types)}, "timestamp": MOMENT, "data": data})


BODIES: dict[str, Schema] = {
    "rollout": envelope(tuple(f"rollout.{name}" for name in ROLLOUT_EVENTS), component("RolloutEvent")),
    "drift": envelope(("drift.detected", "drift.ended"), component("DriftEvent")),
}
"""Bodies of the template `standard`, by what they are about."""


def webhook_schema(components: dict[str, Schema]) -> dict[str, Any]:
    """One JSON Schema (2020-12) of every body, with the components that it takes from these."""
    names = ("RolloutEvent", "DriftEvent", "Finding", "Cost")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A webhook of Understudy, template `standard`",
        "oneOf": list(BODIES.values()),
        "components": {"schemas": {name: components[name] for name in names}},
    }
