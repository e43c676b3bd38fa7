"""Promise: as long as a rollout is said to stand still, a look that sees nothing but another time decides nothing."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nextafter

from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.model import Plan, Stage, State
from proxy.rollout.events import Looked, RolloutState
from proxy.rollout.machine import advance
from proxy.rollout.quiet import EARLY, quiet_until
from tests.rollout.climbs import FAIL, INCONCLUSIVE, PASS, PLAN

EPOCH = 1.8e9
moments = st.floats(EPOCH, EPOCH + 300.0)
stages = st.tuples(
    st.builds(
        lambda least, most, timeout: Stage(
            State.SHADOW, 100.0, min_pairs=100, min_time=least, max_time=most, on_timeout=timeout
        ),
        st.floats(0.0, 100.0),
        st.none() | st.floats(1.0, 200.0),
        st.sampled_from(["hold", "abort"]),
    ),
    st.builds(lambda least: Stage(State.CANARY, 5.0, min_pairs=100, min_time=least), st.floats(0.0, 100.0)),
)
plans = st.builds(
    lambda s, p, r: replace(PLAN, stages=s, on_pass=p, ready_within=r),
    stages,
    st.sampled_from(["advance", "hold"]),
    st.none() | st.floats(1.0, 100.0),
)
states = st.builds(
    lambda **fields: RolloutState("r/c", "t", EPOCH, **fields),
    state=st.sampled_from([State.SHADOW, State.CANARY, State.PROMOTED, State.ROLLED_BACK]),
    stage=st.integers(0, 1),
    weight=st.sampled_from([0, 500]),
    entered_at=moments,
    waited=st.floats(0.0, 20.0),
    unready_since=st.just(0.0) | moments,
    paused=st.booleans(),
    held=st.booleans(),
    stalled=st.booleans(),
)
looks = st.builds(
    Looked,
    moments,
    st.sampled_from([PASS, PASS, INCONCLUSIVE, FAIL]),
    st.sampled_from([0, 5000]),
    st.sampled_from([0, 500]),
    st.sampled_from([None, "r/b"]),
    ready=st.sampled_from([None, True, False]),
    srm=st.sampled_from(["", "a mismatch"]),
)


@given(states, looks, plans, st.floats(0.0, 400.0) | st.just(inf))
def test_a_look_at_another_time_decides_nothing_while_it_is_quiet(
    state: RolloutState, look: Looked, plan: Plan, wait: float
) -> None:
    after, effects = advance(state, look, plan)
    assume(not effects)
    until = quiet_until(after, plan, look.now)
    later = min(look.now + wait, nextafter(until, 0.0), EPOCH + 1e6)
    assume(later >= look.now)
    assert advance(after, replace(look, now=later), plan) == (after, ())


def test_a_candidate_that_is_not_ready_is_not_waited_for_longer_than_said() -> None:
    plan = replace(PLAN, ready_within=30.0)
    state = RolloutState("r/c", "t", EPOCH, entered_at=EPOCH, unready_since=EPOCH + 5.0)
    assert quiet_until(state, plan, EPOCH + 6.0) == EPOCH + 35.0 - EARLY
    assert quiet_until(state, replace(plan, ready_within=None), EPOCH + 6.0) == inf


@given(states, plans, moments)
def test_no_moment_ends_it_but_those_that_come(state: RolloutState, plan: Plan, now: float) -> None:
    """Of three moments at most; after the last of them it is quiet for ever."""
    ends = 0
    while (until := quiet_until(state, plan, now)) < inf:
        now, ends = max(until, now) + 0.01, ends + 1
        assert ends <= 3
