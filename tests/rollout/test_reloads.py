"""Keeps the promises of a rollout when the file changes: evidence of another version never counts, the place is kept
and the weight never rises, and what was rolled back is so when it comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.model import BUCKETS, Guard, Plan, Stage, State
from proxy.rollout.events import Abort, Effects, Promote, Reloaded, Removed, RolloutState, Save, lowers_first
from proxy.rollout.machine import advance, begin
from proxy.rollout.requirements import missing
from tests.rollout.climbs import (
    CANARY3,
    CANARY5,
    CANARY25,
    CANARY50,
    CLIMB,
    INCONCLUSIVE,
    PLAN,
    SHADOW,
    announced,
    looked,
    run,
)


def reload(rollout: RolloutState, plan: Plan, previous: Plan = PLAN) -> tuple[RolloutState, Effects]:
    return advance(rollout, Reloaded(1000.0, previous), plan)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_new_version_is_a_fresh_trial_at_weight_0(steps: int) -> None:
    rollout, _ = run(CLIMB[:steps])
    after, effects = reload(rollout, replace(PLAN, version="2"))
    assert (after.state, after.weight, after.stage, after.trial) == (
        State.SHADOW,
        0,
        0,
        replace(PLAN, version="2").trial,
    )
    assert lowers_first(effects) is (rollout.weight > 0)
    assert after.change > rollout.change


def test_a_new_version_frees_what_was_rolled_back() -> None:
    rollout, _ = run([Abort(1.0, "ann")])
    assert reload(rollout, replace(PLAN, version="2"))[0].state is State.SHADOW
    assert reload(rollout, PLAN) == (rollout, ())


def test_a_version_that_was_rolled_back_is_so_still_when_it_comes_back() -> None:
    fallen, _ = run([Abort(1.0, "ann", "smells")])
    second = replace(PLAN, version="2")
    other, _ = reload(fallen, second)
    promoted, _ = advance(other, Promote(5.0, "ann", full=True), second)
    after, effects = advance(promoted, Reloaded(9.0, second, earlier=fallen), PLAN)
    assert (after.state, after.weight, after.trial, after.cause) == (State.ROLLED_BACK, 0, PLAN.trial, "abort")
    assert lowers_first(effects)
    assert after.change == promoted.change + 1
    climbing, _ = run(CLIMB[:1])
    assert advance(promoted, Reloaded(9.0, second, earlier=climbing), PLAN)[0].state is State.SHADOW


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guards": (Guard("max_ks", 0.1),)}, "the pass starts again"),
        ({"false_rollback_rate": 0.05}, "error rates changed"),
        ({"false_promotion_rate": 0.01}, "error rates changed"),
    ],
)
def test_changed_limits_are_journaled_and_change_no_weight(change: dict[str, Any], said: str) -> None:
    rollout, _ = run(CLIMB[:1])
    after, effects = reload(rollout, replace(PLAN, **change))
    assert (after.state, after.weight) == (rollout.state, rollout.weight)
    (save,) = effects
    assert isinstance(save, Save)
    assert (save.kind, said in save.reason) == ("limits_changed", True)
    assert reload(rollout, PLAN)[1] == (), "nothing has changed"


@pytest.mark.parametrize(
    ("steps", "stages", "stage", "weight"),
    [
        (1, (SHADOW, CANARY3, CANARY5, CANARY25), 2, 500),  # one put in below: the same stage, found again
        (2, (SHADOW, CANARY5), 1, 500),  # the present one taken out: the next lower
        (2, (SHADOW, CANARY3, CANARY50), 1, 300),
        (1, (SHADOW, CANARY25), 0, 0),  # only more weight above: back to shadow
        (1, (CANARY25,), 0, 0),  # nothing as low: wait at the foot
        (0, (CANARY5, CANARY25), 0, 0),
        (0, (Stage(State.SHADOW, 10.0), SHADOW, CANARY5), 0, 0),  # no stage is skipped
        (3, (SHADOW,), 0, BUCKETS),  # promoted stays promoted
    ],
)
def test_changed_stages_keep_the_place_and_never_raise_the_weight(
    steps: int, stages: tuple[Stage, ...], stage: int, weight: int
) -> None:
    rollout, _ = run(CLIMB[:steps])
    after, effects = reload(rollout, replace(PLAN, stages=stages))
    assert (after.stage, after.weight) == (stage, weight)
    assert lowers_first(effects) is (weight < rollout.weight) or weight == rollout.weight == 0


def test_waiting_at_a_canary_does_not_skip_a_shadow_put_before_it() -> None:
    only = replace(PLAN, stages=(CANARY5,))
    rollout, _ = begin(only, 0.0)
    after, _ = reload(rollout, PLAN, previous=only)
    assert (after.state, after.stage) == (State.SHADOW, 0)
    assert missing(after, looked(0.0, INCONCLUSIVE, pairs=0), PLAN)


def test_taken_out_of_the_file_and_put_back_goes_on_from_the_foot_with_its_evidence() -> None:
    rollout, told = run([*CLIMB[:1], Removed(150.0)])
    assert (rollout.weight, rollout.cause) == (0, "removed")
    assert lowers_first(told[-1])
    after, _ = reload(rollout, PLAN)
    assert (after.state, after.weight, after.trial) == (State.SHADOW, 0, rollout.trial)


def test_what_was_rolled_back_stays_so_through_removal_and_return() -> None:
    rollout, _ = run([Abort(1.0, "ann"), Removed(2.0)])
    assert reload(rollout, PLAN)[0].state is State.ROLLED_BACK


def test_a_promoted_candidate_that_becomes_live_is_completed() -> None:
    rollout, told = run([*CLIMB, Removed(400.0, became_live=True)])
    assert (rollout.state, rollout.weight) == (State.COMPLETED, 0)
    assert announced(told[-1:]) == ["rollout.completed"]
    assert run([*CLIMB[:1], Removed(400.0, became_live=True)])[0].cause == "removed"
