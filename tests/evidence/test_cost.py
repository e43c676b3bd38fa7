"""Promise: `max_cost` fails a candidate whose answers cost more than its limit times live's on the same requests, and
passes one whose do not; costs are cut at a bound that only live's first answers decide; nothing that was cut passes
unseen."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.effort import pairs_to_pass
from proxy.evidence import Evidence, EvidenceError
from proxy.evidence.input.costs import ANSWERS, CostTotals, bound_of
from proxy.evidence.process.means import BINS, power_of_2
from proxy.evidence.process.prf import pair_keys
from proxy.evidence.rules.cost import CANDIDATE_AT, LIVE_AT, CostRatio
from proxy.model import Finding, Guard, Kind, Reading, Verdict
from proxy.model.reasons import Reason
from tests.calibration.truths import batch
from tests.evidence.gathered import finding, gather
from tests.evidence.streams import cut, make_plan, make_reading, segments

GUARD = Guard("max_cost", 1.3, relative=True)
PLAN = make_plan(GUARD, kind=Kind.LABEL)


def reading(i: int, live: float, cost: float, **fields: Any) -> Reading:
    return make_reading(i, 1, 1, kind=Kind.LABEL, live_cost=live, cost=cost, **fields)


def uncut(found: Finding) -> float:
    """The ratio with nothing cut, as a finding says it."""
    said = re.search(r"nothing cut, it is ([\d.]+) x", found.reason)
    assert said is not None, found.reason
    return float(said[1])


def pareto(n: int, ratio: float, tail: float = 1.5, seed: int = 1) -> list[Reading]:
    """Costs of a cent or so, both arms' by themselves, with Pareto tails."""
    costs = 0.01 * (1.0 + np.random.default_rng(seed).pareto(tail, (2, n)))
    return [reading(i, float(a), float(b) * ratio) for i, (a, b) in enumerate(costs.T)]


def test_a_candidate_twice_as_dear_fails_and_an_equal_one_passes() -> None:
    dear = gather(PLAN, pareto(2500, 2.0)).assess()
    assert (dear.verdict, dear.causes) == (Verdict.FAIL, ("max_cost",))
    assert dear.findings[0].value == pytest.approx(2.0, rel=0.15)
    assert dear.findings[0].reason.startswith("cost now ")
    assert " x, the evidence against it is enough: fail" in dear.findings[0].reason
    equal = gather(PLAN, pareto(2500, 1.0)).assess()
    assert equal.verdict is Verdict.PASS
    assert equal.findings[0].low is not None
    assert equal.findings[0].high is not None
    assert equal.findings[0].low < 1.0 < equal.findings[0].high < 1.3
    cheap = gather(PLAN, pareto(700, 0.2)).assess()
    assert cheap.verdict is Verdict.PASS


def test_the_same_costs_are_the_same_at_any_currency() -> None:
    """Only ratios count: a price a thousand times higher gives the same counts."""
    one, many = (
        pareto(1500, 1.0),
        [r._replace(live_cost=1024 * r.live_cost, cost=1024 * r.cost) for r in pareto(1500, 1)],
    )
    assert (gather(PLAN, one).counts == gather(PLAN, many).counts).all()


@pytest.mark.parametrize("ratio", [1.0, 1.3, 2.0])
def test_wealth_is_that_of_bets_on_the_cut_difference(ratio: float) -> None:
    """An independent oracle: the products of the bets themselves, of costs as they are, without bins. Rounding keeps
    each factor's mean, so the two differ by chance alone, by less than a tenth of their size and a quarter nat."""
    stream = pareto(3000, ratio, seed=5)
    evidence = gather(PLAN, stream)
    first = sorted(one.live_cost for one in stream[:ANSWERS])
    bound = 4.0 * float(np.quantile(first, 0.98))
    shares, weights = 0.98 / 2.0 ** np.arange(10), [0.46, 0.25, 0.1, 0.06, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01]
    logs = {1: np.zeros(10), -1: np.zeros(10)}
    for one in stream[ANSWERS:]:
        d = (min(one.cost / 1.3, bound) - min(one.live_cost, bound)) / bound
        for side, log in logs.items():
            log += np.log(1.0 + side * shares * d)
    expected = {side: float(np.log(np.dot(weights, np.exp(log)))) for side, log in logs.items()}
    rule, counts = CostRatio(1.3), evidence.counts.sum(axis=0)
    assert float(rule.log_fail(counts, 1.3)) == pytest.approx(expected[1], rel=0.1, abs=0.25)
    if rule.whole(counts) <= 0:
        assert float(rule.log_pass(counts, 1.3)) == pytest.approx(expected[-1], rel=0.1, abs=0.25)


