"""What is watched for drift, and how often an alarm may be false."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.model import Kind

DAY: Final = 86_400.0
KINDS: Final = (Kind.NUMBER, Kind.LABEL, Kind.VECTOR)


@dataclass(frozen=True, slots=True)
class DriftField:
    """One column: a number, a label or an embedding (`Kind.VECTOR`), and what is expected of it.

    `missing` is the largest share of observations without a readable value. At most the share `invalid` of values may
    lie outside `minimum` and `maximum`, or be none of `labels` (none given: those of the reference). `weight` is its
    part of the false alarms, relative to the other fields."""

    name: str
    kind: Kind
    missing: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    labels: tuple[str, ...] = ()
    invalid: float = 0.001
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"drift field {self.name}: kind {self.kind}, expected one of {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class DriftPlan:
    """All fields of a route under one budget: `alarms` false ones per `per` seconds.

    The reference is the first `first` values of each field, and with a `period` (seconds) it takes two of them, of a
    period of 24 h two weeks. `seed` keys the projections of embeddings."""

    fields: tuple[DriftField, ...]
    first: int = 10_000
    period: float | None = None
    alarms: float = 1.0
    per: float = 90.0 * DAY
    seed: int = 0

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"drift fields must have different names, found {names}")

    def shares(self) -> tuple[float, ...]:
        """Each field's share of the false alarms.

        >>> DriftPlan((DriftField("a", Kind.LABEL), DriftField("b", Kind.LABEL, weight=3.0))).shares()
        (0.25, 0.75)
        """
        total = sum(field.weight for field in self.fields)
        return tuple(field.weight / total for field in self.fields)
