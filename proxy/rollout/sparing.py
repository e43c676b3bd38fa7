"""Whether more pairs are needed at all: a stage whose guards have all passed, but for one on users, waits for time,
users or a person, and a promoted candidate is watched. Then fewer requests become pairs
(`mirror.idle_pairs_per_second`).

Invariant: it depends on verdicts that were reached before, and on nothing of a request. So which requests are pairs
stays a draw by the hash of their id, and every e-process what it is: a bet on each pair that comes, fair given what
came before, whoever decided how many come.
"""

from __future__ import annotations

from proxy.evidence.rules.registry import GUARDS
from proxy.model import Assessment, Plan, State, Verdict
from proxy.rollout.events import Looked, RolloutState
from proxy.rollout.requirements import needs


def enough_pairs(rollout: RolloutState, look: Looked | None, plan: Plan) -> str:
    """Why no guard needs more pairs now, as words; empty when one may.

    >>> from proxy.model import Stage
    >>> plan = Plan("r/c", "r", "l", "c", "1", (Stage(State.SHADOW, 100.0),), ())
    >>> state = RolloutState("r/c", "t", 0.0, State.PROMOTED)
    >>> enough_pairs(state, None, plan)
    'promoted, and watched'
    """
    if rollout.state is State.PROMOTED:
        return "promoted, and watched"
    if look is None or rollout.state not in (State.SHADOW, State.CANARY):
        return ""
    users_alone = _waits_for_users(look.assessment)
    if look.assessment.verdict is not Verdict.PASS and not users_alone:
        return ""
    spared = {"seconds", "sample_ratio", *(["guards"] if users_alone else [])}
    if any(need.have < need.want and need.what not in spared for need in needs(rollout, look, plan)):
        return ""
    return "every guard on pairs has passed" if users_alone else "every guard has passed"


def _waits_for_users(assessment: Assessment) -> bool:
    """Whether what has not passed counts users alone, who need no pairs."""
    waiting = [one for one in assessment.findings if one.segment is None and one.verdict is not Verdict.PASS]
    return bool(waiting) and all(one.guard in GUARDS and GUARDS[one.guard].by_users for one in waiting)
