"""A controller for tests of what hangs on it: `interface.AdminService` over plain data, without workers, store or
time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

from proxy import config
from proxy.controller.admin.fleet_view import FleetView, LeaderView, ReplicaView
from proxy.controller.admin.interface import ActionRefusedError, FleetCounts, ReplicaCounts
from proxy.controller.store.chain import ChainHead
from proxy.errors import StoreError
from proxy.model import PARTS
from proxy.rfc3339 import rfc3339

FILE = """
admin: {listen: '127.0.0.1:9090'%s}
upstreams:
  credit-v1: {url: 'http://127.0.0.1:9001'}
  credit-v2: {url: 'http://127.0.0.1:9002', version: '2026-11-20'}
routes:
  - name: credit
    live: credit-v1
    rollouts: [{candidate: credit-v2, stages: [{shadow: 100%%}, {canary: 5%%}, {canary: 25%%}]}]
"""
NAME = "credit/credit-v2"
URL = f"/api/v1/rollouts/{NAME}"


def finding(guard: str = "p99_latency", **changes: Any) -> dict[str, Any]:
    base = {"guard": guard, "segment": None, "verdict": "inconclusive", "value": 1.05, "low": 0.9, "high": 1.15}
    base |= {"limit": 1.2, "evidence": 0.14, "pairs": 2310, "eta_seconds": 340.0, "reason": "p99 is 1.05 x live."}
    base |= {"title": "p99 latency", "burst_size": 1.0, "value_with_repeats": 1.05, "pairs_with_repeats": 2310}
    return base | changes


def rollout(**changes: Any) -> dict[str, Any]:
    base = {
        "name": NAME,
        "route": "credit",
        "owner": "credit risk",
        "live": "credit-v1",
        "candidate": "credit-v2",
        "version": "2026-11-20",
        "state": "canary",
        "since": "2026-11-20T10:00:00.000Z",
        **dict.fromkeys(("paused", "held", "stalled"), False),
        "blocked_by": None,
        "stage": {
            "index": 1,
            "name": "canary-5",
            "entered_at": "2026-11-20T10:00:00.000Z",
            "waiting_for": "690 more pairs",
            "needs": [{"what": "pairs", "have": 310, "want": 1000}],
        },
        "stages": ["shadow", "canary-5", "canary-25"],
        "weight": 5.0,
        "verdict": "inconclusive",
        "findings": [finding()],
        "ledger": dict.fromkeys(("sampled", *PARTS, "pending"), 0),
        "outcomes": None,
        "repeats": 0,
        "candidate_failures": {"timeout": 2},
        "response_mismatches": {"media_type": 3},
    }
    return base | changes


class FakeStore:
    """The store's delivery state."""

    def __init__(self) -> None:
        self.broken = False

    async def head(self) -> ChainHead:
        if self.broken:
            raise StoreError("disk full")
        return ChainHead(120, "ab" * 32)


class FakeSender:
    """The webhook sender's side that is looked at."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    async def state(self) -> list[dict[str, Any]]:
        return [{"url": "https://deploy.example/hook", "ended": False, "deliveries": {"delivered": 3}}]


class FakeDrift:
    """`drift_view.DriftView` over one route."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, str | None, str, str]] = []
        effect = {"value": 0.5, "low": 0.3, "high": 0.7, "unit": "sd"}
        field = {
            "field": "amount", "source": "input", "kind": "number", "state": "drifting",
            "since": "2026-11-30T09:41:02Z",
            "alarm": {"id": "drift_1", "detected_at": "2026-11-30T09:44:12Z"}, "what": "level", "detail": "",
            "effect": effect, "before": 100.0, "after": 110.0, "evidence": 1.0, "observations": 1890, "bursts": 1.0,
            "words": "level +0.5 sd (0.3 to 0.7): mean 100 → 110",
        }  # fmt: skip
        self.shown: dict[str, Any] = {
            "route": "fraud", "live": "v1", "version": "1", "state": "drifting", "began_at": "2026-11-20T00:00:00Z",
            "reference": {"first": 10000, "recording": None, "period_seconds": 86400.0},
            "alarms": {"count": 1, "per_seconds": 7776000.0}, "observations_per_second": 10, "observations": 90000,
            "last_at": "2026-11-30T09:44:12Z", "unreadable": [], "problems": [], "fields": [field],
        }  # fmt: skip

    def routes(self) -> list[dict[str, Any]]:
        return [self.shown]

    def watches(self, name: str) -> bool:
        return name == self.shown["route"]

    async def route(self, name: str) -> dict[str, Any] | None:
        return self.shown | {"charts": {}} if name == self.shown["route"] else None

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        return []

    async def accept(self, name: str, field: str | None, *, reason: str, actor: str) -> dict[str, Any]:
        if name != self.shown["route"]:
            raise ActionRefusedError(404, "there is no drift there")
        self.accepted.append((name, field, reason, actor))
        return self.shown


