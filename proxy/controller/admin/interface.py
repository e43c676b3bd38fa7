"""What the admin API, the metrics and the webhooks see of the controller: a protocol, so that each is tested alone.

`controller/service.py` fulfils `AdminService`, `controller/process.py` hands it to the admin port and to the
sender; this folder imports nothing of the rest of the controller but the store and the webhooks. Everything here is
read or asked for on the controller's event loop. What an answer holds is the API's JSON (types `…Json`, by topic
in `…_view.py`), so that the caller only has to write it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.config import Config
from proxy.controller.admin.chart_view import ChartsJson
from proxy.controller.admin.config_view import ConfigJson
from proxy.controller.admin.drift_view import DriftJson, DriftView
from proxy.controller.admin.exemplars import Exemplars
from proxy.controller.admin.fleet_view import FleetJson
from proxy.controller.admin.outcome_view import PostedJson
from proxy.controller.admin.pair_view import PairJson, TranscriptJson
from proxy.controller.admin.process_view import ProcessesJson
from proxy.controller.admin.registry_view import HookResultJson, RegistryJson
from proxy.controller.admin.rollout_view import RolloutJson, TrialJson
from proxy.controller.store.interface import EntryJson, RolloutStore
from proxy.errors import UnderstudyError

ACTIONS = ("promote", "abort", "pause", "resume", "retry", "restart")
"""What can be done to a rollout by hand."""


class ActionRefusedError(UnderstudyError):
    """An action that was not carried out: 404 no such rollout, 409 not in this state, 503 the store cannot save it."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


