"""Promise: fewer pairs are made only when no guard needs more, for whatever else is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.model import Assessment, Finding, State, Verdict
from proxy.rollout.machine import advance
from proxy.rollout.requirements import needs, waiting_for
from proxy.rollout.sparing import enough_pairs
from tests.rollout.climbs import FAIL, INCONCLUSIVE, PLAN, looked, run

STARTED, _ = run([])


@pytest.mark.parametrize("change", [{}, {"paused": True}, {"blocked_by": "r/other"}, {"held": True}, {"stalled": True}])
def test_a_stage_that_has_passed_and_waits_for_time_or_a_person_needs_no_more(change: dict[str, object]) -> None:
    assert enough_pairs(replace(STARTED, **change), looked(10.0), PLAN) == "every guard has passed"  # type: ignore[arg-type]


@pytest.mark.parametrize("assessment", [FAIL, INCONCLUSIVE])
def test_a_guard_that_is_open_needs_them(assessment: Assessment) -> None:
    assert enough_pairs(STARTED, looked(10.0, assessment), PLAN) == ""


def test_so_does_a_stage_that_counts_pairs() -> None:
    assert enough_pairs(STARTED, looked(10.0, pairs=99), PLAN) == ""
    canary = replace(STARTED, state=State.CANARY, stage=1)
    assert enough_pairs(canary, looked(10.0, served=199), PLAN) == ""
    assert enough_pairs(canary, looked(10.0, served=200), PLAN) != ""


def test_nothing_is_known_before_the_first_look_and_nothing_needed_after_the_end() -> None:
    assert enough_pairs(STARTED, None, PLAN) == ""
    assert enough_pairs(replace(STARTED, state=State.ROLLED_BACK), looked(10.0), PLAN) == ""
    assert (
        enough_pairs(replace(STARTED, state=State.PROMOTED), looked(10.0, INCONCLUSIVE), PLAN)
        == "promoted, and watched"
    )


def test_a_segment_that_is_open_holds_nothing_back() -> None:
    """As it holds back no pass."""
    part = Finding("max_disagreement", "a", Verdict.INCONCLUSIVE, 0.1, 0.0, 0.2, 0.02, 0.0, 10, None, "")
    assert enough_pairs(STARTED, looked(10.0, Assessment(Verdict.PASS, (part,))), PLAN) != ""


def test_a_guard_on_users_needs_no_pairs_and_any_other_beside_it_does() -> None:
    users = Finding("max_outcome_drop", None, Verdict.INCONCLUSIVE, None, None, None, 0.01, 0.0, 0, None, "")
    passed = replace(users, guard="p99_latency", verdict=Verdict.PASS)
    both = Assessment(Verdict.INCONCLUSIVE, (users, passed))
    assert enough_pairs(STARTED, looked(10.0, both), PLAN) == "every guard on pairs has passed"
    assert enough_pairs(STARTED, looked(10.0, both, pairs=99), PLAN) == ""
    pairs_too = Assessment(Verdict.INCONCLUSIVE, (users, replace(passed, verdict=Verdict.INCONCLUSIVE)))
    assert enough_pairs(STARTED, looked(10.0, pairs_too), PLAN) == ""


def test_a_sample_ratio_mismatch_holds_a_climb_in_words_until_it_is_over() -> None:
    canary = replace(STARTED, state=State.CANARY, stage=1)
    held = replace(looked(1e6), srm="an end of the sample ratio mismatch: …")
    after, effects = advance(canary, held, PLAN)
    assert (after.state, effects) == (State.CANARY, ())
    assert "an end of the sample ratio mismatch" in waiting_for(after, PLAN, held)
    assert any(need.what == "sample_ratio" and need.have < need.want for need in needs(canary, held, PLAN))
    assert advance(canary, replace(held, srm=""), PLAN)[1], "it climbs"
    assert advance(canary, replace(held, assessment=FAIL), PLAN)[0].state is State.ROLLED_BACK
