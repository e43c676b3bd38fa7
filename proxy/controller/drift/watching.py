"""Drift of all routes: observations are read one after the other beside everything else, looked at once a second, and
what changes is saved with its journal entry and its event.

Invariants
- Nothing waits for this: an observation for which there is no room is dropped and counted, reading one is done in steps
  between turns of the loop, and a store that is away keeps changes waiting and nothing else.
- An alarm is announced once it is saved, together with what it was found in; a restart announces it neither twice nor
  never.
- Changes of one route are saved in their order; while one waits, no later state of that route is saved.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from proxy import logs
from proxy.config import Config
from proxy.controller.admin.drift_view import DriftAlarmJson, DriftEventJson
from proxy.controller.drift.reference import read_reference
from proxy.controller.drift.shown import drift_event_data, ended_event_data, reason_of
from proxy.controller.drift.source import DriftSource, drift_sources
from proxy.controller.drift.watch import ANEW, DriftAlarm, DriftWatch, FieldChange, alarms_in, load_watch
from proxy.controller.recordings import RecordingError
from proxy.controller.store.interface import DriftChange, RolloutStore, SavedDrift
from proxy.controller.webhooks.policy import WebhookEvent
from proxy.errors import StoreError
from proxy.model import Observation

log = logging.getLogger("understudy.drift")

MACHINE = "understudy"
MOST_WAITING, MOST_BYTES = 1024, 32 * 1024 * 1024
"""Observations that may wait to be read, and their bytes."""
LOOK = 1.0
"""Seconds between two looks at a route."""
MOST_KEPT = 8
"""Routes that are saved in one round."""
KEEP = 5.0
"""Seconds between two times at which what is known of a route is saved, or longer where the store says so."""


class DriftSubscribers(Protocol):
    """Whom drift is told."""

    def endpoints(self, event: str) -> tuple[str, ...]:
        """Where an event is posted."""

    def console_url(self, rollout: str) -> str:
        """Where it is shown."""

    @property
    def replica(self) -> str:
        """Who tells of it."""

    def announce(self, event: WebhookEvent) -> None:
        """It is saved."""

    def saved(self, announced: bool) -> None:
        """Something was saved, with deliveries or without."""


class DriftWatching:
    """All routes that have `drift:`."""

    def __init__(self, store: RolloutStore, subscribers: DriftSubscribers, clock: Callable[[], float]) -> None:
        self.watches: dict[str, DriftWatch] = {}
        self.dropped = self.strays = 0
        """Observations for which there was no room, and those of routes that are not watched (any more)."""
        self.changes: Counter[tuple[str, str, str]] = Counter()
        """Alarms since this controller started, by route, field and whether they began (`detected`) or `ended`."""
        self._store, self._subscribers, self._clock = store, subscribers, clock
        self._known: dict[str, SavedDrift] = {}
        self._queue: deque[Observation] = deque()
        self._bytes = 0
        self._come = asyncio.Event()
        self._unsaved: dict[str, deque[DriftChange]] = {}
        self._kept_at: dict[str, float] = {}
        self._looked_at = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._references: dict[str, asyncio.Task[None]] = {}

    # --- life --------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """What was known; a store that cannot say starts every route anew."""
        try:
            self._known = await self._store.drift()
        except StoreError as error:
            logs.event(log, "drift.lost", logging.WARNING, error=str(error))
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """End; what waits to be read is dropped."""
        tasks = [task for task in (self._reading, *self._references.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def configure(self, config: Config) -> None:
        """Watch what this configuration says. What still is about the same goes on as it stands."""
        sources = drift_sources(config)
        for route in [route for route in self.watches if route not in sources]:
            self._end(self.watches.pop(route), "it is not watched any more")
        for route, source in sources.items():
            present = self.watches.get(route)
            if present is not None and present.source.identity == source.identity and not present.stopped:
                for change in present.replan(source):
                    self._found(present, change)
                self._refer_again(present)
            else:
                self._begin(source, present)

    def _begin(self, source: DriftSource, present: DriftWatch | None) -> None:
        saved = self._known.pop(source.route, None) if present is None else None
        if present is not None:
            self._end(present, ANEW)
        watch = self._loaded(source, saved) if saved is not None else None
        if watch is None:
            watch = DriftWatch(source, self._clock())
            anew = " anew: another configuration" if saved is not None or present is not None else ""
            self._enter(watch, "drift_began", MACHINE, f"learns what is normal{anew}")
        self.watches[source.route] = watch
        if source.recording and watch.detector is None:
            self._references[source.route] = asyncio.create_task(self._refer(watch))

    def _refer_again(self, watch: DriftWatch) -> None:
        """A recording that could not be read may be in place by now."""
        if watch.detector is None and watch.problem and self._references[watch.source.route].done():
            self._references[watch.source.route] = asyncio.create_task(self._refer(watch))

    def _loaded(self, source: DriftSource, saved: SavedDrift) -> DriftWatch | None:
        try:
            found = load_watch(source, saved.data)
        except Exception as error:  # whatever was saved: a controller starts
            logs.event(log, "drift.lost", logging.WARNING, route=source.route, error=str(error))
            found = None
        if found is None:
            for alarm in alarms_in(saved.data):
                self._end_unknown(source.route, saved, alarm)
        return found

    async def _refer(self, watch: DriftWatch) -> None:
        """Read the recording that is the reference; observations wait in the queue of the route meanwhile."""
        path = watch.source.recording
        try:
            reference = await asyncio.to_thread(read_reference, path, watch.source)
        except (RecordingError, ValueError) as error:
            watch.problem = f"the reference cannot be read: {error}"
            logs.event(log, "drift.no_reference", logging.ERROR, route=watch.source.route, error=str(error))
            return
        watch.refer_to(reference)

    # --- observations ------------------------------------------------------------------------------------------------

    def observe(self, observation: Observation) -> None:
        """Take what a worker has seen."""
        if observation.route not in self.watches:
            self.strays += 1
            return
        size = len(observation.request_body) + len(observation.live.body)
        if len(self._queue) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
            self.dropped += 1
            return
        self._bytes += size
        self._queue.append(observation)
        self._come.set()

    async def _read(self) -> None:
        while True:
            await self._come.wait()
            self._come.clear()
            while self._queue:
                observation = self._queue.popleft()
                self._bytes -= len(observation.request_body) + len(observation.live.body)
                try:
                    await self._read_one(observation)
                except Exception:  # one odd observation must not end drift for all
                    logs.unexpected(log, "drift.reading_broke")

    async def _read_one(self, observation: Observation) -> None:
        watch = self.watches.get(observation.route)
        if watch is None:
            return
        for observed in watch.reader.steps(observation):
            await asyncio.sleep(0)
            if observed is not None:
                watch.take(observed)

    # --- looks -------------------------------------------------------------------------------------------------------

    async def look(self, now: float) -> None:
        """Look at every route, if it is time; `now` is monotonic."""
        if now < self._looked_at + LOOK:
            return
        self._looked_at = now
        for watch in list(self.watches.values()):
            try:
                for change in watch.look(self._clock()):
                    self._found(watch, change)
            except Exception:
                self._broke(watch)
            await asyncio.sleep(0)

    @staticmethod
    def _broke(watch: DriftWatch) -> None:
        """A bug in drift is no reason to stop judging candidates: this route is not watched until the next reload."""
        logs.unexpected(log, "drift.watch_broke")
        watch.problem = "a bug in understudy: see the log for drift.watch_broke"
        watch.stop()

    def _found(self, watch: DriftWatch, change: FieldChange) -> None:
        kind = "drift.detected" if change.began else "drift.ended"
        self._enter(watch, kind.replace(".", "_"), MACHINE, reason_of(change), change)

    def _enter(
        self, watch: DriftWatch, kind: str, actor: str, reason: str, change: FieldChange | None = None
    ) -> DriftChange:
        """Queue what is known now with a journal entry, and with an event where an alarm begins or ends."""
        route, now = watch.source.route, self._clock()
        event, detail = None, None
        if change is not None:
            type_of = "drift.detected" if change.began else "drift.ended"
            self.changes[route, change.alarm.field, type_of.partition(".")[2]] += 1
            detail = self._event_data(drift_event_data(watch, change, now))
            event = WebhookEvent(_event_id(change.alarm.id, type_of), type_of, now, detail)
        return self._put(route, SavedDrift(route, watch.dump()), kind, actor, reason, detail, event)

    def _end(self, watch: DriftWatch, reason: str) -> None:
        for change in watch.ended(reason):
            self._found(watch, change)

    def _end_unknown(self, route: str, saved: SavedDrift, alarm: DriftAlarm) -> None:
        reason, now = ANEW, self._clock()
        detail = self._event_data(ended_event_data(route, alarm, now, reason))
        event = WebhookEvent(_event_id(alarm.id, "drift.ended"), "drift.ended", now, detail)
        self._put(route, saved, "drift_ended", MACHINE, f"{alarm.field}: {reason}", detail, event)

    def _put(
        self,
        route: str,
        saved: SavedDrift,
        kind: str,
        actor: str,
        reason: str,
        detail: DriftEventJson | None,
        event: WebhookEvent | None,
    ) -> DriftChange:
        endpoints = self._subscribers.endpoints(event.type) if event is not None else ()
        change = DriftChange(saved, self._clock(), kind, actor, reason, detail or {}, event, endpoints)
        self._unsaved.setdefault(route, deque()).append(change)
        return change

    def _event_data(self, alarm: DriftAlarmJson) -> DriftEventJson:
        url = self._subscribers.console_url(f"-/drift/{alarm['route']}")
        return {**alarm, "replica": self._subscribers.replica, "console_url": url}

    # --- by hand -----------------------------------------------------------------------------------------------------

    async def accept(self, route: str, field: str | None, actor: str, reason: str) -> None:
        """What the field is now is what is normal; all fields where none is named. Raises `KeyError` for what is not
        watched, `StoreError` when it cannot be saved now: then it holds, and is saved once it can be."""
        watch = self.watches[route]
        names = [field] if field is not None else [one.field for one in watch.findings()]
        for name in names:
            change = watch.accept(name)
            if change is not None:
                change = FieldChange(False, change.alarm, change.finding, f"accepted by {actor}")
            self._enter(watch, "drift_accepted", actor, f"{name}: {reason}" if reason else name, change)
        await self._save(route)

    # --- saving ------------------------------------------------------------------------------------------------------

    async def keep(self, now: float, *, all_of_it: bool = False) -> None:
        """Save changes, and what is known where it changed; `now` is monotonic. Raises `StoreError`."""
        for route in [route for route, waiting in self._unsaved.items() if waiting]:
            await self._save(route)
        every, kept = max(KEEP, self._store.snapshot_every), self._kept_at
        due = [one for one in self.watches.items() if one[1].changed and not one[1].stopped]
        due.sort(key=lambda one: kept.get(one[0], 0.0))  # where there are many, in turns
        for route, watch in due if all_of_it else due[:MOST_KEPT]:
            if all_of_it or now >= kept.get(route, 0.0) + every:
                watch.changed, kept[route] = False, now
                try:
                    await self._store.keep_drift(SavedDrift(route, watch.dump()), self._clock())
                except BaseException:
                    watch.changed = True
                    raise

    async def _save(self, route: str) -> None:
        waiting = self._unsaved.get(route, deque())
        while waiting:
            change = waiting[0]
            await self._store.save_drift(change)
            if waiting and waiting[0] is change:  # nobody else has saved it meanwhile
                waiting.popleft()
                self._told(change)

    def _told(self, change: DriftChange) -> None:
        fields = {"route": change.saved.route, "actor": change.actor, "reason": change.reason}
        logs.event(log, change.kind.replace("_", ".", 1), **fields)
        if change.event is not None:
            self._subscribers.announce(change.event)
        self._subscribers.saved(change.event is not None)


def _event_id(alarm: str, kind: str) -> str:
    """The same for the same change, however often it is attempted."""
    return "evt_" + hashlib.blake2b(f"{alarm}|{kind}".encode(), digest_size=12).hexdigest()
