"""Promise: the evidence is a function of the stream, not of how it arrived; it merges, restores and judges as stated.

Each trap of docs/statistics.md that is about *which pairs may say what* has a test here.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.evidence import Evidence, EvidenceError, joining, snapshot
from proxy.evidence.process.bursts import Bursts
from proxy.model import Arm, Guard, Kind, Plan, Reading, Verdict
from proxy.model.reasons import NO_CREDENTIALS, Reason
from tests.evidence.gathered import DISAGREEMENT, ERRORS, P99, SHIFT, finding, gather, labels
from tests.evidence.streams import ALL_GUARDS, make_plan, make_reading, score_stream, segments

# --- the same however it arrives -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("damage", [b"", b"x", b"understudy-evidence-9\nabc"])
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
