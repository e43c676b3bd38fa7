"""What drift looks like from outside: the JSON of the API, of `understudy drift --json` and of a webhook's `data`.

Times are RFC 3339, shares ratios; effects in standard deviations of the reference (`sd`), as a
`ratio` of two of them, or as a difference of shares.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from proxy.controller.admin.drift_view import (
    DriftAlarmJson,
    DriftBucketJson,
    DriftFieldJson,
    DriftJson,
    DriftReferenceJson,
    EffectJson,
    MovedJson,
)
from proxy.controller.drift.watch import DriftAlarm, DriftWatch, FieldChange
from proxy.drift import DriftBucket, DriftFinding
from proxy.rfc3339 import rfc3339


def drift_json(watch: DriftWatch) -> DriftJson:
    """One route, without what is drawn."""
    source = watch.source
    return {
        "route": source.route,
        "live": source.live,
        "version": source.version,
        "state": watch.state.value,
        "began_at": rfc3339(watch.began_at),
        "reference": reference_json(watch),
        "alarms": {"count": 1, "per_seconds": source.per},
        "observations_per_second": source.rate,
        "observations": watch.read,
        "last_at": rfc3339(watch.last_at) if watch.last_at else None,
        "unreadable": [{"what": what, "reason": why.value, "count": n} for (what, why), n in watch.unreadable.items()],
        "problems": watch.problems,
        "fields": [field_json(watch, finding) for finding in watch.findings()],
    }


def reference_json(watch: DriftWatch) -> DriftReferenceJson:
    """What is normal."""
    source = watch.source
    return {"first": source.first or None, "recording": source.recording or None, "period_seconds": source.period}


def field_json(watch: DriftWatch, finding: DriftFinding) -> DriftFieldJson:
    """One field."""
    alarm = watch.alarms.get(finding.field)
    inputs = {one.name: one.kind.value for one in watch.source.inputs}
    said = {one.name: one.kind.value for one in watch.fields}
    return {
        "field": finding.field,
        "source": "input" if finding.field in inputs else "prediction",
        "kind": said[finding.field],
        "state": finding.state.value,
        "since": None if finding.since is None else rfc3339(finding.since),
        "alarm": None if alarm is None else {"id": alarm.id, "detected_at": rfc3339(alarm.detected_at)},
        **moved_json(finding),
        "evidence": finding.evidence,
        "observations": finding.n,
        "bursts": finding.bursts,
        "words": finding.words,
    }


def moved_json(finding: DriftFinding) -> MovedJson:
    """What moved, and by how much."""
    effect: EffectJson = {
        "value": _finite(finding.effect),
        "low": _finite(finding.low),
        "high": _finite(finding.high),
        "unit": finding.unit,
    }
    return {
        "what": finding.what,
        "detail": finding.detail,
        "effect": None if finding.effect is None else effect,
        "before": _finite(finding.before),
        "after": _finite(finding.after),
    }


def chart_json(watch: DriftWatch, field: str) -> list[DriftBucketJson]:
    """What can be drawn of a field, in spans of time, the oldest first."""
    return [_bucket(bucket) for bucket in watch.detector.chart(field)] if watch.detector is not None else []


def _bucket(bucket: DriftBucket) -> DriftBucketJson:
    quantiles = map(_finite, (bucket.low, bucket.middle, bucket.high))
    return {**asdict(bucket), **dict(zip(("low", "middle", "high"), quantiles, strict=True))}


def drift_event_data(watch: DriftWatch, change: FieldChange, now: float) -> DriftAlarmJson:
    """What a receiver of `drift.detected` and `drift.ended` gets; `alarm` is the same in both."""
    finding, alarm = change.finding, change.alarm
    data = field_json(watch, finding)
    return {
        "alarm": alarm.id,
        "route": watch.source.route,
        "live": watch.source.live,
        "version": watch.source.version,
        "field": data["field"],
        "source": data["source"],
        "kind": data["kind"],
        "what": data["what"],
        "detail": data["detail"],
        "effect": data["effect"],
        "before": data["before"],
        "after": data["after"],
        "since": rfc3339(alarm.since),
        "detected_at": rfc3339(alarm.detected_at),
        "ended_at": None if change.began else rfc3339(now),
        "reference": reference_json(watch),
        "observations": finding.n,
        "reason": reason_of(change),
    }


def ended_event_data(route: str, alarm: DriftAlarm, now: float, reason: str) -> DriftAlarmJson:
    """The same of an alarm of which nothing more is known: what it was about is not watched any more."""
    return {
        "alarm": alarm.id,
        "route": route,
        "field": alarm.field,
        "what": alarm.what,
        "since": rfc3339(alarm.since),
        "detected_at": rfc3339(alarm.detected_at),
        "ended_at": rfc3339(now),
        "reason": reason,
    }


def reason_of(change: FieldChange) -> str:
    """A sentence for people: what began, or why it is over."""
    if change.reason:
        return f"{change.alarm.field}: {change.reason}"
    if change.began:
        return f"{change.alarm.field} drifts: {change.finding.words}"
    return f"{change.alarm.field} is as the reference again"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