class FakeService:
    """`interface.AdminService` over lists. Actions change the one rollout as the machine would in the plainest case."""

    def __init__(self, token: str | None = None, url: str = "", admin: str = "") -> None:
        """`admin` is more of that section, as flow YAML."""
        more = (f", token: '{token}'" if token else "") + (f", url: '{url}'" if url else "") + admin
        self.config = config.parse(FILE % more)
        self.generation = 1
        self.watched = FakeDrift()
        self.store = FakeStore()
        self.outbox_added = asyncio.Event()
        self.all: list[dict[str, Any]] = [rollout()]
        self.entries = [
            {
                "number": n,
                "time": 1.0 * n,
                "kind": "advanced",
                "actor": "understudy",
                "reason": "passed",
                "detail": {},
                "hash": "",
            }
            for n in range(120, 0, -1)
        ]
        self.acts: list[tuple[str, str, str, str, bool]] = []
        self.persons: list[str] = []
        self.queues: list[asyncio.Queue[dict[str, Any]]] = []
        self.not_ready: list[str] = []
        self.reload_problem, self.reloaded_by = "", ""
        self.refused: dict[str, Any] | None = None
        self.trials: list[dict[str, Any]] = []
        self.given: list[dict[str, Any]] = []
        self.given_for: Collection[str] | None = None

    @property
    def drift(self) -> FakeDrift:
        return self.watched

    def rollouts(self) -> list[dict[str, Any]]:
        return self.all

    def rollout(self, name: str) -> dict[str, Any] | None:
        return next((found for found in self.all if found["name"] == name), None)

    def pairs(self, name: str, order: str, limit: int) -> list[dict[str, Any]] | None:
        if self.rollout(name) is None:
            return None
        pairs = [{"id": f"{order}-{n}", "time": "2026-11-20T10:00:00.000Z", "served": "live"} for n in range(50)]
        return pairs[:limit]

    async def transcript(self, name: str, pair_id: str) -> dict[str, Any] | None:
        if self.rollout(name) is None or pair_id != "spoken":
            return None
        arm = {"choices": [], "tokens": None, "first_seconds": None, "whole": True, "trouble": ""}
        return {"id": pair_id, "asked": "", "live": arm, "candidate": arm, "calls": []}

    def charts(self, name: str) -> dict[str, Any] | None:
        if self.rollout(name) is None:
            return None
        empty = {"time": [], "weight": [], "guards": {}}
        known = {"units": {}, "titles": {}}
        return {"pairs": 0, "window": 2000, **known, "latency": None, "predictions": None, "history": empty}

    async def earlier(self, name: str, limit: int) -> list[dict[str, Any]]:
        if self.store.broken:
            raise StoreError("disk full")
        return self.trials[:limit]

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        if self.store.broken:
            raise StoreError("disk full")
        if name != NAME:
            return []
        return [entry for entry in self.entries if before is None or entry["number"] < before][:limit]

    async def act(
        self, name: str, action: str, *, reason: str, actor: str, person: str = "", full: bool = False
    ) -> dict[str, Any]:
        found = self.rollout(name)
        if found is None:
            raise ActionRefusedError(404, f"There is no rollout {name}.")
        if action in ("retry", "resume") or found["state"] == "rolled_back":
            raise ActionRefusedError(409, f"{name} cannot {action} now.")
        self.acts.append((name, action, reason, actor, full))
        self.persons.append(person)
        if action == "abort":
            found |= {"state": "rolled_back", "weight": 0.0}
        if action == "pause":
            found |= {"paused": True}
        return found

    async def outcomes(self, entries: list[dict[str, Any]], routes: Collection[str] | None = None) -> dict[str, int]:
        self.given += entries
        self.given_for = routes
        return {"joined": len(entries), "unknown": 0, "repeated": 0}

    def processes(self) -> dict[str, Any]:
        return {
            "supervisor": 1,
            "workers": [{"slot": 0, "pid": 2}],
            "controller": 3,
            "restarts": {},
            "leaving": [],
            "draining": False,
        }

    def fleet(self) -> dict[str, Any]:
        me = ReplicaView("host-1", "10.0.0.1:9091", "leader", "0.1.0", "0f3a", 2, 0.0, 0.0)
        other = ReplicaView("host-2", "10.0.0.2:9091", "standby", "0.1.0", "0f3a", 2, 0.012, None, connected=False)
        return FleetView(LeaderView("host-1", "10.0.0.1:9091", 1_764_400_000.0), 3, (me, other)).shown()

    def config_in_force(self) -> dict[str, Any]:
        return {
            "hash": "0f3a",
            "generation": self.generation,
            "source": "understudy.yaml",
            "files": [{"name": "understudy.yaml", "owner": None}, {"name": "teams/credit.yaml", "owner": "credit"}],
            "loaded": "2025-11-29T07:06:40Z",
            "by": "start",
            "refused": self.refused,
        }

    async def reload(self, by: str) -> tuple[bool, str]:
        self.reloaded_by = by
        return not self.reload_problem, self.reload_problem

    def ready(self) -> tuple[bool, list[str]]:
        return not self.not_ready, self.not_ready

    def counts(self) -> FleetCounts:
        requests = {("credit", "credit-v1", "served", "200"): 7, ("credit", "credit-v1", "served", "timeout"): 2}
        return FleetCounts(sampled={NAME: 9}, requests=requests)

    def replica_counts(self) -> list[ReplicaCounts]:
        return [ReplicaCounts("host-1", True, 0.5, self.counts()), ReplicaCounts("host-2", False, None, FleetCounts())]

    def subscribe(self) -> asyncio.Queue[dict[str, Any]]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(100)
        self.queues.append(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        self.queues.remove(queue)

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        for queue in self.queues:
            queue.put_nowait({"type": kind, "timestamp": rfc3339(time.time()), "data": data})
