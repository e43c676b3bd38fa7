"""`max_disagreement`: how often the two decide differently.

A rate (`families.rate`); with a noise floor the mean of how much more often than live with itself (`families.mean`).
"""

from __future__ import annotations

from proxy.evidence.families.effort import SHARE as SHARE_EFFORT
from proxy.evidence.families.guard import EVERY, GuardType, Question, below_one
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.rate import Rate
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import SHARE
from proxy.model import Guard, Kind


def rule(_guard: Guard, context: Context) -> Rule:
    """How often the two differ, or how much more often than live with itself."""
    return Mean("excess_differs", -1.0, 1.0, two_sided=False) if context.noise_floor else Rate("differs")


GUARDS = (
    GuardType(
        name="max_disagreement",
        place=10,
        title="disagreement",
        about="Share of pairs whose label (top class, text) differs; beyond live's own noise under "
        "`mirror.noise_floor`.",
        question=Question.ACCURATE,
        unit=SHARE,
        rule=rule,
        effort=SHARE_EFFORT,
        kinds=EVERY - {Kind.NUMBER, Kind.VECTOR},
        compares=True,
        check=below_one,
        noise_floor=True,
        least=0.002,
        most=1.0,
        generous=lambda _kind: Guard("max_disagreement", 0.5),
    ),
)
