"""Keeps the promises of a rollout: weight rises only on a pass or by hand, rolled back means weight 0 until a new
version or a retry, each change is told once and in the right order, the same events give the same end, and `advance`
never raises."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.server import EventName
from proxy.model import BUCKETS, Assessment, Finding, Plan, State, Verdict
from proxy.rollout import machine as machine
from proxy.rollout.events import (
    Abort,
    Effects,
    Looked,
    Pause,
    Promote,
    Publish,
    Refuse,
    Reloaded,
    Removed,
    Restart,
    Restored,
    Resume,
    Retry,
    RolloutEvent,
    RolloutState,
    Save,
    Tripped,
    Unfinished,
    lowers_first,
)
from proxy.rollout.machine import advance, begin, share_of, unknown
from proxy.rollout.requirements import missing, needs, waiting_for
from tests.rollout.climbs import (
    CANARY3,
    CANARY5,
    CANARY25,
    CANARY50,
    CLIMB,
    FAIL,
    INCONCLUSIVE,
    PASS,
    PLAN,
    SHADOW,
    announced,
    looked,
    run,
)


def test_every_event_that_is_announced_can_be_subscribed_to_and_no_other() -> None:
    source = Path(machine.__file__).read_text("utf-8")
    named = {event for event in get_args(EventName) if event.startswith("rollout.")}
    assert set(re.findall(r'"(rollout\.[a-z_]+)"', source)) == named


# --- the climb -------------------------------------------------------------------------------------------------------


def test_a_candidate_that_always_passes_climbs_every_stage_and_is_promoted() -> None:
    seen = []
    rollout, _ = begin(PLAN, 0.0)
    for event in CLIMB:
        rollout, effects = advance(rollout, event, PLAN)
        seen.append((rollout.state, rollout.stage, rollout.weight))
        assert not lowers_first(effects)
    assert seen == [(State.CANARY, 1, 500), (State.CANARY, 2, 2500), (State.PROMOTED, 2, BUCKETS)]
    assert announced(run(CLIMB)[1]) == ["rollout.advanced", "rollout.advanced", "rollout.promoted"]


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (looked(100.0, pairs=99), "1 more pairs"),
        (looked(59.0), "1 s more time"),
        (looked(100.0, INCONCLUSIVE), "first findings"),
    ],
)
def test_a_stage_lacking_anything_is_not_left_and_says_what_it_lacks(event: Looked, word: str) -> None:
    rollout, told = run([event])
    assert (rollout.state, told[-1]) == (State.SHADOW, ())
    assert word in waiting_for(rollout, PLAN, event)


@pytest.mark.parametrize(("served", "state"), [(199, State.CANARY), (200, State.CANARY)])
def test_a_canary_stage_wants_its_share_of_pairs_answered_by_the_candidate(served: int, state: State) -> None:
    rollout, _ = run([looked(100.0), looked(200.0, served=served)])
    assert (rollout.state, rollout.stage) == (state, 1 if served < 200 else 2)


def test_the_share_wanted_of_the_candidate_is_at_most_min_pairs() -> None:
    at_25 = [*CLIMB[:2], looked(300.0, served=50)]
    assert run(at_25)[0].state is State.PROMOTED
    assert run([*CLIMB[:2], looked(300.0, served=49)])[0].state is State.CANARY


def test_the_forecast_is_part_of_the_sentence() -> None:
    finding = Finding(
        "max_disagreement", None, Verdict.INCONCLUSIVE, 0.01, 0.0, 0.02, 0.02, 0.1, 50, 340.0, "so far good"
    )
    look = looked(100.0, Assessment(Verdict.INCONCLUSIVE, (finding,)), pairs=50, rate=5.0)
    rollout, _ = begin(PLAN, 0.0)
    said = waiting_for(rollout, PLAN, look)
    assert said == "Waits for 50 more pairs (about 10 s at 5 pairs/s), a pass of max_disagreement (about 5.7 min)."


def guards(*verdicts: Verdict) -> Assessment:
    """An assessment of one guard for each verdict; it passes when all do."""
    found = tuple(Finding(f"g{n}", None, one, 0.0, 0.0, 0.0, 1.0, 0.0, 9, None, "") for n, one in enumerate(verdicts))
    return Assessment(Verdict.PASS if set(verdicts) == {Verdict.PASS} else Verdict.INCONCLUSIVE, found)


@pytest.mark.parametrize(
    "event",
    [
        looked(100.0, pairs=99),
        looked(59.0),
        looked(60.0),
        looked(100.0, guards(Verdict.PASS, Verdict.INCONCLUSIVE)),
        looked(100.0, guards(Verdict.PASS, Verdict.PASS)),
    ],
)
def test_what_a_stage_asks_for_is_all_there_exactly_when_the_sentence_misses_nothing(event: Looked) -> None:
    rollout, _ = begin(PLAN, 0.0)
    asked = needs(rollout, event, PLAN)
    assert all(need.have >= need.want for need in asked) is not bool(missing(rollout, event, PLAN))


def test_a_canary_stage_asks_for_pairs_of_the_candidate_too() -> None:
    rollout, _ = run([looked(100.0)])
    asked = {need.what: (need.have, need.want) for need in needs(rollout, looked(130.0, served=20), PLAN)}
    assert asked["candidate_pairs"][0] == 20
    assert set(asked) == {"pairs", "candidate_pairs", "seconds"}


def test_a_plan_that_starts_as_a_canary_enters_it_at_the_first_look_without_evidence() -> None:
    plan = replace(PLAN, stages=(CANARY5,))
    rollout, effects = begin(plan, 0.0)
    assert (rollout.state, rollout.weight) == (State.SHADOW, 0)
    rollout, effects = advance(rollout, looked(1.0, INCONCLUSIVE, pairs=0, served=0), plan)
    assert (rollout.state, rollout.weight, rollout.stage) == (State.CANARY, 500, 0)
    assert [type(e) for e in effects] == [Save, Publish]


# --- holding back ----------------------------------------------------------------------------------------------------


def test_hold_waits_for_a_person_is_told_once_and_promote_approves_it() -> None:
    plan = replace(PLAN, on_pass="hold")
    rollout, told = run([looked(100.0), looked(101.0), looked(102.0, INCONCLUSIVE), looked(103.0)], plan)
    assert (rollout.state, rollout.held) == (State.SHADOW, True)
    assert announced(told) == ["rollout.stalled"]
    assert "approval" in waiting_for(rollout, plan, None)
    rollout, _ = advance(rollout, Promote(104.0, "ann"), plan)
    assert (rollout.state, rollout.held) == (State.CANARY, False)


def test_paused_does_not_climb_but_falls() -> None:
    rollout, _ = run([Pause(1.0, "ann"), looked(100.0)])
    assert (rollout.state, rollout.paused) == (State.SHADOW, True)
    assert advance(rollout, looked(101.0, FAIL), PLAN)[0].state is State.ROLLED_BACK
    rollout, _ = advance(rollout, Resume(102.0, "ann"), PLAN)
    assert advance(rollout, looked(103.0), PLAN)[0].state is State.CANARY


def test_another_rollout_with_weight_blocks_the_climb_until_it_is_gone() -> None:
    rollout, told = run([looked(100.0, blocked_by="r/b")])
    assert (rollout.state, rollout.blocked_by, told[-1]) == (State.SHADOW, "r/b", ())
    assert isinstance(advance(rollout, Promote(101.0, "ann", blocked_by="r/b"), PLAN)[1][0], Refuse)
    rollout, _ = advance(rollout, looked(102.0), PLAN)
    assert (rollout.state, rollout.blocked_by) == (State.CANARY, None)


@pytest.mark.parametrize(("on_timeout", "state"), [("hold", State.CANARY), ("abort", State.ROLLED_BACK)])
def test_max_time_stalls_once_or_aborts(on_timeout: str, state: State) -> None:
    plan = replace(PLAN, stages=(SHADOW, replace(CANARY25, on_timeout=on_timeout)))
    late = 100.0 + 3600.0
    events = [looked(100.0), looked(late, INCONCLUSIVE), looked(late + 1, INCONCLUSIVE), looked(late + 2, INCONCLUSIVE)]
    rollout, told = run(events, plan)
    assert rollout.state is state
    assert len(announced(told)) == 2  # advanced, then once what happened


def test_a_stage_that_passes_after_its_time_waits_for_a_person_or_for_more_time() -> None:
    plan = replace(PLAN, stages=(SHADOW, CANARY25))
    late = 101.0 + 3600.0
    rollout, told = run([looked(100.0), looked(late, INCONCLUSIVE), looked(late + 1), looked(late + 2)], plan)
    assert (rollout.state, rollout.weight, rollout.held) == (State.CANARY, 2500, True)
    assert announced(told) == ["rollout.advanced", "rollout.stalled", "rollout.stalled"], "out of time, then passed"
    assert "approval" in waiting_for(rollout, plan, looked(late + 2))
    assert advance(rollout, Promote(late + 3, "ann"), plan)[0].state is State.PROMOTED
    longer = replace(plan, stages=(SHADOW, replace(CANARY25, max_time=7200.0)))
    rollout, _ = advance(rollout, Reloaded(late + 3, plan), longer)
    assert advance(rollout, looked(late + 4), longer)[0].state is State.PROMOTED


def test_little_traffic_is_never_a_failure() -> None:
    rollout, told = run([looked(float(10**9), INCONCLUSIVE, pairs=0, served=0)])
    assert (rollout.state, told[-1]) == (State.SHADOW, ())


# --- the falls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("event", [looked(400.0, FAIL), Tripped(400.0, 20), Abort(400.0, "ann", "smells")])
def test_every_way_down_publishes_before_it_saves_and_ends_at_weight_0(steps: int, event: RolloutEvent) -> None:
    rollout, told = run([*CLIMB[:steps], event])
    assert (rollout.state, rollout.weight) == (State.ROLLED_BACK, 0)
    assert share_of(rollout, PLAN) == 0
    assert lowers_first(told[-1])
    assert announced(told[-1:]) == ["rollout.rolled_back"]


def test_the_reason_of_a_failure_is_that_of_the_guards_named_as_its_cause() -> None:
    def finding(guard: str, verdict: Verdict) -> Finding:
        return Finding(guard, None, verdict, None, None, None, 0.0, 0.0, 0, None, f"{guard} says so")

    findings = (finding("a", Verdict.INCONCLUSIVE), finding("b", Verdict.FAIL))
    rollout, _ = run([looked(1.0, Assessment(Verdict.FAIL, findings, causes=("b",)))])
    assert (rollout.cause, rollout.reason) == ("fail", "b says so")


def test_rolled_back_refuses_everything_but_a_retry_and_says_what_is_possible() -> None:
    rollout, _ = run([Abort(1.0, "ann")])
    for event in (Promote(2.0, "ann"), Promote(2.0, "ann", full=True), Abort(2.0, "a"), Pause(2.0, "a")):
        after, effects = advance(rollout, event, PLAN)
        assert after == rollout
        assert isinstance(effects[0], Refuse)
        assert "retry" in effects[0].reason
        assert f"`understudy restart {PLAN.name}` begins a new trial" in effects[0].reason


def test_retry_keeps_to_the_foot_of_the_plan_and_is_refused_while_the_evidence_says_fail() -> None:
    rollout, _ = run([*CLIMB[:1], Abort(150.0, "ann")])
    after, effects = advance(rollout, Retry(200.0, "ann", FAIL), PLAN)
    assert after == rollout
    assert isinstance(effects[0], Refuse)
    after, effects = advance(rollout, Retry(200.0, "ann", INCONCLUSIVE), PLAN)
    assert (after.state, after.stage, after.weight, after.trial) == (State.SHADOW, 0, 0, rollout.trial)
    assert after.entry > rollout.entry


def test_a_restart_begins_a_new_trial_at_the_foot_and_only_of_what_was_rolled_back() -> None:
    anew = replace(PLAN, again=1)
    for events in ([], CLIMB[:1], CLIMB):
        running, _ = run(events)
        after, effects = advance(running, Restart(900.0, "ann"), anew)
        assert (after, type(effects[0])) == (running, Refuse)
    rollout, _ = run([*CLIMB[:1], Abort(150.0, "ann", "tickets")])
    after, effects = advance(rollout, Restart(200.0, "ann", "too strict"), anew)
    assert (after.state, after.stage, after.weight, after.entry, after.reason, after.ended_in) == (
        State.SHADOW, 0, 0, 0, "", "",
    )  # fmt: skip
    assert (after.trial, after.change) == (f"{rollout.trial}|again 1", rollout.change + 1)
    assert effects == (Save("restarted", "too strict", "ann", "rollout.began"), Publish())


def test_an_end_says_when_and_in_which_stage() -> None:
    for events, stage in (([], "shadow"), (CLIMB[:1], "canary-5"), (CLIMB, "promoted")):
        rollout, _ = run([*events, Abort(900.0, "ann")])
        assert (rollout.ended_at, rollout.since, rollout.ended_in) == (900.0, 900.0, stage)


def test_a_promoted_candidate_is_watched_and_can_still_be_rolled_back() -> None:
    promoted, _ = run(CLIMB)
    assert advance(promoted, looked(400.0, INCONCLUSIVE), PLAN) == (promoted, ())
    assert advance(promoted, looked(400.0, FAIL), PLAN)[0].weight == 0


def test_what_is_not_known_is_rolled_back_and_announced_until_somebody_retries_it() -> None:
    rollout, effects = unknown(PLAN, 1.0, "the file is gone")
    assert (rollout.state, rollout.weight, rollout.cause) == (State.ROLLED_BACK, 0, "lost")
    assert "the file is gone" in rollout.reason
    assert announced([effects]) == ["rollout.rolled_back"]
    again, _ = advance(rollout, Retry(2.0, "ann", INCONCLUSIVE), PLAN)
    assert (again.state, again.weight) == (State.SHADOW, 0)


def test_a_roll_back_cut_short_by_a_crash_is_completed() -> None:
    rollout, told = run([*CLIMB[:1], Unfinished(150.0)])
    assert (rollout.state, rollout.cause) == (State.ROLLED_BACK, "unfinished")
    assert announced(told[-1:]) == ["rollout.rolled_back"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.CANARY])
def test_nothing_is_restored_but_a_canary(state: State) -> None:
    rollout = replace(run(CLIMB[:1])[0], state=state)
    assert advance(rollout, Restored(150.0), PLAN) == (rollout, ())


def test_weight_taken_away_for_want_of_a_controller_is_restored_and_journaled_not_announced() -> None:
    rollout, told = run([*CLIMB[:1], Restored(150.0)])
    assert (rollout.state, rollout.weight) == (State.CANARY, 500)
    assert [e.kind for e in told[-1] if isinstance(e, Save)] == ["restored"]
    assert announced(told[-1:]) == []


# --- promises over every order of events -----------------------------------------------------------------------------

stages = st.sampled_from([(SHADOW, CANARY5, CANARY25), (CANARY5,), (SHADOW,), (SHADOW, CANARY3, CANARY50), (CANARY25,)])
plans = st.builds(
    lambda s, v, p: replace(PLAN, stages=s, version=v, on_pass=p),
    stages,
    st.sampled_from(["1", "2"]),
    st.sampled_from(["advance", "hold"]),
)
assessments = st.sampled_from([PASS, FAIL, INCONCLUSIVE])
times = st.floats(-1e9, 1e12)
counts = st.integers(0, 5000)
blockers = st.sampled_from([None, None, "r/b"])
actors = st.just("ann")
events: st.SearchStrategy[RolloutEvent] = st.one_of(
    st.builds(Looked, times, st.sampled_from([PASS, PASS, INCONCLUSIVE, FAIL]), counts, counts, blockers),
    st.builds(Tripped, times, counts),
    st.builds(Unfinished, times),
    st.builds(Restored, times),
    st.builds(Promote, times, actors, full=st.booleans(), blocked_by=blockers),
    st.builds(Abort, times, actors),
    st.builds(Pause, times, actors),
    st.builds(Resume, times, actors),
    st.builds(Retry, times, actors, assessments),
    st.builds(Removed, times, st.booleans()),
)
steps = st.lists(st.one_of(events, plans), max_size=40)


@given(plans, steps)
def test_the_promises_hold_in_every_order_of_events(plan: Plan, todo: list[RolloutEvent | Plan]) -> None:
    rollout, _ = begin(plan, 0.0)
    for step in todo:
        event = Reloaded(0.0, plan) if isinstance(step, Plan) else step
        plan = step if isinstance(step, Plan) else plan
        after, effects = advance(rollout, event, plan)
        assert advance(rollout, event, plan) == (after, effects)
        check_step(rollout, event, after, effects, plan)
        rollout = after


def check_step(before: RolloutState, event: RolloutEvent, after: RolloutState, effects: Effects, plan: Plan) -> None:
    saves = [e for e in effects if isinstance(e, Save)]
    assert len(saves) <= 1
    assert after.change == before.change + len(saves)
    if after.weight > before.weight:
        by_hand = isinstance(event, Promote)
        passed = isinstance(event, Looked) and event.assessment.verdict is Verdict.PASS
        foot = before.state is State.SHADOW and after.stage == 0 and plan.stages[0].kind is State.CANARY
        first = isinstance(event, Looked) and foot and event.assessment.verdict is not Verdict.FAIL
        assert by_hand or passed or first
        assert [type(e) for e in effects] == [Save, Publish]
        assert before.weight > 0 or not getattr(event, "blocked_by", None)
    if after.weight < before.weight:
        assert [type(e) for e in effects] == [Publish, Save]
    if (after.weight, after.state, share_of(after, plan), after.entry) != (
        before.weight, before.state, share_of(before, plan), before.entry,
    ) and not isinstance(event, Reloaded):  # fmt: skip
        assert Publish() in effects
    if before.state is State.ROLLED_BACK and after.state is not State.ROLLED_BACK:
        assert isinstance(event, Retry | Reloaded)
    if after.state in (State.ROLLED_BACK, State.COMPLETED, State.SHADOW):
        assert after.weight == 0
    assert not after.paused or after.state in (State.SHADOW, State.CANARY), "nothing is left to pause"
    if after.trial == before.trial:
        assert after.entry >= before.entry
    if saves and saves[0].announce == "rollout.rolled_back":
        assert before.state is not State.ROLLED_BACK
    if (Refuse in map(type, effects)) or not effects:
        assert replace(after, blocked_by=None) == replace(before, blocked_by=None)
    assert waiting_for(after, plan, event if isinstance(event, Looked) else None).endswith(".")
