"""Promise: a rollout that nobody asks costs next to nothing; what is seen and decided of it is what it would be if it
were looked at every time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config import Mirror
from proxy.controller.at_work import RolloutsAtWork
from proxy.controller.exposure_log import ExposureLog
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.sampling import SampleBudget
from proxy.evidence import Evidence
from proxy.model import Guard, Ledger, Stage, State
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import advance, begin
from proxy.rollout.pair_budget import PairPace
from tests.controller.test_rollout_run import PLAN, make, pair
from tests.controller.worker import answer

WAITING = replace(PLAN, stages=(Stage(State.SHADOW, 100.0, min_pairs=9, min_time=5.0),), ready_within=3.0)
BEGAN = 1000.0
USERS = Guard("max_outcome_drop", 0.1, True, outcome="c", within=60.0)


def see(run: RolloutRun, now: float, blocked_by: str | None = None) -> None:
    """As the controller looks at a rollout."""
    run.rollout, effects = advance(run.rollout, run.look(now, blocked_by), run.plan)
    if not effects:
        run.rest(now, decides=True)


class NeverAsked:
    """Evidence that must not be looked at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of the evidence was asked for")


def resting() -> RolloutRun:
    run = make(WAITING)
    see(run, BEGAN)
    return run


def test_an_idle_rollout_costs_no_look_at_its_evidence() -> None:
    run = resting()
    run.evidence = NeverAsked()  # type: ignore[assignment]
    for tick in range(15):
        assert run.rests(BEGAN + tick / 4, None)
        assert run.looked is not None
        assert run.looked.now == BEGAN + tick / 4
        ledger = run.ledger
        assert run.afford(tick / 4, PairPace()) is False
        assert run.ledger is ledger
    assert not run.rests(BEGAN + 5.0, None), "its time in the stage is over"


def a_pair(run: RolloutRun) -> None:
    run.take(pair(0, answer(0)))


def a_report(run: RolloutRun) -> None:
    run.counts("w", {"sampled": 3, "shed": 3})


def readiness(run: RolloutRun) -> None:
    run.readiness("w", False)


def a_decision(run: RolloutRun) -> None:
    run.rollout = replace(run.rollout, paused=True)


def a_plan(run: RolloutRun) -> None:
    run.adopt(replace(run.plan, on_pass="hold"))


def a_lane(run: RolloutRun) -> None:
    run.lane = replace(run.lane, weight=500)


def another_trial(run: RolloutRun) -> None:
    run.renew(run.plan, {})


@pytest.mark.parametrize("happens", [a_pair, a_report, readiness, a_decision, a_plan, a_lane, another_trial])
def test_whatever_may_be_seen_ends_the_rest(happens: Any) -> None:
    run = resting()
    assert run.rests(BEGAN + 1.0, None)
    happens(run)
    assert not run.rests(BEGAN + 1.25, None)


def test_another_blocker_a_clock_put_back_and_a_controller_that_may_not_decide_end_it() -> None:
    run = resting()
    assert not run.rests(BEGAN + 1.0, "r/other")
    assert not run.rests(BEGAN - 1.0, None)
    run.rest(BEGAN, decides=False)
    assert not run.rests(BEGAN, None)


def test_after_a_clock_is_put_back_the_last_look_is_the_last() -> None:
    run = resting()
    assert run.rests(BEGAN + 4.0, None)
    assert run.look(BEGAN - 5.0, None) is run.looked


def test_one_whose_users_were_taken_up_while_it_rested_rests_no_more() -> None:
    """The store may not have said who they are when it was looked at first. Of a sample ratio mismatch looks alone
    tell."""
    run = resting()
    run.exposures = ExposureLog(run.plan, USERS, bytes(16))
    assert not run.rests(BEGAN + 1.0, None)


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0, 1, 5]),  # pairs that come
        st.sampled_from([None, None, None, None, True, False]),  # what a health check says
        st.sampled_from([None, None, None, "r/b"]),  # who blocks it
        st.sampled_from([0.25, 0.25, 1.0, 40.0, 1000.0]),  # seconds that pass
    ),
    max_size=30,
)


IDLE = (0, None, None, 0.25)


@given(steps)
@example([IDLE, IDLE, (5, None, None, 0.25), IDLE])
@example([(0, False, None, 0.25), IDLE, IDLE, (0, None, None, 40.0)])
def test_what_is_seen_and_decided_is_the_same_as_if_it_were_looked_at_every_time(todo: Any) -> None:
    always, seldom = (
        RolloutRun(WAITING, begin(WAITING, BEGAN)[0], Evidence.begin(WAITING, 7), PairLedger()) for _ in range(2)
    )
    now, number = BEGAN, 0
    for pairs, ready, blocker, passed in todo:
        for run in (always, seldom):
            for n in range(pairs):
                run.take(pair(number + n, answer(0)))
            if ready is not None:
                run.readiness("w", ready)
        number, now = number + pairs, now + passed
        always.flush()
        see(always, now, blocker)
        if not seldom.rests(now, blocker):
            seldom.flush()
            see(seldom, now, blocker)
        assert (seldom.looked, seldom.rollout) == (always.looked, always.rollout)
        assert seldom.charts.dump() == always.charts.dump()


limits = st.sampled_from([{}, {"idle_pairs_per_second": "all"}, {"max_pairs_per_second": 5},
                          {"max_pairs_per_second": "auto"}, {"max_tokens_per_minute": 1000}])  # fmt: skip
turns = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0, 3, 50]),  # requests sampled
        st.sampled_from(["", "", "every guard has passed"]),
        st.sampled_from([1.0, 1.0, 0.5]),  # the common pace
        st.sampled_from([0.25, 0.3, 7.0]),
    ),
    max_size=40,
)


@given(limits, turns)
@example(
    {"max_pairs_per_second": 5, "idle_pairs_per_second": "all"},
    [(50, "", 1.0, 0.25), (50, "", 1.0, 0.25), *[(0, "", 1.0, 7.0)] * 9],
)
@example({}, [(50, "every guard has passed", 1.0, 0.25)] * 9 + [(0, "every guard has passed", 1.0, 7.0)] * 9)
def test_a_budget_that_rests_affords_what_it_would_if_it_were_turned_every_time(mirror: Any, todo: Any) -> None:
    always, seldom = SampleBudget(), SampleBudget()
    for budget in (always, seldom):
        budget.follow(Mirror.model_validate(mirror))
    ledger, now = Ledger(sampled=0), 10.0
    for sampled, idle, share, passed in todo:
        ledger = replace(ledger, sampled=ledger.sampled + sampled) if sampled else ledger
        now, auto = now + passed, PairPace(share=share, at=now)
        told = always.turn(now, ledger, auto, idle)
        rests = seldom.rests(now, auto, ledger, idle)
        assert told is (False if rests else seldom.turn(now, ledger, auto, idle, ledger, idle))
        assert (seldom.affords, seldom.idle, seldom.told_pairs) == (always.affords, always.idle, always.told_pairs)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("rst"), st.booleans()), max_size=30))
def test_rollouts_are_found_by_their_route(todo: Any) -> None:
    known, made = RolloutsAtWork(), dict[str, RolloutRun]()
    for candidate, route, stays in todo:
        name = f"{route}/{candidate}"
        if name in known and not stays:
            del known[name]
        else:
            plan = replace(PLAN, name=name, route=route, candidate=candidate)
            known[name] = made.setdefault(name, make(plan)) if candidate in "ab" else make(plan)
        for asked in "rst":
            assert set(known.of_route(asked)) == {one for one in known.values() if one.plan.route == asked}
