"""`max_spread_change`: do predictions scatter more, or less, than live's?

A mean (`families.mean`) of the distance from live's median, in live's interquartile ranges.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.evidence.families.effort import BOTH_WAYS, LEARNED, MEAN
from proxy.evidence.families.guard import COUNTED, GuardType, Question, always
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import NUMBER
from proxy.evidence.input.measures import CLIP
from proxy.model import Guard


def rule(_guard: Guard, context: Context) -> Rule:
    """The mean change of the distance from live's median."""
    return Mean("spread", -CLIP, CLIP, two_sided=True, unit=context.unit)


GUARDS = (
    GuardType(
        name="max_spread_change",
        place=60,
        title="change of spread",
        about="Change of the mean distance from live's median, in live's interquartile ranges.",
        question=Question.ACCURATE,
        unit=NUMBER,
        rule=rule,
        effort=replace(MEAN, reach=lambda _kind: CLIP, learned=LEARNED),
        kinds=COUNTED,
        compares=True,
        learns=always,
        scale=BOTH_WAYS,
        generous=lambda _kind: Guard("max_spread_change", 4.0),
    ),
)
