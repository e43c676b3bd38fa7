"""Promise: the evidence is a function of the stream, not of how it arrived; it merges, restores and judges as stated.

Each trap of docs/statistics.md that is about *which pairs may say what* has a test here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.evidence import Evidence, EvidenceError, joining, snapshot
from proxy.evidence.process.bursts import Bursts
from proxy.model import Arm, Guard, Kind, Plan, Reading, Verdict
from proxy.model.reasons import NO_CREDENTIALS, Reason
from tests.evidence.streams import ALL_GUARDS, cut, make_plan, make_reading, score_stream, segments

DISAGREEMENT = Guard("max_disagreement", 0.02)
ERRORS = Guard("max_extra_errors", 0.01)
SHIFT = Guard("max_mean_shift", 0.01)
P99 = Guard("p99_latency", 1.2, relative=True)


def gather(plan: Plan, stream: list[Reading], sizes: tuple[int, ...] = (128,), seed: int = 7) -> Evidence:
    evidence = Evidence.begin(plan, seed)
    evidence.enter_stage(0)
    for batch in cut(stream, sizes):
        evidence.add(batch)
    return evidence


def labels(n: int, wrong: int, **fields: Any) -> list[Reading]:
    """`n` labels of which every `n / wrong`-th differs."""
    every = n // wrong if wrong else n + 1
    return [make_reading(i, 1, 0 if i % every == 0 else 1, kind=Kind.LABEL, **fields) for i in range(n)]


def finding(evidence: Evidence, guard: str, segment: str | None = None) -> Any:
    found = evidence.assess(100.0).findings
    return next(f for f in found if f.guard == guard and f.segment == segment)


# --- the same however it arrives -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stream() -> list[Reading]:
    readings = score_stream(2600, seed=1, wrong=0.01)
    for i in range(0, 2600, 97):
        readings[i] = readings[i]._replace(fault=Reason.STATUS_5XX, candidate=None)
    for i in range(50, 2600, 211):
        readings[i] = readings[i]._replace(live_fault=Reason.TIMEOUT, live=None)
    for i in range(3, 2600, 5):
        readings[i] = readings[i]._replace(served=Arm.CANDIDATE, hedged=i % 3 == 0, segment=f"t{i % 7}")
    for i in range(100, 2600, 40):
        readings[i] = readings[i]._replace(request_hash=readings[i - 30].request_hash)
    return readings


@settings(max_examples=6, deadline=None)
@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=8))
def test_any_micro_batches_give_the_same_bytes(stream: list[Reading], sizes: list[int]) -> None:
    plan = make_plan(*ALL_GUARDS, segments=segments(3), warmup=20)
    assert gather(plan, stream, tuple(sizes)).dump() == gather(plan, stream).dump()


def test_one_at_a_time_gives_the_same_bytes(stream: list[Reading]) -> None:
    plan = make_plan(*ALL_GUARDS, warmup=20)
    assert gather(plan, stream[:1200], (1,)).dump() == gather(plan, stream[:1200], (4096,)).dump()


def followers(plan: Plan, stream: list[Reading], parts: list[int]) -> tuple[Evidence, list[Evidence]]:
    """The stream after its reference is frozen, once whole and once in parts that follow the same restarts."""
    unique = [r._replace(request_hash=i) for i, r in enumerate(stream)]
    base = gather(plan, unique)
    whole = base.follower()
    whole.add(unique)
    shares = [base.follower() for _ in range(max(parts) + 1)]
    for number, share in enumerate(shares):
        share.add([r for i, r in enumerate(unique) if parts[i % len(parts)] == number])
    return whole, shares


def without_bursts(evidence: Evidence) -> bytes:
    """The dump but for what blocks of neighbours summed up to: who is whose neighbour is another thing in each part."""
    state = joining.copied(evidence._state)
    state.tally.bursts = Bursts.empty(len(state.tally.bursts.sums))
    return snapshot.dump(state)


@settings(max_examples=4, deadline=None)
@given(parts=st.lists(st.integers(0, 2), min_size=3, max_size=20))
def test_workers_merge_to_the_one_stream_in_any_order(stream: list[Reading], parts: list[int]) -> None:
    plan = make_plan(*ALL_GUARDS, segments=segments(3))
    whole, shares = followers(plan, stream, parts)
    forwards, backwards = shares[0], shares[-1]
    for share in shares[1:]:
        forwards = forwards.merge(share)
    for share in shares[-2::-1]:
        backwards = backwards.merge(share)
    assert forwards.dump() == backwards.dump()
    assert without_bursts(forwards) == without_bursts(whole)
    merged, one = (evidence._state.tally.bursts.settled() for evidence in (forwards, whole))
    assert (merged.pairs, merged.sums.tolist(), merged.squares.tolist()) == (
        one.pairs,
        one.sums.tolist(),
        one.squares.tolist(),
    )


def test_merging_is_associative(stream: list[Reading]) -> None:
    _, (a, b, c) = followers(make_plan(*ALL_GUARDS), stream, [0, 1, 2])
    assert a.merge(b).merge(c).dump() == a.merge(b.merge(c)).dump()


def test_merging_refuses_what_counts_something_else(stream: list[Reading]) -> None:
    plan = make_plan(SHIFT)
    base = gather(plan, stream[:300])
    with pytest.raises(EvidenceError, match="hashes differ"):
        base.merge(gather(plan, stream[:300], seed=8))
    with pytest.raises(EvidenceError, match="hashes differ"):
        base.merge(gather(make_plan(Guard("max_mean_shift", 0.02)), stream[:300]))
    with pytest.raises(EvidenceError, match="learned"):
        gather(make_plan(*ALL_GUARDS), stream[:100]).merge(gather(make_plan(*ALL_GUARDS), stream[100:200]))


def test_a_dump_restores_everything(stream: list[Reading]) -> None:
    plan = make_plan(*ALL_GUARDS, segments=segments(3), warmup=20)
    for n in (0, 77, 450, 2600):
        evidence = gather(plan, stream[:n])
        evidence.shed(3)
        again = Evidence.load(plan, evidence.dump())
        assert again.dump() == evidence.dump()
        assert again.state_hash == evidence.state_hash
        assert again.limits_hash == evidence.limits_hash
        assert again.assess(50.0) == evidence.assess(50.0)
        evidence.add(stream[n : n + 200])
        again.add(stream[n : n + 200])
        assert again.dump() == evidence.dump()


@pytest.mark.parametrize("damage", [b"", b"x", b"understudy-evidence-6\nabc"])
def test_a_damaged_dump_is_refused(damage: bytes) -> None:
    with pytest.raises(EvidenceError):
        Evidence.load(make_plan(SHIFT), damage)


def test_a_cut_dump_or_one_of_another_trial_is_refused(stream: list[Reading]) -> None:
    plan = make_plan(SHIFT)
    dump = gather(plan, stream[:200]).dump()
    for end in (*range(0, len(dump), 53), len(dump) - 1):
        with pytest.raises(EvidenceError):
            Evidence.load(plan, dump[:end])
    with pytest.raises(EvidenceError, match="another trial"):
        Evidence.load(make_plan(SHIFT, noise_floor=0.1), dump)


def test_memory_does_not_grow_with_pairs_or_segments() -> None:
    plan = make_plan(*ALL_GUARDS, segments=segments(20))
    small = gather(plan, score_stream(600, 1))
    many = [r._replace(segment=f"tenant-{i}") for i, r in enumerate(score_stream(2500, 1))]
    large = gather(plan, many)
    assert large.nbytes == small.nbytes <= 4 << 20


# --- which pairs may say what ----------------------------------------------------------------------------------------


def test_a_body_seen_among_the_last_1000_is_no_evidence_but_is_compared() -> None:
    plan = make_plan(DISAGREEMENT, ERRORS, prediction=make_plan(kind=Kind.LABEL).prediction)
    burst = [r._replace(request_hash=r.sequence // 3) for r in labels(3000, 150)]
    evidence = gather(plan, burst)
    assert (evidence.compared, evidence.repeats) == (3000, 2000)
    assert finding(evidence, "max_disagreement").pairs == finding(evidence, "max_extra_errors").pairs == 1000
    assert "more than half of the requests were repeats" in finding(evidence, "max_disagreement").reason


def test_a_body_is_new_again_after_1000_others() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL)
    cycle = [r._replace(request_hash=r.sequence % 1001) for r in labels(2002, 0)]
    assert gather(plan, cycle).repeats == 0
    cycle = [r._replace(request_hash=r.sequence % 1000) for r in labels(2000, 0)]
    assert gather(plan, cycle).repeats == 1000


def test_requests_of_one_cluster_are_thinned() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL, cluster_by="x-user-id")
    stream = [r._replace(cluster=f"user {r.sequence % 10}") for r in labels(500, 0)]
    assert finding(gather(plan, stream), "max_disagreement").pairs == 10
    assert finding(gather(plan, labels(500, 0)), "max_disagreement").pairs == 500  # without the header: no cluster


def test_rows_of_one_request_are_one_cluster() -> None:
    plan = make_plan(DISAGREEMENT, SHIFT)
    rows = [make_reading(i, [0.1] * 9 + [0.4], [0.1] * 9 + [0.9]) for i in range(1000)]
    evidence = gather(plan, rows)
    assert finding(evidence, "max_mean_shift").pairs == finding(evidence, "max_disagreement").pairs == 1000
    assert finding(evidence, "max_mean_shift").value == pytest.approx(0.05, abs=2e-3)  # the request's mean
    assert finding(evidence, "max_disagreement").value == pytest.approx(0.1, abs=0.03)  # one drawn row
    alike = gather(make_plan(Guard("min_similarity", 0.9)), rows)
    assert finding(alike, "min_similarity").value == pytest.approx(0.95, abs=2e-3)  # the mean of the rows' distances


def test_failures_are_the_worst_for_every_guard_and_do_not_cancel_a_shift() -> None:
    plan = make_plan(SHIFT, Guard("p99_latency", 0.25))
    down = [make_reading(i, 0.5, 0.4) for i in range(300)]
    failing = [r._replace(fault=Reason.TIMEOUT, candidate=None) if i % 3 == 0 else r for i, r in enumerate(down)]
    with_failures, without = gather(plan, failing), gather(plan, [r for i, r in enumerate(down) if i % 3])
    assert with_failures.log_e()[0] >= without.log_e()[0]
    assert with_failures.log_e()[1] > 50.0  # a failure is an infinite time
    assert with_failures.candidate_failures == {"timeout": 100}
    assert "100 failed answers count as the worst" in finding(with_failures, "max_mean_shift").reason


def test_a_candidate_that_is_out_for_want_of_credentials_says_which_key_mends_it() -> None:
    plan = make_plan(ERRORS)
    refused = gather(plan, [make_reading(i, fault=Reason.UNAUTHORIZED) for i in range(100)])
    assert finding(refused, "max_extra_errors").verdict is Verdict.FAIL
    assert finding(refused, "max_extra_errors").reason.endswith(f"mostly unauthorized: {NO_CREDENTIALS}")
    missing = gather(plan, [make_reading(i, fault=Reason.STATUS_4XX) for i in range(100)])
    assert NO_CREDENTIALS not in finding(missing, "max_extra_errors").reason


def test_pairs_without_live_say_nothing_but_its_timeout_is_a_time() -> None:
    plan = make_plan(SHIFT, P99, ERRORS)
    stream = [make_reading(i, live_fault=Reason.STATUS_5XX) for i in range(100)]
    evidence = gather(plan, stream)
    assert (evidence.compared, finding(evidence, "max_mean_shift").pairs, finding(evidence, "p99_latency").pairs) == (
        0,
        0,
        0,
    )
    assert finding(evidence, "max_extra_errors").value == -1.0  # only live failed
    timeouts = gather(plan, [make_reading(i, live_fault=Reason.TIMEOUT) for i in range(100)])
    assert finding(timeouts, "p99_latency").pairs == 100
    both = gather(plan, [make_reading(i, live_fault=Reason.CONNECT, fault=Reason.CONNECT) for i in range(100)])
    assert finding(both, "max_extra_errors").value == 0.0
    unreadable = gather(plan, [make_reading(i, live_fault=Reason.NOT_JSON) for i in range(100)])
    assert finding(unreadable, "max_extra_errors").pairs == 0


def test_latency_takes_chosen_pairs_of_a_warm_stage() -> None:
    plan = make_plan(P99, SHIFT, warmup=50)
    stream = [make_reading(i, latency_slot=i % 10 == 0) for i in range(1000)]
    evidence = gather(plan, stream)
    assert finding(evidence, "p99_latency").pairs == 95
    assert finding(evidence, "max_mean_shift").pairs == 1000
    evidence.enter_stage(1)
    evidence.add([r._replace(stage=1, request_hash=-i) for i, r in enumerate(stream, 1)])
    assert finding(evidence, "p99_latency").pairs == 190


def test_order_arrays_are_apart() -> None:
    """A candidate that is only fast because it runs second must not pass on the strength of that."""
    plan = make_plan(P99)
    quick = [make_reading(i, live_seconds=0.01, seconds=0.005) for i in range(3000)]
    evidence = gather(plan, quick)
    assert evidence.assess().verdict is Verdict.PASS
    slow = [make_reading(3000 + i, live_seconds=0.01, seconds=0.03, served=Arm.CANDIDATE) for i in range(400)]
    evidence.add(slow)
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE  # candidate first objects


@pytest.mark.parametrize("why", ["hedged", "fell_back"])
def test_live_as_hedge_or_fallback_is_timed_as_ever(why: str) -> None:
    """Left out, live would be so just where the candidate was slow: identical arms would fail a ratio of quantiles."""
    ratios = ("p99_latency", "median_latency", "time_to_first_token", "time_per_token")
    plan = make_plan(*(Guard(name, 1.2, relative=True) for name in ratios), kind=Kind.TEXT)
    answered = [
        r._replace(served=Arm.CANDIDATE, live_tokens=9, tokens=9) for r in score_stream(3000, 2, kind=Kind.TEXT)
    ]
    slow = [r._replace(**{why: True}) if r.seconds > 0.03 else r for r in answered]
    assert 500 < sum(getattr(r, why) for r in slow) < 1500
    assert gather(plan, slow).dump() == gather(plan, answered).dump()
    assert {finding(gather(plan, slow), name).pairs for name in ratios} == {3000}


def test_shed_copies_hold_back_a_pass_and_the_finding_says_what_to_change() -> None:
    plan = make_plan(Guard("p99_latency", 0.25), ERRORS)
    stream = [make_reading(i) for i in range(3000)]
    clean, shedding = gather(plan, stream), gather(plan, stream)
    shedding.shed(100)
    assert clean.assess().verdict is Verdict.PASS
    assert shedding.assess().verdict is Verdict.INCONCLUSIVE
    assert shedding.log_e() == clean.log_e()
    assert "mirror.max_in_flight" in finding(shedding, "p99_latency").reason
    assert "100 shed copies" in finding(shedding, "max_extra_errors").reason
    with pytest.raises(ValueError, match="cannot be shed"):
        shedding.shed(-1)


def test_workers_that_hold_back_pairs_count_as_the_worst_for_a_pass() -> None:
    plan = make_plan(DISAGREEMENT, SHIFT, ERRORS, P99, Guard("max_ks", 0.1))
    evidence = gather(plan, score_stream(12_000, 3, noise=0.001))
    assert evidence.assess().verdict is Verdict.PASS
    assert evidence.assess(held=200).verdict is Verdict.INCONCLUSIVE
    held = {f.guard: f.verdict for f in evidence.assess(held=200).findings}
    assert {held[name] for name in ("max_disagreement", "max_extra_errors", "p99_latency")} == {Verdict.INCONCLUSIVE}
    assert evidence.assess().verdict is Verdict.PASS  # and nothing of it stays


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


# --- verdicts --------------------------------------------------------------------------------------------------------


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


# --- kinds, reference, labels, watch ---------------------------------------------------------------------------------


def test_kind_auto_is_that_of_most_of_the_first_answers() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.AUTO)
    evidence = gather(plan, labels(40, 0))
    assert evidence.kind is Kind.AUTO
    evidence.add([r._replace(request_hash=-r.sequence - 1) for r in labels(500, 0)])
    assert evidence.kind is Kind.LABEL
    assert finding(evidence, "max_disagreement").pairs == 490
    assert Evidence.load(plan, evidence.dump()).kind is Kind.LABEL


def test_the_reference_is_frozen_from_500_live_answers_and_nothing_else(stream: list[Reading]) -> None:
    plan = make_plan(Guard("max_ks", 0.05), Guard("max_psi", 0.2))
    wild = [make_reading(r.sequence, r.live.rows[0] if r.live else 0.5, 0.999) for r in stream[:500]]
    one, two = gather(plan, stream[:400] + stream[400:600]), gather(plan, wild + stream[500:600])
    assert one._state.reference is not None
    assert finding(two, "max_ks").pairs < 100
    early = gather(plan, stream[:300])
    assert early._state.reference is None
    assert "being learned" in finding(early, "max_ks").reason


def test_a_guard_that_cannot_judge_the_kind_says_so() -> None:
    plan = make_plan(Guard("max_ks", 0.05), kind=Kind.LABEL)
    evidence = gather(plan, labels(600, 0))
    assert "cannot judge predictions of kind label" in finding(evidence, "max_ks").reason


def test_psi_passes_only_when_somebody_vouches_for_failed_answers() -> None:
    stream = score_stream(3000, 4)
    failing = [r._replace(fault=Reason.STATUS_5XX, candidate=None) if i == 900 else r for i, r in enumerate(stream)]
    psi = Guard("max_psi", 0.2)
    assert gather(make_plan(psi), stream).assess().verdict is Verdict.PASS
    assert gather(make_plan(psi), failing).assess().verdict is Verdict.INCONCLUSIVE
    assert gather(make_plan(psi, Guard("max_extra_errors", 0.02)), failing).assess().verdict is Verdict.PASS


@pytest.mark.parametrize("moved", [5.0, 1.2])
def test_no_pass_once_live_has_left_the_frozen_thresholds(moved: float) -> None:
    """Live moves after the thresholds were chosen, and the candidate with it, half a standard deviation further."""
    rng = np.random.default_rng(1)
    live = rng.normal(0.0, 1.0, 4000) * np.where(np.arange(4000) < 500, 1.0, 0.05)
    live += np.where(np.arange(4000) < 500, 0.0, moved)
    further = live + np.where(np.arange(4000) < 500, 0.0, 0.025)  # a true KS of 0.2
    plan = make_plan(Guard("max_ks", 0.05), Guard("max_psi", 0.2), Guard("max_extra_errors", 0.02), kind=Kind.NUMBER)
    stream = [make_reading(i, float(live[i]), float(further[i]), kind=Kind.NUMBER) for i in range(4000)]
    evidence = gather(plan, stream)
    for name in ("max_ks", "max_psi"):
        found = finding(evidence, name)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "live has moved" in found.reason
    assert "3.2 % when they were chosen" in finding(evidence, "max_ks").reason
    steady = [make_reading(i, x, x, kind=Kind.NUMBER) for i, x in enumerate(rng.normal(0.0, 1.0, 4000).tolist())]
    stays = gather(plan, steady)
    assert stays.assess().verdict is Verdict.PASS
    assert "between thresholds it may be up to 0.0" in finding(stays, "max_ks").reason
    assert Evidence.load(plan, stays.dump()).dump() == stays.dump()


def numbers(n: int, *, moved: float, share: float = 0.1, iqr: float = 100.0) -> list[Reading]:
    """Numbers with this interquartile range; a share of the candidate's are so much higher."""
    rng = np.random.default_rng(3)
    live = rng.uniform(0.0, 2 * iqr, n)
    other = live + moved * (rng.random(n) < share)
    return [
        make_reading(i, float(a), float(b), kind=Kind.NUMBER) for i, (a, b) in enumerate(zip(live, other, strict=True))
    ]


