"""Promise: a candidate whose health check says that it is not ready is waited for: nothing climbs and no clock runs,
for as long as the owner allows; then it ends as `stalled`. What it was waited for is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.model import State
from proxy.rollout.events import Effects, Looked, Promote, Publish, Retry, RolloutState, Save
from proxy.rollout.machine import advance, begin
from proxy.rollout.requirements import Need, missing, needs, waiting_for
from tests.rollout.climbs import FAIL, INCONCLUSIVE, PASS, PLAN, announced, looked, run

WAITS = replace(PLAN, ready_within=600.0)


def kinds(told: list[Effects]) -> list[str]:
    return [effect.kind for effects in told for effect in effects if isinstance(effect, Save)]


def at(now: float, ready: bool | None) -> Looked:
    return looked(now, ready=ready)


def test_it_climbs_when_it_is_ready_and_not_before() -> None:
    rollout, told = run([at(100.0, False), at(200.0, False), at(250.0, True), at(320.0, True)], WAITS)
    assert kinds(told) == ["began", "not_ready", "ready", "advanced"]
    assert rollout.state is State.CANARY
    assert "2.5 min" in told[3][0].reason  # type: ignore[union-attr]


def test_the_stages_clock_stands_still_meanwhile() -> None:
    """`min_time` of shadow is 60 s: 10 s before, 50 s after."""
    ready = [at(10.0, False), at(300.0, True), at(349.0, True)]
    rollout, _ = run(ready, WAITS)
    assert (rollout.state, rollout.waited) == (State.SHADOW, 290.0)
    assert "more time in the stage" in missing(rollout, at(349.0, True), WAITS)
    assert rollout.in_stage(349.0) == 59.0
    rollout, _ = run([*ready, at(351.0, True)], WAITS)
    assert (rollout.state, rollout.waited) == (State.CANARY, 0.0)


def test_nor_does_its_time_run_out_meanwhile() -> None:
    timed = replace(WAITS, stages=(replace(PLAN.stages[0], max_time=100.0, on_timeout="abort"), *PLAN.stages[1:]))
    late = looked(500.0, INCONCLUSIVE, ready=True)
    assert run([at(50.0, False), at(450.0, True), late], timed)[0].state is State.SHADOW
    assert run([replace(late, now=101.0)], timed)[0].cause == "timeout"


def test_after_so_long_it_ends_as_stalled() -> None:
    rollout, told = run([at(1.0, False), at(601.0, False)], WAITS)
    assert rollout.state is State.SHADOW
    rollout, told = run([at(1.0, False), at(602.0, False)], WAITS)
    assert (rollout.state, rollout.weight, rollout.cause) == (State.ROLLED_BACK, 0, "stalled")
    assert isinstance(told[-1][0], Publish)
    assert announced(told) == ["rollout.stalled"]
    again, _ = advance(rollout, Retry(700.0, "ann", PASS), WAITS)
    assert (again.state, again.unready_since) == (State.SHADOW, 0.0)


def test_one_that_restarts_in_the_middle_gets_the_same_grace() -> None:
    climbed = [looked(100.0, ready=True)]
    rollout, told = run([*climbed, at(200.0, False), at(230.0, True), at(300.0, True)], WAITS)
    assert kinds(told) == ["began", "advanced", "not_ready", "ready", "advanced"]
    rollout, _ = run([*climbed, at(200.0, False), at(801.0, False)], WAITS)
    assert (rollout.state, rollout.cause, rollout.ended_in) == (State.ROLLED_BACK, "stalled", "canary-5")
    promoted, _ = advance(run(climbed, WAITS)[0], Promote(120.0, "ann", full=True), WAITS)
    unready, _ = advance(promoted, at(200.0, False), WAITS)
    assert unready.state is State.PROMOTED
    assert "candidate ready" in waiting_for(unready, WAITS, at(210.0, False))
    assert advance(unready, at(801.0, False), WAITS)[0].cause == "stalled"


def test_evidence_against_it_stands_whether_it_is_ready_or_not() -> None:
    assert run([looked(1.0, FAIL, ready=False)], WAITS)[0].cause == "fail"


def test_readiness_is_a_need_of_its_own_while_it_is_waited_for() -> None:
    unready, _ = run([at(10.0, False)], WAITS)
    assert needs(unready, at(20.0, False), WAITS)[0] == Need("ready", 0, 1)
    ready, _ = run([at(10.0, False), at(20.0, True)], WAITS)
    assert "ready" not in {need.what for need in needs(ready, at(21.0, True), WAITS)}


def test_it_is_said_what_is_waited_for() -> None:
    rollout, _ = run([at(100.0, False)], WAITS)
    said = waiting_for(rollout, WAITS, at(160.0, False))
    assert said == "Waits for candidate ready: its health check has failed for 60 s (the rollout ends after 10 min)."
    assert [need.have for need in needs(rollout, at(160.0, False), WAITS) if need.what == "seconds"] == [100.0]


def test_what_is_not_known_changes_nothing() -> None:
    """After a restart of the controller, until workers have reported."""
    rollout, told = run([at(100.0, None)], WAITS)
    assert rollout.state is State.CANARY
    rollout, told = run([at(10.0, False), at(100.0, None)], WAITS)
    assert (rollout.state, rollout.unready_since) == (State.SHADOW, 10.0)
    assert kinds(told) == ["began", "not_ready"]


@pytest.mark.parametrize("ready", [None, False])
def test_without_health_checks_nothing_is_waited_for(ready: bool | None) -> None:
    assert run([looked(100.0, ready=ready)], PLAN)[0].state is State.CANARY
    waiting: RolloutState = replace(begin(WAITS, 0.0)[0], unready_since=5.0)
    assert advance(waiting, looked(100.0, ready=ready), PLAN)[0].unready_since == 0.0
