"""Promise: `max_response_mismatch` rolls back a candidate whose answers are of another form, either way, passes an
equal one when it is said to, and leaves what is a failure to the guard on failures."""

from __future__ import annotations

import zlib

import numpy as np
import orjson
import pytest

from proxy.config.effort import pairs_to_pass
from proxy.evidence import Evidence
from proxy.evidence.rules.response_mismatch import Mismatched
from proxy.evidence.snapshot import _LENGTH, MAGIC
from proxy.model import Guard, Mismatch, Plan, Reading, Verdict
from proxy.model.reasons import NO_CREDENTIALS, Reason
from tests.evidence.streams import make_plan, make_reading

GUARD = Guard("max_response_mismatch", 0.01)
ERRORS = Guard("max_extra_errors", 0.05)
RULE = Mismatched()


def plan(*guards: Guard) -> Plan:
    return make_plan(*(guards or (GUARD,)))


def stream(n: int, share: float, word: Mismatch, seed: int = 1, **fields: object) -> list[Reading]:
    """Readings of which a share has a mismatch."""
    differs = np.random.default_rng(seed).random(n) < share
    return [
        make_reading(i, None, None, mismatch=word if d else Mismatch.NONE, **(fields if d else {}))
        for i, d in enumerate(differs.tolist())
    ]


def judged(readings: list[Reading], *guards: Guard) -> Evidence:
    evidence = Evidence.begin(plan(*guards), 5)
    evidence.enter_stage(0)
    for at in range(0, len(readings), 50):
        evidence.add(readings[at : at + 50])
        evidence.assess()
    return evidence


def verdict(evidence: Evidence, guard: str = GUARD.name) -> Verdict:
    return next(f.verdict for f in evidence.assess().findings if f.guard == guard)


@pytest.mark.parametrize("word", [word for word in Mismatch if word])
def test_a_candidate_that_differs_on_3_percent_is_rolled_back_and_told_in_what(word: Mismatch) -> None:
    assessment = judged(stream(3000, 0.03, word), GUARD, ERRORS).assess()
    assert (assessment.verdict, assessment.causes) == (Verdict.FAIL, (GUARD.name,))
    (reason,) = (f.reason for f in assessment.findings if f.guard == GUARD.name)
    assert f" by {word.replace('_', ' ')} (intended? raise `max_response_mismatch`, or set it to `off`)" in reason


@pytest.mark.parametrize("guards", [(GUARD,), (GUARD, ERRORS), (Guard("p99_latency", 1.2, True), ERRORS, GUARD)])
def test_one_that_differs_always_is_out_after_a_handful_of_pairs(guards: tuple[Guard, ...]) -> None:
    assert judged(stream(5, 1.0, Mismatch.STATUS_CLASS), *guards).assess().verdict is Verdict.FAIL


def test_an_equal_candidate_passes_after_400_pairs_at_1_percent() -> None:
    assert verdict(judged(stream(390, 0.0, Mismatch.NONE))) is Verdict.INCONCLUSIVE
    assert verdict(judged(stream(400, 0.0, Mismatch.NONE))) is Verdict.PASS


@pytest.mark.parametrize("limit", [0.001, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_the_plan_says_how_many_pairs_that_takes(limit: float, rate: float) -> None:
    said = pairs_to_pass(Guard(GUARD.name, limit), rate)
    counts = np.zeros((20_000, RULE.width), np.int64)
    counts[:, 0] = np.arange(20_000)
    took = int((RULE.log_pass(counts, limit) >= -np.log(rate)).argmax())
    assert said == pytest.approx(took, rel=0.1)


def test_a_candidate_that_answers_where_live_refuses_counts_too() -> None:
    better = stream(3000, 0.03, Mismatch.REFUSAL, live_fault=Reason.STATUS_4XX)
    evidence = judged(better, GUARD, ERRORS)
    assert evidence.assess().causes == (GUARD.name,)
    assert evidence.response_mismatches == {"refusal": sum(r.mismatch == "refusal" for r in better)}


def test_a_refusal_for_want_of_credentials_says_which_key_mends_it() -> None:
    refused = stream(20, 1.0, Mismatch.REFUSAL, fault=Reason.UNAUTHORIZED)
    (finding,) = judged(refused).assess().findings
    assert finding.reason.endswith(f"mostly unauthorized: {NO_CREDENTIALS}")


def test_what_never_came_is_left_to_the_guard_on_failures() -> None:
    """Within the limit on errors that its owner set, beyond that on mismatches: nothing is counted against it twice."""
    failing = [
        make_reading(i, None, None, **({"fault": Reason.STATUS_5XX} if i % 50 == 0 else {"mismatch": Mismatch.NONE}))
        for i in range(3000)
    ]
    evidence = judged(failing, GUARD, ERRORS)
    assert evidence.assess().verdict is Verdict.PASS
    assert next(f.pairs for f in evidence.assess().findings if f.guard == GUARD.name) == 2940


def test_an_equal_pair_of_arms_that_fail_by_themselves_is_not_rolled_back() -> None:
    rng = np.random.default_rng(3)
    fault = [[Reason.STATUS_5XX if bad else Reason.NONE for bad in rng.random(4000) < 0.05] for _ in range(2)]
    readings = [
        make_reading(i, None, None, live_fault=a, fault=b, mismatch=None if a or b else Mismatch.NONE)
        for i, (a, b) in enumerate(zip(*fault, strict=True))
    ]
    assert judged(readings, GUARD, ERRORS).assess().verdict is not Verdict.FAIL


def test_a_repeated_body_says_it_once() -> None:
    same = [make_reading(i, None, None, request_hash=7, mismatch=Mismatch.EMPTY) for i in range(200)]
    evidence = judged(same)
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    assert evidence.response_mismatches == {"empty": 200}


def test_it_is_kept_merged_and_read_from_before_it_was_counted() -> None:
    evidence = judged(stream(300, 0.02, Mismatch.MEDIA_TYPE))
    assert Evidence.load(plan(), evidence.dump()).response_mismatches == evidence.response_mismatches
    other = evidence.follower()
    other.add([make_reading(1000, None, None, mismatch=Mismatch.EMPTY)])
    both = evidence.merge(other).response_mismatches
    assert both == {**evidence.response_mismatches, "empty": 1}

    unpacked = zlib.decompress(evidence.dump()[len(MAGIC) :])
    (length,) = _LENGTH.unpack_from(unpacked)
    header = orjson.loads(unpacked[_LENGTH.size : _LENGTH.size + length])
    del header["mismatches"]
    written = orjson.dumps(header)
    body = _LENGTH.pack(len(written)) + written + unpacked[_LENGTH.size + length :]
    before = Evidence.load(plan(), MAGIC + zlib.compress(body))
    assert before.response_mismatches == {}
    assert before.state_hash == evidence.state_hash


def test_a_trial_that_began_without_it_gets_it_with_the_next_plan() -> None:
    began = judged(stream(600, 0.0, Mismatch.NONE), ERRORS)
    evidence = Evidence.load(plan(ERRORS, GUARD), began.dump())
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    evidence.add(
        [r._replace(sequence=r.sequence + 600, request_hash=r.sequence) for r in stream(600, 1.0, Mismatch.EMPTY)]
    )
    assert evidence.assess().causes == (GUARD.name,)


def test_it_is_watched_after_promotion() -> None:
    evidence = judged(stream(500, 0.0, Mismatch.NONE))
    evidence.enter_stage(1, promoted=True)
    evidence.add([make_reading(500 + i, None, None, mismatch=Mismatch.STATUS_CLASS) for i in range(300)])
    assert evidence.assess().causes == (GUARD.name,)