@pytest.mark.parametrize(
    ("guard", "moved", "found"),
    [
        (Guard("max_big_change", 0.02, tolerance=30.0), 40.0, 0.1),  # the prediction's own unit
        (Guard("max_big_change", 0.02, tolerance=50.0), 40.0, 0.0),
        (Guard("max_big_change", 0.02, relative=True, tolerance=2.0), 170.0, 0.0),  # interquartile ranges
        (Guard("max_big_change", 0.02, relative=True, tolerance=2.0), 230.0, 0.1),
    ],
)
def test_a_tolerance_is_in_the_unit_that_it_says(guard: Guard, moved: float, found: float) -> None:
    evidence = gather(make_plan(guard, kind=Kind.NUMBER), numbers(3000, moved=moved))
    assert finding(evidence, "max_big_change").value == pytest.approx(found, abs=0.03)
    assert ("1 iqr is 9" in finding(evidence, "max_big_change").reason) is guard.relative
    assert finding(evidence, "max_big_change").pairs == (2500 if guard.relative else 3000)


def test_a_tolerance_in_ranges_of_what_has_none_is_said() -> None:
    guard = Guard("max_big_change", 0.02, relative=True, tolerance=2.0)
    evidence = gather(make_plan(guard, kind=Kind.LABEL), labels(600, 0))
    assert "cannot judge predictions of kind label" in finding(evidence, "max_big_change").reason


