"""What outlives a controller, in memory: a disk and two workers, each of which can fail, hang or be slow; and a
controller's parts as far as a decision touches them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import Change, Saved
from proxy.controller.worker_connections import WorkerConnection
from proxy.errors import StoreError
from proxy.evidence.input.costs import CostTotals
from proxy.model import Assessment, Guard, Plan, Stage, State, Table, Verdict
from proxy.pairs.ledger import PairLedger

STAGES = (Stage(State.SHADOW, 100.0, min_pairs=1), *(Stage(State.CANARY, p, min_pairs=1) for p in (5.0, 25.0)))
PLANS = {name: Plan(f"r/{name}", "r", "l", name, "1", STAGES, (Guard("max_disagreement", 0.1),)) for name in "ab"}


class Killed(BaseException):
    """The controller is killed here."""


class Disk:
    """What survives: saved rollouts, the highest table number, journal, outbox. Can fail, hang, or be the last thing a
    controller touches: `kill` counts the effects until it dies, before an effect or right after it."""

    def __init__(self) -> None:
        self.rollouts: dict[str, Saved] = {}
        self.table = 0
        self.journal: list[Change] = []
        self.outbox: Counter[str] = Counter()
        self.fails = False
        self.hangs: asyncio.Event | None = None
        self.kill = -1
        self.error = ""

    def tick(self) -> None:
        """One more point at which the controller may be killed."""
        if self.kill == 0:
            raise Killed
        self.kill -= 1

    async def save(self, *changes: Change) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails:
            raise StoreError("disk full")
        self.tick()
        for change in changes:  # a kill comes before all of them or after all
            self._save(change)
        self.tick()

    def _save(self, change: Change) -> None:
        if change.token not in {one.token for one in self.journal}:
            self.rollouts[change.saved.rollout.name] = change.saved
            self.table = max(self.table, change.table)
            self.journal.append(change)
            if change.event is not None:
                self.outbox[change.event.id] += 1


class Plane:
    """Two workers that outlive controllers: each does what the last table that reached it says, unless it has not heard
    of a controller for too long."""

    replica = ""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.tables = {0: Table(0), 1: Table(0)}
        self.connected: set[int] = set()
        self.lost: set[int] = set()
        # Of a worker that is slow: tables that it has not read yet, and how long the journal was when they were sent.
        self.late: dict[int, list[tuple[Table, int]]] = {}
        self.heard = asyncio.Event()
        self.fallen: dict[
            str, int
        ] = {}  # rollouts seen to lose weight, and how long the journal was when that was sent

    def publish(self, table: Table) -> None:
        for slot in sorted(self.connected):
            self.disk.tick()
            last, _ = (self.late.get(slot) or [(self.tables[slot], 0)])[-1]
            assert table.number > last.number, "a table number was given out twice"
            self.reach(slot, table)
        self.disk.tick()

    def reach(self, slot: int, table: Table) -> None:
        if slot in self.late:
            self.late[slot].append((table, len(self.disk.journal)))
        else:
            self.take(slot, table, len(self.disk.journal))

    def read(self, slot: int) -> None:
        """A slow worker reads all that waits for it, and is slow no more."""
        for table, journaled in self.late.pop(slot, ()):
            self.take(slot, table, journaled)
        self.heard.set()

    def take(self, slot: int, table: Table, journaled: int) -> None:
        before = {lane.rollout: lane for lane in self.tables[slot].lanes}
        for lane in table.lanes:
            last = before.get(lane.rollout)
            # To a worker that was away, a rollback with a retry behind it is one step, and no fall.
            fell = lane.state is State.ROLLED_BACK
            # Nor is what a slow worker reads of an earlier version, once another has begun.
            saved = self.disk.rollouts.get(lane.rollout)
            fell = fell and (saved is None or saved.rollout.trial == lane.trial)
            if fell and last is not None and last.trial == lane.trial and lane.weight < last.weight:
                self.fallen[lane.rollout] = journaled
        self.tables[slot] = table
        self.lost.discard(slot)

    def send(self, worker: WorkerConnection, table: Table) -> None:
        self.reach(worker.slot, table)

    async def acknowledged(self, number: int, deadline: float) -> list[str]:
        while any(self.late.get(slot) for slot in self.connected):
            self.heard.clear()
            await self.heard.wait()
        return []

    def weights(self, slot: int) -> dict[str, int]:
        """What each rollout is served with now."""
        lost = slot in self.lost
        return {
            lane.rollout: 0 if lost and lane.state is not State.PROMOTED else lane.weight
            for lane in self.tables[slot].lanes
        }

    def lose(self) -> None:
        """No controller for too long."""
        for slot in (0, 1):
            self.read(slot)
        self.lost = {0, 1}
        self.connected = set()


class Nobody:
    config_hash = ""

    def console_url(self, rollout: str) -> str:
        return ""

    def endpoints(self, event: str, plans: object = ()) -> tuple[str, ...]:
        return ("http://hook",)

    def announce(self, event: object) -> None: ...
    def saved(self, announced: bool) -> None: ...


class NoEvidence:
    """Evidence as far as a decision touches it."""

    stage_pairs = stage_candidate_pairs = repeats = 0
    costs = CostTotals()
    state_hash = limits_hash = ""
    candidate_failures: dict[str, int] = {}  # noqa: RUF012
    response_mismatches: dict[str, int] = {}  # noqa: RUF012

    def dump(self) -> bytes:
        return b""

    def assess(self, rate: float | None, held: int = 0, *, forecast: bool = True, serving: bool = False) -> Assessment:
        return Assessment(Verdict.INCONCLUSIVE)

    def enter_stage(self, entry: int, *, promoted: bool = False) -> None: ...


def make_trial(plan: Plan, rollout: Any) -> RolloutRun:
    return RolloutRun(plan, rollout, NoEvidence(), PairLedger())  # type: ignore[arg-type]
