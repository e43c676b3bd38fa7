"""What metrics are given of drift, and which there must be."""

from __future__ import annotations

from typing import Any

from tests.controller.fake_service import FakeDrift

METRICS_OF_DRIFT = {
    "understudy_drift_observations_total": {"route", "result"},
    "understudy_drift_drifting": {"route", "field"},
    "understudy_drift_learning": {"route", "field"},
    "understudy_drift_evidence_ratio": {"route", "field"},
    "understudy_drift_effect": {"route", "field", "unit"},
    "understudy_drift_effect_low": {"route", "field", "unit"},
    "understudy_drift_effect_high": {"route", "field", "unit"},
    "understudy_drift_alarms_total": {"route", "field", "event"},
    "understudy_drift_read_total": {"route"},
    "understudy_drift_unreadable_total": {"route", "what", "reason"},
    "understudy_drift_problems": {"route"},
}
COUNTS_OF_DRIFT: dict[str, Any] = {
    "observed": {("fraud", "sent"): 7, ("fraud", "link_full"): 2},
    "drift": [FakeDrift().shown | {"unreadable": [{"what": "inputs", "reason": "not_json", "count": 3}]}],
    "drift_changes": {("fraud", "amount", "detected"): 1},
}
