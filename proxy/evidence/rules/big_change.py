"""`max_big_change`: how many answers change by more than a tolerance.

A rate (`families.rate`) of pairs that are farther apart than the tolerance, in the prediction's own unit or in live's
interquartile ranges.
"""

from __future__ import annotations

from proxy.evidence.families.effort import SHARE as SHARE_EFFORT
from proxy.evidence.families.guard import EVERY, GuardType, LimitProblem, Question, below_one
from proxy.evidence.families.rate import Rate
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import SHARE_BEYOND
from proxy.model import Guard, Kind

RANGED = frozenset({Kind.AUTO, Kind.SCORE, Kind.NUMBER})
"""Kinds with an interquartile range."""


def rule(guard: Guard, context: Context) -> Rule:
    """How many pairs are farther apart than the tolerance."""
    if guard.relative:
        return Rate("jump_iqr", guard.tolerance, context.unit)
    return Rate("jump", guard.tolerance)


def fits(guard: Guard, kind: Kind) -> bool:
    """Whether this kind has the unit of the tolerance."""
    return not guard.relative or kind in RANGED


def check(guard: Guard, kind: Kind) -> LimitProblem | None:
    """A tolerance in a unit that the kind does not have, or a rate that can never fail."""
    if not fits(guard, kind):
        said = f"predictions of kind `{kind}` have no interquartile range"
        return LimitProblem(said, "a number from 0 to 1: their distance", "tolerance")
    return below_one(guard, kind)


def generous(kind: Kind) -> Guard | None:
    """A tolerance that means something for the kind; where changes have no size of their own there is none."""
    if kind in (Kind.LABEL, Kind.RANKING, Kind.TEXT, Kind.CALLS, Kind.JSON, Kind.AUTO):
        return None
    return Guard("max_big_change", 0.5, kind is Kind.NUMBER, 1.0 if kind is Kind.NUMBER else 0.1)


GUARDS = (
    GuardType(
        name="max_big_change",
        place=50,
        title="big changes",
        about="Share of pairs that differ by more than a tolerance.",
        question=Question.ACCURATE,
        unit=SHARE_BEYOND,
        rule=rule,
        effort=SHARE_EFFORT,
        kinds=EVERY,
        compares=True,
        check=check,
        fits=fits,
        learns=lambda guard, _kind: guard.relative,
        least=0.002,
        most=1.0,
        generous=generous,
    ),
)
