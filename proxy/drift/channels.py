"""What is watched of a field, as channels: scores of mean 0 and variance 1, and events that have a rate.

Every observation gives each channel of its field one score, or none where it has no value. A number has its level, its
spread, and whether it lies far beyond all first values; a label whether it is each of the twelve most frequent ones,
none of them, or new; an embedding level and spread of fixed random projections and its length. All have whether
the value is missing. Limits of a plan are rates of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.drift.plan import DriftField
from proxy.evidence.input.projections import PROJECTIONS
from proxy.model import Kind

FREQUENT: Final = 12
"""Labels that have a channel of their own."""


@dataclass(frozen=True, slots=True)
class DriftChannel:
    """`what` and `detail` as in a finding. `rate`: an event; else a score. `rises`: only more of it is drift. `cyclic`:
    its mean follows the cycle; else it is one number. `limit`: the rate that is allowed, whatever the reference was.
    `jumps`: it hardly ever comes, and a few at once are drift (`jumps`)."""

    what: str
    detail: str = ""
    rate: bool = True
    rises: bool = False
    cyclic: bool = True
    limit: float | None = None
    jumps: bool = False


def channels_of(field: DriftField) -> tuple[DriftChannel, ...]:
    """All channels of a field, of which some have nothing to say until the reference is known.

    >>> [channel.what for channel in channels_of(DriftField("amount", Kind.NUMBER))]
    ['missing', 'level', 'spread', 'far']
    """
    if field.missing is None:
        missing = DriftChannel("missing")
    else:
        missing = DriftChannel("missing", rises=True, cyclic=False, limit=field.missing)
    return missing, *_VALUES[field.kind](field)


def _number(field: DriftField) -> tuple[DriftChannel, ...]:
    limited = field.minimum is not None or field.maximum is not None
    invalid = (DriftChannel("invalid", rises=True, cyclic=False, limit=field.invalid),) if limited else ()
    return (
        DriftChannel("level", rate=False),
        DriftChannel("spread", rate=False),
        DriftChannel("far", rises=True, cyclic=False, jumps=True),
        *invalid,
    )


def _label(field: DriftField) -> tuple[DriftChannel, ...]:
    limit = field.invalid if field.labels else None
    new = DriftChannel("new label", rises=True, cyclic=False, limit=limit)
    return (*(DriftChannel("share", str(i)) for i in range(FREQUENT)), DriftChannel("share", "other labels"), new)


def _vector(field: DriftField) -> tuple[DriftChannel, ...]:
    seen = (f"projection {i + 1}" for i in range(PROJECTIONS))
    both = [DriftChannel(what, detail, rate=False) for detail in seen for what in ("level", "spread")]
    length = DriftChannel("level", "length", rate=False)
    return (*both, length, DriftChannel("far", "dimensions", rises=True, cyclic=False, jumps=True))


_VALUES = {Kind.NUMBER: _number, Kind.LABEL: _label, Kind.VECTOR: _vector}