@given(
    st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 200.0)), min_size=1, max_size=6),
    st.floats(0.2, 5.0),
)
def test_over_all_roundings_every_mean_is_kept(costs: list[tuple[float, float]], limit: float) -> None:
    """Means over 4,000 keys: of the difference, of live's cut cost, and of the whole difference."""
    keys, n = 4000, len(costs)
    made = batch(np.random.default_rng(1), n * keys)
    made.keys = pair_keys(np.repeat(np.arange(n, dtype=np.uint64), keys), np.tile(np.arange(keys, dtype=np.uint64), n))
    made.costs = np.repeat(np.array(costs).T, keys, axis=1)
    rule = CostRatio(limit)
    counts = np.bincount(rule.place(made, 7)[1], minlength=rule.width)
    live, candidate = np.array(costs)[:, 0], np.array(costs)[:, 1] / limit
    assert counts[:BINS].sum() == counts[BINS:LIVE_AT].sum() == n * keys
    d = np.minimum(candidate, 1.0) - np.minimum(live, 1.0)
    assert counts[:BINS] @ np.linspace(-1, 1, BINS) / keys == pytest.approx(d.sum(), abs=0.01)
    assert counts[BINS:LIVE_AT] @ np.linspace(0, 1, BINS) / keys == pytest.approx(np.minimum(live, 1.0).sum(), abs=0.01)
    whole = float((candidate - live).sum())
    assert float(rule.whole(counts)) / keys == pytest.approx(
        whole, rel=0.0, abs=0.01 + 0.05 * float((live + candidate).sum())
    )


@given(st.floats(1.0, 60_000.0, exclude_min=True))
def test_a_cost_beyond_the_bound_lies_between_its_two_powers(cost: float) -> None:
    low, high = (int(power_of_2(np.array([cost]), np.array([u]))[0]) for u in (1.0 - 1e-9, 0.0))
    assert 2**low <= cost <= 2**high
    assert high - low <= 1


def test_nothing_counts_before_lives_first_answers_decide_the_bound_and_the_candidates_never_do() -> None:
    stream = pareto(ANSWERS, 50.0)
    evidence = gather(PLAN, stream)
    assert evidence.counts.sum() == 0
    found = finding(evidence, "max_cost")
    assert found.value is None
    assert "the bound of costs is being learned" in found.reason
    other = [one._replace(cost=one.live_cost) for one in stream]
    rest = [
        one._replace(sequence=one.sequence + ANSWERS, request_hash=one.request_hash + 10**6) for one in pareto(500, 1.0)
    ]
    assert (gather(PLAN, stream + rest).counts == gather(PLAN, other + rest).counts).all()


def test_the_bound_is_of_costs_that_are_costs() -> None:
    """Refusals that cost nothing, repeats and failures of live's do not decide it."""
    stream = pareto(ANSWERS, 1.0)
    nothing = [reading(10**6 + i, 0.0, 0.0) for i in range(50)]
    again = [stream[0]._replace(sequence=2 * 10**6 + i) for i in range(50)]
    failed = [reading(3 * 10**6 + i, 9.0, 9.0, live_fault=Reason.TIMEOUT) for i in range(50)]
    free = [reading(4 * 10**6 + i, float("nan"), 1.0) for i in range(50)]
    evidence = gather(PLAN, [*nothing, *failed, *free, stream[0], *again, *stream[1:], *pareto(300, 1.0, seed=9)])
    (bound,) = evidence._state.costs.known
    assert bound == bound_of(np.array([one.live_cost for one in stream]))


def test_runaway_answers_that_the_cut_hides_do_not_pass() -> None:
    """One answer in 300 costs 400 times as much: within the limit once cut, twice as dear as a whole."""
    rng = np.random.default_rng(3)
    costs = np.exp(rng.normal(0.0, 0.3, (2, 4000)))
    costs[1, ::300] *= 400
    found = finding(gather(PLAN, [reading(i, float(a), float(b)) for i, (a, b) in enumerate(costs.T)]), "max_cost")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.value < 1.3
    assert "no pass while the ratio of the whole costs, nothing cut, is beyond the limit" in found.reason
    assert uncut(found) == pytest.approx(costs[1].sum() / costs[0].sum(), abs=0.005)
    assert "0.34 % of the candidate's (" in found.reason or "0.32 % of the candidate's (" in found.reason