def test_the_unit_of_numbers_and_what_is_cut_is_said() -> None:
    guards = Guard("max_mean_shift", 0.1), Guard("max_spread_change", 0.1), Guard("max_quality_drop", 0.1)
    plan = make_plan(*guards, kind=Kind.NUMBER)
    wide = gather(plan, numbers(2000, moved=2000.0, share=0.25))
    for name in ("max_mean_shift", "max_spread_change"):
        reason = finding(wide, name).reason
        assert "the interquartile range of live's first 500 answers" in reason
        assert " % of the differences were cut at 8" in reason
    narrow = finding(gather(plan, numbers(2000, moved=10.0)), "max_mean_shift").reason
    assert "were cut" not in narrow
    alike = gather(plan, [make_reading(i, 3.0, 3.5, kind=Kind.NUMBER) for i in range(1000)])
    assert "1 is 1, because live's first 500 answers were all the same" in finding(alike, "max_mean_shift").reason
    assert finding(alike, "max_mean_shift").value == pytest.approx(0.5, abs=0.01)
    few = gather(plan, [make_reading(i, float(i % 10 == 0), 0.0, kind=Kind.NUMBER) for i in range(1000)])
    assert "1 is 0.3, the standard deviation of live's first 500 answers" in finding(few, "max_mean_shift").reason
    alike.outcome("r900", 3.0)
    alike.add([make_reading(5000, 3.0, 3.0, kind=Kind.NUMBER, time=LATER)])
    assert "errors count in eighths, up to 8, of 1, because" in finding(alike, "max_quality_drop").reason


