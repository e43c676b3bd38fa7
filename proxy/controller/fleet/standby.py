"""A replica that stands by: its workers' links go on to the leader, its admin port answers for this machine alone.

`StandbyService` is what the admin port is given in the controller's place. It knows this replica's process tree, its
own traffic and whom it follows; of rollouts it knows nothing, and says who does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from proxy.config import Config
from proxy.controller.admin.chart_view import ChartsJson
from proxy.controller.admin.config_view import ConfigJson
from proxy.controller.admin.drift_view import DriftView
from proxy.controller.admin.fleet_view import FleetJson, FleetRole, FleetView, LeaderView, ReplicaView
from proxy.controller.admin.interface import ActionRefusedError, FleetCounts, ReplicaCounts
from proxy.controller.admin.outcome_view import PostedJson
from proxy.controller.admin.pair_view import PairJson, TranscriptJson
from proxy.controller.admin.process_view import ProcessesJson
from proxy.controller.admin.registry_view import HookResultJson, RegistryJson
from proxy.controller.admin.rollout_view import RolloutJson, TrialJson
from proxy.controller.fleet.relay import Relay
from proxy.controller.replica_traffic import ReplicaTraffic
from proxy.controller.store.interface import EntryJson, RolloutStore
from proxy.controller.supervisor_link import SupervisorLink

Who = tuple[str, str, int, float]
"""A leader: name, address of its links, term, since when."""


class StandbyOf(Protocol):
    """What a replica is as long as it stands by."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def generation(self) -> int:
        """Its number."""

    @property
    def store(self) -> RolloutStore:
        """The fleet's, which is the leader's to use."""

    @property
    def traffic(self) -> ReplicaTraffic:
        """What its own workers say of its own traffic."""

    @property
    def supervisor(self) -> SupervisorLink:
        """Its supervisor."""

    def leader(self) -> Who | None:
        """Who leads, as far as is known."""

    def seen_as(self, role: FleetRole) -> ReplicaView:
        """This replica as the API shows it."""


class StandbyService:
    """Fulfils `interface.AdminService` for a replica that does not lead."""

    def __init__(self, replica: StandbyOf, relay: Callable[[], Relay | None]) -> None:
        self._replica, self._relay = replica, relay
        self.outbox_added = asyncio.Event()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._replica.config

    @property
    def generation(self) -> int:
        """Its number."""
        return self._replica.generation

    @property
    def store(self) -> RolloutStore:
        """The fleet's, which is the leader's to use."""
        return self._replica.store

    @property
    def drift(self) -> DriftView:
        """Raises `ActionRefusedError`: the leader watches it."""
        raise self._elsewhere()

    def rollouts(self) -> list[RolloutJson]:
        """None: the leader knows them."""
        return []

    def rollout(self, name: str) -> RolloutJson | None:
        """Raises `ActionRefusedError`: the leader knows it."""
        raise self._elsewhere()

    def pairs(self, name: str, order: str, limit: int) -> list[PairJson] | None:
        """Raises `ActionRefusedError`: the leader has them."""
        raise self._elsewhere()

    async def transcript(self, name: str, pair_id: str) -> TranscriptJson | None:
        """Raises `ActionRefusedError`: the leader has it."""
        raise self._elsewhere()

    def charts(self, name: str) -> ChartsJson | None:
        """Raises `ActionRefusedError`: the leader draws them."""
        raise self._elsewhere()

    async def earlier(self, name: str, limit: int) -> list[TrialJson]:
        """Raises `ActionRefusedError`: the leader reads them."""
        raise self._elsewhere()

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Raises `ActionRefusedError`: the leader reads it."""
        raise self._elsewhere()

    async def act(
        self, name: str, action: str, *, reason: str, actor: str, person: str = "", full: bool = False
    ) -> RolloutJson:
        """Raises `ActionRefusedError`: the leader acts."""
        raise self._elsewhere()

    async def outcomes(self, entries: list[dict[str, Any]], routes: Collection[str] | None = None) -> PostedJson:
        """Raises `ActionRefusedError`: the leader waits for them."""
        raise self._elsewhere()

    async def hook(self, kind: str, headers: Mapping[str, str], body: bytes) -> HookResultJson:
        """Raises `ActionRefusedError`: the leader takes it."""
        raise self._elsewhere()

    def registry(self) -> RegistryJson | None:
        """Raises `ActionRefusedError`: the leader asks it."""
        raise self._elsewhere()

    def processes(self) -> ProcessesJson:
        """This replica's process tree, and which of its workers are connected."""
        relay = self._relay()
        workers = relay.workers.values() if relay is not None else ()
        return self._replica.supervisor.processes({worker.pid for worker in workers if worker.connected})

    def config_in_force(self) -> ConfigJson:
        """Which configuration this replica has, since when, by whom, and why a later one was refused."""
        return self._replica.supervisor.config()

    async def reload(self, by: str) -> tuple[bool, str]:
        """Ask the supervisor to read this replica's files again."""
        return await self._replica.supervisor.reload(by)

    def ready(self) -> tuple[bool, list[str]]:
        """Whether this replica's workers are led, and why not."""
        relay, reasons = self._relay(), []
        if self._replica.supervisor.draining:
            reasons.append("draining")
        if relay is None or relay.leader is None:
            reasons.append(f"no leader: {relay.trouble if relay is not None else 'one is being looked for'}")
        missing = sorted(worker["slot"] for worker in self.processes()["workers"] if not worker["connected"])
        if missing:
            reasons.append(f"not connected: worker {', '.join(map(str, missing))}")
        elif not self._replica.supervisor.tree:
            reasons.append("no worker is known yet")
        return not reasons, reasons

    def counts(self) -> FleetCounts:
        """This replica's own traffic."""
        counts = self._replica.traffic.counts()
        counts.leads, counts.config_hash = False, self._replica.seen_as("standby").config_hash
        self._replica.supervisor.describe(counts)
        return counts

    def replica_counts(self) -> list[ReplicaCounts]:
        """Its own: the leader has those of all, and is asked for them."""
        return [ReplicaCounts(self._replica.seen_as("standby").name, True, None, self.counts())]

    def subscribe(self) -> asyncio.Queue[dict[str, Any]]:
        """A queue in which nothing comes: the leader tells what happens."""
        return asyncio.Queue(1)

    def fleet(self) -> FleetJson:
        """Whom this replica follows, and itself: the leader knows the others."""
        found, me = self._replica.leader(), self._replica.seen_as("standby")
        leader = None if found is None else LeaderView(found[0], found[1], found[3])
        return FleetView(leader, 0 if found is None else found[2], (me,)).shown()

    def unsubscribe(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """Nothing was kept of it."""

    def _elsewhere(self) -> ActionRefusedError:
        found = self._replica.leader()
        if found is None:
            return ActionRefusedError(503, "this replica stands by, and no other one leads")
        return ActionRefusedError(503, f"this replica stands by: {found[0]} leads, at {found[1]}")
