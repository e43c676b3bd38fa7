"""Promise: what comes in clumps does not pass by the quiet between them; the blocks of a PASS are what their definition
says, whatever the batches and the workers, and only ever hold back what passes by pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.evidence import Evidence
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.projections import Projections
from proxy.evidence.families.rate import Rate
from proxy.evidence.families.rule import Rule
from proxy.evidence.input.projections import PROJECTIONS
from proxy.evidence.pass_blocks import BETS, LOG_WEIGHTS, MANY, UNIT
from proxy.evidence.process.means import BINS
from proxy.evidence.rules.extra_errors import ExtraErrors
from proxy.evidence.rules.ks import BINS as KS_BINS
from proxy.evidence.rules.ks import Ks
from proxy.evidence.rules.response_mismatch import Mismatched
from proxy.evidence.rules.similarity import Similarity
from proxy.model import Finding, Guard, Kind, Plan, PredictionSpec, Reading, Verdict
from proxy.model.reasons import Reason
from tests.evidence.streams import ALL_GUARDS, cut, make_plan, make_reading, score_stream, segments

DISAGREEMENT, ERRORS = Guard("max_disagreement", 0.02), Guard("max_extra_errors", 0.02)
LEVEL = math.log(20.0)


def plan_of(*guards: Guard, kind: Kind = Kind.LABEL, **fields: Any) -> Plan:
    """Blocks of 100 ms."""
    return make_plan(*guards, kind=kind, **{"latency_block": 0.1, **fields})


def begun(plan: Plan, seed: int = 7) -> Evidence:
    evidence = Evidence.begin(plan, seed)
    evidence.enter_stage(0)
    return evidence


def at_rate(stream: list[Reading], rate: float, start: float = 0.0, **fields: Any) -> list[Reading]:
    return [r._replace(time=start + i / rate, **fields) for i, r in enumerate(stream)]


def perfect(n: int, first: int = 0) -> list[Reading]:
    return [make_reading(first + i, 1, 1, kind=Kind.LABEL) for i in range(n)]


def clumps(n: int, rate: float, size: int, seed: int) -> list[Reading]:
    """A share `rate` of failures, `size` in a row."""
    failed = np.zeros(n + size, bool)
    for start in np.flatnonzero(np.random.default_rng(seed).random(n) < rate / size).tolist():
        failed[start : start + size] = True
    faults = [Reason.STATUS_5XX if bad else Reason.NONE for bad in failed[:n].tolist()]
    return [make_reading(i, 1, 1, kind=Kind.LABEL, fault=fault) for i, fault in enumerate(faults)]


def first(evidence: Evidence, rate: float | None = None) -> Finding:
    return evidence.assess(rate).findings[0]


# --- exactly ---------------------------------------------------------------------------------------------------------


def on(width: int, places: list[int]) -> np.ndarray:
    """One pair in each of these categories, (places, width)."""
    return np.eye(width, dtype=np.int64)[places]


def mean_values(lo: float, hi: float, values: list[float]) -> list[int]:
    return [round((value - lo) / (hi - lo) * (BINS - 1)) for value in values]


AT_LIMIT: list[tuple[Rule, float, np.ndarray, list[float], int]] = [
    (Rate("differs"), 0.02, on(3, [0, 1]), [0.98, 0.02], 0),
    (Rate("differs"), 0.02, on(3, [0, 2]), [0.98, 0.02], 0),
    (Mismatched(), 0.25, on(5, [0, 2, 4]), [0.75, 0.2, 0.05], 0),
    (ExtraErrors(), 0.1, on(4, [0, 1, 2]), [0.5, 0.3, 0.2], 0),
    (ExtraErrors(), 0.1, on(4, [0, 3]), [0.9, 0.1], 0),
    (Mean("shift", -1.0, 1.0, True), 0.25, on(514, mean_values(-1, 1, [-1.0, 0.25, 1.0])), [0.15, 0.6, 0.25], 0),
    (Mean("shift", -1.0, 1.0, True), 0.25, on(514, mean_values(-1, 1, [-1.0, 0.25, 1.0])), [0.4, 0.6, 0.0], 1),
    (Mean("shift", -1.0, 1.0, True), 0.25, on(514, [*mean_values(-1, 1, [0.0]), 513]), [0.75, 0.25], 0),
    (Similarity("distance", 0.0, 1.0, False), 0.75, on(514, mean_values(0, 1, [0.0, 0.5, 1.0])), [0.6, 0.3, 0.1], 0),
]
"""Rule, limit, what a pair may be, with which chances (at the limit or a little beyond), in which direction."""


@pytest.mark.parametrize(("rule", "limit", "pairs", "chances", "direction"), AT_LIMIT)
def test_at_the_limit_no_block_wins_whatever_hangs_together_in_it(
    rule: Rule, limit: float, pairs: np.ndarray, chances: list[float], direction: int
) -> None:
    """Exactly, over all blocks of three pairs: independent ones, three alike, and a first that decides for the next."""
    gains, k = rule.pass_gains(limit), range(len(chances))
    laws = {
        "independent": {(a, b, c): chances[a] * chances[b] * chances[c] for a in k for b in k for c in k},
        "alike": {(a, a, a): chances[a] for a in k},
        "two alike": {(a, a, c): chances[a] * chances[c] for a in k for c in k},
    }
    for name, law in laws.items():
        expected = np.zeros(len(BETS))
        for outcome, chance in law.items():
            total = pairs[list(outcome)].sum(axis=0) @ gains
            assert total[-1] == 3
            factors = 1.0 + total[direction] / 3 * BETS
            assert (factors > 0.0).all()
            expected += chance * factors
        assert (expected <= 1.0 + 1e-9).all(), name
        if name == "independent" and chances[-1]:
            assert (expected > 0.9).all()  # and not far below: the bet is one on the limit


def test_gains_of_distributions_are_those_of_each_threshold() -> None:
    rng, edges = np.random.default_rng(1), (0.2, 0.4, 0.8)
    rule, live, candidate = Ks(edges), rng.random(40), rng.random(40)
    counts = np.zeros(rule.width)
    for a, c in zip(*(np.searchsorted(edges, x, "left").tolist() for x in (live, candidate)), strict=True):
        counts[[c, KS_BINS + a, 2 * KS_BINS + max(a, c)]] += 1
    counts[-1] += 2
    x = np.array([[(c <= edge) * 1.0 - (a <= edge) for edge in edges] for a, c in zip(live, candidate, strict=True)])
    sums = np.concatenate([x.sum(0), -x.sum(0)]) + 2.0  # a failure is the worst in each direction
    np.testing.assert_allclose(counts @ rule.pass_gains(0.05), [*((0.05 * 42 - sums) / 0.95), 42])


def test_gains_of_projections_are_those_of_each_projection() -> None:
    rule, rng = Projections(), np.random.default_rng(2)
    at = rng.integers(200, 300, (30, PROJECTIONS))
    counts = np.zeros(rule.width)
    for row in at.tolist():
        counts[[i * BINS + bin_ for i, bin_ in enumerate(row)]] += 1
    counts[-1] += 1
    moved = (-8.0 + at / 32.0).sum(0)
    sums = np.concatenate([moved, -moved]) + 8.0
    np.testing.assert_allclose(counts @ rule.pass_gains(0.5), [*((0.5 * 31 - sums) / 7.5), 31])


# --- by definition, however it comes ---------------------------------------------------------------------------------


def by_definition(stream: list[Reading], limit: float) -> np.ndarray:
    """Log wealth of each bet on `max_disagreement`, block by block."""
    blocks: dict[int, list[float]] = {}
    for r in stream:
        if r.live is not None:
            blocks.setdefault(int(np.floor(r.time / 0.1)), []).append(
                float(r.candidate is None or r.live != r.candidate)
            )
    last = max(blocks)
    means = [(limit - np.mean(x)) / (1.0 - limit) for number, x in blocks.items() if number != last]
    return np.sum([np.log1p(mean * BETS) for mean in means], axis=0)


def test_what_is_kept_is_the_product_over_whole_blocks_of_all_requests() -> None:
    stream = at_rate(clumps(2000, 0.05, 4, 3), 170.0)
    for i in range(0, 2000, 9):
        stream[i] = stream[i]._replace(request_hash=5)
    for i in range(4, 2000, 31):
        stream[i] = stream[i]._replace(live_fault=Reason.TIMEOUT, live=None)
    evidence = begun(plan_of(DISAGREEMENT))
    evidence.add(stream)
    state = evidence._state
    state.settle()
    np.testing.assert_allclose(state.tally.blocks.sums[0, 0] / UNIT, by_definition(stream, 0.02), atol=0.002)
    assert state.tally.blocks.sums[0].tolist() == state.tally.blocks.sums[1].tolist()


@pytest.fixture(scope="module")
def stream() -> list[Reading]:
    readings = at_rate(score_stream(2400, seed=1, wrong=0.01), 90.0)
    for i in range(0, 2400, 97):
        readings[i] = readings[i]._replace(fault=Reason.STATUS_5XX, candidate=None)
    for i in range(0, 2400, 3):
        readings[i] = readings[i]._replace(worker="w2", time=readings[i].time - 0.5, segment=f"t{i % 7}")
    for i in range(100, 2400, 40):
        readings[i] = readings[i]._replace(request_hash=readings[i - 30].request_hash)
    return readings


@settings(max_examples=4, deadline=None)
@given(sizes=st.lists(st.integers(150, 900), min_size=1, max_size=8))
def test_any_micro_batches_and_any_looks_give_the_same_bytes(stream: list[Reading], sizes: list[int]) -> None:
    plan = plan_of(*ALL_GUARDS, kind=Kind.SCORE, segments=segments(3), warmup=20)
    looked, at_once = begun(plan), begun(plan)
    for batch in cut(stream, sizes):
        looked.add(batch)
        looked._state.settle()
    at_once.add(stream)
    assert looked.dump() == at_once.dump()


def test_blocks_survive_a_dump_and_what_comes_then(stream: list[Reading]) -> None:
    plan = plan_of(*ALL_GUARDS, kind=Kind.SCORE, warmup=20)
    evidence = begun(plan)
    evidence.add(stream[:1500])
    evidence.shed(3)
    again = Evidence.load(plan, evidence.dump())
    assert again.dump() == evidence.dump()
    for one in (evidence, again):
        one.enter_stage(1)
        one.add([r._replace(stage=1) for r in stream[1500:]])
    assert again.dump() == evidence.dump()
    assert again.assess(90.0) == evidence.assess(90.0)


def test_merging_adds_what_each_knows_in_any_order(stream: list[Reading]) -> None:
    unique = [r._replace(request_hash=i) for i, r in enumerate(stream)]
    base = begun(plan_of(*ALL_GUARDS, kind=Kind.SCORE))
    base.add(unique)
    parts = [base.follower() for _ in range(2)]
    for number, part in enumerate(parts):
        part.add([r for r in unique if r.worker == f"w{number + 1}"])
    assert parts[0].merge(parts[1]).dump() == parts[1].merge(parts[0]).dump()


def test_a_worker_that_is_behind_is_waited_for() -> None:
    """Its pairs count in their own blocks, not in one of their own making: clumps over both workers stay clumps."""
    whole = at_rate(clumps(3000, 0.05, 6, 4), 300.0)
    late, quick = ([r._replace(worker=f"w{i}", sequence=r.sequence // 2) for r in whole[i::2]] for i in range(2))
    together = begun(plan_of(ERRORS))
    together.add(late[:1])  # it is known that there are two
    behind = [[], [], *cut(late[1:], (60,))]
    for a, b in zip([*cut(quick, (60,)), [], []], behind, strict=True):
        together.add([*a, *b])
    one = begun(plan_of(ERRORS))
    one.add(whole)
    sums = []
    for evidence in (together, one):
        evidence._state.settle()
        sums.append(evidence._state.tally.blocks.sums[0, 0])
    assert sums[0].tolist() == sums[1].tolist()


# --- what it is for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "least"), [(3, 1), (10, 3)])
def test_at_the_limit_in_clumps_it_does_not_pass(size: int, least: int) -> None:
    """By pairs alone these runs pass, a great many of them."""
    passed = by_pairs = 0
    for seed in range(6):
        evidence, ever, pairs = begun(plan_of(ERRORS), seed), False, False
        for batch in cut(at_rate(clumps(6000, 0.02, size, seed), 500.0), (250,)):
            evidence.add(batch)
            slot = evidence._state.tally.slots[0]
            pairs |= float(slot.rule.log_pass(evidence._state.tally.carried(slot), 0.02)) >= LEVEL
            ever |= evidence.assess(forecast=False).verdict is Verdict.PASS
            assert pairs or not ever  # never where it does not pass by pairs
        passed, by_pairs = passed + ever, by_pairs + pairs
    assert passed == 0
    assert by_pairs >= least


def test_a_perfect_candidate_takes_as_many_blocks_as_the_limit_asks_for_and_is_told_so() -> None:
    evidence, told = begun(plan_of(DISAGREEMENT)), []
    passed_at = 0.0
    for i, batch in enumerate(cut(at_rate(perfect(15_000), 500.0), (250,))):
        evidence.add(batch)
        found = first(evidence, 500.0)
        told.append(found.eta_seconds)
        if found.verdict is Verdict.PASS:
            passed_at = (i + 1) / 2
            break
    assert 17.0 <= passed_at <= 22.0
    for i, eta in enumerate(told[4:], 4):
        assert eta is not None
        assert eta + (i + 1) / 2 == pytest.approx(passed_at, rel=0.06, abs=0.6)
    assert told[-1] == 0.0


def test_at_few_requests_a_block_is_a_pair_and_costs_nothing() -> None:
    evidence = begun(plan_of(DISAGREEMENT))
    for i, batch in enumerate(cut(at_rate(perfect(600), 5.0), (10,))):
        evidence.add(batch)
        if evidence.assess().verdict is Verdict.PASS:
            assert i * 10 <= 200
            return
    raise AssertionError("it did not pass")


def test_without_blocks_each_pair_stands_for_itself() -> None:
    evidence = begun(plan_of(DISAGREEMENT, latency_block=0.0))
    evidence.add(at_rate(perfect(400), 1000.0))
    assert evidence.assess().verdict is Verdict.PASS


def test_each_stage_asks_for_blocks_of_its_own_and_pairs_of_the_last_are_none_of_them() -> None:
    evidence = begun(plan_of(DISAGREEMENT))
    evidence.add(at_rate(perfect(3000), 100.0))
    assert evidence.assess().verdict is Verdict.PASS
    evidence.enter_stage(1)
    late = [r._replace(stage=0) for r in at_rate(perfect(2000, 3000), 100.0, 30.0)]
    evidence.add(late)
    state = evidence._state
    state.settle()
    assert state.tally.blocks.count.tolist() == [[499], [0]]
    evidence.add(at_rate(perfect(3000, 5000), 100.0, 50.0, stage=1))
    assert evidence.assess().verdict is Verdict.PASS
    assert state.tally.blocks.count[1, 0] > 150


def test_a_limit_that_changes_begins_its_own_blocks_anew_and_leaves_the_others() -> None:
    evidence = begun(plan_of(ERRORS, DISAGREEMENT))
    evidence.add(at_rate(perfect(3000), 100.0))
    evidence.change_limits(plan_of(DISAGREEMENT, Guard("max_extra_errors", 0.03)))
    tally = evidence._state.tally
    assert tally.blocks.count.tolist() == [[299, 0], [299, 0]]
    evidence.add(at_rate(perfect(1000, 3000), 100.0, 30.0))
    evidence.assess()
    assert tally.blocks.count[0, 0] == 399
    assert 98 <= tally.blocks.count[0, 1] <= 100
    evidence.change_limits(plan_of(DISAGREEMENT, Guard("max_extra_errors", 0.03), latency_block=0.5))
    assert tally.blocks.count[0, 0] == 400  # what was under way counts as it is
    evidence.add(at_rate(perfect(1000, 4000), 100.0, 40.0))
    evidence.assess()
    assert tally.blocks.count[0, 0] == 400 + 19


def test_thresholds_that_become_known_in_mid_trial_begin_their_blocks() -> None:
    evidence = begun(plan_of(Guard("max_ks", 0.1), DISAGREEMENT, kind=Kind.SCORE))
    evidence.add(at_rate(score_stream(4000, 3, noise=0.001), 100.0))
    assert evidence.assess().verdict is Verdict.PASS
    count = evidence._state.tally.blocks.count[0].tolist()
    assert 345 <= count[0] <= 350 < 399 == count[1]  # the first 500 pairs gave the thresholds


def test_labels_pass_by_the_blocks_of_their_requests() -> None:
    spec = PredictionSpec("json", Kind.LABEL, label_delay=1.0)
    evidence = begun(plan_of(Guard("max_quality_drop", 0.05), prediction=spec))
    for batch in cut(at_rate(perfect(4000), 100.0), (100,)):
        evidence.add(batch)
        for reading in batch:
            evidence.outcome(reading.id, 1)
    assert evidence.assess().verdict is Verdict.PASS
    assert 385 <= evidence._state.tally.blocks.count[0, 0] <= 390


def test_shed_copies_are_the_worst_of_the_block_in_which_they_are_told() -> None:
    evidence = begun(plan_of(ERRORS))
    evidence.add(at_rate(perfect(3000), 100.0))
    evidence.assess()
    before = evidence._state.tally.blocks.log_pass(evidence._state.tally.slots, 0)[0]
    evidence.shed(90)
    evidence.add(at_rate(perfect(200, 3000), 100.0, 30.0))
    evidence.assess()
    after = evidence._state.tally.blocks.log_pass(evidence._state.tally.slots, 0)[0]
    assert after < before - 1.0


def test_bets_and_weights_make_an_average() -> None:
    assert float(np.exp(LOG_WEIGHTS).sum()) == pytest.approx(1.0)
    assert (BETS < 1.0).all()


def test_what_is_gathered_is_summed_without_being_asked_for() -> None:
    evidence = begun(plan_of(DISAGREEMENT, ERRORS))
    for batch in cut(at_rate(perfect(12_000), 500.0), (500,)):
        evidence.add(batch)
        assert evidence._state.tally.blocks.pairs.new <= MANY + 1000
    assert evidence._state.tally.blocks.count[0].min() > 150
