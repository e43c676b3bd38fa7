"""Promise: a judge that has changed neither fails a candidate nor passes it, whatever it said before or says after."""

from __future__ import annotations

import pytest

from proxy.evidence import Evidence
from proxy.model import Guard, Kind, Segments, Verdict
from tests.evidence.streams import make_reading
from tests.evidence.verdicts import GUARD, found, plan_of, told, verdict, verdicts


@pytest.mark.parametrize("text", ["l", "w"])
def test_a_judge_that_has_changed_neither_fails_nor_passes(text: str) -> None:
    plan = plan_of(segments=Segments(header="x", top=3))
    evidence = told(plan, verdicts(text, 20, segment="a"))
    evidence.judge_moved("")
    evidence.judged([one._replace(key=one.key + 5000) for one in verdicts(text, 500)])
    for known in (evidence, Evidence.load(plan, evidence.dump()), evidence.merge(evidence.follower())):
        assert not known.crossed()
        assessed = known.assess(10.0)
        assert assessed.verdict is Verdict.INCONCLUSIVE
        assert (found(known).pairs, found(known).evidence) == (20, 0.0)
        assert "the judge has changed or is wrong about its anchors" in found(known).reason
    evidence.change_limits(plan_of(Guard("min_win_rate", 0.4), segments=Segments(header="x", top=3)))
    evidence.judged(verdicts(text, 500, stage=3))
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE


def test_a_judge_that_has_changed_does_not_speak_for_others() -> None:
    evidence = told(plan_of(GUARD, Guard("max_disagreement", 0.02)), verdicts("w", 300))
    evidence.judge_moved("")
    evidence.add([make_reading(i, "a", "b", kind=Kind.TEXT) for i in range(50)])
    assert evidence.assess().causes == ("max_disagreement",)


def test_after_promotion_a_judge_that_has_changed_raises_no_alarm() -> None:
    evidence = told(plan_of(), [])
    evidence.enter_stage(1, promoted=True)
    evidence.judge_moved("")
    for minute in range(60):
        evidence.add([make_reading(minute, "a", "a", kind=Kind.TEXT, time=60.0 * minute, stage=1)])
        evidence.judged([verdict(1000 * minute + i, -1.0, stage=1) for i in range(20)])
    assert not evidence.crossed()


def test_what_it_said_before_raises_no_alarm_after_promotion_either() -> None:
    def promoted() -> Evidence:
        evidence = told(plan_of(), [])
        evidence.enter_stage(1, promoted=True)
        for minute in range(60):
            evidence.add([make_reading(minute, "a", "a", kind=Kind.TEXT, time=60.0 * minute, stage=1)])
            evidence.judged([verdict(1000 * minute + i, -1.0, stage=1) for i in range(20)])
        return evidence

    changed, same = promoted(), promoted()
    changed.judge_moved("")
    assert same.crossed()
    assert not changed.crossed()


def test_one_of_two_workers_knows_and_the_whole_does() -> None:
    first = told(plan_of(), verdicts("l", 10))
    second = first.follower()
    first.judge_moved("")
    second.judged([one._replace(key=one.key + 5000) for one in verdicts("l", 300)])
    for whole in (first.merge(second), second.merge(first)):
        assert whole.assess().verdict is Verdict.INCONCLUSIVE
    later = first.follower()
    later.judged(verdicts("l", 300))
    assert later.counts.sum() == 0


def test_a_fail_that_was_assessed_stays() -> None:
    evidence = told(plan_of(), verdicts("l", 300))
    assert evidence.assess().verdict is Verdict.FAIL
    evidence.judge_moved("")
    assert evidence.assess().verdict is Verdict.FAIL
