"""Promise: each guard judges the kinds that it knows and says so of the others; a finding reads as a person says it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from proxy.evidence import Evidence
from proxy.evidence.intake import length
from proxy.model import Guard, Kind, Reading, Verdict
from proxy.model.reasons import Reason
from tests.evidence.gathered import DISAGREEMENT, ERRORS, SHIFT, finding, gather, labels
from tests.evidence.streams import ALL_GUARDS, cut, make_plan, make_reading, score_stream


def test_kind_auto_is_that_of_most_of_the_first_answers() -> None:
    plan = make_plan(DISAGREEMENT, kind=Kind.AUTO)
    evidence = gather(plan, labels(40, 0))
    assert evidence.kind is Kind.AUTO
    evidence.add([r._replace(request_hash=-r.sequence - 1) for r in labels(500, 0)])
    assert evidence.kind is Kind.LABEL
    assert finding(evidence, "max_disagreement").pairs == 490
    assert Evidence.load(plan, evidence.dump()).kind is Kind.LABEL


def test_readings_in_which_live_says_nothing_are_counted_in_one_run_and_any_cut_gives_the_same() -> None:
    """Where no values are read the kind is never chosen: each micro-batch was counted in runs of 50."""
    plan = make_plan(ERRORS, kind=Kind.AUTO)
    silent = [reading._replace(live=None, candidate=None) for reading in labels(200, 0)]
    assert length(Evidence.begin(plan, 1)._state, silent, 0) == 200
    mixed = [said if said.sequence % 3 == 0 else none for said, none in zip(labels(200, 0), silent, strict=True)]
    assert length(Evidence.begin(plan, 1)._state, mixed, 0) == 3 * 49 + 1
    dumps = set()
    for size in (1, 7, 60, 200):
        evidence = Evidence.begin(plan, 1)
        for start in range(0, 200, size):
            evidence.add(mixed[start : start + size])
        assert evidence.kind is Kind.LABEL
        dumps.add(evidence.dump())
    assert len(dumps) == 1


def test_the_reference_is_frozen_from_500_live_answers_and_nothing_else(stream: list[Reading]) -> None:
    plan = make_plan(Guard("max_ks", 0.05), Guard("max_psi", 0.2))
    wild = [make_reading(r.sequence, r.live.rows[0] if r.live else 0.5, 0.999) for r in stream[:500]]
    one, two = gather(plan, stream[:400] + stream[400:600]), gather(plan, wild + stream[500:600])
    assert one._state.aspects[0].reference is not None
    assert finding(two, "max_ks").pairs < 100
    early = gather(plan, stream[:300])
    assert early._state.aspects[0].reference is None
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
        Kind.CALLS: [(), ("f({})",), ("f({})",) * 128, ('f({"a":1})', 'g("x")'), ('f({"a":',)],
        Kind.JSON: ["valid", "invalid at /a: too odd", "invalid: no JSON", "valid", ""],
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
    if kind is not Kind.TEXT:  # an unpaired surrogate is not text that JSON can hold; `predictions` refuses it
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
