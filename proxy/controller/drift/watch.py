"""What is known of one route's drift: observations in, changes out. No I/O: who calls it says what time it is.

Until the kinds of all predictions are known, observations wait here, at most `EARLY` of them: a prediction whose kind
the file leaves open has that of most of the first `ENOUGH` answers, and is watched from the first of them on. One of
which nothing could be read by then is a problem, and is watched once `ENOUGH` of its answers could be read.

Invariant: an alarm is in `alarms` from the change that reports it until the change that ends it, and both are part of
what is saved with them (`dump`), so each is reported once, over restarts too.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson

from proxy.controller.drift.source import DriftSource
from proxy.drift import (
    Absent,
    DriftDetector,
    DriftField,
    DriftFinding,
    DriftState,
    FieldValue,
    Observations,
    dump_drift,
    load_drift,
)
from proxy.model import Kind
from proxy.model.reasons import Reason
from proxy.predictions.observing import Observed
from proxy.predictions.said import FIELDS, said_values

FORMAT = 1
EARLY = 100
"""Observations that wait for the kind of a prediction."""
ENOUGH = 20
"""Answers by which the kind of a prediction is settled."""
ANEW = "another configuration: what is normal is learned anew"
LONG = 1000
"""Observations in which a field must have had values."""
LEAST = 100
"""Values of each field that a recording must have to be a reference."""


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """Drift of one field that was reported and is not over. Times are epoch seconds."""

    id: str
    field: str
    what: str
    since: float
    detected_at: float


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field began to drift (`began`), or its drift is over. `reason` says why where it is not that of the figures."""

    began: bool
    alarm: DriftAlarm
    finding: DriftFinding
    reason: str = ""


