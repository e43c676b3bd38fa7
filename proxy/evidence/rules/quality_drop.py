"""`max_quality_drop`: how much worse the candidate's answers are by truths that come later.

A mean (`families.mean`) of differences of losses; `input.labels` says which requests count, and when.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from proxy.evidence.families.effort import MEAN
from proxy.evidence.families.guard import EVERY, GuardType, Question, below_one
from proxy.evidence.families.late import Late
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import NUMBER, share_in_percent
from proxy.evidence.process.means import BINS, bins
from proxy.evidence.process.prf import uniforms
from proxy.evidence.process.wealth import Floats, Ints
from proxy.model import Guard, Kind


@dataclass(frozen=True, slots=True)
class Labelled(Late, Mean):
    """Differences of losses in [−1, 1], which come with the labels, not with pairs."""

    worst_at: int | None = None

    def burst_values(self) -> Ints:
        """No columns: labels come with nothing that `CountStore.count` sees."""
        return np.zeros((self.width, 0), np.int64)

    def burst_of(self, place: int) -> int:
        """The difference in bins; see `bursts`."""
        return place - BINS // 2

    def _notes(self, ends: Floats) -> list[str]:
        """In what errors of numbers count: the differences of two of them are never cut."""
        return [f"errors count in eighths, up to 8, of {self.unit}" if self.unit else ""] * len(ends)

    def label_bin(self, difference: float, key: int, salt: int) -> int:
        """Bin of one difference of losses; `key` is its pair's PRF key."""
        uniform = uniforms(np.array([key], dtype=np.uint64), salt)
        return int(bins(np.array([difference]), uniform, self.lo, self.hi)[0])


def rule(_guard: Guard, context: Context) -> Rule:
    """The mean difference of losses."""
    return Labelled("", -1.0, 1.0, False, context.unit if context.kind is Kind.NUMBER else "")


def learns(_guard: Guard, kind: Kind) -> bool:
    """Errors of numbers count in live's interquartile ranges."""
    return kind in (Kind.NUMBER, Kind.TEXT)


def gap(_guard: Guard) -> str:
    """Why there is no figure yet."""
    return "no label counts yet: each counts once label_delay has passed since its request"


GUARDS = (
    GuardType(
        name="max_quality_drop",
        place=80,
        title="quality drop",
        about="Mean loss of quality against delayed outcomes.",
        question=Question.ACCURATE,
        unit=replace(NUMBER, number=share_in_percent, chart=lambda _guard: "percent"),
        rule=rule,
        effort=MEAN,
        kinds=EVERY - {Kind.VECTOR, Kind.CALLS, Kind.JSON},
        check=below_one,
        learns=learns,
        gap=gap,
        labelled=True,
        most=1.0,
    ),
)
