"""Whether more pairs are needed at all: a stage whose guards have all passed waits for time or a person, and a promoted
candidate is watched. Then fewer requests become pairs (`mirror.idle_pairs_per_second`).

Invariant: it depends on verdicts that were reached before, and on nothing of a request. So which requests are pairs
stays a draw by the hash of their id, and every e-process what it is: a bet on each pair that comes, fair given what
came before, whoever decided how many come.
"""

from __future__ import annotations

from proxy.model import Plan, State, Verdict
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
    if look is None or rollout.state not in (State.SHADOW, State.CANARY) or look.assessment.verdict is not Verdict.PASS:
        return ""
    lacking = [need for need in needs(rollout, look, plan) if need.have < need.want and need.what != "seconds"]
    return "" if lacking else "every guard has passed"