class DriftWatch:
    """One route's. `began_at` is when it began to learn; `problems` are what keeps it from watching all of it."""

    def __init__(self, source: DriftSource, now: float) -> None:
        self.source, self.began_at = source, now
        self.reader, self.first = source.reader(), source.first
        self.kinds: dict[str, Kind] = {spec.name: spec.kind for spec in source.specs if spec.kind is not Kind.AUTO}
        self.open = [spec.name for spec in source.specs if spec.kind is Kind.AUTO]
        """Predictions whose kind is not known yet."""
        self.detector: DriftDetector | None = None
        self.alarms: dict[str, DriftAlarm] = {}
        self.read = 0
        """Observations that were read since it began."""
        self.unreadable: Counter[tuple[str, Reason]] = Counter()
        self.last_at = 0.0
        self.problem = ""
        """Why nothing is learned, where that is for want of a reference."""
        self.stopped = False
        self.changed = False
        """Whether something came since it was saved."""
        self._waiting: list[Observed] = []
        self._late: dict[str, Counter[Kind]] = {}
        """Kinds of the answers of those that are open still."""
        if not self.open and not source.recording:
            self._begin()

    # --- observations ------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Watch nothing any more: what is known stays as it was saved last."""
        self.stopped = True
        self._waiting = []

    def take(self, observed: Observed) -> None:
        """One more observation."""
        if self.stopped:
            return
        self.read += 1
        self.changed = True
        self.last_at = max(self.last_at, observed.time)
        self.unreadable.update(observed.unreadable.items())
        self._waiting.append(observed)
        if self.detector is not None:
            self._settle_late(observed)
            return
        del self._waiting[:-EARLY]
        if not self.source.recording:
            self._settle_kinds()

    def _settle_kinds(self) -> None:
        """Begin once every kind is known, or has been waited for long enough."""
        for name in list(self.open):
            kinds = Counter(one.said[name].kind for one in self._waiting if name in one.said)
            if kinds.total() >= ENOUGH or (len(self._waiting) >= EARLY and kinds):
                self._settle(name, kinds.most_common(1)[0][0])
        if not self.open or len(self._waiting) >= EARLY:
            self._begin()

    def _settle_late(self, observed: Observed) -> None:
        """Watch a prediction whose answers can be read by now, beside what is watched already."""
        for name in [name for name in self.open if name in observed.said]:
            kinds = self._late.setdefault(name, Counter())
            kinds[observed.said[name].kind] += 1
            if kinds.total() >= ENOUGH:
                self._settle(name, self._late.pop(name).most_common(1)[0][0])
                assert self.detector is not None
                self.detector = load_drift(self.source.plan(self.kinds, self.first), dump_drift(self.detector))

    def _settle(self, name: str, kind: Kind) -> None:
        self.kinds[name] = kind
        self.reader.settle(name, kind)
        if name in self.open:
            self.open.remove(name)

    def _begin(self) -> None:
        self.detector = DriftDetector(self.source.plan(self.kinds, self.first))

    def replan(self, source: DriftSource) -> list[FieldChange]:
        """The file says something else of what is expected, or how often it may alarm. Fields of which it says the same
        go on as they stand; alarms of the others are over."""
        self.source = source
        if self.detector is None or self.detector.plan == (plan := source.plan(self.kinds, self.first)):
            return []
        before = {one.field: one for one in self.findings()}
        self.detector, self.changed = load_drift(plan, dump_drift(self.detector)), True
        learning = {one.field for one in self.findings() if one.state is DriftState.LEARNING}
        over = [self.alarms.pop(name) for name in list(self.alarms) if name in learning]
        return [FieldChange(False, alarm, before[alarm.field], ANEW) for alarm in over]

    def refer_to(self, reference: Learned) -> None:
        """What is normal was learned of a recording."""
        for name, kind in reference.kinds.items():
            self._settle(name, kind)
        self.first, self.detector, self.problem, self.changed = reference.first, reference.detector, "", True

    def look(self, now: float) -> list[FieldChange]:
        """Count what has come; what has changed by it."""
        detector, waiting = self.detector, self._waiting
        if detector is None or not waiting:
            return []
        self._waiting = []
        found = detector.add(_columns(self.source, self.kinds, waiting))
        return [change for finding in found if (change := self._change(finding, now)) is not None]

    # --- alarms ------------------------------------------------------------------------------------------------------

    def _change(self, finding: DriftFinding, now: float) -> FieldChange | None:
        known = self.alarms.get(finding.field)
        if finding.state is DriftState.DRIFTING and known is None:
            since = now if finding.since is None else finding.since
            alarm = DriftAlarm(self._alarm_id(finding.field, since), finding.field, finding.what, since, now)
            self.alarms[finding.field] = alarm
            return FieldChange(True, alarm, finding)
        if finding.state is not DriftState.DRIFTING and known is not None:
            del self.alarms[finding.field]
            return FieldChange(False, known, finding)
        return None

    def _alarm_id(self, field: str, since: float) -> str:
        key = f"{self.source.identity}|{self.began_at}|{field}|{since}"
        return "drift_" + hashlib.blake2b(key.encode(), digest_size=9).hexdigest()

    def accept(self, field: str) -> FieldChange | None:
        """What the field is now is what is normal; its alarm, if it had one, is over. Raises `KeyError` for a field
        that is not watched."""
        if self.detector is None:
            raise KeyError(field)
        finding = next((one for one in self.detector.findings() if one.field == field), None)
        if finding is None:
            raise KeyError(field)
        self.detector.accept(field)
        self.changed = True
        known = self.alarms.pop(field, None)
        return None if known is None else FieldChange(False, known, finding)

    def ended(self, reason: str) -> list[FieldChange]:
        """Nothing is watched any more: every alarm is over, for this reason."""
        findings = {one.field: one for one in self.findings()}
        over = [FieldChange(False, alarm, findings[name], reason) for name, alarm in self.alarms.items()]
        self.alarms = {}
        return over

    # --- what is seen ------------------------------------------------------------------------------------------------

    @property
    def fields(self) -> tuple[DriftField, ...]:
        """What is watched; nothing before the kinds of the predictions are known."""
        return self.detector.plan.fields if self.detector is not None else ()

    def findings(self) -> tuple[DriftFinding, ...]:
        """Of every field; of none before the kinds of the predictions are known."""
        return self.detector.findings() if self.detector is not None else ()

    @property
    def state(self) -> DriftState:
        """Of the route: that of the field that is furthest."""
        states = {one.state for one in self.findings()}
        if DriftState.DRIFTING in states or self.alarms:
            return DriftState.DRIFTING
        return DriftState.LEARNING if not states or DriftState.LEARNING in states else DriftState.STEADY

    @property
    def problems(self) -> list[str]:
        """What keeps it from watching all that it is to watch, in words."""
        found = [self.problem] if self.problem else []
        if self.detector is not None:
            found += [
                f"{name or 'prediction'}: no answer could be read, so it is not watched yet" for name in self.open
            ]
            found += [
                f"{name}: has a value in {seen:,} of {count:,} observations, so what is normal cannot be learned"
                for name, seen, count in self.detector.hardly_there(LONG)
            ]
        return found

    # --- over restarts -----------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """All of it, but for what waits for the kinds of predictions."""
        value = {
            "format": FORMAT,
            "identity": self.source.identity,
            "began_at": self.began_at,
            "first": self.first,
            "kinds": self.kinds,
            "alarms": [asdict(alarm) for alarm in self.alarms.values()],
            "read": self.read,
            "last_at": self.last_at,
            "unreadable": [[*key, n] for key, n in self.unreadable.items()],
            "detector": base64.b64encode(dump_drift(self.detector)).decode() if self.detector is not None else None,
        }
        return orjson.dumps(value)


