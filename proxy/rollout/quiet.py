"""Until when a rollout stands still: how long a look at the same evidence would decide nothing.

Hundreds of rollouts that nobody asks are looked at four times a second. Of the machine's rules only three ask for the
time; so whoever knows that nothing else has changed need not ask all of them.
"""

from __future__ import annotations

from math import inf

from proxy.model import Plan
from proxy.rollout.events import RolloutState
from proxy.rollout.requirements import stage_of

EARLY = 0.001
"""Seconds before and after a moment in which it is not relied on: sums of epoch seconds are rounded."""


def quiet_until(rollout: RolloutState, plan: Plan, now: float) -> float:
    """Epoch seconds up to which a look decides nothing, where one at `now` has decided nothing and only its time is
    another. It is `now` where a moment is too near to tell.

    >>> from proxy.model import Stage, State
    >>> plan = Plan("r/c", "r", "l", "c", "1", (Stage(State.SHADOW, 100.0, min_time=60.0),), ())
    >>> state = RolloutState("r/c", "t", 0.0, entered_at=1000.0)
    >>> quiet_until(state, plan, 1010.0), quiet_until(state, plan, 1060.0), quiet_until(state, plan, 1070.0)
    (1059.999, 1060.0, inf)
    """
    if rollout.over:
        return inf
    if rollout.unready_since:  # the stage's clock stands still
        moments = [] if plan.ready_within is None else [rollout.unready_since + plan.ready_within]
    else:
        stage, began = stage_of(rollout, plan), rollout.entered_at + rollout.waited
        moments = [began + stage.min_time]
        if stage.max_time is not None:
            moments.append(began + stage.max_time)
    first = min((moment for moment in moments if moment > now - EARLY), default=inf)
    return max(now, first - EARLY)
