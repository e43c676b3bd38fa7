"""Promise: with the two-person rule no single person promotes a candidate to 100 %; two do, in time; evidence needs
nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import State
from proxy.rollout.events import Abort, Promote, Refuse, RolloutState, Save
from proxy.rollout.machine import advance, begin
from tests.rollout.climbs import PASS, PLAN, announced, looked

WITHIN = 3600.0
START = begin(PLAN, 0.0)[0]


def in_last_stage() -> RolloutState:
    rollout = START
    while rollout.stage < len(PLAN.stages) - 1:
        rollout, _ = advance(rollout, Promote(1.0, "token:ada", "next"), PLAN)
    return rollout


def full(now: float, actor: str, reason: str = "sure", within: float | None = WITHIN) -> Promote:
    return Promote(now, actor, reason, True, confirm_within=within)


def test_the_first_asks_and_another_confirms() -> None:
    one, effects = advance(START, full(10.0, "token:ada"), PLAN)
    assert (one.state, one.weight, one.asked_by, one.asked_until) == (State.SHADOW, 0, "token:ada", 10.0 + WITHIN)
    [save] = effects
    assert isinstance(save, Save)
    assert (save.kind, save.actor, announced([effects])) == ("asked", "token:ada", ["rollout.stalled"])
    two, effects = advance(one, full(20.0, "oidc:bob"), PLAN)
    assert (two.state, two.asked_by) == (State.PROMOTED, "")
    save = next(one for one in effects if isinstance(one, Save))
    assert save.actor == "oidc:bob"
    assert save.reason == "sure; asked for by token:ada, confirmed by oidc:bob"


def test_the_same_person_is_refused_with_the_reason() -> None:
    one, _ = advance(START, full(10.0, "token:ada"), PLAN)
    again, effects = advance(one, full(20.0, "token:ada"), PLAN)
    assert again == one
    [refusal] = effects
    assert isinstance(refusal, Refuse)
    assert refusal.reason.startswith("token:ada has asked for this already: another person has to confirm it until 19")


def test_a_person_under_another_name_is_the_same_person() -> None:
    one, _ = advance(START, replace(full(10.0, "oidc:ada@bank (u1)"), person="oidc:i u1"), PLAN)
    again, effects = advance(one, replace(full(20.0, "oidc:bob@bank (u1)"), person="oidc:i u1"), PLAN)
    assert again == one
    assert isinstance(effects[0], Refuse)
    two, _ = advance(one, replace(full(20.0, "oidc:ada@bank (u1)"), person="oidc:i u2"), PLAN)
    assert (two.state, two.asked_as) == (State.PROMOTED, "")


def test_after_the_time_it_is_asked_for_anew() -> None:
    one, _ = advance(START, full(10.0, "token:ada"), PLAN)
    late, _ = advance(one, full(11.0 + WITHIN, "oidc:bob"), PLAN)
    assert (late.state, late.asked_by) == (State.SHADOW, "oidc:bob")
    done, _ = advance(late, full(12.0 + WITHIN, "token:ada"), PLAN)
    assert done.state is State.PROMOTED


def test_the_last_stage_is_left_by_hand_by_two_only_and_others_by_one() -> None:
    step = Promote(10.0, "token:ada", "next", confirm_within=WITHIN)
    assert advance(START, step, PLAN)[0].state is State.CANARY
    last, _ = advance(in_last_stage(), step, PLAN)
    assert (last.state, last.asked_by) == (State.CANARY, "token:ada")


def test_a_rollback_forgets_who_asked() -> None:
    one, _ = advance(START, full(10.0, "token:ada"), PLAN)
    back, _ = advance(one, Abort(11.0, "oidc:eve", "no"), PLAN)
    assert (back.state, back.asked_by) == (State.ROLLED_BACK, "")


def test_evidence_promotes_without_anybody() -> None:
    one, _ = advance(in_last_stage(), full(10.0, "token:ada"), PLAN)
    done, _ = advance(one, looked(1e6, PASS), PLAN)
    assert (done.state, done.asked_by) == (State.PROMOTED, "")


def test_without_the_rule_one_is_enough() -> None:
    assert advance(START, full(10.0, "token:ada", within=None), PLAN)[0].state is State.PROMOTED


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 3), st.booleans()), max_size=12))
def test_nobody_alone_reaches_100_percent(steps: list[tuple[str, float, bool]]) -> None:
    """Whatever is asked for, in whatever order: who promoted is another one than who had asked, not too long before."""
    rollout, now, asked = START, 10.0, ("", 0.0)
    for actor, wait, whole in steps:
        now += wait
        event = replace(full(now, actor, within=2.0), full=whole)
        before: RolloutState = rollout
        rollout, _ = advance(rollout, event, PLAN)
        if rollout.state is State.PROMOTED and before.state is not State.PROMOTED:
            assert asked[0]
            assert asked[0] != actor
            assert now - asked[1] <= 2.0 + 1e-9
        if rollout.asked_by != before.asked_by or rollout.asked_until != before.asked_until:
            asked = (actor, now)


@pytest.mark.parametrize("field", ["asked_by", "asked_until", "asked_as"])
def test_a_state_from_before_the_rule_is_read(field: str) -> None:
    assert getattr(RolloutState("r/c", "t", 0.0), field) in ("", 0.0)
