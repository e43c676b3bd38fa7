"""Promise: labels count in request order, `label_delay` after their request, whenever they came; what waits for one is
bounded, chosen by the request's id alone, and survives a restart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from proxy.evidence import Evidence
from proxy.evidence.input import labels
from proxy.evidence.input.labels import Waiting
from proxy.evidence.outcomes import Outcomes
from proxy.model import Finding, Guard, Kind, Plan, Prediction, PredictionSpec, Reading, Verdict
from tests.evidence.streams import cut, make_plan, make_reading, score_stream

DROP = Guard("max_quality_drop", 0.02)


def plan_of(delay: float, kind: Kind = Kind.LABEL, *guards: Guard) -> Plan:
    return make_plan(DROP, *guards, prediction=PredictionSpec("json", kind, label_delay=delay))


def payments(n: int, seed: int) -> list[tuple[Reading, int]]:
    """Payments and their truths: 3 % are frauds, which live finds and the candidate does not. A request a second."""
    fraud = (np.random.default_rng(seed).random(n) < 0.03).astype(int).tolist()
    return [(make_reading(i, y, 0, kind=Kind.LABEL), y) for i, y in enumerate(fraud)]


def told(evidence: Evidence, stream: list[tuple[Reading, int]], late: int, look: int = 100) -> set[Verdict]:
    """Frauds are known `late` requests after their payment, all else at once; the verdicts of every look."""
    verdicts = set()
    for at in range(0, len(stream), look):
        batch = stream[at : at + look]
        evidence.add([reading for reading, _ in batch])
        known = [(reading.id, y) for reading, y in batch if not y]
        known += [(reading.id, y) for reading, y in stream[max(0, at - late) : max(0, at + look - late)] if y]
        for name, y in known:
            evidence.outcome(name, y)
        verdicts.add(evidence.assess(forecast=False).verdict)
    return verdicts


def drop(evidence: Evidence) -> Finding:
    (found,) = evidence.assess().findings
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_truth_that_comes_later_for_one_class_passes_nothing(seed: int) -> None:
    evidence = Evidence.begin(plan_of(1100.0), seed)
    assert told(evidence, payments(4000, seed), late=1000) <= {Verdict.INCONCLUSIVE, Verdict.FAIL}
    assert drop(evidence).value == pytest.approx(0.03, abs=0.012)
    short = Evidence.begin(plan_of(100.0), seed)
    assert Verdict.PASS in told(short, payments(4000, seed), late=1000)  # what label_delay must not be
    assert "requests had a label within 100 s" not in drop(evidence).reason


def test_a_bad_candidate_fails_label_delay_after_its_requests() -> None:
    evidence = Evidence.begin(plan_of(500.0), 1)
    stream = [(make_reading(i, 1, int(i % 5 > 0), kind=Kind.LABEL), 1) for i in range(1000)]
    assert told(evidence, stream[:500], late=0) == {Verdict.INCONCLUSIVE}
    assert Verdict.FAIL in told(evidence, stream[500:], late=0)


def test_requests_without_a_label_in_time_count_for_nobody_and_are_said() -> None:
    evidence = Evidence.begin(plan_of(100.0), 1)
    stream = payments(1000, 1)
    evidence.add([reading for reading, _ in stream[:200]])
    assert not evidence.outcome("r50", 0)  # too late: its time came before its label
    assert evidence.outcome("r150", 0)
    evidence.add([reading for reading, _ in stream[200:]])
    assert evidence.labels == {"counted": 1, "unlabelled": 899, "left_out": 0, "waiting": 0}
    assert "1 of 900 requests had a label within 1.7 min (label_delay)" in drop(evidence).reason


@pytest.mark.parametrize("sizes", [(5,), (7, 100, 3), (90,)])
def test_however_it_is_cut_and_restarted_the_counts_are_the_same(sizes: tuple[int, ...]) -> None:
    plan, stream = plan_of(120.0), payments(600, 3)

    def counted(batches: Iterable[list[tuple[Reading, int]]], *, restarts: bool) -> list[list[int]]:
        evidence = Evidence.begin(plan, 5)
        for batch in batches:
            evidence.add([reading for reading, _ in batch])
            if restarts:
                evidence = Evidence.load(plan, evidence.dump())
            for reading, y in batch:
                if reading.sequence % 3:
                    evidence.outcome(reading.id, y)
        return evidence.counts.tolist()

    assert counted(cut(stream, sizes), restarts=True) == counted(cut(stream, (50,)), restarts=False)


def test_what_waits_is_bounded_and_chosen_by_the_id_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "WAITING", 64)
    streams = []
    for labelled in (False, True):  # whether a label has come makes no difference to who gives way
        waiting = Waiting(7)
        for i in range(1000):
            waiting.add(f"r{i}", *[Prediction(Kind.LABEL, ("x",))] * 2, key=i, stage=0, time=float(i))
            assert len(waiting) <= 64
            if labelled and waiting.pair(f"r{i}"):
                waiting.label(f"r{i}", 0.0, 1.0)
        streams.append([entry[0] for entry in waiting.entries])
        assert waiting.left_out == 1000 - len(waiting)
        assert waiting.halvings >= 4
    assert streams[0] == streams[1]
    assert len(waiting.settle(1e9)) == len(streams[1])
    for i in range(2000, 2040):  # few come now: all of them may wait again
        waiting.settle(i - 3.0)
        waiting.add(f"r{i}", *[Prediction(Kind.LABEL, ("x",))] * 2, key=i, stage=0, time=float(i))
    assert waiting.halvings == 0


def test_an_id_that_comes_again_has_its_label_on_the_latest_request() -> None:
    evidence = Evidence.begin(plan_of(10.0), 1)
    evidence.add([make_reading(i, 1, i, kind=Kind.LABEL, id="same") for i in range(2)])
    assert evidence.outcome("same", 1)  # the second request: both arms were right
    evidence.add([make_reading(2, time=100.0, kind=Kind.LABEL, id="other")])
    assert (drop(evidence).pairs, drop(evidence).value) == (1, 0.0)


def test_numbers_wait_for_their_unit() -> None:
    """An error is counted in eighths of interquartile ranges, which the first 500 answers give."""
    evidence = Evidence.begin(plan_of(10.0, Kind.NUMBER), 1)
    evidence.add([make_reading(i, float(i % 100), 0.0, kind=Kind.NUMBER) for i in range(600)])
    assert not evidence.outcome("r3", 3.0)
    assert evidence.outcome("r595", 95.0)


def test_labels_are_watched_after_promotion() -> None:
    evidence = Evidence.begin(plan_of(10.0), 1)
    evidence.enter_stage(0)
    evidence.enter_stage(1, promoted=True)
    for i in range(4000):
        evidence.add([make_reading(i, 1, 0, stage=1, kind=Kind.LABEL)])
        evidence.outcome(f"r{i}", 1)
        if i % 100 == 99 and evidence.assess(forecast=False).verdict is Verdict.FAIL:
            break
    assert evidence.assess().causes == ("max_quality_drop",)


def test_two_that_saw_half_each_count_as_one() -> None:
    plan, stream = plan_of(50.0, Kind.SCORE), score_stream(400, 3)
    whole = Evidence.begin(plan, 9)
    a = Evidence.begin(plan, 9)
    b = a.follower()
    for evidence, part in ((whole, stream), (a, stream[::2]), (b, stream[1::2])):
        for reading in part:
            evidence.add([reading])
            evidence.outcome(reading.id, 1.0)
    assert (a.merge(b).counts == b.merge(a).counts).all()
    assert a.merge(b).labels == b.merge(a).labels
    settled = whole.labels or {}
    assert sum((a.merge(b).labels or {}).values()) == sum(settled.values())


def test_whom_an_earlier_process_chose_is_halved_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a key that nobody knows any more: of 32,000 requests each 16th waits, and there is room for a few more."""
    monkeypatch.setattr(labels, "WAITING", 2200)
    spec, first = PredictionSpec("json", Kind.LABEL, label_delay=1e9), Outcomes()
    first.add([make_reading(0, 1, 1, kind=Kind.LABEL)], spec)
    assert first.join("r0", 1, spec, 1.0)
    saved = first.dump()
    assert saved is not None
    ((_, *row),) = saved["waiting"]
    later = Outcomes(saved | {"waiting": [[f"r{16 * i}", *row] for i in range(2000)], "labels": [0, 0, 30_000, 4]})
    later.add([make_reading(100_000 + i, 1, 1, kind=Kind.LABEL) for i in range(12_000)], spec)
    found = later.dump()
    assert found is not None
    assert found["labels"][3] == 5
    earlier = sum(int(name[1:]) < 32_000 for name, *_ in found["waiting"])
    assert 800 < earlier < 1200
    assert 250 < len(found["waiting"]) - earlier < 500
