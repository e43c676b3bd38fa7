"""What the admin API sees of drift: a protocol, which `controller.drift.service` fulfils, and types of its JSON, which
`controller.drift.shown` makes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

from typing_extensions import TypedDict

from proxy.controller.store.interface import EntryJson, HeadJson
from proxy.drift import DriftBucket, DriftState
from proxy.json_types import AsDict, SchemaWords, Timestamp, Whole

SHOWN_STATE = SchemaWords(enum=[one.value for one in DriftState if one is not DriftState.ENDED])


class EffectJson(TypedDict):
    """By how much something moved, with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None
    unit: Annotated[str, SchemaWords(enum=["sd", "ratio", "share"])]
    """Standard deviations of the reference, their ratio, or a difference of two shares."""


class MovedJson(TypedDict):
    """What moved in a field, and by how much."""

    what: str
    """What moved: level, spread, far, share, new label, missing, invalid."""
    detail: str
    """The label or the projection that moved."""
    effect: EffectJson | None
    """By how much, with its 95 % interval."""
    before: float | None
    """The reference's mean in the field's own unit, or its share."""
    after: float | None
    """The same since then."""


class DriftReferenceJson(TypedDict):
    """What is normal."""

    first: Whole | None
    recording: str | None
    period_seconds: float | None


class OpenAlarmJson(TypedDict):
    """An alarm that has not ended."""

    id: str
    detected_at: Timestamp


class DriftFieldJson(MovedJson):
    """One field."""

    field: str
    source: Literal["input", "prediction"]
    kind: str
    state: Annotated[str, SHOWN_STATE]
    since: Timestamp | None
    alarm: OpenAlarmJson | None
    evidence: Annotated[float, SchemaWords(minimum=0, maximum=1)]
    """Share of what an alarm needs."""
    observations: Whole
    """Values that the effect is of; while it learns, those so far."""
    bursts: float
    """By how much sums vary more than those of independent values."""
    words: str


class AlarmRateJson(TypedDict):
    """How many false alarms there may be in how long."""

    count: Whole
    per_seconds: float


class UnreadableJson(TypedDict):
    """Requests or answers that could not be read."""

    what: str
    reason: str
    count: Whole


class DriftJson(TypedDict):
    """Drift of one route."""

    route: str
    live: str
    version: str
    state: Annotated[str, SHOWN_STATE]
    began_at: Timestamp
    reference: DriftReferenceJson
    alarms: AlarmRateJson
    observations_per_second: Whole
    observations: Whole
    last_at: Timestamp | None
    unreadable: list[UnreadableJson]
    problems: list[str]
    fields: list[DriftFieldJson]


DriftBucketJson = Annotated[dict[str, Any], AsDict(DriftBucket)]


class DriftWithChartsJson(DriftJson):
    """Drift of one route, with what can be drawn of each field."""

    charts: dict[str, list[DriftBucketJson]]


class DriftRoutesJson(TypedDict):
    """Every route that has `drift`, in the configuration's order."""

    routes: list[DriftJson]


class ToldJson(TypedDict):
    """Who tells of an event, and where more is to be seen."""

    replica: str
    """The replica that leads; this machine's name where there is no fleet."""
    console_url: str


class DriftEndJson(TypedDict):
    """What is always known of an alarm."""

    alarm: str
    """The same in `drift.detected` and in the `drift.ended` that follows it."""
    route: str
    field: str
    what: str
    """What moved: level, spread, far, share, new label, missing, invalid."""
    since: Timestamp
    detected_at: Timestamp
    ended_at: Timestamp | None
    reason: str


class DriftAlarmJson(DriftEndJson, total=False):
    """An alarm that begins or ends."""

    live: str
    version: str
    source: Literal["input", "prediction"]
    kind: str
    detail: str
    """The label or the projection that moved."""
    effect: EffectJson | None
    """By how much, with its 95 % interval."""
    before: float | None
    """The reference's mean in the field's own unit, or its share."""
    after: float | None
    """The same since then."""
    reference: DriftReferenceJson
    observations: Whole
    journal: HeadJson
    """The entry of the journal that goes with it, and the hash of all up to it."""


class DriftEventJson(DriftAlarmJson, ToldJson):
    """The `data` of `drift.detected` and `drift.ended`."""


class DriftView(Protocol):
    """Drift of every route that has `drift:`."""

    def routes(self) -> list[DriftJson]:
        """Every route, in the configuration's order."""

    def watches(self, name: str) -> bool:
        """Whether drift of this route is watched."""

    async def route(self, name: str) -> DriftWithChartsJson | None:
        """One route with what can be drawn; `None` when its drift is not watched."""

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Journal entries of a route's drift, newest first, with numbers below `before`; raises `StoreError`."""

    async def accept(self, name: str, field: str | None, *, reason: str, actor: str) -> DriftJson:
        """Take what a field is now (all of them where none is named) for normal; the route afterwards. Raises
        `ActionRefusedError`."""
