"""Drift in the API, and in the webhooks `drift.detected` and `drift.ended`, as JSON Schema."""

from __future__ import annotations

from proxy.controller.admin.schema_words import (
    MOMENT,
    NUMBER,
    TEXT,
    WHOLE,
    Schema,
    component,
    list_of,
    nullable,
    object_of,
)
from proxy.drift import DriftState

_EFFECT = object_of(
    {
        "value": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "unit": {
            "enum": ["sd", "ratio", "share"],
            "description": "Standard deviations of the reference, their ratio, or a difference of two shares.",
        },
    }
)
_MOVED: dict[str, Schema] = {
    "what": TEXT | {"description": "What moved: level, spread, far, share, new label, missing, invalid."},
    "detail": TEXT | {"description": "The label or the projection that moved."},
    "effect": nullable(_EFFECT) | {"description": "By how much, with its 95 % interval."},
    "before": NUMBER | {"description": "The reference's mean in the field's own unit, or its share."},
    "after": NUMBER | {"description": "The same since then."},
}
_FIELD: dict[str, Schema] = {"field": TEXT, "source": {"enum": ["input", "prediction"]}, "kind": TEXT}
_REFERENCE = object_of({"first": nullable(WHOLE), "recording": nullable(TEXT), "period_seconds": NUMBER})
DRIFT_FIELD = object_of(
    {
        **_FIELD,
        "state": {"enum": [state for state in DriftState if state is not DriftState.ENDED]},
        "since": nullable(MOMENT),
        "alarm": nullable(object_of({"id": TEXT, "detected_at": MOMENT})),
        **_MOVED,
        "evidence": {"type": "number", "minimum": 0, "maximum": 1, "description": "Share of what an alarm needs."},
        "observations": WHOLE | {"description": "Values that the effect is of; while it learns, those so far."},
        "bursts": {"type": "number", "description": "By how much sums vary more than those of independent values."},
        "words": TEXT,
    }
)
_ROUTE: dict[str, Schema] = {
    "route": TEXT,
    "live": TEXT,
    "version": TEXT,
    "state": {"enum": [state for state in DriftState if state is not DriftState.ENDED]},
    "began_at": MOMENT,
    "reference": _REFERENCE,
    "alarms": object_of({"count": WHOLE, "per_seconds": {"type": "number"}}),
    "observations_per_second": WHOLE,
    "observations": WHOLE,
    "last_at": nullable(MOMENT),
    "unreadable": list_of(object_of({"what": TEXT, "reason": TEXT, "count": WHOLE})),
    "problems": list_of(TEXT),
    "fields": list_of(component("DriftField")),
}
DRIFT_BUCKET = object_of(
    {
        "start": {"type": "number"},
        "seconds": {"type": "number"},
        "n": WHOLE,
        "missing": {"type": "number"},
        "low": NUMBER,
        "middle": NUMBER,
        "high": NUMBER,
        "shares": list_of({"type": "array", "prefixItems": [TEXT, {"type": "number"}]}),
        "expected": list_of({"type": "number"}),
    }
)
DRIFT = object_of(_ROUTE)
DRIFT_WITH_CHARTS = object_of(
    {**_ROUTE, "charts": {"type": "object", "additionalProperties": list_of(component("DriftBucket"))}}
)
ACCEPTANCE = object_of(
    {"field": nullable(TEXT) | {"description": "All fields when absent."}, "reason": TEXT | {"maxLength": 1000}}, ()
) | {"additionalProperties": False}
DRIFT_EVENT = object_of(
    {
        "alarm": TEXT | {"description": "The same in `drift.detected` and in the `drift.ended` that follows it."},
        "route": TEXT,
        "live": TEXT,
        "version": TEXT,
        **_FIELD,
        **_MOVED,
        "since": MOMENT,
        "detected_at": MOMENT,
        "ended_at": nullable(MOMENT),
        "reference": _REFERENCE,
        "observations": WHOLE,
        "reason": TEXT,
        "replica": TEXT | {"description": "The replica that leads; this machine's name where there is no fleet."},
        "console_url": TEXT,
        "journal": object_of({"number": WHOLE, "hash": TEXT})
        | {"description": "The entry of the journal that goes with it, and the hash of all up to it."},
    },
    ("alarm", "route", "field", "what", "since", "detected_at", "ended_at", "reason", "replica", "console_url"),
)
DRIFT_SCHEMAS: dict[str, Schema] = {
    "Drift": DRIFT,
    "DriftWithCharts": DRIFT_WITH_CHARTS,
    "DriftField": DRIFT_FIELD,
    "DriftBucket": DRIFT_BUCKET,
    "DriftAcceptance": ACCEPTANCE,
    "DriftEvent": DRIFT_EVENT,
}
