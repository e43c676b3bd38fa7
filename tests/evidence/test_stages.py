"""Promise: a stage begins anew, a fail stays, limits may change, and after promotion the watch goes on."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.evidence import Evidence, EvidenceError
from proxy.model import Arm, Guard, Kind, Verdict
from tests.evidence.gathered import DISAGREEMENT, ERRORS, P99, SHIFT, finding, gather, labels
from tests.evidence.streams import ALL_GUARDS, cut, make_plan, make_reading, score_stream, segments


def test_a_stage_begins_a_restart_so_that_what_breaks_there_is_not_protected_by_the_past() -> None:
    evidence = Evidence.begin(make_plan(DISAGREEMENT, kind=Kind.LABEL), 1)
    for stage in (0, 1, 1):
        evidence.enter_stage(stage)
        at = 400 * stage
        evidence.add([r._replace(sequence=r.sequence + at, request_hash=r.sequence + at) for r in labels(400, 0)])
    assert (evidence.counts.sum(axis=1)[:3] > 0).tolist() == [True, True, False]


def test_segments_share_a_guards_weight_and_add_none() -> None:
    evidence = Evidence.begin(make_plan(*ALL_GUARDS, segments=segments(3)), 1)
    assert evidence.log_e() == pytest.approx([0.0] * len(ALL_GUARDS), abs=1e-9)  # nothing seen: one stake, not two


def test_a_good_shadow_does_not_wave_a_bad_canary_through() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL)
    evidence = gather(plan, labels(4000, 20))
    assert evidence.assess().verdict is Verdict.PASS
    evidence.enter_stage(1)
    assert (evidence.stage_pairs, evidence.assess().verdict) == (0, Verdict.INCONCLUSIVE)
    verdicts = set()
    for batch in cut([r._replace(stage=1, request_hash=-1 - r.sequence) for r in labels(4000, 200)], (100,)):
        evidence.add(batch)
        verdicts.add(evidence.assess().verdict)
    assert verdicts == {Verdict.INCONCLUSIVE, Verdict.FAIL}


def test_late_pairs_of_an_earlier_stage_are_not_counted_in_this_one() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL)
    evidence = gather(plan, labels(100, 0))
    evidence.enter_stage(5)
    evidence.add([r._replace(stage=4, request_hash=-r.sequence - 1) for r in labels(30, 0)])
    evidence.add([r._replace(stage=5, request_hash=-r.sequence - 99, served=Arm.CANDIDATE) for r in labels(20, 0)])
    assert (evidence.compared, evidence.stage_pairs, evidence.stage_candidate_pairs) == (150, 20, 20)
    evidence.enter_stage(5)
    assert evidence.stage_pairs == 20


def test_fail_latches_and_names_its_cause() -> None:
    plan = make_plan(DISAGREEMENT, ERRORS, kind=Kind.LABEL)
    evidence = gather(plan, labels(300, 30))
    assessment = evidence.assess()
    assert (assessment.verdict, assessment.causes, assessment.budget_used) == (
        Verdict.FAIL,
        ("max_disagreement",),
        1.0,
    )
    evidence.add([r._replace(request_hash=-r.sequence - 1) for r in labels(8000, 1)])
    assert max(evidence.log_e()) < 1.0  # what has been seen since speaks for the candidate
    again = evidence.assess()
    assert (again.verdict, again.causes) == (Verdict.FAIL, ("max_disagreement",))
    assert finding(evidence, "max_disagreement").verdict is Verdict.FAIL
    assert finding(evidence, "max_extra_errors").verdict is not Verdict.FAIL
    assert Evidence.load(plan, evidence.dump()).assess().verdict is Verdict.FAIL


def test_a_late_break_is_told_of_the_pairs_that_it_is_seen_in() -> None:
    """Over the whole trial the rate is within the limit: the sentence must say which pairs speak against it."""
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL)
    evidence = gather(plan, labels(9000, 9))
    for batch in cut([r._replace(request_hash=-1 - r.sequence) for r in labels(1500, 120)], (50,)):
        evidence.add(batch)
        if evidence.crossed():
            break
    found = finding(evidence, "max_disagreement")
    assert found.verdict is Verdict.FAIL
    assert found.high < 0.02
    said = found.reason.split(" over the last ")
    assert 3.0 < float(said[0].rsplit(", ", 1)[1].split(" %")[0]) < 20.0
    assert 200 <= int(said[1].split(" pairs")[0].replace(",", "")) <= 2000
    everywhere = gather(plan, labels(3000, 300))
    assert "over the last" not in finding(everywhere, "max_disagreement").reason


def test_nothing_seen_and_nothing_asked_are_watching() -> None:
    assert gather(make_plan(*ALL_GUARDS), []).assess().verdict is Verdict.INCONCLUSIVE
    assert gather(make_plan(), score_stream(100, 1)).assess().verdict is Verdict.INCONCLUSIVE


def test_segments_may_fail_but_never_hold_back() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL, segments=segments(2))
    good = [r._replace(segment="big") for r in labels(20_000, 0)]
    bad = [r._replace(segment="small", request_hash=-r.sequence - 1) for r in labels(200, 100)]
    mixed = [r for i, pair in enumerate(bad) for r in (*good[i * 100 : (i + 1) * 100], pair)]
    failed = gather(plan, mixed).assess()
    assert "mostly in small" in next(f for f in failed.findings if f.segment is None).reason
    assert failed.verdict is Verdict.FAIL
    assert gather(make_plan(DISAGREEMENT, kind=Kind.LABEL), mixed).assess().verdict is Verdict.PASS  # diluted to 0.5 %
    assert {f.segment for f in failed.findings} == {None, "big", "small"}
    assert next(f for f in failed.findings if f.segment == "small").verdict is Verdict.FAIL
    passing = gather(plan, good).assess()
    assert passing.verdict is Verdict.PASS


def test_the_first_segments_are_told_apart_and_the_rest_is_other() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL, segments=segments(2))
    stream = [r._replace(segment=f"t{r.sequence % 5}") for r in labels(500, 0)]
    found = {f.segment: f.pairs for f in gather(plan, stream).assess().findings}
    assert found == {None: 500, "t0": 100, "t1": 100, "other": 300}


def test_a_changed_limit_judges_only_what_comes_after() -> None:
    lax, strict = Guard("max_disagreement", 0.5), Guard("max_disagreement", 0.02)
    evidence = gather(make_plan(lax, ERRORS, kind=Kind.LABEL), labels(2000, 200))
    assert evidence.assess().verdict is Verdict.PASS
    before = evidence.limits_hash
    evidence.change_limits(make_plan(strict, ERRORS, kind=Kind.LABEL))
    assert evidence.limits_hash != before
    found = evidence.assess()
    assert (found.verdict, finding(evidence, "max_disagreement").pairs) == (Verdict.INCONCLUSIVE, 0)
    assert finding(evidence, "max_extra_errors").verdict is Verdict.PASS
    evidence.add([r._replace(request_hash=-r.sequence - 1) for r in labels(3000, 0)])
    assert evidence.assess().verdict is Verdict.PASS
    again = Evidence.load(make_plan(strict, ERRORS, kind=Kind.LABEL), evidence.dump())
    assert again.dump() == evidence.dump()
    assert again.log_e() == evidence.log_e()


def test_evidence_against_an_earlier_limit_is_kept() -> None:
    strict, lax = Guard("max_disagreement", 0.02), Guard("max_disagreement", 0.3)
    evidence = gather(make_plan(strict, kind=Kind.LABEL), labels(300, 15))
    (before,) = evidence.log_e()
    assert before > 1.0
    evidence.change_limits(make_plan(lax, kind=Kind.LABEL))
    assert evidence.log_e() == [pytest.approx(before)]


def test_loading_under_changed_limits_changes_them() -> None:
    evidence = gather(make_plan(DISAGREEMENT, kind=Kind.LABEL), labels(500, 0))
    stricter = make_plan(Guard("max_disagreement", 0.01), kind=Kind.LABEL)
    assert finding(Evidence.load(stricter, evidence.dump()), "max_disagreement").pairs == 0


def test_guards_that_come_share_the_wealth_of_those_that_leave() -> None:
    evidence = gather(make_plan(DISAGREEMENT, SHIFT), score_stream(500, 1))
    evidence.change_limits(make_plan(DISAGREEMENT, ERRORS, P99))
    assert sum(evidence._state.weights) <= 1.0
    evidence.add(score_stream(500, 2, request_hash=0))
    assert len(evidence.assess().findings) == 3


def test_limits_cannot_be_changed_without_end() -> None:
    evidence = gather(make_plan(DISAGREEMENT, kind=Kind.LABEL), [])
    for i in range(8):
        evidence.change_limits(make_plan(Guard("max_disagreement", 0.03 + i / 100), kind=Kind.LABEL))
    state = evidence.dump()
    with pytest.raises(EvidenceError, match="changed 8 times"):
        evidence.change_limits(make_plan(Guard("max_disagreement", 0.5), kind=Kind.LABEL))
    assert evidence.dump() == state


def test_after_promotion_the_watch_decides() -> None:
    plan = make_plan(DISAGREEMENT, ERRORS, kind=Kind.LABEL)
    evidence = gather(plan, labels(3000, 10))
    evidence.enter_stage(1, promoted=True)
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    fine = [r._replace(stage=1, time=10.0 * r.sequence, request_hash=-r.sequence - 1) for r in labels(3000, 10)]
    for batch in cut(fine, (64,)):
        evidence.add(batch)
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    again = Evidence.load(plan, evidence.dump())
    broken = [r._replace(time=1e5 + 10.0 * r.sequence, request_hash=r.sequence + 10**7) for r in labels(600, 120)]
    for part in (evidence, again):
        part.add(broken)
        assert part.assess().verdict is Verdict.FAIL
        assert part.assess().causes == ("max_disagreement",)
    assert again.dump() == evidence.dump()


def test_watches_over_parts_of_the_traffic_merge_to_their_average() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL)
    base = gather(plan, labels(200, 0))
    with pytest.raises(EvidenceError, match="the other not yet"):
        promoted(base, 0).merge(base.follower())
    parts = [promoted(base).follower() for _ in range(3)]
    for number, part in enumerate(parts):
        stream = labels(900, 90 if number == 1 else 9, stage=1)
        part.add([r._replace(time=7.0 * r.sequence + number, request_hash=3 * r.sequence + number) for r in stream])
    a, b, c = parts
    assert a.merge(b).dump() == b.merge(a).dump()
    logs = [one._state.watch.log_m(one._state.tally.slots[0]) for one in (a, b, c, a.merge(b), a.merge(b).merge(c))]
    assert logs[3] == pytest.approx(np.logaddexp(logs[0], logs[1]) - np.log(2))
    assert logs[4] == pytest.approx(np.logaddexp.reduce(logs[:3]) - np.log(3))
    assert a.merge(b).assess().verdict is b.assess().verdict is Verdict.FAIL
    assert Evidence.load(plan, a.merge(b).dump()).dump() == a.merge(b).dump()


def promoted(evidence: Evidence, entry: int = 1) -> Evidence:
    again = Evidence.load(evidence._plan, evidence.dump())
    again.enter_stage(entry, promoted=True)
    return again


def test_the_watch_sees_what_breaks_a_population_stability_index() -> None:
    """PSI has no bets of its own: the watch bets on what a limit on it implies for every edge."""
    plan = make_plan(Guard("max_psi", 0.2))
    good = [r._replace(stage=1, time=5.0 * r.sequence) for r in score_stream(4000, 5)]
    evidence = Evidence.begin(plan, 3)
    evidence.enter_stage(1, promoted=True)
    evidence.add(good)
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    low = make_reading(0, 0.5, 0.0).candidate
    evidence.add([r._replace(time=r.time + 20_000.0, request_hash=-1 - r.sequence, candidate=low) for r in good[:600]])
    assert evidence.assess().verdict is Verdict.FAIL


def test_the_watch_is_the_same_however_the_stream_is_cut() -> None:
    plan = make_plan(*ALL_GUARDS)
    stream = [r._replace(stage=1, time=r.time / 5) for r in score_stream(900, 5)]
    dumps = []
    for sizes in ((3,), (128,), (900,)):
        evidence = Evidence.begin(plan, 3)
        evidence.enter_stage(1, promoted=True)
        for batch in cut(stream, sizes):
            evidence.add(batch)
        dumps.append(evidence.dump())
    assert len(set(dumps)) == 1
