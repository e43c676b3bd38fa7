"""Metrics of drift: what workers of this replica observed, and what its leader found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric

from proxy.controller.admin.families import counter, gauge
from proxy.controller.admin.interface import FleetCounts

_FIELD = ("route", "field")


def drift_families(counts: FleetCounts) -> Iterable[Metric]:
    """Nothing where no route has `drift`. What was found is the leader's to say."""
    if counts.observed:
        text = "Requests that were drawn to be looked at for drift, by what became of them."
        yield counter("drift_observations", text, ("route", "result"), counts.observed)
    if not counts.drift:
        return
    fields = {(one["route"], field["field"]): field for one in counts.drift for field in one["fields"]}
    for state, text in (
        ("drifting", "1 while a field of live's requests or answers drifts."),
        ("learning", "1 while what is normal of a field is learned."),
    ):
        yield gauge(f"drift_{state}", text, _FIELD, {at: float(one["state"] == state) for at, one in fields.items()})
    evidence = {at: one["evidence"] for at, one in fields.items() if one["evidence"] is not None}
    text = "Share of what an alarm needs that the evidence of drift has."
    yield gauge("drift_evidence_ratio", text, _FIELD, evidence)
    yield from _effects(fields)
    text = "Alarms that began and ended since this controller started."
    yield counter("drift_alarms", text, (*_FIELD, "event"), _changes(fields, counts))
    read = {one["route"]: one["observations"] for one in counts.drift}
    yield counter("drift_read", "Observations that were read since a route's drift is watched.", ("route",), read)
    unreadable = {
        (one["route"], part["what"] or "prediction", part["reason"]): part["count"]
        for one in counts.drift
        for part in one["unreadable"]
    }
    text = "Observations of which inputs or a prediction could not be read, by reason."
    yield counter("drift_unreadable", text, ("route", "what", "reason"), unreadable)
    problems = {one["route"]: float(len(one["problems"])) for one in counts.drift}
    yield gauge("drift_problems", "What keeps a route's drift from being watched as asked.", ("route",), problems)


def _effects(fields: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterable[Metric]:
    """By how much a field moved since it differs, with the 95 % interval."""
    units = {"sd": "standard deviations", "ratio": "their ratio to the reference's", "share": "a difference of shares"}
    known = {(*at, one["effect"]["unit"]): one["effect"] for at, one in fields.items() if one["effect"] is not None}
    for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
        text = f"By how much a field moved, {key}: {', or '.join(units.values())}."
        values = {at: effect[key] for at, effect in known.items() if effect[key] is not None}
        yield gauge(f"drift_effect{end}", text, (*_FIELD, "unit"), values)


def _changes(fields: Iterable[tuple[str, str]], counts: FleetCounts) -> dict[tuple[str, str, str], int]:
    """Every field has both counts from the start, so that the first alarm is an increase."""
    events = [(*at, event) for at in fields for event in ("detected", "ended")]
    return {event: counts.drift_changes.get(event, 0) for event in events}