LATER = 1e6
"""A request time beyond every `label_delay` of these tests."""


def test_delayed_labels_join_the_latest_pair_and_the_first_label_wins() -> None:
    plan = make_plan(Guard("max_quality_drop", 0.05), kind=Kind.LABEL)
    evidence = gather(plan, labels(1000, 500))
    assert not evidence.outcome("nobody", 1)
    joined = [evidence.outcome(f"r{i}", 1) for i in range(1000)]
    assert all(joined)
    assert not evidence.outcome("r5", 0)
    assert evidence.labelled == 1000
    assert finding(evidence, "max_quality_drop").pairs == 0
    assert "label_delay" in finding(evidence, "max_quality_drop").reason
    evidence.add([make_reading(5000, 1, 1, kind=Kind.LABEL, time=LATER)])
    found = finding(evidence, "max_quality_drop")
    assert found.value == pytest.approx(0.5)
    assert evidence.assess().verdict is Verdict.FAIL


def test_labels_that_do_not_fit_the_kind_are_no_labels() -> None:
    plan = make_plan(Guard("max_quality_drop", 0.05))
    evidence = gather(plan, [make_reading(1)])
    assert not evidence.outcome("r1", "yes")
    assert not evidence.outcome("r1", math.nan)
    assert evidence.outcome("r1", 1)