@pytest.mark.parametrize("ratio", [6.67, 1.0, 0.25])
def test_what_every_pair_costs_is_said_exactly_beside_figures_of_cut_costs(ratio: float) -> None:
    same = [one._replace(cost=ratio * one.live_cost) for one in pareto(3000, 1.0, seed=4)]
    found = finding(gather(PLAN, same), "max_cost")
    assert "value and range are of cut costs: " in found.reason
    assert uncut(found) == ratio
    assert "over all 3,000 pairs so far" in found.reason


def test_costs_of_which_none_is_cut_are_said_once() -> None:
    costs = np.random.default_rng(4).uniform(0.9, 1.1, 2000).tolist()
    found = finding(gather(PLAN, [reading(i, cost, 1.1 * cost) for i, cost in enumerate(costs)]), "max_cost")
    assert "cut" not in found.reason
    assert found.low <= 1.1 <= found.high


def test_most_of_an_arms_cost_may_be_cut_and_reads_as_a_number() -> None:
    costs = np.random.default_rng(4).uniform(0.9, 1.1, 2000).tolist()
    found = finding(gather(PLAN, [reading(i, cost, 999.0 * cost) for i, cost in enumerate(costs)]), "max_cost")
    assert "100 % of the candidate's (99 % of their cost)" in found.reason


def test_live_that_has_moved_beyond_the_bound_passes_nothing() -> None:
    costs = np.exp(np.random.default_rng(3).normal(0.0, 0.3, (2, 3000)))
    costs[:, 1000:] *= 30
    found = finding(gather(PLAN, [reading(i, float(a), float(b)) for i, (a, b) in enumerate(costs.T)]), "max_cost")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no pass: live's costs have moved, `restart` chooses a bound anew" in found.reason


def test_a_failed_candidate_says_nothing_of_cost() -> None:
    stream = pareto(1500, 1.0)
    broken = [reading(10**6 + i, 0.02, 0.0, fault=Reason.STATUS_5XX) for i in range(300)]
    assert (gather(PLAN, stream + broken).counts == gather(PLAN, stream).counts).all()


def test_a_body_that_comes_again_is_no_evidence_to_fail_and_stands_in_the_way_of_a_pass() -> None:
    once, hot = pareto(2000, 1.0), reading(0, 0.02, 2.0, request_hash=5)
    stream = [one for i, each in enumerate(once) for one in (each, hot._replace(sequence=10**6 + i))][:4000]
    evidence = gather(PLAN, stream)
    found = finding(evidence, "max_cost")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "over all " in found.reason


@pytest.mark.parametrize("sizes", [(1,), (7, 300), (5000,)])
def test_state_is_the_same_however_the_stream_is_cut_saved_or_merged(sizes: tuple[int, ...]) -> None:
    stream = pareto(900, 1.2)
    whole = gather(PLAN, stream, (128,))
    evidence = Evidence.begin(PLAN, 7)
    evidence.enter_stage(0)
    for part in cut(stream, sizes):
        evidence.add(part)
        evidence = Evidence.load(PLAN, evidence.dump())
    assert evidence.dump() == whole.dump()
    assert evidence.costs == whole.costs
    first = gather(PLAN, stream[:450])
    rest = first.follower()
    rest.enter_stage(0)
    rest.add(stream[450:])
    both = first.merge(rest)
    assert (both.counts == whole.counts).all()
    assert both.costs == whole.costs
    with pytest.raises(EvidenceError):
        gather(PLAN, stream[:450]).merge(gather(PLAN, pareto(450, 1.0, seed=8)))


def test_a_limit_that_is_changed_and_a_guard_that_comes_later() -> None:
    stream = pareto(3000, 1.25)
    evidence = gather(make_plan(Guard("max_disagreement", 0.02), kind=Kind.LABEL), stream[:500])
    evidence.change_limits(make_plan(Guard("max_disagreement", 0.02), GUARD, kind=Kind.LABEL))
    evidence.add(stream[500:1500])
    assert finding(evidence, "max_cost").pairs == 1000 - ANSWERS
    before = evidence._state.costs.bound
    evidence.change_limits(make_plan(Guard("max_cost", 2.0, relative=True), kind=Kind.LABEL))
    evidence.add(stream[1500:])
    assert evidence._state.costs.bound == before
    found = finding(evidence, "max_cost")
    assert (found.verdict, found.limit) == (Verdict.PASS, 2.0)
    assert found.value == pytest.approx(1.25, rel=0.15)


