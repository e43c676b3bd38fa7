"""What is found of a field: whether it drifts, by how much, and since when; and what a chart needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxy.json_types import Whole


class DriftState(StrEnum):
    """Where a field is. `ended` is only said of the moment at which drift ended; from then on it is `steady`."""

    LEARNING = "learning"
    STEADY = "steady"
    DRIFTING = "drifting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """A field at one look. `what` moved: level, spread, far (beyond anything seen), share, new label, missing, invalid.

    `effect` with its 95 % interval (valid at any time, for a field that is looked at whatever it does) is in `unit`:
    "sd" (standard deviations of the reference), "ratio" (of two standard deviations) or "share" (difference of two
    shares). `before` and `after` are in the field's own unit (the mean), or shares. `detail` is the label or the
    projection that moved. `since` is epoch seconds, `None` unless drifting; `evidence` 0..1 the share of what is needed
    for an alarm; `n` the values since then. `bursts` is by how much sums vary more than those of independent values, at
    least 1."""

    field: str
    state: DriftState
    what: str = ""
    detail: str = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    before: float | None = None
    after: float | None = None
    since: float | None = None
    evidence: float = 0.0
    n: int = 0
    bursts: float = 1.0
    words: str = ""


@dataclass(frozen=True, slots=True)
class DriftBucket:
    """What a field was in one span of time, for a chart; `start` and `seconds` are epoch seconds and length.

    Numbers: `low`, `middle`, `high` are the 10 %, 50 % and 90 % quantiles, `expected` those that the reference expects
    at this phase of the cycle. Labels: `shares` by label in place of them, `expected` the reference's in the same
    order. Embeddings: quantiles of the first projection. `missing` is a share of `n`, all observations."""

    start: float
    seconds: float
    n: Whole
    missing: float
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    shares: tuple[tuple[str, float], ...] = ()
    expected: tuple[float, ...] = ()
