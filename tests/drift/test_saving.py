"""Promise: a detector that was saved goes on as if nothing had been; what the plan no longer says begins anew."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import orjson
import pytest

from proxy.drift import DriftDetector, DriftField, DriftPlan, DriftState, Observations, dump_drift, load_drift
from proxy.model import Kind

FIELDS = DriftField("amount", Kind.NUMBER), DriftField("country", Kind.LABEL), DriftField("image", Kind.VECTOR)
PLAN = DriftPlan(FIELDS, first=2000, seed=7)


def observed(seed: int, start: float, n: int, shift: float = 0.0) -> Observations:
    rng = np.random.default_rng(seed)
    amount, image = rng.normal(shift, 1.0, n), rng.normal(size=(n, 6))
    country = rng.choice(["de", "fr"], n, p=[0.7, 0.3])
    return Observations((start + np.arange(n)).tolist(), (amount.tolist(), country.tolist(), image.tolist()))


@pytest.mark.parametrize("n", [500, 2500, 7000], ids=["first values", "learning", "steady"])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_it_goes_on_as_if_nothing_had_been(n: int, shift: float) -> None:
    detector = DriftDetector(PLAN)
    detector.add(observed(1, 0.0, n))
    detector.add(observed(2, float(n), 300, shift))
    other = load_drift(PLAN, dump_drift(detector))
    assert dump_drift(other) == dump_drift(detector)
    assert other.findings() == detector.findings()
    for start in range(n + 300, n + 4300, 500):
        more = observed(start, float(start), 500, shift)
        assert other.add(more) == detector.add(more)
    assert dump_drift(other) == dump_drift(detector)
    assert [other.chart(field.name) for field in FIELDS] == [detector.chart(field.name) for field in FIELDS]
    for mine, theirs in zip(other.fields, detector.fields, strict=True):
        assert (mine.chart is None) == (theirs.chart is None)
        if mine.chart is not None and theirs.chart is not None:
            assert mine.chart.firsts[: mine.chart.used].tolist() == theirs.chart.firsts[: theirs.chart.used].tolist()


def test_what_a_build_without_jumps_saved_goes_on() -> None:
    """Two weeks of learning are not thrown away because the next build keeps more."""
    detector = DriftDetector(PLAN)
    detector.add(observed(1, 0.0, 7000))
    head, _, rest = zlib.decompress(dump_drift(detector)).partition(b"\n")
    said, at, arrays = orjson.loads(head), 0, []
    for name, dtype, shape in said["arrays"]:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if name not in ("fresh", "previous", "last"):
            arrays.append(([name, dtype, shape], rest[at : at + size]))
        at += size
    said["arrays"] = [named for named, _ in arrays]
    for one in said["fields"]:
        del one["wild"]
        one["scorer"].pop("bounds", None)
    old = zlib.compress(b"\n".join([orjson.dumps(said), b"".join(data for _, data in arrays)]))
    other = load_drift(PLAN, old)
    assert {one.state for one in other.findings()} == {DriftState.STEADY}
    assert other.add(observed(2, 7000.0, 5000)) == ()
    found = other.add(observed(3, 12_000.0, 500, shift=1e4))
    assert [one.what for one in found] == ["far"]


def test_fields_that_are_as_before_go_on_and_others_begin_anew() -> None:
    detector = DriftDetector(PLAN)
    detector.add(observed(1, 0.0, 7000))
    amount, country, image = FIELDS
    changed = load_drift(replace(PLAN, fields=(image, replace(amount, minimum=0.0), country)), dump_drift(detector))
    states = {finding.field: finding.state for finding in changed.findings()}
    assert states == {"image": DriftState.STEADY, "amount": DriftState.LEARNING, "country": DriftState.STEADY}
    assert changed.chart("country") == detector.chart("country")
    for other in (replace(PLAN, first=3000), replace(PLAN, period=86_400.0), replace(PLAN, seed=8)):
        assert {one.state for one in load_drift(other, dump_drift(detector)).findings()} == {DriftState.LEARNING}


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"{}", dump_drift(DriftDetector(PLAN))[:-40]])
def test_what_is_no_saved_drift_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="saved drift cannot be read"):
        load_drift(PLAN, data)


def test_ten_numbers_with_a_weekly_cycle_are_small() -> None:
    """What the store keeps for a route."""
    rng, n = np.random.default_rng(1), 12_000
    plan = DriftPlan(tuple(DriftField(f"f{i}", Kind.NUMBER) for i in range(10)), period=86_400.0)
    detector = DriftDetector(plan)
    times = np.linspace(0.0, 16 * 86_400.0, n)
    detector.add(Observations(times.tolist(), tuple(rng.normal(size=n).tolist() for _ in range(10))))
    assert {one.state for one in detector.findings()} == {DriftState.STEADY}  # as large as it will be
    assert len(dump_drift(detector)) < 400_000


def test_labels_that_no_json_can_hold_and_long_ones_are_kept() -> None:
    detector = DriftDetector(DriftPlan((DriftField("country", Kind.LABEL),), first=200))
    labels = ["\ud800", "x" * 10_000, "ß", *map(str, range(1500))]
    detector.add(Observations(list(range(3000)), ([labels[i % len(labels)] for i in range(3000)],)))
    data = dump_drift(detector)
    assert load_drift(detector.plan, data).findings() == detector.findings()
    assert len(data) < 100_000
