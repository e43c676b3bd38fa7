"""Promise: a candidate that is too dear fails a build as one that is too slow, and what live's time costs is not judged
where no time of live's is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proxy.cli.gate import gate, junit, report
from proxy.cli.judging import Judgement
from proxy.evidence.input.costs import cost_figures
from proxy.model import Guard, Kind, Plan, Verdict
from proxy.model.price import Price
from tests.evidence.gathered import gather
from tests.evidence.streams import make_plan, make_reading

GUARDS = (Guard("max_cost", 1.3, relative=True), Guard("max_extra_errors", 0.05))
TOKENS = Price(input=1e-6, output=1e-6)
PLAN = make_plan(*GUARDS, kind=Kind.LABEL, live_price=TOKENS, candidate_price=TOKENS)


def judged(plan: Plan, ratio: float) -> Judgement:
    costs = np.exp(np.random.default_rng(2).normal(-5.0, 0.5, (2, 2000))).tolist()
    evidence = gather(
        plan,
        [
            make_reading(i, 1, 1, kind=Kind.LABEL, live_cost=a, cost=ratio * b)
            for i, (a, b) in enumerate(zip(*costs, strict=True))
        ],
    )
    return Judgement(evidence.assess(), 2000, booked={"compared": 2000}, cost=cost_figures(plan, evidence.costs))


def test_one_that_is_too_dear_fails_with_a_case_of_its_own() -> None:
    result = gate(PLAN, judged(PLAN, 2.0))
    assert result.verdict is Verdict.FAIL
    assert result.sentence.startswith("fail: reliable, but cost now ")
    text = junit("r/c", result)
    assert '<testcase classname="r/c" name="max_cost"><failure message="cost now ' in text
    assert '<testcase classname="r/c" name="max_extra_errors"></testcase>' in text
    assert report("r/c", result)["cost"]["ratio"] == pytest.approx(2.0, rel=0.1)


def test_one_that_is_not_passes_as_cheap_enough() -> None:
    result = gate(PLAN, judged(PLAN, 1.0))
    assert result.sentence == "pass: reliable and cheap enough, after 2000 pairs"


def test_without_live_times_a_limit_on_what_lives_time_costs_is_left_out() -> None:
    hourly = replace(PLAN, live_price=Price(second=1e-3))
    assert gate(PLAN, judged(PLAN, 2.0), live_timed=False).left_out == {}
    assert gate(hourly, judged(hourly, 1.0), live_timed=True).left_out == {}
    assert gate(hourly, judged(hourly, 1.0), live_timed=False).left_out.keys() == {"max_cost"}
    assert (
        report("r/c", gate(replace(PLAN, live_price=None), judged(replace(PLAN, live_price=None), 1.0)))["cost"] is None
    )


def test_a_guard_that_crossed_after_another_had_failed_is_a_failed_case_and_no_skipped_one() -> None:
    """The verdict keeps the guard that crossed first as its only cause."""
    one = judged(PLAN, 2.0)
    cost, errors = one.assessment.findings
    assert (cost.verdict, cost.evidence) == (Verdict.FAIL, 1.0)
    later = replace(cost, verdict=Verdict.INCONCLUSIVE)
    nearly = replace(later, evidence=0.999)
    first = replace(errors, verdict=Verdict.FAIL)
    for finding, inside in ((later, "<failure"), (nearly, "<skipped")):
        found = replace(one.assessment, findings=(finding, first), causes=(first.key,))
        text = junit("r/c", gate(PLAN, replace(one, assessment=found)))
        assert f'name="max_cost">{inside} message="cost now ' in text
    alone = replace(one.assessment, findings=(nearly, first), causes=(first.key,))
    assert 'failures="1" skipped="1"' in junit("r/c", gate(PLAN, replace(one, assessment=alone)))
