"""The nouns of Understudy, as frozen values.

Everything that crosses a room is one of these. They hold data and no behaviour beyond names and small derived
properties; the verbs live in `routing` (which arm serves), `predictions` (bytes to `Reading`), `evidence` (readings to
findings) and `rollout` (state, event, plan to state and effects).

Units, everywhere: seconds (float), bytes (int), ratios in 0..1 (float) unless a name says percent; a weight or a share
on the wire and in routing is in *basis points* (0 to 10,000), so that it is an exact bucket count.
"""

from __future__ import annotations

from proxy.model.findings import BOOKED, DROPPED, PARTS, REPORTED, Assessment, Finding, Lane, Ledger, Table
from proxy.model.pairs import UNPRICED, Observation, Outcome, Pair, Prediction, Reading, make
from proxy.model.plans import Guard, Plan, PredictionSpec, Segments, Stage, guard_key, trial_name
from proxy.model.words import BUCKETS, EMBEDDER, VALID, Arm, Kind, LegKind, Mismatch, State, Verdict

__all__ = [
    "BOOKED",
    "BUCKETS",
    "DROPPED",
    "EMBEDDER",
    "PARTS",
    "REPORTED",
    "UNPRICED",
    "VALID",
    "Arm",
    "Assessment",
    "Finding",
    "Guard",
    "Kind",
    "Lane",
    "Ledger",
    "LegKind",
    "Mismatch",
    "Observation",
    "Outcome",
    "Pair",
    "Plan",
    "Prediction",
    "PredictionSpec",
    "Reading",
    "Segments",
    "Stage",
    "State",
    "Table",
    "Verdict",
    "guard_key",
    "make",
    "trial_name",
]
