"""Users whose time has come, on their way to `max_outcome_drop`, and what is kept of them.

A unit is one user in one stage (without a sticky key one request): `exposures` says who is one. It counts once, when
`within` has passed since it began, in the order in which units began, with all that was posted of it by then.

Values are counted in bounds: 1 is the most that one unit counts for. Where the guard names no bound it is frozen from
the first values above 0, of both arms together; the units until then give no evidence. `centre` is the mean of live's
cut values before this unit, so it is known before the unit's own value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from proxy.evidence.process.wealth import Bools, Floats, Ints

LEARNED = 100
"""Values above 0 from which the bound is taken."""
QUANTILE, MULTIPLE = 0.95, 4.0
PARTS = 1 << 30
"""Parts of a bound in which sums are kept."""
CAUTION = 20
"""Units of value 0 that the mean of live's begins with."""


@dataclass(slots=True, frozen=True, eq=False)
class UnitBatch:
    """Units whose time has come, in the order in which they began, (n,) each. `share` is the probability with which one
    was put on the candidate, `value` what was posted of it, `current` whether it is of the present stage. `centre` is
    there once `UnitTotals.take` has looked: `value` is in bounds then."""

    numbers: Ints
    candidate: Bools
    share: Floats
    value: Floats
    current: Bools
    centre: Floats = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, which: Any) -> UnitBatch:
        """Some of them."""
        fields = (self.numbers, self.candidate, self.share, self.value, self.current)
        return UnitBatch(*(one[which] for one in fields))


@dataclass(slots=True)
class ArmUnits:
    """What is known of the units of one arm that count: how many, how many with a value above 0, and the sums of their
    values, in millionths, and of the cut ones, in `PARTS` of the bound: whole numbers, which add up in any cut."""

    units: int = 0
    with_value: int = 0
    millionths: int = 0
    cut_parts: int = 0

    def add(self, value: Floats, parts: Ints) -> None:
        """Add values (n,), as they are and cut, in parts."""
        self.units += len(value)
        self.with_value += int((value > 0.0).sum())
        self.millionths += sum(map(int, np.rint(value * 1e6).tolist()))
        self.cut_parts += int(parts.sum())

    @property
    def saved(self) -> list[Any]:
        """What `restored` takes. Sums are text: they may be beyond 64 bits, which JSON's writer refuses."""
        return [self.units, self.with_value, str(self.millionths), str(self.cut_parts)]

    @classmethod
    def restored(cls, raw: Sequence[Any]) -> ArmUnits:
        """What `saved` gave.

        >>> ArmUnits.restored(ArmUnits(3, 2, 10**30, 5).saved) == ArmUnits(3, 2, 10**30, 5)
        True
        """
        units, with_value, millionths, cut_parts = raw
        return cls(units, with_value, int(millionths), int(cut_parts))

    @property
    def mean(self) -> float | None:
        """The mean value, nothing cut; `None` before there is one."""
        return self.millionths / 1e6 / self.units if self.units else None


@dataclass(slots=True)
class UnitTotals:
    """All that evidence keeps of units. `settled` is the number of the first unit that has not settled."""

    settled: int = 0
    bound: float = 0.0
    learned: list[float] = field(default_factory=list)
    learning_units: int = 0
    live: ArmUnits = field(default_factory=ArmUnits)
    candidate: ArmUnits = field(default_factory=ArmUnits)

    def take(self, units: UnitBatch, bound: float) -> UnitBatch:
        """Those that count, as they count; `bound` is the guard's own, 0 for none. One that has settled already, or
        that the bound is learned from, does not."""
        units = units.part(units.numbers >= self.settled)
        if not len(units):
            return units
        self.settled = int(units.numbers[-1]) + 1
        self.bound = bound or self.bound
        if not self.bound:
            units = units.part(slice(self._learn(np.maximum(units.value, 0.0)), None))
        value = np.maximum(units.value, 0.0)
        scaled = value / (self.bound or 1.0)
        parts = np.rint(np.minimum(scaled, 1.0) * PARTS).astype(np.int64)
        lives, of_live = np.where(units.candidate, 0, parts), ~units.candidate
        before = self.live.cut_parts + np.cumsum(lives) - lives
        centre = before / (PARTS * (self.live.units + CAUTION + np.cumsum(of_live) - of_live))
        for arm, own in ((self.live, of_live), (self.candidate, units.candidate)):
            arm.add(value[own], parts[own])
        return replace(units, value=scaled, centre=np.minimum(centre, 1.0))

    def _learn(self, values: Floats) -> int:
        """Learn the bound from the first of these (n,); how many of them it took."""
        above = np.flatnonzero(values > 0.0)[: LEARNED - len(self.learned)]
        self.learned += values[above].tolist()
        enough = len(self.learned) >= LEARNED
        taken = int(above[-1]) + 1 if enough else len(values)
        self.learning_units += taken
        if enough:
            self.bound = MULTIPLE * float(np.quantile(np.array(self.learned), QUANTILE))
            self.learned = []
        return taken

    def begin_anew(self) -> UnitTotals:
        """Another outcome is asked for: what was learned and summed was of the one before."""
        return UnitTotals(self.settled)

    def copy(self) -> UnitTotals:
        """A copy that shares no mutable part."""
        return replace(self, learned=list(self.learned), live=replace(self.live), candidate=replace(self.candidate))

    @property
    def saved(self) -> dict[str, Any]:
        """What `restored` takes, under its key; nothing where no unit has settled."""
        if self == UnitTotals():
            return {}
        arms = [arm.saved for arm in (self.live, self.candidate)]
        return {"units": [self.settled, self.bound, self.learned, self.learning_units, *arms]}

    @classmethod
    def restored(cls, raw: Sequence[Any] | None) -> UnitTotals:
        """What `saved` gave, or an empty one."""
        if raw is None:
            return cls()
        settled, bound, learned, learning, live, candidate = raw
        return cls(settled, bound, list(learned), learning, ArmUnits.restored(live), ArmUnits.restored(candidate))
