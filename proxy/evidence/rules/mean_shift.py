"""`max_mean_shift`: are predictions higher or lower on average?

A mean within the range of the kind: a score's own, ±1 for probabilities, ±8 interquartile ranges for numbers and
lengths of text. For vectors that of random projections, where the owner wrote the kind down: a width may not change in
mid-trial.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.evidence.families.effort import BOTH_WAYS, MEAN, scaled
from proxy.evidence.families.guard import COUNTED, GuardType, Question
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.projections import Projections
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import NUMBER
from proxy.evidence.input.measures import CLIP
from proxy.model import Guard, Kind


def rule(_guard: Guard, context: Context) -> Rule:
    """The mean difference of a pair, in the unit of its kind."""
    if context.spec.kind is Kind.VECTOR:
        return Projections()
    bounded = {Kind.SCORE: context.span, Kind.PROBABILITIES: 1.0}
    reach = bounded.get(context.kind, CLIP)
    return Mean("shift", -reach, reach, two_sided=True, unit="" if context.kind in bounded else context.unit)


def learns(_guard: Guard, kind: Kind) -> bool:
    """Numbers and lengths have no range of their own."""
    return kind in (Kind.NUMBER, Kind.TEXT)


GUARDS = (
    GuardType(
        name="max_mean_shift",
        place=20,
        title="mean shift",
        about="Mean difference, candidate minus live, either way; of vectors that of random projections.",
        question=Question.ACCURATE,
        unit=NUMBER,
        rule=rule,
        effort=replace(MEAN, reach=scaled),
        kinds=COUNTED | {Kind.VECTOR},
        compares=True,
        learns=learns,
        scale=BOTH_WAYS,
        generous=lambda kind: Guard("max_mean_shift", 4.0 if kind is Kind.NUMBER else 0.5),
    ),
)