@dataclass(slots=True)
class FleetCounts:
    """Worker counts merged over incarnations (a worker that died keeps its part), and the controller's own.

    A histogram is `(counts, sum in seconds)`: one count per bound of `pairs.link.BOUNDS`, then one for what is above.
    `connections` is what is open now, of the workers that are connected; `lookups` counts those of an upstream's names
    that failed, `unhashed` requests that had nothing by which `balance` hashes, `not_rewritten` those that an upstream
    was to get changed and did not, by upstream and why. `endpoints` counts for each (upstream,
    address) that a connected worker knows: workers, those of them that use it now, requests, errors, ejections.
    `before_table` counts requests of a rollout's route that came before a worker's first routing table, `spared` those
    that `max_pairs_per_second: auto` would have sampled but for a link that filled.
    `pairs` holds each rollout's ledger parts by name (without `sampled` and `pending`), `sampled` the
    sampled requests, `unparseable` one of those parts by reason. `rollback_seconds` and `detection_seconds` hold one
    value for each rollback since this controller started; `lead_seconds` one per promotion with a `signed_off_at`.
    `results` counts ends: (rollout, "promoted" or "rolled_back"). `request_log` counts what became of requests for
    (sink, "written", "failed" or "dropped"), `outcomes` delayed outcomes by `joined` and `unknown`,
    `registry_words` what a model registry said by (`webhook` or `poll`, what came of it), `registry_up` whether it
    answered when it was last asked, `judge_seconds` what each judge's verdicts took (a histogram over
    `judge_metrics.JUDGE_BOUNDS`), `dropped` what the
    controller's own queues had no room for. `observed` counts requests that workers drew to look at for drift,
    by route and what became of them; `drift` is what the API shows of it, `drift_changes` alarms by route, field and
    `detected` or `ended`. `leads`: this replica's controller judges. `untimed` counts pairs by
    rollout whose replica's clock is not known well enough, `refused_tables` routing tables of a former leader that
    workers refused, `refused_links` other replicas' connections by reason. `config_loaded` is when the configuration
    with this hash was loaded (epoch seconds), `reload_refused` says that a later one could not be.
    """

    requests: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    durations: dict[tuple[str, str, str], tuple[list[int], float]] = field(default_factory=dict)
    overhead: dict[str, tuple[list[int], float]] = field(default_factory=dict)
    fallbacks: dict[tuple[str, str], int] = field(default_factory=dict)
    before_table: dict[str, int] = field(default_factory=dict)
    spared: int = 0
    connections: dict[tuple[str, str], int] = field(default_factory=dict)
    lookups: dict[str, int] = field(default_factory=dict)
    unhashed: dict[str, int] = field(default_factory=dict)
    not_rewritten: dict[tuple[str, str], int] = field(default_factory=dict)
    endpoints: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    sampled: dict[str, int] = field(default_factory=dict)
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)
    candidate_failures: dict[tuple[str, str], int] = field(default_factory=dict)
    unparseable: dict[tuple[str, str], int] = field(default_factory=dict)
    response_mismatches: dict[tuple[str, str], int] = field(default_factory=dict)
    results: dict[tuple[str, str], int] = field(default_factory=dict)
    rollback_seconds: dict[str, list[float]] = field(default_factory=dict)
    detection_seconds: dict[str, list[float]] = field(default_factory=dict)
    lead_seconds: dict[str, list[float]] = field(default_factory=dict)
    request_log: dict[tuple[str, str], int] = field(default_factory=dict)
    exemplars: Exemplars = field(default_factory=Exemplars)
    outcomes: dict[str, int] = field(default_factory=dict)
    registry_words: dict[tuple[str, str], int] = field(default_factory=dict)
    registry_up: dict[str, float] = field(default_factory=dict)
    judge_seconds: dict[str, tuple[list[int], float]] = field(default_factory=dict)
    observed: dict[tuple[str, str], int] = field(default_factory=dict)
    drift: list[DriftJson] = field(default_factory=list)
    drift_changes: dict[tuple[str, str, str], int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    leads: bool = True
    untimed: dict[str, int] = field(default_factory=dict)
    refused_tables: int = 0
    refused_links: dict[str, int] = field(default_factory=dict)
    config_hash: str = ""
    config_loaded: float = 0.0
    reload_refused: bool = False
    store_failures: int = 0
    store_set_aside: int = 0
    store_renewed: int = 0
    store_ok: bool = True
    store_synchronous: bool | None = None


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    """What the workers of one replica have counted, as its leader knows it: `age` seconds ago, `None` before the first
    word of them. One that is not `connected` is shown as it was last."""

    name: str
    connected: bool
    age: float | None
    counts: FleetCounts


class AdminService(Protocol):
    """The controller as its own process' other rooms see it."""

    @property
    def config(self) -> Config:
        """The configuration in force; secrets stay `SecretStr`."""

    @property
    def generation(self) -> int:
        """Number of the configuration in force; it changes with each reload."""

    @property
    def store(self) -> RolloutStore:
        """Outbox and journal."""

    @property
    def outbox_added(self) -> asyncio.Event:
        """Set after a transaction that put deliveries into the outbox; the sender clears it."""

    @property
    def drift(self) -> DriftView:
        """Drift of live's requests and answers."""

    def rollouts(self) -> list[RolloutJson]:
        """Every rollout in the configuration's order, as the API shows it; then the ended ones, newest first."""

    def rollout(self, name: str) -> RolloutJson | None:
        """One rollout (`ROUTE/CANDIDATE`), `None` when there is none."""

    def pairs(self, name: str, order: str, limit: int) -> list[PairJson] | None:
        """Kept pairs of a rollout, redacted, `order` `worst`, `latest` or `judged`; `None` when there is none."""

    async def transcript(self, name: str, pair_id: str) -> TranscriptJson | None:
        """What two language models said in a kept pair; `None` where there is no such pair, or nothing to be shown."""

    def charts(self, name: str) -> ChartsJson | None:
        """What can be drawn of a rollout (`charts.Charts.shown`); `None` when there is no such rollout."""

    async def earlier(self, name: str, limit: int) -> list[TrialJson]:
        """Trials of a rollout that others have replaced, newest first; raises `StoreError`."""

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Journal entries of a rollout, newest first, with numbers below `before`; raises `StoreError`."""

    async def act(
        self, name: str, action: str, *, reason: str, actor: str, person: str = "", full: bool = False
    ) -> RolloutJson:
        """Carry out one of `ACTIONS`, journaled as the actor's; the rollout afterwards. `person` is who that is
        (`Caller.person`). Raises `ActionRefusedError`."""

    async def outcomes(self, entries: list[dict[str, Any]], routes: Collection[str] | None = None) -> PostedJson:
        """Take delayed labels `{"id", "label" | "value" | "reward"}` for the rollouts of these routes, of all for
        `None`."""

    async def hook(self, kind: str, headers: Mapping[str, str], body: bytes) -> HookResultJson:
        """Take a webhook of a model registry, `mlflow` or `registry` (any other). Raises
        `ActionRefusedError` (400, 401, 404) and `StoreError`; nothing has changed then."""

    def registry(self) -> RegistryJson | None:
        """The model registry, and the version that each of its models has; `None` without one."""

    def processes(self) -> ProcessesJson:
        """The process tree."""

    def config_in_force(self) -> ConfigJson:
        """That of this replica. Raises `ActionRefusedError` (503) where it is not known yet."""

    def fleet(self) -> FleetJson:
        """Who leads and which replicas there are (`fleet_view.FleetView.shown`); one that leads where there is no
        fleet."""

    async def reload(self, by: str) -> tuple[bool, str]:
        """Ask the supervisor to read the files again, for the actor `by`: whether it took effect, and why not; raises
        `ActionRefusedError` (503) when it does not say."""

    def ready(self) -> tuple[bool, list[str]]:
        """Whether this controller can do its work now, and each reason why not, in words."""

    def counts(self) -> FleetCounts:
        """All counts of this replica now; a fresh value, the caller's to keep."""

    def replica_counts(self) -> list[ReplicaCounts]:
        """What each replica's workers have counted, the leader's first."""

    def subscribe(self) -> asyncio.Queue[dict[str, Any]]:
        """A bounded queue of events `{"type", "timestamp", "data"}` (the webhook's body, and `rollout.changed` on
        every look that changed something); one that is full loses its oldest. Give it back to `unsubscribe`."""

    def unsubscribe(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """End a subscription."""