def test_totals_are_whole_sums_of_what_both_answered() -> None:
    stream = pareto(500, 2.0)
    stream[3] = stream[3]._replace(fault=Reason.TIMEOUT, copies_cost=0.5)
    stream[4] = stream[4]._replace(live_cost=float("nan"))
    stream[5] = stream[5]._replace(counted=True, copies_cost=0.25)
    totals = gather(make_plan(Guard("max_disagreement", 0.5), kind=Kind.LABEL), stream).costs
    kept = [one for i, one in enumerate(stream) if i not in (3, 4)]
    assert totals.live == sum(round(one.live_cost * 1e9) for one in kept)
    assert totals.candidate == sum(round(one.cost * 1e9) for one in kept)
    assert (totals.pairs, totals.counted, totals.copies, totals.paid) == (498, 1, 750_000_000, 500)
    assert gather(PLAN, [make_reading(0)]).costs == CostTotals()


def test_pairs_without_a_price_are_none_that_was_paid_for_whichever_nan_they_have() -> None:
    """Compiled code makes a nan of its own."""
    unpriced = reading(0, float("nan"), float("inf") - float("inf"))
    assert gather(PLAN, [unpriced, make_reading(1)]).costs == CostTotals()


def test_the_interval_of_the_ratio_holds_the_truth() -> None:
    """Shared and own factors, 30 runs: 95 % intervals that hold at any time, so hardly ever wrong at one."""
    inside = 0
    for seed in range(30):
        found = finding(gather(PLAN, pareto(1200, 1.5, 2.5, seed)), "max_cost")
        inside += found.low <= 1.5 <= found.high
    assert inside >= 28


def test_the_forecast_of_check_is_that_of_ordinary_costs() -> None:
    """Exponential costs, equal arms: what `check` says, within a factor of 2."""
    costs = np.random.default_rng(4).exponential(1.0, (2, 4000))
    plan, passed = PLAN, 0
    evidence = Evidence.begin(plan, 1)
    evidence.enter_stage(0)
    for at, part in enumerate(cut([reading(i, float(a), float(b)) for i, (a, b) in enumerate(costs.T)], (50,)), 1):
        evidence.add(part)
        if evidence.assess(forecast=False).verdict is Verdict.PASS:
            passed = 50 * at - ANSWERS
            break
    assert 0.5 < passed / pairs_to_pass(GUARD) < 2.0
    assert CANDIDATE_AT > LIVE_AT


def test_one_segment_that_is_dear_rolls_back_and_so_does_a_break_after_promotion() -> None:
    plan = make_plan(GUARD, kind=Kind.LABEL, segments=segments(3), latency_block=0.1)
    stream = pareto(6000, 1.0, 2.5)
    dear = [
        r._replace(segment="b", cost=4 * r.cost) if i % 8 == 0 else r._replace(segment="a")
        for i, r in enumerate(stream)
    ]
    found = gather(plan, dear).assess()
    assert found.verdict is Verdict.FAIL
    assert [one.segment for one in found.findings if one.segment and one.verdict is Verdict.FAIL] == ["b"]
    evidence = gather(plan, stream[:2000])
    assert evidence.assess().verdict is Verdict.PASS
    evidence.enter_stage(1, promoted=True)
    evidence.add([r._replace(stage=1) for r in stream[2000:4000]])
    assert not evidence.crossed()
    evidence.add([r._replace(stage=1, cost=3 * r.cost) for r in stream[4000:]])
    assert evidence.crossed()
    assert Evidence.load(plan, evidence.dump()).dump() == evidence.dump()


@pytest.mark.parametrize("cost", [2e9, 1.8e13, 1e300])
def test_an_answer_that_says_it_has_cost_a_fortune_can_be_added_and_saved(cost: float) -> None:
    evidence = gather(PLAN, [reading(i, 0.1, cost, copies_cost=cost) for i in range(9000)], (1, 500))
    assert 0 < evidence.costs.candidate == evidence.costs.copies
    assert Evidence.load(PLAN, evidence.dump()).costs == evidence.costs
