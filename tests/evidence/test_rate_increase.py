"""Promise: `max_rate_increase` fails a candidate that has an event more often than live by more than its limit, counts
on the same requests, and passes one that has it less often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.effort import pairs_to_pass
from proxy.evidence.rules.extra_errors import ExtraErrors
from proxy.evidence.rules.rate_increase import FAILED, LESS, MORE, NEITHER, RateIncrease
from proxy.model import VALID, Guard, Kind, Plan, PredictionSpec, Reading, Verdict
from proxy.model.reasons import Reason
from tests.evidence.gathered import finding, gather
from tests.evidence.streams import make_plan, make_reading

GUARD = Guard("max_rate_increase", 0.005)


def judged(spec: PredictionSpec, *guards: Guard) -> Plan:
    return make_plan(*(guards or (GUARD,)), prediction=spec)


def rows(n: int, live: Callable[[int], Any], candidate: Callable[[int], Any], kind: Kind) -> list[Reading]:
    return [make_reading(i, live(i), candidate(i), kind=kind) for i in range(n)]


def test_one_more_refusal_in_fifty_is_a_fail_and_one_less_a_pass() -> None:
    spec = PredictionSpec("json", Kind.LABEL)
    more = gather(judged(spec), rows(3000, lambda i: i % 50 == 0, lambda i: i % 50 in (0, 1), Kind.LABEL)).assess()
    less = gather(judged(spec), rows(3000, lambda i: i % 50 in (0, 1), lambda i: i % 50 == 0, Kind.LABEL)).assess()
    assert (more.verdict, more.causes) == (Verdict.FAIL, ("max_rate_increase",))
    assert more.findings[0].value == pytest.approx(0.02)
    assert less.verdict is Verdict.PASS
    assert less.findings[0].value == pytest.approx(-0.02)


def test_two_arms_that_have_it_often_on_the_same_requests_pass() -> None:
    """A difference of rates, not a rate: 40 % of invalid answers of both are no increase."""
    spec = PredictionSpec("json", Kind.LABEL)
    found = gather(judged(spec), rows(2000, lambda i: i % 5 < 2, lambda i: i % 5 < 2, Kind.LABEL)).assess()
    assert found.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("spec", "live", "candidate"),
    [
        (PredictionSpec("json", Kind.LABEL, event="no"), "yes", "no"),
        (PredictionSpec("json", Kind.LABEL, event=3), 2, 3),
        (PredictionSpec("json", Kind.LABEL), False, True),
        (PredictionSpec("json", Kind.JSON), VALID, "invalid: no JSON"),
        (PredictionSpec("json", Kind.SCORE), 0.5, 0.51),
        (PredictionSpec("json", Kind.SCORE, threshold=0.8), 0.8, 0.81),
        (PredictionSpec("json", Kind.SCORE, low=-1.0, high=1.0), 0.0, 0.1),
    ],
)
def test_what_the_event_is(spec: PredictionSpec, live: Any, candidate: Any) -> None:
    either = gather(judged(spec), rows(100, lambda _: live, lambda _: candidate, spec.kind))
    assert finding(either, "max_rate_increase").value == 1.0
    other = gather(judged(spec), rows(100, lambda _: candidate, lambda _: live, spec.kind))
    assert finding(other, "max_rate_increase").value == -1.0


def test_a_threshold_is_where_two_scores_decide_differently() -> None:
    spec = PredictionSpec("json", Kind.SCORE, threshold=0.8)
    plan = judged(spec, Guard("max_disagreement", 0.02))
    assert finding(gather(plan, rows(100, lambda _: 0.4, lambda _: 0.6, Kind.SCORE)), "max_disagreement").value == 0.0
    assert finding(gather(plan, rows(100, lambda _: 0.7, lambda _: 0.9, Kind.SCORE)), "max_disagreement").value == 1.0


def test_a_failed_candidate_counts_as_the_worst_and_is_told() -> None:
    spec = PredictionSpec("json", Kind.LABEL)
    readings = [
        make_reading(i, False, False, kind=Kind.LABEL, fault=Reason.STATUS_5XX if i % 10 == 0 else Reason.NONE)
        for i in range(1000)
    ]
    found = finding(gather(judged(spec), readings), "max_rate_increase")
    assert found.value == pytest.approx(0.1)
    assert "100 failed answers count as the worst" in found.reason


@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=4), st.sampled_from([0.0, 0.002, 0.05, 0.5]))
def test_it_is_the_bet_of_the_guard_on_failures(cells: list[int], limit: float) -> None:
    """The same paired difference of two rates; a failed answer is one more where only the candidate has the event."""
    counts = np.array(cells)
    same = np.array([counts[NEITHER], counts[MORE] + counts[FAILED], counts[LESS], 0])
    rule, other = RateIncrease(), ExtraErrors()
    assert rule.log_fail(counts, limit) == other.log_fail(same, limit)
    assert rule.log_pass(counts, limit) == other.log_pass(same, limit)
    assert rule.estimates(counts[None], limit)[0].value == other.estimates(same[None], limit)[0].value


def test_a_pass_takes_about_as_long_as_said() -> None:
    spec = PredictionSpec("json", Kind.LABEL)
    said = pairs_to_pass(GUARD)
    readings = rows(round(1.6 * said), lambda i: i % 1000 == 0, lambda i: i % 1000 == 1, Kind.LABEL)
    assert gather(judged(spec), readings).assess().verdict is Verdict.PASS
    assert gather(judged(spec), readings[: round(0.5 * said)]).assess().verdict is Verdict.INCONCLUSIVE
