"""A detector as bytes: JSON and the arrays that it names, compressed.

Fields that the plan still has unchanged go on; others begin anew, as all do when the reference is another (`first`,
`period`, `seed`). Size: see `tests/drift/test_saving.py`; a field that is still gathering its first values adds those.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np
import orjson

from proxy.drift.detector import DriftDetector
from proxy.drift.finding import DriftState
from proxy.drift.plan import DriftPlan
from proxy.drift.scoring import scorer_from
from proxy.drift.watched import WatchedField

VERSION: Final = 2
AXES: Final = {
    "reference.sums": 1, "reference.trials": 1, "reference.waiting": 2, "reference.means": 1, "reference.unsure": 0,
    "dispersion.now": 2, "dispersion.before": 2, "dispersion.differences": 2, "dispersion.days": 1,
    "restarts.wealth": 0, "restarts.since": 1,
    "weights": 0, "bets_on": 0, "knows": 0, "drifts": 0, "block": 1, "fresh": 0,
}  # fmt: skip
"""Arrays of the detector, and which axis of each is that of the channels."""
WHOLE: Final = ("reference.ticks", "dispersion.spans", "dispersion.blocks", "count", "start", "previous", "last")
"""What all fields have in common."""


def dump_drift(detector: DriftDetector) -> bytes:
    """Everything that `load_drift` needs."""
    arrays = {name: np.asarray(_get(detector, name)) for name in (*AXES, *WHOLE)}
    fields: list[dict[str, Any]] = []
    for one in detector.fields:
        if one.chart is not None:
            arrays[f"chart.{len(fields)}"] = np.column_stack([one.chart.spans, one.chart.counts])[: one.chart.used]
            starts = (one.chart.spans * one.chart.seconds).astype(np.int64)
            arrays[f"firsts.{len(fields)}"] = (one.chart.firsts - starts).astype(np.int16)[: one.chart.used]
        fields.append(_dump_field(one))
    plan = detector.plan
    said = {"version": VERSION, "reference": [plan.first, plan.period, plan.seed], "fields": fields}
    said["arrays"] = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    head = orjson.dumps(said, option=orjson.OPT_SERIALIZE_NUMPY)
    return zlib.compress(b"\n".join([head, b"".join(array.tobytes() for array in arrays.values())]))


def load_drift(plan: DriftPlan, data: bytes) -> DriftDetector:
    """The detector that was dumped, for this plan. ValueError where the bytes are none, or of another version."""
    try:
        head, _, rest = zlib.decompress(data).partition(b"\n")
        said = orjson.loads(head)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"saved drift cannot be read: {error}") from error
    if said["version"] != VERSION:
        raise ValueError(f"saved drift has version {said['version']}, expected {VERSION}")
    arrays = _arrays(said["arrays"], rest)
    detector = DriftDetector(plan)
    if said["reference"] != [plan.first, plan.period, plan.seed]:
        return detector
    for name in (name for name in WHOLE if name in arrays):  # a build before may have had fewer
        value = arrays[name]
        _set(detector, name, value if value.ndim else value.item())
    column = 0
    for number, kept in enumerate(said["fields"]):
        before = slice(column, column := column + kept["width"])
        for one in detector.fields:
            if orjson.loads(orjson.dumps(one.field)) == kept["field"]:
                _load_field(detector, one, kept, arrays.get(f"chart.{number}"), arrays.get(f"firsts.{number}", 0))
                _copy_columns(detector, one.columns, arrays, before)
    return detector


def _arrays(named: list[tuple[str, str, list[int]]], data: bytes) -> dict[str, Any]:
    found, at = {}, 0
    for name, dtype, shape in named:
        count = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(data, dtype, count, at).reshape(shape).copy()
        at += found[name].nbytes
    return found


def _copy_columns(detector: DriftDetector, here: slice, arrays: dict[str, Any], before: slice) -> None:
    for name, axis in ((name, axis) for name, axis in AXES.items() if name in arrays):
        np.moveaxis(_get(detector, name), axis, 0)[here] = np.moveaxis(arrays[name], axis, 0)[before]


def _get(detector: DriftDetector, name: str) -> Any:
    owner, _, attribute = name.rpartition(".")
    return getattr(getattr(detector, owner) if owner else detector, attribute)


def _set(detector: DriftDetector, name: str, value: Any) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(getattr(detector, owner) if owner else detector, attribute, value)


def _dump_field(one: WatchedField) -> dict[str, Any]:
    return {
        "field": one.field, "width": len(one.channels), "state": one.state, "seen": one.seen, "missed": one.missed,
        "stage": one.stage,
        "began": one.began,
        "lead": one.lead - one.columns.start, "bet": one.bet, "since": one.since, "back": one.back, "told": one.told,
        "wild": one.wild,
        "scorer": None if one.scorer is None else one.scorer.dump(),
        "first": one.first, "first_times": one.first_times,
        "seconds": None if one.chart is None else one.chart.seconds,
    }  # fmt: skip


def _load_field(detector: DriftDetector, one: WatchedField, kept: dict[str, Any], chart: Any, firsts: Any) -> None:
    one.state, one.stage = DriftState(kept["state"]), kept["stage"]
    one.seen, one.missed, one.began = kept["seen"], kept["missed"], kept["began"]
    one.lead, one.bet = kept["lead"] + one.columns.start, kept["bet"]
    one.since, one.back, one.told = kept["since"], kept["back"], kept["told"]
    one.wild = tuple(kept.get("wild", one.wild))
    one.first, one.first_times = kept["first"], kept["first_times"]
    if kept["scorer"] is not None:
        detector.score_by(one, scorer_from(one.field, kept["scorer"], detector.key))
        if chart is not None and one.chart is not None:
            one.chart.seconds, one.chart.used = kept["seconds"], len(chart)
            one.chart.spans[: len(chart)], one.chart.counts[: len(chart)] = chart[:, 0], chart[:, 1:]
            one.chart.firsts[: len(chart)] = (chart[:, 0] * kept["seconds"]).astype(np.int64) + firsts
