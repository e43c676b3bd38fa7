"""Carries out what `rollout.machine` decides: tables out, transactions in, in the order that keeps the promises.

    down    publish, wait for every connected worker, save; a save that fails is made up later, traffic is gone anyway
    up      save, then publish; a save that fails means it did not happen

Invariants
- A decrease of weight never waits for the disk, nor for an increase of the same rollout that is being saved.
- Traffic to a candidate never exceeds what the saved state allows, but while a rollback awaits its save.
- While a change of a rollout is unsaved, that rollout does not climb. Changes are saved in the order in which they
  were made.
- A decrease of weight that workers know of is completed, even if the controller died before it was saved: the
  next one finds it in their tables (see `greeted`). Table numbers only grow, over the lives of controllers too.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol

from proxy import logs
from proxy.controller.at_work import RolloutsAtWork
from proxy.controller.leader_term import LeaderTerm
from proxy.controller.report import ended_json, event_data, journal_detail
from proxy.controller.rollout_run import RolloutRun, lane_of
from proxy.controller.saving_turn import SavingTurn
from proxy.controller.store.interface import Change, CommitDoubtError, Contents, RolloutStore, Saved
from proxy.controller.transition_times import TransitionTimes
from proxy.controller.webhooks.policy import WebhookEvent as Announcement
from proxy.controller.worker_connections import WorkerConnection, WorkerConnections
from proxy.errors import StoreError
from proxy.model import Lane, Plan, State, Table
from proxy.rollout.events import (
    Effects,
    Looked,
    Pause,
    Promote,
    Publish,
    Refuse,
    Restored,
    Resume,
    Retry,
    RolloutEvent,
    RolloutState,
    Save,
    Unfinished,
    lowers_first,
)
from proxy.rollout.machine import advance

log = logging.getLogger("understudy.executor")

ACK_DEADLINE = 5.0
"""Seconds to wait for acknowledgements. A worker that is later than that is stuck: it serves nobody, and reads the
table first thing when it goes on."""

PendingOutcome = Coroutine[Any, Any, Refuse | None]


class Subscribers(Protocol):
    """Who is notified of decisions."""

    def endpoints(self, event: str, plans: Iterable[Plan | None]) -> tuple[str, ...]:
        """Who subscribes to an event about these plans, as the outbox calls them."""

    def console_url(self, rollout: str) -> str:
        """Where a person looks at a rollout."""

    @property
    def config_hash(self) -> str:
        """Which file was in force."""

    def announce(self, event: Announcement) -> None:
        """Tell it to the streams."""

    def saved(self, announced: bool) -> None:
        """A change is in the store (with deliveries, if announced)."""


class EffectExecutor:
    """Carries out decisions about `trials`, which others fill."""

    def __init__(
        self,
        trials: RolloutsAtWork,
        store: RolloutStore,
        connections: WorkerConnections,
        subscribers: Subscribers,
        clock: Callable[[], float],
    ) -> None:
        self._trials, self._store, self._connections = trials, store, connections
        self._subscribers, self._clock = subscribers, clock
        self._saving: dict[str, asyncio.Event] = {}  # a change that is saved first, under way
        self._savers: dict[str, asyncio.Lock] = {}  # one saver at a time, or a change would be saved twice
        self._unsaved: dict[str, list[SavingTurn]] = {}
        self._leaving: set[str] = set()
        self._restored: dict[str, int] = {}  # the last table before a rollout's weight was restored
        self._fresh: set[str] = set()  # rollouts begun by this controller, of which nothing was saved
        self._before: dict[str, RolloutState] = {}  # rollouts as the last controller left them in the store
        self._identity, self.secret, self.number = "", "", 0
        self.versions: dict[str, str] = {}  # of the upstreams that a model registry names them of
        self.term = LeaderTerm()
        self.times = TransitionTimes()

    def take_up(self, contents: Contents) -> None:
        """Go on where the last controller was, as far as the store knows."""
        self._identity, self.secret, self.number = contents.identity, contents.secret, contents.table
        self._before = {saved.rollout.name: saved.rollout for saved in contents.rollouts}

    # --- what is in force --------------------------------------------------------------------------------------------

    def blocked_by(self, trial: RolloutRun) -> str | None:
        """Another rollout of the same route that has weight, or whose weight workers may still use."""
        for other in self._trials.of_route(trial.plan.route):
            if other is not trial and (other.weights or other.name in self._leaving):
                return other.name
        return None

    def table(self) -> Table:
        """The present routing table. Who has gone stays until that is saved: the next controller must find it there."""
        gone = [turns[-1].trial for name, turns in self._unsaved.items() if turns and name not in self._trials]
        present = (*self._trials.values(), *gone)
        lanes = tuple(t.told() for t in present if t.lane.state is not State.COMPLETED)
        read = tuple(t.plan.trial for t in present if t.plan.reads_requests)
        return Table(self.number, lanes, self.secret, self.term.number, self.versions, read)

    @property
    def unsaved(self) -> list[str]:
        """Rollouts with a change that could not be saved yet."""
        return [name for name, turns in self._unsaved.items() if turns]

    # --- one decision ------------------------------------------------------------------------------------------------

    def decide(self, trial: RolloutRun, event: RolloutEvent) -> PendingOutcome:
        """Let an event happen to a rollout. What must be done now is done when this returns; await the rest.

        The rest gives a refusal, or `None`; it raises `StoreError` when the change was dropped for want of a disk.
        """
        if not self.term.may_act():
            return _answer(Refuse("this replica does not lead any more: ask again"))
        after, effects = advance(trial.rollout, event, trial.plan)
        if not effects:
            trial.rollout = after
            return _answer(None)
        if isinstance(effects[0], Refuse):
            return _answer(effects[0])
        if lowers_first(effects):
            return self._down(trial, after, effects)
        if trial.name in self._saving:
            # The next look will see what came of the change under way; a person's action waits for it.
            return _answer(None) if isinstance(event, Looked) else self._later(trial, event)
        return self._up(trial, after, effects, must_save=_needs_disk(event, trial.rollout, after))

    async def adopt(self, begun: Sequence[tuple[RolloutRun, RolloutState, Effects]]) -> None:
        """Carry out the effects of rollouts that have just begun: in one transaction, with one table."""
        self._fresh |= {trial.name for trial, after, _ in begun if not after.over}
        pending = [(self._turn_up(trial, after, effects), trial.rollout) for trial, after, effects in begun]
        await self._save_together([turn for turn, _ in pending])
        for turn, before in pending:
            await self._gone_up(turn, before, must_save=False)
        if any(Publish() in effects for _, _, effects in begun):
            self._publish()
            await self._connections.acknowledged(self.number, ACK_DEADLINE)

    async def _later(self, trial: RolloutRun, event: RolloutEvent) -> Refuse | None:
        await self.settled(trial)
        if isinstance(event, Promote):  # another rollout of the route may have begun to climb meanwhile
            event = replace(event, blocked_by=self.blocked_by(trial))
        return await self.decide(trial, event)

    async def settled(self, trial: RolloutRun) -> None:
        """Wait until no change of this rollout that is saved first is under way."""
        while (under_way := self._saving.get(trial.name)) is not None:
            await under_way.wait()

    def _down(self, trial: RolloutRun, after: RolloutState, effects: Effects) -> PendingOutcome:
        before = trial.rollout
        trial.lane = replace(lane_of(after, trial.plan), why=_why(effects))
        self._leaving.add(trial.name)
        self._before.pop(trial.name, None)  # whatever a dead controller had cut short is done now
        self._fresh.discard(trial.name)
        number = self._publish()
        if after.over and not before.over and after.trial == before.trial:
            trial.close(self._clock())
            trial.pair_ledger.ended = ended_json(trial)
        trial.rollout = after
        turn = self._queue(trial, self._change(trial, before, after, effects, number))
        if after.entry != before.entry:
            trial.entered()
        return self._gone_down(trial, turn, trial.added_at)

    async def _gone_down(self, trial: RolloutRun, turn: SavingTurn, added_at: float) -> None:
        try:
            behind = await self._connections.acknowledged(turn.change.table, ACK_DEADLINE)
        finally:
            self._leaving.discard(trial.name)
        self.times.measure(trial, turn.change, time.perf_counter() - added_at, behind)
        turn.ready.set()
        await self._save_waiting(trial)

    def _up(self, trial: RolloutRun, after: RolloutState, effects: Effects, *, must_save: bool) -> PendingOutcome:
        before, turn = trial.rollout, self._turn_up(trial, after, effects)
        turn.ready.set()
        return self._gone_up_alone(turn, before, publish=Publish() in effects, must_save=must_save)

    def _turn_up(self, trial: RolloutRun, after: RolloutState, effects: Effects) -> SavingTurn:
        trial.rising = after
        turn = self._queue(trial, self._change(trial, trial.rollout, after, effects, self.number + 1))
        self._saving[trial.name] = asyncio.Event()
        return turn

    async def _gone_up_alone(self, turn: SavingTurn, before: RolloutState, *, publish: bool, must_save: bool) -> None:
        await self._gone_up(turn, before, must_save=must_save, publish=publish)
        await self._connections.acknowledged(self.number, ACK_DEADLINE)

    async def _gone_up(self, turn: SavingTurn, before: RolloutState, *, must_save: bool, publish: bool = False) -> None:
        trial, change, after = turn.trial, turn.change, turn.change.saved.rollout
        try:
            saved = await self._save_waiting(trial)
            while turn.doubted is not None:  # neither done nor dropped until it is found out (`retry`)
                await turn.doubted.wait()
            if not saved and must_save and turn in self._unsaved[trial.name]:
                self._unsaved[trial.name].remove(turn)
                raise StoreError(f"not saved, so not applied: {self._store.error}")
            if trial.rollout.change != before.change:
                return  # decreased meanwhile, and that has been published already
            trial.rollout = after
            self.times.measure(trial, change, 0.0, [])
            if after.entry != before.entry:
                trial.entered()
            trial.lane = lane_of(after, trial.plan)
            if publish:
                self._publish()
        finally:
            trial.rising = None
            self._saving.pop(trial.name).set()

    def _publish(self) -> int:
        self.number += 1
        self.retell()
        return self.number

    def retell(self) -> None:
        """Send the present table again: nothing was decided, but what a budget affords has changed."""
        if self.term.may_act():
            self._connections.publish(self.table())

    def lead_in(self, term: int) -> None:
        """Be the leader of this term from now on, and tell everybody who is there."""
        self.term.begin(term, self._connections.workers)
        self._publish()

    # --- saving ------------------------------------------------------------------------------------------------------

    def _change(
        self, trial: RolloutRun, before: RolloutState, after: RolloutState, effects: Effects, number: int
    ) -> Change:
        """The transaction of a change with the evidence of this very moment; nothing in it changes afterwards."""
        save = _save_of(effects)
        now = self._clock()
        trial.refresh(now)
        saved = Saved(after, trial.plan, trial.evidence.dump(), trial.pair_ledger.dump())
        event: Announcement | None = None
        if save.announce:
            told_by = self._subscribers.console_url(trial.name), self._connections.replica
            data = event_data(trial, before, after, save, *told_by)
            event = Announcement(self._event_id(after, save), save.announce, now, data)
        endpoints = self._subscribers.endpoints(save.announce, (trial.plan, save.replaces))
        detail = journal_detail(trial, before, after, self._subscribers.config_hash)
        return Change(saved, number, now, save.kind, save.actor, save.reason, detail, event, endpoints)

    def _event_id(self, after: RolloutState, save: Save) -> str:
        """The same for the same change, however often it is attempted; different for every other one."""
        key = f"{self._identity}|{after.name}|{after.began_at}|{after.change}|{save.announce}"
        return "evt_" + hashlib.blake2b(key.encode(), digest_size=12).hexdigest()

    def _queue(self, trial: RolloutRun, change: Change) -> SavingTurn:
        """Give a change its turn: it is saved after all earlier ones of its rollout, and not before it is ready."""
        turn = SavingTurn(trial, change)
        self._unsaved.setdefault(trial.name, []).append(turn)
        return turn

    async def _save_waiting(self, trial: RolloutRun) -> bool:
        """Save what has its turn, in order; `False` when the store failed (`retry` goes on from there)."""
        waiting = self._unsaved[trial.name]
        async with self._savers.setdefault(trial.name, asyncio.Lock()):
            while waiting:
                turn = waiting[0]
                await turn.ready.wait()
                try:
                    await self._store.save(turn.change)
                except StoreError as error:
                    if not isinstance(error, CommitDoubtError):
                        turn.known()
                    elif turn.doubted is None:
                        turn.doubted = asyncio.Event()
                    fields = {"rollout": trial.name, "kind": turn.change.kind, "error": str(error)}
                    logs.event(log, "store.failed", logging.ERROR, **fields)
                    return False
                waiting.remove(turn)
                turn.known()
                self._told(trial, turn.change)
        return True

    async def _save_together(self, turns: Sequence[SavingTurn]) -> None:
        """Save changes of several rollouts that wait for no others; where that fails, each is tried alone."""
        first = [turn for turn in turns if self._unsaved[turn.trial.name] == [turn]]
        with suppress(StoreError):
            await self._store.save(*(turn.change for turn in first))
            for turn in first:
                self._unsaved[turn.trial.name].remove(turn)
                self._told(turn.trial, turn.change)
        for turn in turns:
            turn.ready.set()

    def _told(self, trial: RolloutRun, change: Change) -> None:
        trial.saved = change.saved.rollout
        fields = {"rollout": trial.name, "actor": change.actor, "reason": change.reason}
        logs.event(log, f"rollout.{change.kind}", **fields, weight=change.saved.rollout.weight / 100)
        if change.event is not None:
            self._subscribers.announce(change.event)
        self._subscribers.saved(change.event is not None)

    def end_doubts(self) -> None:
        """Wait no more to find out what was saved: whoever comes next reads it in the store."""
        for turn in chain.from_iterable(self._unsaved.values()):
            turn.known()

    async def retry(self) -> None:
        """Try again to save what could not be saved."""
        for name in self.unsaved:
            turns = self._unsaved[name]
            # While another rollout's were saved, this one's may have been.
            if turns and turns[0].ready.is_set():
                await self._save_waiting(turns[0].trial)

    # --- workers that come back --------------------------------------------------------------------------------------

    def greeted(self, table: Table, lost: bool) -> list[tuple[RolloutRun, RolloutEvent]]:
        """What a worker's HELLO tells of the time without a controller: its last table, and whether it was `lost` and
        had taken the weight of unjudged candidates away itself."""
        found: list[tuple[RolloutRun, RolloutEvent]] = []
        for lane in table.lanes:
            trial = self._trials.get(lane.rollout)
            if trial is None or trial.plan.tried != lane.tried:
                continue
            # What was tried before this store began may have been begun anew then: nothing here knows how often.
            if lane.state is State.ROLLED_BACK and trial.name in self._fresh:
                why = lane.why or "the workers still know of it, the store does not"
                found.append((trial, Unfinished(self._clock(), why)))
            elif trial.rollout.trial != lane.trial or not trial.rollout.weight:
                continue
            elif self._cut_short(lane):
                found.append((trial, Unfinished(self._clock(), lane.why)))
            elif lost and lane.weight and self._restored.get(trial.name, -1) < table.number:
                self._restored[trial.name] = max(self.number, table.number)  # told once, not by every worker
                found.append((trial, Restored(self._clock())))
        self.number = max(self.number, table.number)
        return found

    def _cut_short(self, lane: Lane) -> bool:
        """Whether a worker's line shows a decrease of weight that a dead controller did not live to save.

        Less weight than was saved is not enough: it may be an increase that was saved and not published, but that
        has entered a later stage than the line. And nobody else lowered it: this controller's own first decrease ends
        the comparison.
        """
        before = self._before.get(lane.rollout)
        return before is not None and lane.weight < before.weight and lane.stage >= before.entry

    def send_table(self, worker: WorkerConnection) -> None:
        """Give a worker the present table. What `greeted` found must have been decided before."""
        if self.term.may_act():
            self.term.tell(worker.name)
            self._connections.send(worker, self.table())


def _save_of(effects: Effects) -> Save:
    (save,) = (effect for effect in effects if isinstance(effect, Save))
    return save


def _why(effects: Effects) -> str:
    save = _save_of(effects)
    return f"{save.kind} by {save.actor}: {save.reason}"


async def _answer(answer: Refuse | None) -> Refuse | None:
    return answer


def _needs_disk(event: RolloutEvent, before: RolloutState, after: RolloutState) -> bool:
    """Whether a change must be saved first: an advance, or an action by hand that does not lower the weight."""
    return after.weight > before.weight or isinstance(event, Promote | Pause | Resume | Retry)