def test_the_noise_floor_is_taken_off() -> None:
    """A model that answers differently one time in five is not worse for it than live, which does so too."""
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL, noise_floor=1.0)

    moods = (np.random.default_rng(5).random((9000, 3)) < 0.2).astype(int).tolist()
    stream = [make_reading(i, a, b, again=c, kind=Kind.LABEL) for i, (a, b, c) in enumerate(moods)]
    evidence = gather(plan, stream)
    assert abs(finding(evidence, "max_disagreement").value) < 0.02
    assert evidence.assess().verdict is not Verdict.FAIL
    once = [r._replace(again=None) for r in stream]
    assert finding(gather(plan, once), "max_disagreement").pairs == 0
    alike = gather(make_plan(Guard("min_similarity", 0.95), kind=Kind.LABEL, noise_floor=1.0), stream)
    assert finding(alike, "min_similarity").value > 0.98  # without the floor it would be 0.68
    assert finding(alike, "min_similarity").verdict is Verdict.PASS


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


# --- findings --------------------------------------------------------------------------------------------------------


def test_a_finding_reads_as_a_person_would_say_it() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL)
    found = finding(gather(plan, labels(800, 12)), "max_disagreement")
    assert found.low < found.value < found.high
    assert found.limit == 0.02
    assert "disagreement now 1.62 %" in found.reason
    assert "limit 2 %" in found.reason
    assert "pass expected in about" in found.reason
    assert found.eta_seconds > 0


