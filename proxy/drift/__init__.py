"""Drift: whether what live is sent, and what it answers, is still distributed as it was. Pure; it never rolls back.

    fields = DriftField("amount", Kind.NUMBER, missing=0.01), DriftField("country", Kind.LABEL)
    plan = DriftPlan(fields, period=86_400.0)
    detector = DriftDetector(plan)                      # or load_drift(plan, kept)
    for change in detector.add(Observations(times, (amounts, countries))):
        ...                                             # a field began to drift (`drifting`), or is back (`ended`)
    detector.findings()                                 # every field now, in the order of the plan
    detector.chart("amount")                            # by spans of time: quantiles or shares, and what is expected
    detector.accept("amount")                           # an operator: what it is now is the reference
    kept = dump_drift(detector)

Time is that of the observations, epoch seconds; nothing here looks at a clock. A reference from a recording is `add` of
its observations, with `first` as many as it has. Read `channels.py`, then `bets.py`; `docs/statistics.md` says what is
proved and what is measured."""

from __future__ import annotations

from proxy.drift.detector import DriftDetector
from proxy.drift.finding import DriftBucket, DriftFinding, DriftState
from proxy.drift.observations import Absent, FieldValue, Observations
from proxy.drift.plan import DriftField, DriftPlan
from proxy.drift.saving import dump_drift, load_drift

__all__ = [
    "Absent",
    "DriftBucket",
    "DriftDetector",
    "DriftField",
    "DriftFinding",
    "DriftPlan",
    "DriftState",
    "FieldValue",
    "Observations",
    "dump_drift",
    "load_drift",
]
