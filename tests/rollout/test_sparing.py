"""Promise: fewer pairs are made only when no guard needs more, for whatever else is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.model import Assessment, Finding, State, Verdict
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
