"""Promise: evidence against a candidate whose differences come in bursts counts the part that it should, and is never
more than it would be without; a body that comes again and again is seen by its share of the requests.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.evidence import Evidence
from proxy.evidence.count_store import CountStore
from proxy.evidence.e_detector import ALARM
from proxy.evidence.families.rule import Context, Slot
from proxy.evidence.process.bursts import LENGTH, SIZES, UNDER_WAY, Bursts
from proxy.evidence.rules.registry import layout
from proxy.model import Finding, Guard, Kind, PredictionSpec, Reading, Verdict
from proxy.model.reasons import Reason
from tests.evidence.streams import ALL_GUARDS, cut, make_plan, make_reading, score_stream

DISAGREEMENT, ERRORS = Guard("max_disagreement", 0.02), Guard("max_extra_errors", 0.02)


def bursts(n: int, rate: float, length: int, seed: int) -> np.ndarray:
    """0 and 1 (n,): a share `rate` of ones, in bursts of `length` on average."""
    rng, x = np.random.default_rng(seed), np.zeros(n, np.int64)
    for start in np.flatnonzero(rng.random(n) < rate / length).tolist():
        x[start : start + rng.geometric(1.0 / length)] = 1
    return x


def labels(wrong: np.ndarray, **fields: Any) -> list[Reading]:
    return [make_reading(i, 1, 1 - w, kind=Kind.LABEL, **fields) for i, w in enumerate(wrong.tolist())]


def begun(*guards: Guard, kind: Kind = Kind.LABEL, seed: int = 7) -> Evidence:
    evidence = Evidence.begin(make_plan(*guards, kind=kind), seed)
    evidence.enter_stage(0)
    return evidence


def first(evidence: Evidence) -> Finding:
    return evidence.assess(100.0).findings[0]


# --- the size of bursts ----------------------------------------------------------------------------------------------


def by_definition(values: np.ndarray) -> float:
    """D of one column, straight from the docstring of `bursts`."""
    n, variance, found = len(values), values.var() if len(values) else 0.0, 1.0
    for size in SIZES.tolist():
        sums = values[: n // (2 * size) * 2 * size].reshape(-1, 2, size).sum(-1)
        apart = ((sums[:, 0] - sums[:, 1]) ** 2 / 2).tolist()
        if size <= UNDER_WAY and n >= 2 * size:
            last = values[n - 2 * size :].reshape(2, size).sum(-1)
            apart.append((last[0] - last[1]) ** 2 / 2)
        if size == SIZES[-1] and apart:
            apart.remove(max(apart))
        if apart and variance:
            found = max(found, float(np.mean(apart) / (size * variance)))
    return found


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 2 * LENGTH + 700),
    length=st.integers(1, 40),
    seed=st.integers(0, 99),
    sizes=st.lists(st.integers(1, 2500), min_size=1, max_size=5),
)
def test_what_is_summed_is_the_definition_however_the_pairs_come(
    n: int, length: int, seed: int, sizes: list[int]
) -> None:
    values = np.stack([bursts(n, 0.1, length, seed), np.random.default_rng(seed).integers(-256, 257, n)])
    found = Bursts.empty(2)
    for part in cut(range(n), sizes):
        found.add(values[:, part[0] : part[-1] + 1])
    np.testing.assert_allclose(found.sizes(), [by_definition(column) for column in values], rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 2300), min_size=3, max_size=3), seed=st.integers(0, 99))
def test_merging_adds_up_what_is_finished_in_any_order(lengths: list[int], seed: int) -> None:
    parts = []
    for number, n in enumerate(lengths):
        parts.append(Bursts.empty(1))
        parts[-1].add(bursts(n, 0.05, 10, seed + number)[None])
    one = parts[0].merge(parts[1]).merge(parts[2])
    for order in itertools.permutations(parts):
        other = order[0].merge(order[1].merge(order[2]))
        assert [a.tolist() for a in other.arrays] == [a.tolist() for a in one.arrays]
    assert one.pairs == sum(lengths)
    assert one.squares[0] == sum(int(bursts(n, 0.05, 10, seed + i).sum()) for i, n in enumerate(lengths))


def test_pairs_that_are_independent_have_bursts_of_about_one_and_a_lasting_break_makes_none() -> None:
    found = Bursts.empty(3)
    steady, late = bursts(20_000, 0.05, 1, 1), bursts(20_000, 0.001, 1, 2)
    late[10_050:] = bursts(9_950, 0.05, 1, 3)
    found.add(np.stack([steady, late, bursts(20_000, 0.05, 10, 4)]))
    assert found.sizes()[:2].max() < 1.6
    assert 8.0 < found.sizes()[2] < 30.0  # a burst of 10 on average counts as its pairs do: 19 of them


# --- never sooner ----------------------------------------------------------------------------------------------------


def tally_of(slots: tuple[Slot, ...], values: np.ndarray, columns: np.ndarray) -> CountStore:
    """A tally that has counted categories (n,) of the one guard, in this order."""
    tally = CountStore.empty(slots, 2)
    np.add.at(tally.rows[0], values, 1)
    np.add.at(tally.segments[0], values, 1)
    tally.bursts.add(columns[values].T)
    return tally


@pytest.mark.parametrize(("guard", "cells", "pairs"), [(DISAGREEMENT, 2, 10), (ERRORS, 3, 6)])
def test_every_order_of_every_outcome_has_no_more_evidence_than_without_bursts(
    guard: Guard, cells: int, pairs: int
) -> None:
    """Exactly, over all sequences: so its mean at the limit is at most 1 as well, and nothing fails sooner."""
    slots = layout((guard,), Context(Kind.LABEL, PredictionSpec()), 1)
    worse = 0
    for outcome in itertools.product(range(cells), repeat=pairs):
        tally = tally_of(slots, np.array(outcome), slots[0].burst_values)
        (size,) = tally.burst_sizes()
        whole, parts = tally.log_whole(0, size), tally.log_segments(0, size)
        assert whole <= tally.log_whole(0, 1.0) + 1e-12
        assert all(a <= b + 1e-12 for a, b in zip(parts, tally.log_segments(0, 1.0), strict=True))
        worse += whole < tally.log_whole(0, 1.0) - 1e-6
    assert worse  # the bound is not empty: some orders are bursts


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 30), rate=st.floats(0.005, 0.2), seed=st.integers(0, 999))
def test_whatever_comes_bursts_take_evidence_away_and_never_give_any(length: int, rate: float, seed: int) -> None:
    evidence = begun(*ALL_GUARDS, kind=Kind.SCORE, seed=seed)
    moved = bursts(1500, rate, length, seed).tolist()
    stream = score_stream(1500, seed)
    for i, one in enumerate(moved):
        if one:
            stream[i] = stream[i]._replace(fault=Reason.STATUS_5XX, candidate=None)
    for batch in cut(stream, (100,)):
        evidence.add(batch)
        tally = evidence._state.tally
        for i, log_e in enumerate(evidence.log_e()):
            assert log_e <= tally.log_fail(i) + 1e-9
    assert len(evidence.assess().findings) == len(ALL_GUARDS)


def test_the_watch_never_alarms_sooner_for_bursts() -> None:
    evidence = begun(DISAGREEMENT, ERRORS)
    evidence.enter_stage(1, promoted=True)
    for batch in cut([r._replace(stage=1) for r in labels(bursts(9000, 0.06, 6, 5))], (300,)):
        evidence.add(batch)
        watch = evidence._state.watch
        assert watch is not None
        for slot in evidence._state.tally.slots:
            if slot.guard.name in watch.logs:
                without = watch.copy()
                without.logs[slot.guard.name] = np.repeat(watch.logs[slot.guard.name][::2], 2, axis=0)
                assert watch.log_m(slot) <= without.log_m(slot) + 1e-9


# --- what it is for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [5, 10])
def test_half_the_limit_in_bursts_is_kept(length: int) -> None:
    """On the same runs, evidence that takes pairs for independent fails a candidate that differs half as often as it
    may."""
    failed = without = 0
    for seed in range(10):
        evidence, crossed = begun(DISAGREEMENT, seed=seed), False
        for batch in cut(labels(bursts(5000, 0.01, length, seed)), (100,)):
            evidence.add(batch)
            crossed |= evidence._state.tally.log_fail(0) >= np.log(100.0)
            failed += evidence.crossed()
        without += crossed
    assert failed == 0
    assert without >= 3


def test_a_finding_says_how_bursty_the_differences_are_and_what_they_count() -> None:
    evidence = begun(DISAGREEMENT)
    evidence.add(labels(np.repeat(bursts(1000, 0.01, 1, 1), 8)))
    found = first(evidence)
    about = round(found.burst_size)
    assert 6 <= about <= 12
    assert f"differences come in bursts of about {about}: evidence counts" in found.reason
    calm = begun(DISAGREEMENT)
    calm.add(labels(bursts(8000, 0.01, 1, 1)))
    assert first(calm).burst_size < 1.5
    assert "bursts" not in first(calm).reason


def test_latency_has_its_blocks_for_it() -> None:
    evidence = begun(Guard("median_latency", 1.2, relative=True), kind=Kind.SCORE)
    evidence.add([r._replace(seconds=r.seconds * (1 + (i // 50) % 2)) for i, r in enumerate(score_stream(3000, 1))])
    assert first(evidence).burst_size == 1.0


def test_labels_that_come_in_bursts_count_less_too() -> None:
    spec = PredictionSpec("json", Kind.LABEL, label_delay=10.0)
    evidence = Evidence.begin(make_plan(Guard("max_quality_drop", 0.02), prediction=spec), 3)
    wrong = np.repeat(bursts(400, 0.02, 1, 5), 10)
    for reading in labels(wrong):
        evidence.add([reading])
        evidence.outcome(reading.id, 1)
    assert first(evidence).burst_size > 5.0
    assert evidence.log_e()[0] < evidence._state.tally.log_fail(0)


def test_a_change_of_the_limit_keeps_what_is_known_of_bursts_and_a_change_of_what_is_counted_does_not() -> None:
    jump = Guard("max_big_change", 0.02, tolerance=0.3)
    evidence = begun(DISAGREEMENT, jump, kind=Kind.SCORE)
    moved = np.repeat(bursts(600, 0.03, 1, 5), 5)
    evidence.add([make_reading(i, 0.1, 0.1 + 0.8 * int(x)) for i, x in enumerate(moved)])
    before = evidence._state.tally.burst_sizes()
    assert min(before) > 3.0
    log_e = evidence.log_e()
    evidence.change_limits(make_plan(Guard("max_disagreement", 0.03), Guard("max_big_change", 0.02, tolerance=0.5)))
    assert evidence._state.tally.burst_sizes() == [before[0], 1.0]
    assert evidence.log_e() == pytest.approx(log_e)  # the epochs closed with the sizes they had


def test_a_promoted_candidate_that_turns_bad_in_bursts_is_still_seen() -> None:
    evidence = begun(DISAGREEMENT)
    evidence.enter_stage(1, promoted=True)
    evidence.add([r._replace(stage=1) for r in labels(bursts(12_000, 0.15, 5, 6))])
    assert evidence.assess().verdict is Verdict.FAIL


# --- a body that comes again and again -------------------------------------------------------------------------------


def hot(n: int, share: float, seed: int, *, wrong: bool = True, fails: bool = False) -> list[Reading]:
    """One body is `share` of the requests, and the candidate goes wrong on it each time."""
    often = (np.random.default_rng(seed).random(n) < share).tolist()
    bad = [x and wrong for x in often]
    stream = [make_reading(i, 1, int(not x or fails), kind=Kind.LABEL) for i, x in enumerate(bad)]
    stream = [r._replace(request_hash=5) if x else r for r, x in zip(stream, often, strict=True)]
    if not fails:
        return stream
    return [r._replace(fault=Reason.STATUS_5XX, candidate=None) if x else r for r, x in zip(stream, bad, strict=True)]


@pytest.mark.parametrize(("guard", "fails"), [(DISAGREEMENT, False), (ERRORS, True)])
def test_a_candidate_that_is_wrong_on_a_third_of_the_requests_does_not_pass(guard: Guard, fails: bool) -> None:
    evidence = begun(guard)
    for batch in cut(hot(4000, 0.3, 1, fails=fails), (200,)):
        evidence.add(batch)
        assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    found = first(evidence)
    assert found.value is not None
    assert found.value < 0.01 < 0.28 < (found.value_with_repeats or 0.0) < 0.32
    assert found.pairs_with_repeats == 4000 > found.pairs
    assert "% over all 4,000 pairs, repeats included" in found.reason


def test_a_perfect_candidate_with_a_hot_body_passes_when_its_distinct_requests_say_so() -> None:
    evidence, passed = begun(DISAGREEMENT), []
    for batch in cut(hot(600, 0.3, 1, wrong=False), (10,)):
        evidence.add(batch)
        tally = evidence._state.tally
        by_bodies = float(tally.slots[0].rule.log_pass(tally.carried(tally.slots[0]), 0.02)) >= np.log(20.0)
        passed.append((evidence.assess().verdict is Verdict.PASS, by_bodies))
    assert {(True, True), (False, False)} == set(passed)
    assert "repeats included" not in first(evidence).reason


def test_a_stage_asks_for_all_its_own_requests_too() -> None:
    evidence = begun(DISAGREEMENT)
    evidence.add(hot(3000, 0.3, 1, wrong=False))
    assert evidence.assess().verdict is Verdict.PASS
    evidence.enter_stage(1)
    evidence.add([r._replace(stage=1, sequence=r.sequence + 3000) for r in hot(600, 0.3, 2)])
    assert first(evidence).verdict is Verdict.INCONCLUSIVE


def test_the_watch_sees_a_hot_body_that_turns_wrong() -> None:
    evidence = begun(DISAGREEMENT)
    evidence.enter_stage(1, promoted=True)
    good = [r._replace(stage=1) for r in hot(3000, 0.3, 1, wrong=False)]
    bad = [r._replace(stage=1, time=r.time + 3000.0, sequence=r.sequence + 3000) for r in hot(1500, 0.3, 2)]
    evidence.add(good)
    assert not evidence.crossed()
    evidence.add(bad)
    assert evidence.crossed()
    watch = evidence._state.watch
    assert watch is not None
    fresh_only = watch.copy()
    fresh_only.logs = {name: logs[[0, 1, 0, 1]] for name, logs in watch.logs.items()}
    assert fresh_only.log_m(evidence._state.tally.slots[0]) < ALARM  # by bodies alone it was one of a thousand


def test_repeats_survive_a_dump_a_merge_and_a_change_of_other_limits() -> None:
    evidence = begun(DISAGREEMENT, ERRORS)
    evidence.add(hot(2500, 0.3, 1))
    counts = evidence._state.tally.repeats
    assert counts[0].sum() == counts[1].sum() > 1000
    plan = make_plan(DISAGREEMENT, ERRORS, kind=Kind.LABEL)
    again = Evidence.load(plan, evidence.dump())
    assert again.dump() == evidence.dump()
    np.testing.assert_array_equal(again._state.tally.repeats, counts)
    follower = evidence.follower()
    follower.add(hot(2500, 0.3, 1))
    merged = evidence.merge(follower)._state.tally
    np.testing.assert_array_equal(merged.repeats, counts + follower._state.tally.repeats)
    evidence.change_limits(make_plan(DISAGREEMENT, Guard("max_extra_errors", 0.03), kind=Kind.LABEL))
    kept = evidence._state.tally
    assert kept.repeats[:, : kept.slots[0].stop].sum() > 0
    assert kept.repeats[:, kept.slots[0].stop :].sum() == 0
