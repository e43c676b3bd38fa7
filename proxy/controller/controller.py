"""The controller: pairs come in, decisions go out.

    workers ──pairs──▶ connections ──▶ intake ──▶ trials (read, order, evidence) ──look──▶ decisions ──tables──▶ workers
                                                                              └──▶ store ──▶ webhooks

It is one process with one event loop at nice 5, so that on a full machine the live path wins. `Controller` wires the
parts and keeps the time: micro-batches, looks, snapshots. `rollout_registry.py` knows which rollouts there are,
`process.py` is its life as a child of the supervisor.

Invariants
- A look at a rollout happens at least once a second, and after a batch as often as its cost allows. A disk that hangs
  holds no look up. Workers and the supervisor hear ALIVE from the same loop: a controller that judges, not one that is.
- Evidence and ledger of a rollout are saved together, of the same moment, about once a second while they change; where
  there are many rollouts, in turns.
- A controller that cannot read its store does not start, and the workers go on without one. One that finds that what
  was saved is lost lets no candidate serve for that reason: those of the file are rolled back until a person says.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy import logs
from proxy.config import Config
from proxy.controller.at_work import RolloutsAtWork
from proxy.controller.drift.watching import DriftWatching
from proxy.controller.dumping import dumped
from proxy.controller.effect_executor import EffectExecutor
from proxy.controller.intake import Intake
from proxy.controller.judging.judging import Judging
from proxy.controller.keepsakes import keep_pictures, take_up_charts, take_up_judges
from proxy.controller.load import LoadMeter
from proxy.controller.model_registry.endpoint import subscribed
from proxy.controller.model_registry.keeper import VersionKeeper
from proxy.controller.outcome_keeper import OutcomeKeeper
from proxy.controller.replica_traffic import ReplicaTraffic
from proxy.controller.rollout_registry import RolloutRegistry
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import Contents, RolloutStore, Saved
from proxy.controller.streams import Subscriptions
from proxy.controller.webhooks.policy import WebhookEvent as Announcement
from proxy.controller.worker_connections import WorkerConnection, WorkerConnections
from proxy.errors import StoreError
from proxy.evidence import EvidenceError
from proxy.model import Observation, Pair, Plan
from proxy.pairs import link
from proxy.pairs.exposed import Exposed
from proxy.pairs.request_log import RequestEntry
from proxy.rollout.events import Tripped
from proxy.sockets import reachable

log = logging.getLogger("understudy.controller")

TICK = 0.25
"""Seconds between two rounds: readings that wait are added, and who is due is looked at whether or not pairs come."""
SNAPSHOT = 1.0
"""Seconds between snapshots of changed evidence, or longer where the store says so."""
SNAPSHOT_COST = 0.02
"""Seconds of the event loop that one snapshot takes; rollouts that have not had their turn by then are in the next."""
CHARTS = 30.0
"""Seconds between two times at which what is drawn is saved."""
RETENTION = 3600.0
"""Seconds between two clean-ups of the store."""


class Controller:
    """Everything of the controller but its process and its API. Fulfils `worker_connections.WorkerEvents`,
    `intake.Judge` and `effect_executor.Subscribers`."""

    def __init__(
        self,
        config: Config,
        config_hash: str,
        store: RolloutStore,
        clock: Callable[[], float] = time.time,
        traffic: ReplicaTraffic | None = None,
    ) -> None:
        self.config, self.generation = config, 0  # with the versions that hold
        self.versions = VersionKeeper(store, self, config, clock)
        self.config_hash = config_hash
        self.store = store
        self.trials = RolloutsAtWork()
        self.traffic = traffic or ReplicaTraffic()
        self._own_traffic = traffic is None
        self.tallies = self.traffic.tallies
        self.streams = Subscriptions()
        self.request_log, self.exemplars = self.traffic.request_log, self.traffic.exemplars
        self.connections = WorkerConnections(self)
        self.executor = EffectExecutor(self.trials, store, self.connections, self, clock)
        self.registry = RolloutRegistry(self.trials, self.executor, store, self.tallies, clock)
        self.intake = Intake(self.registry.of, self)
        self.on_pair: Callable[[Pair], None] = self.intake.pair  # of all that is called here the most often
        self.outcomes = OutcomeKeeper(store, lambda: self.executor.secret, clock)
        self.judging = Judging(self.intake.look_if_due)
        self.drift = DriftWatching(store, self, clock)
        self.on_observation: Callable[[Observation], None] = self.drift.observe
        self.load = LoadMeter()
        self.outbox_added = asyncio.Event()
        self.loaded = False
        self.admin_port = 0  # the one that is listened on, where the file says 0
        self.alive: Callable[[], object] = lambda: None  # told after every round of looks
        self.outranked: Callable[[int], object] = lambda term: None  # told that there is a leader of this term
        self._clock = clock
        self._renewed = 0  # new files of the store into which everything has been written
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self.reloading = asyncio.Lock()

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self, runtime: Path) -> None:
        """Take up what is saved, then listen to workers. Raises `StoreError` when it cannot be read."""
        contents = await self.store.load(self.config.plans)
        await self.versions.take_up(contents.lost)
        self._say_split(contents)
        self.executor.take_up(contents)
        if contents.lost:
            logs.event(log, "store.lost", logging.CRITICAL, why=contents.lost)
        self.registry.take_up(contents.rollouts, self.config.plans)
        await take_up_charts(self.store, self.registry.everyone)
        await take_up_judges(self.store, self.judging)
        await self.drift.load()
        await self.apply(lost=contents.lost)
        self.loaded = True
        await self.connections.start(runtime)
        self._keepers = [asyncio.create_task(self._keep_looking()), asyncio.create_task(self._keep_saved())]

    def _say_split(self, contents: Contents) -> None:
        """A store that is new has a new secret: which callers the candidate answers is then drawn anew, and is said."""
        new, print_of = not contents.table, hashlib.sha256(contents.secret.encode()).hexdigest()[:12]
        logs.event(log, "split.drawn_anew" if new else "split.kept", store=self.store.where, fingerprint=print_of)

    async def stop(self) -> None:
        """Judge and save what is in hand, and end."""
        for keeper in self._keepers:
            keeper.cancel()
        self.intake.finish()
        for trial in self.trials.values():
            trial.flush()
        await self.judging.close()
        self.judging.deliver(self.trials.values())
        await self.drift.close()
        for trial in self.trials.values():
            if not trial.rollout.over:
                self.look(trial)
        await self.connections.stop()
        self.intake.close()  # after the last look: what is decided from now on nobody would wait for
        await self.registry.close()
        if self._own_traffic:
            await asyncio.to_thread(self.request_log.close)
        self.executor.end_doubts()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.executor.retry()
            await self.outcomes.save()
            await self._snapshot()
            await keep_pictures(self.store, self.trials.values(), self.judging)
            await self.drift.keep(math.inf, all_of_it=True)
        except StoreError as error:
            logs.event(log, "store.failed", logging.ERROR, kind="last snapshot", error=str(error))
        await self.store.close()

    async def depose(self) -> None:
        """End at once: another leads. What is in hand is not judged, not saved and not told any more."""
        self.intake.close()
        for task in (*self._keepers, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._keepers, *self._tasks, return_exceptions=True)
        await self.judging.close()
        await self.drift.close()
        await self.connections.stop()
        await self.registry.close()
        await self.store.close()

    def lead_in(self, term: int) -> None:
        """Go on as the leader of this term: nobody led since the last one."""
        self.executor.lead_in(term)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Carry on with something in the background; a failing store is logged where it happens."""
        task = asyncio.ensure_future(_quietly(work))
        self._tasks.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            work.close()  # of one that was cancelled before it began, Python would say that it was never awaited

        task.add_done_callback(done)

    # --- configuration -----------------------------------------------------------------------------------------------

    async def reload(self, config: Config, config_hash: str, generation: int) -> str:
        """Take a new configuration; empty, or why it cannot be taken, and then nothing has changed."""
        async with self.reloading:
            try:
                self.registry.check(self.versions.filled(config))
            except EvidenceError as error:
                return str(error)
            self.generation, self.config_hash = generation, config_hash
            await self.versions.read(config)
            await self.apply()
            return ""

    async def apply(self, lost: str = "") -> None:
        """Bring everything in line with the configuration in force; `lost` as `RolloutRegistry.apply` takes it."""
        if forgotten := self.intake.mask(self.config.keys):
            logs.event(log, "keys.forgotten", logging.WARNING, earlier=forgotten)
        self.executor.versions = self.config.named_versions
        await self.registry.apply(self.config, self.config_hash, lost=lost)
        self.judging.configure(self.config, self.trials, self.executor.secret)
        self.drift.configure(self.config)
        await self.outcomes.follow(self.trials)
        self.executor.retell()  # a budget may have come or gone
        await asyncio.to_thread(self.request_log.configure, self.config)  # one that ends may have to wait for its disk

    # --- what workers say (worker_connections.WorkerEvents) -----------------------------------------------------------

    def on_mark(self, worker: str, trial: str, sequence: int) -> None:
        self.intake.mark(worker, trial, sequence)

    def on_counts(self, worker: str, counts: dict[str, Any]) -> None:
        self.tallies.report(worker, counts)
        if paced := counts.get("paced"):
            self.load.heard(worker, paced)
        ready = counts.get("ready", {})
        for name, ledger in counts.get("ledger", {}).items():
            self.intake.report(worker, name, ready.get(name), ledger)

    def on_exposed(self, trial: str, exposed: Exposed) -> None:
        self.outcomes.exposed(trial, exposed)

    def on_entries(self, entries: list[RequestEntry]) -> None:
        self.traffic.on_entries(entries)

    def on_hello(self, worker: WorkerConnection, hello: dict[str, Any]) -> None:
        table = link.table_from(hello.get("table"))
        if self.executor.term.is_outranked_by(worker.name, table):
            self.outranked(table.term)
            return
        for trial, event in self.executor.greeted(table, bool(hello.get("lost"))):
            self.spawn(self.executor.decide(trial, event))
        self.executor.send_table(worker)

    def on_gone(self, worker: str) -> None:
        self.tallies.gone(worker)
        self.load.gone(worker)
        for trial in self.registry.everyone:
            self.intake.gone(worker, trial)

    def latency_block(self, trial: str) -> float:
        found = self.registry.of(trial)
        return found.plan.latency_block if found is not None else 0.0

    def _close_accounts(self) -> None:
        """Close the accounts of workers that died while no controller was there to see it."""
        here, over = self.connections.workers, self.connections.over
        for trial in self.registry.everyone:
            for worker in trial.pair_ledger.others(here.keys()):
                if over(worker) and not self.intake.waits(trial):
                    self.intake.gone(worker, trial)

    # --- who looks and decides (intake.Judge) ------------------------------------------------------------------------

    def tripped(self, trial: RolloutRun, event: Tripped) -> None:
        self.spawn(self.executor.decide(trial, replace(event, now=self._clock())))

    def hold_up(self, pause: bool) -> None:
        self.connections.hold_up(pause)

    def look(self, trial: RolloutRun) -> None:
        """Look at a rollout and let what is seen happen to it. Looking and deciding are one step: nothing comes between
        a verdict and the evidence that is journaled with it."""
        before, change = trial.assessment, trial.rollout.change
        looked = trial.look(self._clock(), self.executor.blocked_by(trial))
        if looked.assessment is not before:
            self.streams.tell("rollout.changed", self._clock(), {"rollout": trial.name})
        decided = self.executor.decide(trial, looked)
        if trial.rollout.change != change or trial.rising is not None:
            self.spawn(decided)
        else:
            decided.close()  # nothing is to be carried out
            trial.rest(looked.now, decides=self.executor.term.may_act())

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self._close_accounts()
                self.outcomes.settle()
                async for trial in self.trials.in_turns():  # a look takes 20 ms; most of many would see nothing new
                    if not trial.rests(self._clock(), self.executor.blocked_by(trial)):
                        self.intake.catch_up(trial)
                await self.drift.look(time.monotonic())
                self._turn_budgets(time.monotonic())
            except Exception:  # a bug in one look must not end all looks, and must not be hidden: nobody hears ALIVE
                logs.unexpected(log, "controller.look_broke")
                continue
            if self.executor.term.may_act():
                self.connections.alive()
            self.alive()

    def _turn_budgets(self, now: float) -> None:
        self.load.turn(now, sum(trial.ledger.link_full for trial in self.trials.values()))
        if sum(trial.afford(now, self.load.pace) for trial in self.trials.values()):
            self.executor.retell()

    async def _keep_saved(self) -> None:
        snapshot_at = retain_at = 0.0
        charts_at = time.monotonic() + CHARTS
        while True:
            await asyncio.sleep(2 * TICK)
            now = time.monotonic()
            try:
                await self.store.check()
                await self.executor.retry()
                await self.outcomes.save()
                if now >= snapshot_at:
                    cost, more = await self._snapshot(SNAPSHOT_COST)
                    snapshot_at = now + max(0.0 if more else max(SNAPSHOT, self.store.snapshot_every), 20 * cost)
                await self.drift.keep(now)
                if now >= charts_at:
                    await keep_pictures(self.store, self.trials.values(), self.judging)
                    charts_at = now + CHARTS
                if now >= retain_at:
                    await self.store.retain(self._clock(), self.config.plans)
                    retain_at = now + RETENTION
            except StoreError as error:
                logs.event(log, "store.failed", logging.ERROR, kind="snapshot", error=str(error))
            except Exception:
                logs.unexpected(log, "controller.saving_broke")

    async def _snapshot(self, most: float = math.inf) -> tuple[float, bool]:
        """Save what changed since the last time, whoever waits longest first, in about `most` seconds of the event
        loop; how many it took, and whether more is left."""
        renewed = self.store.renewed
        new = renewed > self._renewed  # a new file was begun, and nothing may be in it
        waiting = [trial for trial in self.registry.everyone if trial.unsnapshot or new]
        waiting.sort(key=lambda trial: trial.snapshot_at)
        changed, saved, began, cost = [], list[Saved](), time.perf_counter(), 0.0
        for looked_at, trial in enumerate(waiting, 1):  # noqa: B007
            trial.snapshot_at = began
            if (one := dumped(trial)) is not None:
                saved.append(one)
                changed.append(trial)
                trial.unsnapshot = False
            cost = time.perf_counter() - began
            if cost > most and not new:
                break
        if not waiting:
            return 0.0, False
        try:
            await self.store.snapshot(saved, self._clock(), self.executor.secret if new else "")
            if new:
                await self.versions.keep()
        except BaseException:  # cancelled by the end of the process as well: the last snapshot must not miss these
            for trial in changed:
                trial.unsnapshot = True
            raise
        self._renewed = renewed
        return cost, looked_at < len(waiting)

    # --- whom it tells (effect_executor.Subscribers) ------------------------------------------------------------------

    def endpoints(self, event: str, plans: Iterable[Plan | None] = ()) -> tuple[str, ...]:
        return subscribed(self.config, event, plans)

    @property
    def replica(self) -> str:
        return self.connections.replica or socket.gethostname()

    def console_url(self, rollout: str) -> str:
        admin = self.config.admin
        base = admin.url or f"http://{reachable(admin.listen, self.admin_port)}"
        return f"{base.rstrip('/')}/#/{rollout}"

    def announce(self, event: Announcement) -> None:
        self.streams.tell(event.type, event.time, event.data)

    def saved(self, announced: bool) -> None:
        if announced:
            self.outbox_added.set()


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except StoreError:
        pass  # logged and counted where it happened
    except Exception:
        logs.unexpected(log, "controller.decision_broke")
