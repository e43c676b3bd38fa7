"""The controller: pairs come in, decisions go out.

    workers ──pairs──▶ links ──▶ trials (read, order, evidence) ──look──▶ decisions ──tables──▶ workers
                                                                              └──▶ store ──▶ webhooks

It is one process with one event loop at nice 5, so that on a full machine the live path wins. `Controller` wires the
parts and keeps the time: micro-batches, looks, snapshots. `process.py` is its life as a child of the supervisor.

Invariants
- A look at a rollout happens at least once a second, and after a batch as often as its cost allows. A disk that hangs
  holds no look up. Workers and the supervisor hear ALIVE from the same loop: a controller that judges, not one that is.
- Evidence and books are saved together, of the same moment, about once a second while they change.
- No rollout is known before the store has said what is saved of it: a controller that cannot read its store does not
  start, and the workers go on without one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy import logs
from proxy.config import Config
from proxy.control.counting import Tallies
from proxy.control.decisions import Decisions
from proxy.control.exemplars import Exemplars
from proxy.control.ledger import Books
from proxy.control.links import Links, Worker
from proxy.control.recorder import Recorder, Rule
from proxy.control.store import Saved, Store
from proxy.control.streams import Streams
from proxy.control.trails import Trails
from proxy.control.trials import BATCH, Trial, fresh_evidence
from proxy.core import link
from proxy.core.delivery import Event as Announcement
from proxy.core.events import Reloaded, Removed
from proxy.core.evidence import Evidence, EvidenceError
from proxy.core.model import Pair, Plan, State
from proxy.core.rollout import begin
from proxy.core.trails import Trail
from proxy.errors import StoreError
from proxy.sockets import reachable

log = logging.getLogger("understudy.controller")

BATCH_TIME = 0.02
"""Seconds a reading may wait for its micro-batch."""
TICK = 0.25
"""Seconds between two rounds: readings that wait are added, and who is due is looked at whether or not pairs come."""
SNAPSHOT = 1.0
"""Seconds between snapshots of changed evidence."""
CHARTS = 30.0
"""Seconds between two times at which what is drawn is saved."""
SHOWN_ENDED = 10
"""Ended rollouts, the last ones, whose pairs and charts can still be looked at: some MiB each."""
RETENTION = 3600.0
"""Seconds between two clean-ups of the store."""


def limits_of(plan: Plan) -> tuple[Any, ...]:
    """What a person calls the limits of a plan: a change of any of them restarts PASS."""
    return plan.guards, plan.false_rollback_rate, plan.false_promotion_rate


class Controller:
    """Everything of the controller but its process and its API. Fulfils `links.Listener` and `decisions.Audience`."""

    def __init__(self, config: Config, text: str, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.config, self.generation = config, 0
        self.config_hash = hashlib.sha256(text.encode()).hexdigest()
        self.store = store
        self.trials: dict[str, Trial] = {}
        self.ended: dict[str, Trial] = {}
        self.tallies = Tallies()
        self.streams = Streams()
        self.trails = Trails()
        self.exemplars = Exemplars()
        self.links = Links(self)
        self.decisions = Decisions(self.trials, store, self.links, self, clock)
        self.outbox_added = asyncio.Event()
        self.loaded = False
        self.admin_port = 0  # the one that is listened on, where the file says 0
        self.alive: Callable[[], object] = lambda: None  # told after every round of looks
        self._clock = clock
        self._by_trial: dict[str, Trial] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._reloading = asyncio.Lock()

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self, runtime: Path) -> None:
        """Take up what is saved, then listen to workers. Raises `StoreError` when it cannot be read."""
        contents = await self.store.load()
        self.decisions.take_up(contents)
        for saved in contents.rollouts:
            trial = self._restored(saved)
            (self.ended if saved.archived else self.trials)[trial.name] = trial
        await self._take_up_charts()
        self._index()
        await self.apply(self.config)
        self.loaded = True
        await self.links.start(runtime)
        self._keepers = [asyncio.create_task(self._keep_looking()), asyncio.create_task(self._keep_saved())]

    async def _take_up_charts(self) -> None:
        """Charts go on where they ended. They decide nothing, so whatever is wrong with them, they begin anew."""
        try:
            drawn = await self.store.charts()
            for trial in (*self.trials.values(), *self.ended.values()):
                if trial.plan.trial in drawn:
                    trial.charts.load(drawn[trial.plan.trial])
        except (StoreError, KeyError, TypeError, ValueError) as error:
            logs.event(log, "charts.lost", logging.WARNING, error=str(error))

    async def _keep_charts(self) -> None:
        await self.store.keep_charts({trial.plan.trial: trial.charts.dump() for trial in self.trials.values()})

    async def stop(self) -> None:
        """Judge and save what is in hand, and end."""
        for keeper in self._keepers:
            keeper.cancel()
        for trial in self.trials.values():
            trial.flush()
            self._look(trial)
        await self.links.stop()
        for trial in self.trials.values():
            if trial.recorder is not None:
                trial.recorder.close()
        await asyncio.to_thread(self.trails.close)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.decisions.retry()
            await self._snapshot()
            await self._keep_charts()
        except StoreError as error:
            logs.event(log, "store.failed", logging.ERROR, kind="last snapshot", error=str(error))
        await self.store.close()

    def _restored(self, saved: Saved) -> Trial:
        """A rollout as the last controller left it."""
        rollout, plan = saved.rollout, saved.plan
        try:
            evidence = Evidence.load(plan, saved.evidence)
            books = Books.load(saved.ledger)
        except EvidenceError as error:
            # Without evidence nothing may climb on what is there no more: it starts over, or stays where it ended.
            logs.event(log, "evidence.lost", logging.ERROR, rollout=rollout.name, error=str(error))
            evidence, books = fresh_evidence(plan), Books()
            rollout = rollout if rollout.over else replace(rollout, trial="")
        trial = Trial(plan, rollout, evidence, books)
        trial.entered()
        return trial

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Carry on with something in the background; a failing store is logged where it happens."""
        task = asyncio.ensure_future(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- configuration -----------------------------------------------------------------------------------------------

    async def reload(self, config: Config, text: str, generation: int) -> str:
        """Take a new configuration; empty, or why it cannot be taken, and then nothing has changed."""
        async with self._reloading:
            try:
                for name, plan in config.plans.items():
                    self._check(name, plan)
            except EvidenceError as error:
                return str(error)
            self.config, self.generation = config, generation
            self.config_hash = hashlib.sha256(text.encode()).hexdigest()
            await self.apply(config)
            return ""

    def _check(self, name: str, plan: Plan) -> None:
        trial = self.trials.get(name) or self.ended.get(name)
        if trial is not None and trial.plan.trial == plan.trial and trial.plan.guards != plan.guards:
            Evidence.load(plan, trial.evidence.dump())  # tries the change on a copy

    async def apply(self, config: Config) -> None:
        """Bring the rollouts in line with the plans of a configuration."""
        budgets = {
            f"{route.name}/{one.candidate}": one.mirror.max_tokens_per_minute for route, one in config.rollouts()
        }
        for name in [name for name in self.trials if name not in config.plans]:
            await self._remove(self.trials[name], config)
        for name, plan in config.plans.items():
            if name in self.ended:
                self.trials[name] = self.ended.pop(name)
            trial = self.trials.get(name)
            if trial is None:
                await self._begin(plan, budgets[name])
            else:
                trial.token_budget = budgets[name]
                await self._replan(trial, plan)
        self._index()
        self._record(config)
        self.decisions.retell()  # a budget may have come or gone
        await asyncio.to_thread(self.trails.configure, config)  # one that ends may have to wait for its disk

    def _record(self, config: Config) -> None:
        """Recorders as the configuration asks for them; one whose rule is unchanged goes on."""
        rules = {f"{route.name}/{one.candidate}": one for route, one in config.rollouts()}
        for trial in (*self.trials.values(), *self.ended.values()):
            one = rules.get(trial.name)
            rule = None
            if one is not None and one.record is not None:
                trial.hide(one.record.redact)
            if one is not None and one.record is not None and trial.name in self.trials:
                rule = Rule.of(one.record, one.mirror.headers.drop)
            if trial.recorder is not None and trial.recorder.rule != rule:
                trial.recorder.close()
                trial.unrecorded += trial.recorder.dropped
                trial.recorder = None
            if trial.recorder is None and rule is not None:
                trial.recorder = Recorder(rule, trial.name, self.config_hash)

    def _index(self) -> None:
        self._by_trial.clear()
        self._by_trial.update({trial.plan.trial: trial for trial in self.trials.values()})

    async def _begin(self, plan: Plan, token_budget: int | None) -> None:
        rollout, effects = begin(plan, self._clock())
        trial = self.trials[plan.name] = Trial(plan, rollout, fresh_evidence(plan), Books())
        trial.token_budget = token_budget
        self._index()
        await self.decisions.adopt(trial, rollout, effects)

    async def _replan(self, trial: Trial, plan: Plan) -> None:
        await self.decisions.settled(trial)
        previous, earlier = trial.plan, None
        if plan.trial != previous.trial:
            earlier = await self._earlier(plan)
            trial.renew(plan, self.tallies.ledgers(plan.trial))
            if earlier is not None:
                trial.evidence, trial.books = earlier.evidence, earlier.books
        else:
            if plan.guards != previous.guards:
                trial.flush()
                trial.evidence.change_limits(plan)
            trial.adopt(plan)
        self._index()
        limits = limits_of(plan) != limits_of(previous)
        before = earlier.rollout if earlier is not None else None
        await self.decisions.decide(trial, Reloaded(self._clock(), previous, limits, before))

    async def _earlier(self, plan: Plan) -> Trial | None:
        """The trial of this plan if it was tried before, replaced by another, and had been rolled back by then."""
        try:
            saved = await self.store.past(plan.trial)
            if saved is None or saved.rollout.state is not State.ROLLED_BACK or saved.rollout.cause == "removed":
                return None
            return Trial(plan, saved.rollout, Evidence.load(plan, saved.evidence), Books.load(saved.ledger))
        except (StoreError, EvidenceError) as error:
            logs.event(log, "past.unreadable", logging.ERROR, rollout=plan.name, error=str(error))
            return None

    async def _remove(self, trial: Trial, config: Config) -> None:
        route = next((route for route in config.routes if route.name == trial.plan.route), None)
        became_live = route is not None and route.live == trial.plan.candidate
        await self.decisions.decide(trial, Removed(self._clock(), became_live))
        del self.trials[trial.name]
        self.ended[trial.name] = trial
        for older in list(self.ended.values())[:-SHOWN_ENDED]:
            older.forget()

    # --- what workers say (links.Listener) ---------------------------------------------------------------------------

    def on_pair(self, pair: Pair) -> None:
        trial = self._by_trial.get(pair.trial)
        if trial is None:
            return  # of a trial that is over
        tripped = trial.take(pair)
        if tripped is not None:
            self.spawn(self.decisions.decide(trial, tripped))
        self._plan_flush(trial)

    def on_mark(self, worker: str, trial: str, sequence: int) -> None:
        found = self._by_trial.get(trial)
        if found is not None:
            found.mark(worker, sequence)
            self._plan_flush(found)

    def on_counts(self, worker: str, counts: dict[str, Any]) -> None:
        self.tallies.report(worker, counts)
        for name, ledger in counts.get("ledger", {}).items():
            if (trial := self._by_trial.get(name)) is not None:
                trial.counts(worker, ledger)

    def on_trails(self, trails: list[Trail]) -> None:
        self.trails.take(trails)
        self.exemplars.take(trails)

    def on_hello(self, worker: Worker, hello: dict[str, Any]) -> None:
        for trial, event in self.decisions.greeted(link.table_from(hello.get("table")), bool(hello.get("lost"))):
            self.spawn(self.decisions.decide(trial, event))
        self.decisions.send_table(worker)

    def on_gone(self, worker: str) -> None:
        self.tallies.gone(worker)
        for trial in (*self.trials.values(), *self.ended.values()):
            trial.gone(worker)

    def _close_accounts(self) -> None:
        """Close the accounts of workers that died while no controller was there to see it."""
        if not self.links.complete:
            return
        for trial in (*self.trials.values(), *self.ended.values()):
            for worker in trial.books.workers:
                if worker not in self.links.workers:
                    trial.gone(worker)

    # --- time --------------------------------------------------------------------------------------------------------

    def _plan_flush(self, trial: Trial) -> None:
        if len(trial.batch) >= BATCH:
            self._flush(trial)
        elif trial.batch and not trial.planned:
            trial.planned = True
            asyncio.get_running_loop().call_later(BATCH_TIME, self._flush_planned, trial)

    def _flush_planned(self, trial: Trial) -> None:
        trial.planned = False
        self._flush(trial)

    def _flush(self, trial: Trial) -> None:
        trial.flush()
        if trial.may_look() or trial.crossed():
            self._look(trial)

    def _look(self, trial: Trial) -> None:
        """Look at a rollout and let what is seen happen to it. Looking and deciding are one step: nothing comes between
        a verdict and the evidence that is journaled with it."""
        before = trial.looked
        looked = trial.look(self._clock(), self.decisions.blocked_by(trial))
        if before is None or looked.assessment is not before.assessment:
            self.streams.tell("rollout.changed", self._clock(), {"rollout": trial.name})
        self.spawn(self.decisions.decide(trial, looked))

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self._close_accounts()
                for trial in list(self.trials.values()):
                    self._flush(trial)
                if sum(trial.afford(time.monotonic()) for trial in self.trials.values()):
                    self.decisions.retell()
            except Exception:  # a bug in one look must not end all looks, and must not be hidden: nobody hears ALIVE
                log.exception("a look failed")
                continue
            self.links.alive()
            self.alive()

    async def _keep_saved(self) -> None:
        snapshot_at = retain_at = 0.0
        charts_at = time.monotonic() + CHARTS
        while True:
            await asyncio.sleep(2 * TICK)
            now = time.monotonic()
            try:
                await self.decisions.retry()
                if now >= snapshot_at:
                    cost = await self._snapshot()
                    snapshot_at = now + max(SNAPSHOT, 20 * cost)
                if now >= charts_at:
                    await self._keep_charts()
                    charts_at = now + CHARTS
                if now >= retain_at:
                    await self.store.retain(self._clock())
                    retain_at = now + RETENTION
            except StoreError as error:
                logs.event(log, "store.failed", logging.ERROR, kind="snapshot", error=str(error))
            except Exception:
                log.exception("saving failed")

    async def _snapshot(self) -> float:
        """Save what changed since the last time; seconds of the event loop that it took."""
        changed = [trial for trial in self.trials.values() if trial.unsnapshot]
        if not changed:
            return 0.0
        began = time.perf_counter()
        saved = [Saved(t.saved, t.plan, t.evidence.dump(), t.books.dump()) for t in changed]
        cost = time.perf_counter() - began
        for trial in changed:
            trial.unsnapshot = False
        try:
            await self.store.snapshot(saved, self._clock())
        except BaseException:  # cancelled by the end of the process as well: the last snapshot must not miss these
            for trial in changed:
                trial.unsnapshot = True
            raise
        return cost

    # --- whom it tells (decisions.Audience) --------------------------------------------------------------------------

    def endpoints(self, event: str) -> tuple[str, ...]:
        return tuple(hook.url for hook in self.config.webhooks if event in hook.events)

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
        log.exception("a decision failed")


if __name__ == "__main__":
    from proxy.control.process import main

    main()