@pytest.mark.parametrize("guard", [DISAGREEMENT, SHIFT, ERRORS, Guard("p99_latency", 0.25)])
def test_the_forecast_comes_true_when_the_traffic_goes_on_alike(guard: Guard) -> None:
    plan = make_plan(guard)
    stream = score_stream(12_000, 6, noise=0.002)
    evidence = gather(plan, stream[:400])
    found = finding(evidence, guard.name)
    assert found.eta_seconds is not None
    expected = 400 + found.eta_seconds * 100.0
    for at in range(400, 12_000, 50):
        evidence.add(stream[at : at + 50])
        if evidence.assess().verdict is Verdict.PASS:
            break
    assert 0.5 * expected <= evidence.compared <= 2.0 * expected + 100


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.AUTO])
def test_odd_values_of_every_kind_are_counted_without_a_word(kind: Kind) -> None:
    """Huge, tiny, equal, empty: nothing raises, nothing is lost without a trace, and a dump still restores."""
    odd: dict[Kind, list[Any]] = {
        Kind.LABEL: ["", "a" * 10_000, 0, True, -1],
        Kind.SCORE: [0.0, 1.0, 1e-300, 0.5, 1.0 - 1e-16],
        Kind.NUMBER: [1e308, -1e308, 0.0, 5e-324, 1e16],
        Kind.PROBABILITIES: [(1.0,), (0.5, 0.5), (0.0, 0.0, 1.0), (1.0, 0.0), tuple([1e-4] * 10_000)],
        Kind.VECTOR: [(0.0,), (1e308, -1e308), (5e-324, 0.0), tuple([1.0] * 10_000), (1e-200, 1e-200)],
        Kind.RANKING: [(), ("a",), tuple(range(300)), ("a", "a"), (1, "1")],
        Kind.TEXT: ["", " ", "a" * 100_000, "\0", "\ud800"],
    }
    guards = [*ALL_GUARDS, Guard("min_similarity", 0.9), Guard("max_quality_drop", 0.1)]
    evidence = gather(make_plan(*guards, kind=kind), [])
    stream = []
    for i in range(700):
        live, candidate = odd[kind][i % 5], odd[kind][(i // 5) % 5]
        if kind in (Kind.PROBABILITIES, Kind.VECTOR) and len(live) != len(candidate):
            candidate = live
        stream.append(make_reading(i, live, candidate, kind=kind, seconds=math.nan if i % 7 == 0 else 0.0))
    for batch in cut(stream, (1, 50)):
        evidence.add(batch)
    assert len(evidence.assess(10.0).findings) == 12
    assert evidence.compared == 700
    if kind is not Kind.TEXT:  # half a surrogate pair is no text that JSON can hold; `predictions` refuses it
        assert Evidence.load(make_plan(*guards, kind=kind), evidence.dump()).dump() == evidence.dump()


def test_vectors_that_move_are_seen_by_random_projections_and_jitter_is_not_taken_for_a_move() -> None:
    rng = np.random.default_rng(8)
    live = rng.normal(0.0, 1.0, (1500, 64))
    towards = rng.normal(0.0, 1.0, 64)
    verdicts = []
    for moved in (0.0, 0.5):
        candidate = live + rng.normal(0.0, 0.2, live.shape) + moved * towards
        plan = make_plan(Guard("max_mean_shift", 0.1), kind=Kind.VECTOR)
        pairs = zip(live.tolist(), candidate.tolist(), strict=True)
        stream = [make_reading(i, tuple(a), tuple(b), kind=Kind.VECTOR) for i, (a, b) in enumerate(pairs)]
        evidence = gather(plan, stream)
        assert evidence.dump() == gather(plan, stream, (7, 300)).dump()
        found = finding(evidence, "max_mean_shift")
        assert found.low < found.value < found.high
        assert found.pairs == 1500
        verdicts.append(evidence.assess().verdict)
    assert verdicts[1] is Verdict.FAIL
    assert verdicts[0] is not Verdict.FAIL


def test_an_empty_batch_and_other_kinds_than_expected_are_harmless() -> None:
    plan = make_plan(DISAGREEMENT, SHIFT)
    evidence = gather(plan, [])
    evidence.add([])
    evidence.add([make_reading(1, "a", "b", kind=Kind.LABEL), make_reading(2, [0.1, 0.2], [0.1])])
    assert (evidence.compared, finding(evidence, "max_mean_shift").pairs) == (2, 0)
