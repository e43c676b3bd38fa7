"""Promise: what changes is found, said with its size and its beginning, once until it is over; what is no drift is not,
and no value can break it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from proxy.drift import (
    Absent,
    DriftDetector,
    DriftField,
    DriftFinding,
    DriftPlan,
    DriftState,
    Observations,
    dump_drift,
    load_drift,
)
from proxy.drift.charts import ChartCounts
from proxy.model import Kind

AMOUNT = DriftField("amount", Kind.NUMBER)
COUNTRY = DriftField("country", Kind.LABEL)
IMAGE = DriftField("image", Kind.VECTOR)
FIRST = 2000


def plan(*fields: DriftField, **more: Any) -> DriftPlan:
    return DriftPlan(fields, **{"first": FIRST, **more})


def fed(detector: DriftDetector, start: float, *columns: Any, step: float = 1.0) -> list[DriftFinding]:
    """All columns at one value per `step` seconds, in batches of 50."""
    found, n = [], len(columns[0])
    for at in range(0, n, 50):
        times = [start + step * i for i in range(at, min(n, at + 50))]
        found += detector.add(Observations(times, tuple(list(column[at : at + 50]) for column in columns)))
    return found


def normal(seed: int, n: int, mean: float = 10.0, deviation: float = 2.0) -> list[float]:
    return np.random.default_rng(seed).normal(mean, deviation, n).tolist()


def labels(seed: int, n: int, **shares: float) -> list[str]:
    rng = np.random.default_rng(seed)
    return [str(x) for x in rng.choice(list(shares), n, p=list(shares.values()))]


def after(field: DriftField, usual: Any, then: Any, **more: Any) -> tuple[DriftDetector, list[DriftFinding]]:
    """A detector that saw what is usual, and then something else."""
    detector = DriftDetector(plan(field, **more))
    assert fed(detector, 0.0, usual) == []
    return detector, fed(detector, float(len(usual)), then)


def test_a_shift_is_found_with_its_size_and_its_beginning() -> None:
    _, (found, *more) = after(AMOUNT, normal(1, 6000), normal(2, 3000, mean=11.0))
    assert not more
    assert (found.field, found.state, found.what, found.unit) == ("amount", DriftState.DRIFTING, "level", "sd")
    assert found.low is not None
    assert found.effect is not None
    assert 0.0 < found.low < 0.5 < found.high
    assert abs(found.effect - 0.5) < 0.25
    assert abs(found.since - 6000.0) < 120.0
    assert found.before == pytest.approx(10.0, abs=0.2)
    assert found.evidence == 1.0
    assert found.words.startswith("level +0.")


@pytest.mark.parametrize(
    ("then", "what"),
    [
        (normal(3, 400, deviation=4.0), "spread"),
        ([1000.0 * x for x in normal(3, 40)], "far"),
        ([Absent.MISSING if i % 8 == 0 else x for i, x in enumerate(normal(3, 400))], "missing"),
        ([math.nan if i % 8 == 0 else x for i, x in enumerate(normal(3, 400))], "missing"),
    ],
    ids=["spread", "unit", "missing", "nan"],
)
def test_what_moved_is_said(then: list[Any], what: str) -> None:
    detector, (found,) = after(AMOUNT, normal(1, 6000), then)
    assert found.what == what
    assert detector.findings()[0].state is DriftState.DRIFTING
    if what == "far":
        assert "mean 9.89" in found.words
        assert "(× " in found.words


@pytest.mark.parametrize("shift", [-5.0, -2.0, 1.0, 2.0, 3.0, 5.0])
def test_a_large_shift_is_one_of_the_level_and_its_interval_is_true(shift: float) -> None:
    detector, (found,) = after(AMOUNT, normal(1, 6000), normal(2, 400, mean=10.0 + 2.0 * shift))
    for one in (found, *detector.findings()):
        assert one.what == "level"
        assert (-math.inf if one.low is None else one.low) < shift < (math.inf if one.high is None else one.high)
        assert one.before == pytest.approx(10.0, abs=0.2)
        assert one.after is not None  # a block of before may be in it
        assert 0.4 < (one.after - 10.0) / (2.0 * shift) < 1.2
    assert "or more" in found.words or abs(shift) < 1.5


def test_a_new_label_and_a_share_that_moved() -> None:
    usual = labels(1, 6000, de=0.6, fr=0.4)
    _, (new,) = after(COUNTRY, usual, labels(2, 1500, de=0.59, fr=0.39, xx=0.02))
    assert new.what == "new label"
    assert 0.001 < new.after < 0.05
    _, (moved,) = after(COUNTRY, usual, labels(2, 1500, de=0.8, fr=0.2))
    assert (moved.what, moved.unit) == ("share", "share")
    assert moved.effect == pytest.approx(0.2 if moved.detail == "de" else -0.2, abs=0.08)
    assert moved.words.startswith(f"share {moved.detail}")


def test_embeddings_that_move_turn_or_grow() -> None:
    rng = np.random.default_rng(1)
    usual = rng.normal(size=(6000, 12))
    for then, what in ((usual[:1500] + 0.4, "level"), (usual[:1500] * 3.0, "level"), (rng.normal(size=(60, 8)), "far")):
        _, (found,) = after(IMAGE, usual.tolist(), then.tolist())
        assert found.what == what
    assert found.detail == "dimensions"


def test_it_fires_once_and_ends_when_it_is_over() -> None:
    detector, (began,) = after(AMOUNT, normal(1, 6000), normal(2, 9000, mean=11.0))
    (ended,) = fed(detector, 15_000.0, normal(3, 3000))
    assert ended.state is DriftState.ENDED
    assert ended.since == began.since
    assert ended.n > 7000
    assert detector.findings()[0].state is DriftState.STEADY
    (again,) = fed(detector, 18_000.0, normal(4, 3000, mean=11.0))  # what drifted has not been learned
    assert again.state is DriftState.DRIFTING


@pytest.mark.parametrize("seed", [1, 5, 7])
def test_drift_that_stays_does_not_end(seed: int) -> None:
    """The bet that raises an alarm may be larger than twice the shift: it is no measure of the end."""
    detector, (began,) = after(AMOUNT, normal(seed, 6000), normal(seed + 100, 20_000, mean=10.4))
    assert began.state is detector.findings()[0].state is DriftState.DRIFTING
    (ended,) = fed(detector, 26_000.0, normal(seed + 200, 12_000))
    assert ended.state is DriftState.ENDED


def test_an_accepted_level_is_the_new_reference() -> None:
    detector, _ = after(AMOUNT, normal(1, 6000), normal(2, 3000, mean=14.0))
    detector.accept("amount")
    assert detector.findings()[0].state is DriftState.LEARNING
    assert fed(detector, 9000.0, normal(3, 8000, mean=14.0)) == []
    assert detector.findings()[0].state is DriftState.STEADY
    (back,) = fed(detector, 17_000.0, normal(4, 1000))
    assert back.effect < 0.0
    with pytest.raises(KeyError):
        detector.accept("nobody")


@pytest.mark.parametrize(
    ("field", "kept", "broken"),
    [
        (DriftField("a", Kind.NUMBER, missing=0.05), lambda i: Absent.MISSING if i % 25 == 0 else float(i % 7), None),
        (
            DriftField("a", Kind.NUMBER, minimum=0.0, invalid=0.02),
            lambda i: -1.0 if i % 100 == 0 else float(i % 7),
            -1.0,
        ),
        (DriftField("a", Kind.LABEL, labels=("x", "y"), invalid=0.02), lambda i: "q" if i % 100 == 0 else "x", "q"),
    ],
    ids=["missing", "range", "labels"],
)
def test_expectations_are_limits_whatever_the_reference_was(field: DriftField, kept: Any, broken: Any) -> None:
    """Half a limit, from the first value on, is none of drift; a tenth beyond it is."""
    usual = [kept(i) for i in range(8000)]
    then = [(Absent.UNREADABLE if broken is None else broken) if i % 8 == 0 else usual[i] for i in range(1500)]
    _, (found,) = after(field, usual, then)
    assert found.what in ("missing", "invalid", "new label", "level", "spread", "share")  # "x" came less often, too


@pytest.mark.parametrize(
    ("field", "column", "what"),
    [
        (DriftField("a", Kind.NUMBER, missing=0.01), [Absent.MISSING], "missing"),
        (DriftField("a", Kind.NUMBER, minimum=0.0), [-1.0, 1.0], "invalid"),
        (DriftField("a", Kind.LABEL, labels=("x",)), ["x", "y"], "new label"),
        (DriftField("a", Kind.VECTOR, missing=0.01), [Absent.UNREADABLE], "missing"),
    ],
    ids=["missing", "range", "labels", "vector"],
)
def test_expectations_are_watched_from_the_first_value_on(field: DriftField, column: list[Any], what: str) -> None:
    """What is broken before a reference exists, which may never be."""
    detector = DriftDetector(plan(field))
    (found,) = fed(detector, 0.0, column * 200)
    assert (found.what, found.state) == (what, DriftState.DRIFTING)
    assert found.n <= 100
    again = load_drift(detector.plan, dump_drift(detector))
    good: Any = {Kind.NUMBER: 1.0, Kind.LABEL: "x", Kind.VECTOR: [1.0, 2.0, 3.0]}[field.kind]
    ended, *_ = fed(again, 1000.0, [good] * 6000)  # the reference is of what was broken, too
    assert (ended.what, ended.state) == (what, DriftState.ENDED)
    again.accept("a")
    assert fed(again, 9000.0, column * 200)[0].what == what


def test_what_keeps_a_limit_from_the_first_value_on_is_no_drift() -> None:
    rng = np.random.default_rng(4)
    for _ in range(10):
        column = [Absent.MISSING if x < 0.008 else float(x) for x in rng.random(6000)]
        assert not [
            x
            for x in fed(DriftDetector(plan(DriftField("a", Kind.NUMBER, missing=0.01))), 0.0, column)
            if x.what == "missing"
        ]


def test_the_budget_is_for_all_fields_together() -> None:
    """One field among ten needs ten times the evidence, and that is later, not sooner."""
    then = normal(2, 3000, mean=10.8)
    _, (alone,) = after(AMOUNT, normal(1, 6000), then)
    others = tuple(DriftField(f"other{i}", Kind.LABEL) for i in range(9))
    detector = DriftDetector(plan(AMOUNT, *others))
    usual = [*normal(1, 6000), *then]
    (among,) = fed(detector, 0.0, usual, *[["x"] * 9000] * 9)
    assert among.n >= alone.n


def test_cycles_are_learned_for_two_weeks_and_are_no_drift() -> None:
    rng, detector = np.random.default_rng(1), DriftDetector(plan(AMOUNT, period=86_400.0))
    times = np.arange(0.0, 35 * 86_400.0, 240.0)
    values = (
        3.0 * np.sin(2 * np.pi * times / 86_400.0) + 2.0 * (times // 86_400.0 % 7 >= 5) + rng.normal(size=len(times))
    )
    until = int(13.9 * 86_400.0 / 240.0)
    assert detector.add(Observations(times[:until], (values[:until].tolist(),))) == ()
    assert detector.findings()[0].state is DriftState.LEARNING
    assert detector.add(Observations(times[until:], (values[until:].tolist(),))) == ()
    assert detector.findings()[0].state is DriftState.STEADY
    later = times + 35 * 86_400.0
    (found,) = detector.add(Observations(later[:360], ((values[:360] + 2.0).tolist(),)))
    assert found.what == "level"


def test_without_the_period_the_same_cycle_is_drift() -> None:
    """So the test above can fail."""
    times = np.arange(0.0, 10 * 86_400.0, 240.0)
    values = 3.0 * np.sin(2 * np.pi * times / 86_400.0) + np.random.default_rng(1).normal(size=len(times))
    late = 3.0 * np.sin(2 * np.pi * np.arange(2000) * 240.0 / 86_400.0 / 20.0)
    detector = DriftDetector(plan(AMOUNT))
    found = detector.add(Observations(times, (values.tolist(),)))
    found += detector.add(Observations(times[-1] + 240.0 * np.arange(2000), (late.tolist(),)))
    assert found


def test_a_chart_knows_when_a_pause_ended_however_long_its_spans_became() -> None:
    chart, start = ChartCounts(1), 7.0 * 3600.0
    for times in (np.arange(start, start + 60_000.0, 10.0), np.arange(2_001_234.0, 2_020_000.0, 10.0)):
        chart.add(times, np.zeros(len(times), np.int64))
    assert chart.seconds >= 300.0
    assert [chart.seen_at(at) for at in (1_000_000.0, 2_001_000.0, 2_001_300.0)] == [2_001_234.0] * 2 + [2_001_300.0]


@pytest.mark.parametrize("shift", [0.5, 1.0, 4.0])
def test_what_changed_in_a_pause_is_drift_since_its_end(shift: float) -> None:
    """Ten hours without a value: that it changed before them is no more likely than that it did in any other minute."""
    detector, morning = DriftDetector(plan(AMOUNT)), 42_000.0
    assert fed(detector, 0.0, normal(1, 6000)) == []
    (found,) = fed(detector, morning, normal(2, 1500, mean=10.0 + 2.0 * shift))
    assert morning <= found.since <= morning + 300.0


@pytest.mark.parametrize("seed", [28, 1])
def test_a_short_reference_and_much_traffic_is_no_drift(seed: int) -> None:
    """300 values, and 24,000 in two minutes: 28 is one of the seeds at which two standard errors were an alarm."""
    rng, n = np.random.default_rng([9, seed]), 24_000
    columns = (rng.normal(size=n).tolist(), np.exp(rng.normal(size=n)).tolist())
    detector = DriftDetector(plan(AMOUNT, DriftField("other", Kind.NUMBER), first=300))
    assert detector.add(Observations((np.arange(n) / 200.0).tolist(), columns)) == ()


def test_rows_may_come_late_and_nothing_may_come() -> None:
    detector = DriftDetector(plan(AMOUNT))
    assert detector.add(Observations([], ([],))) == ()
    assert detector.add(Observations([5.0, 3.0, 4.0], ([1.0, 2.0, 3.0],))) == ()
    assert detector.findings()[0].n == 3
    with pytest.raises(ValueError, match="3 times, but a column has 2 values"):
        Observations([1.0, 2.0, 3.0], ([1.0, 2.0],))


def test_a_field_that_never_has_a_value_says_so() -> None:
    detector = DriftDetector(plan(AMOUNT))
    fed(detector, 0.0, [Absent.MISSING] * 20_000)
    (found,) = detector.findings()
    assert (found.state, found.n) == (DriftState.LEARNING, 0)
    assert "no value in 20,000 observations" in found.words
    assert len(detector.fields[0].first) < 10_000  # what waits is bounded


VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**400), 10**400),
    st.text(max_size=3),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=4),
    st.sampled_from(Absent),
    st.booleans(),
)


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(st.tuples(st.floats(0.0, 1e6), VALUES, VALUES, VALUES), min_size=30, max_size=80), st.integers(2, 20))
def test_no_value_breaks_it(rows: list[tuple[float, Any, Any, Any]], first: int) -> None:
    detector = DriftDetector(plan(AMOUNT, COUNTRY, IMAGE, first=first))
    for at in range(0, len(rows), 7):
        times, *columns = zip(*rows[at : at + 7], strict=True)
        detector.add(Observations(times, tuple(list(column) for column in columns)))
    for finding in detector.findings():
        assert 0.0 <= finding.evidence <= 1.0
        assert not any(
            math.isnan(x) for x in (finding.effect, finding.low, finding.high, finding.after) if x is not None
        )
        for bucket in detector.chart(finding.field):
            assert 0.0 <= bucket.missing <= 1.0