def load_watch(source: DriftSource, data: bytes) -> DriftWatch | None:
    """The watch that was saved, `None` where it is about something else. Raises `ValueError` when it cannot be read."""
    try:
        value = orjson.loads(data)
        if value["format"] != FORMAT or value["identity"] != source.identity:
            return None
        watch = DriftWatch(source, float(value["began_at"]))
        if value["detector"] is None:
            return watch
        kinds = {name: Kind(kind) for name, kind in value["kinds"].items()}
        plan = source.plan(kinds, int(value["first"]))
        detector = load_drift(plan, base64.b64decode(value["detector"]))
        watch.refer_to(Learned(kinds, plan.first, detector))
        watch.alarms = {one["field"]: DriftAlarm(**one) for one in value["alarms"]}
        watch.read, watch.last_at = int(value["read"]), float(value["last_at"])
        watch.unreadable = Counter({(what, Reason(why)): n for what, why, n in value["unreadable"]})
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"not what is known of a route's drift: {error!r}") from error
    return watch


def alarms_in(data: bytes) -> list[DriftAlarm]:
    """The alarms that were open when this was saved, whatever it is about; none where it cannot be read."""
    try:
        return [DriftAlarm(**one) for one in orjson.loads(data)["alarms"]]
    except (KeyError, TypeError, ValueError):
        return []


@dataclass(frozen=True, slots=True)
class Learned:
    """What is normal, by a recording: a detector to which `first` values of each field were given."""

    kinds: dict[str, Kind]
    first: int
    detector: DriftDetector


def learned(source: DriftSource, observed: Sequence[Observed]) -> Learned:
    """What a recording says is normal; raises `ValueError` where it says too little of a field."""
    kinds: dict[str, Kind] = {}
    for spec in source.specs:
        found = Counter(one.said[spec.name].kind for one in observed if spec.name in one.said).most_common(1)
        if spec.kind is not Kind.AUTO or found:
            kinds[spec.name] = found[0][0] if spec.kind is Kind.AUTO else spec.kind
    columns = _columns(source, kinds, observed)
    names = [field.name for field in source.plan(kinds, 0).fields]
    values = {
        name: sum(not isinstance(one, Absent) for one in c) for name, c in zip(names, columns.columns, strict=True)
    }
    for name, count in values.items():
        if count < LEAST:
            raise ValueError(f"{count} values of {name} among {len(observed)} requests, expected at least {LEAST}")
    detector = DriftDetector(source.plan(kinds, min(values.values(), default=LEAST)))
    detector.add(columns)
    for finding in detector.findings():
        if finding.state is DriftState.DRIFTING:
            raise ValueError(f"what is expected of {finding.field} does not hold in it: {finding.words}")
    return Learned(kinds, detector.plan.first, detector)


def _columns(source: DriftSource, kinds: dict[str, Kind], observed: Sequence[Observed]) -> Observations:
    rows = [_row(source, kinds, one) for one in observed]
    return Observations([one.time for one in observed], tuple(zip(*rows, strict=True)))


def _row(source: DriftSource, kinds: dict[str, Kind], observed: Observed) -> list[FieldValue]:
    """The values of one observation, in the order of the plan."""
    row: list[FieldValue] = [_input(observed, one.name) for one in source.inputs]
    for spec in source.specs:
        if spec.name in kinds:
            row += _said(observed, spec.name, kinds[spec.name])
    return row


def _said(observed: Observed, name: str, kind: Kind) -> Sequence[FieldValue]:
    prediction = observed.said.get(name)
    if prediction is not None and prediction.kind is kind:
        return said_values(prediction)
    absent = Absent.UNREADABLE if name in observed.unreadable else Absent.UNSEEN
    return [absent] * len(FIELDS[kind])


def _input(observed: Observed, name: str) -> FieldValue:
    if name not in observed.inputs:
        return Absent.UNREADABLE
    value = observed.inputs[name]
    return Absent.MISSING if value is None else value
