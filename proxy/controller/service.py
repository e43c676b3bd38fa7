"""The controller as its API sees it: fulfils `interface.AdminService` over a `Controller` and the channel to the
supervisor.

Reading never changes anything; `act` turns a person's word into an event of `rollout.machine` and waits until it has
been carried out or refused.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from proxy.config import Config
from proxy.controller.admin.chart_view import ChartsJson
from proxy.controller.admin.config_view import ConfigJson
from proxy.controller.admin.drift_view import DriftView
from proxy.controller.admin.fleet_view import FleetJson, FleetView, LeaderView, ReplicaView
from proxy.controller.admin.interface import ACTIONS, ActionRefusedError, FleetCounts, ReplicaCounts
from proxy.controller.admin.metrics import package_version
from proxy.controller.admin.outcome_view import PostedJson
from proxy.controller.admin.pair_view import PairJson, TranscriptJson
from proxy.controller.admin.process_view import ProcessesJson
from proxy.controller.admin.registry_view import HookResultJson, RegistryJson
from proxy.controller.admin.rollout_view import RolloutJson, TrialJson
from proxy.controller.controller import Controller
from proxy.controller.drift.service import DriftService
from proxy.controller.effect_executor import PendingOutcome
from proxy.controller.judging.shown import pair_json
from proxy.controller.model_registry.follower import RegistryFollower
from proxy.controller.outcome_keeper import in_turns
from proxy.controller.report import lead_seconds, rollout_json, trial_json
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.spoken_pair import spoken_pair
from proxy.controller.store.interface import EntryJson, RolloutStore
from proxy.controller.supervisor_link import SupervisorLink
from proxy.errors import StoreError
from proxy.model import PARTS
from proxy.pairs.redaction import pointers
from proxy.rollout.events import Abort, Pause, Promote, Refuse, Resume, Retry, RolloutEvent
from proxy.sockets import address_text

ACT_DEADLINE = 5.0
"""Seconds that a person waits for a disk that hangs."""


class ControllerService:
    """What the admin API, the metrics and the webhooks are given."""

    def __init__(
        self, controller: Controller, supervisor: SupervisorLink, clock: Callable[[], float] = time.time
    ) -> None:
        self._controller, self._supervisor, self._clock = controller, supervisor, clock
        self._since = clock()
        self._outcomes = Counter(joined=0, unknown=0)
        self.drift: DriftView = DriftService(controller.drift, controller.store)
        self.follower = RegistryFollower(controller, clock)
        """Who hears the model registry."""
        self.fleet_view: Callable[[], FleetView] = self._alone
        """What is said of the fleet, where this controller leads one."""
        self.refused_links: Mapping[str, int] = {}
        """Connections of other replicas that were refused, by reason, where it does."""

    # --- what there is -----------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._controller.config

    @property
    def generation(self) -> int:
        """Its number."""
        return self._controller.generation

    @property
    def store(self) -> RolloutStore:
        """Outbox and journal."""
        return self._controller.store

    @property
    def outbox_added(self) -> asyncio.Event:
        """Set after a transaction that put deliveries into the outbox."""
        return self._controller.outbox_added

    def _find(self, name: str) -> RolloutRun | None:
        return self._controller.trials.get(name) or self._controller.registry.ended.get(name)

    def rollouts(self) -> list[RolloutJson]:
        """Every rollout in the configuration's order, then the ended ones."""
        controller = self._controller
        running = [controller.trials[name] for name in self.config.plans if name in controller.trials]
        ended = sorted(controller.registry.ended.values(), key=lambda trial: trial.rollout.began_at, reverse=True)
        return [self._shown(trial) for trial in (*running, *ended)]

    def _shown(self, trial: RolloutRun) -> RolloutJson:
        return rollout_json(trial, self.config.owners.get(trial.plan.route))

    def rollout(self, name: str) -> RolloutJson | None:
        """One rollout."""
        trial = self._find(name)
        return None if trial is None else self._shown(trial)

    def pairs(self, name: str, order: str, limit: int) -> list[PairJson] | None:
        """Kept pairs, redacted as `record.redact` says."""
        trial = self._find(name)
        if trial is None:
            return None
        names, judging = [spec.name for spec in trial.plan.predictions], trial.judging
        found = trial.sample_pairs.shown(order, limit, trial.redact, names)
        hidden = bool(pointers(trial.redact))
        spoken = trial.is_spoken and not hidden
        return [{**one, "transcript": spoken, "judged": pair_json(judging, one["id"], hidden=hidden)} for one in found]

    async def transcript(self, name: str, pair_id: str) -> TranscriptJson | None:
        """What was said in a kept pair, put together in a thread; nothing where answers are to be redacted."""
        trial = self._find(name)
        pair = None if trial is None else trial.sample_pairs.find(pair_id)
        if trial is None or pair is None or not trial.is_spoken or pointers(trial.redact):
            return None
        most = trial.sample_pairs.most_body
        return await asyncio.to_thread(spoken_pair, pair, trial.plan.aspects[0], trial.reader.bounds, most)

    def charts(self, name: str) -> ChartsJson | None:
        """What can be drawn of a rollout; not its labels when answers are to be redacted."""
        trial = self._find(name)
        if trial is None:
            return None
        shown = trial.charts.shown(trial.plan, self._clock())
        if not trial.is_spoken:
            shown = {**shown, "arms": None}
        return {**shown, "predictions": None} if pointers(trial.redact) else shown

    async def earlier(self, name: str, limit: int) -> list[TrialJson]:
        """Trials that others have replaced, newest first."""
        return [trial_json(saved) for saved in await self.store.trials(name, limit)]

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Journal entries, newest first."""
        return await self.store.journal(name, limit, before)

    def subscribe(self) -> asyncio.Queue[dict[str, Any]]:
        """A queue of what happens."""
        return self._controller.streams.subscribe()

    def unsubscribe(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """End a subscription."""
        self._controller.streams.unsubscribe(queue)

    # --- by hand -----------------------------------------------------------------------------------------------------

    async def act(
        self, name: str, action: str, *, reason: str, actor: str, person: str = "", full: bool = False
    ) -> RolloutJson:
        """Carry out an action; the rollout afterwards. Raises `ActionRefusedError`."""
        trial = self._controller.trials.get(name)
        if name in self._controller.registry.ended:
            raise ActionRefusedError(409, f"cannot {action} {name}: it is not in the file any more")
        if trial is None or action not in ACTIONS:
            raise ActionRefusedError(404, f"unknown rollout {name}" if trial is None else f"unknown action {action}")
        change = trial.rollout.change
        try:
            refusal = await self._within(self._outcome(trial, action, reason, actor, person, full))
        except StoreError as error:
            raise ActionRefusedError(503, str(error)) from error
        except TimeoutError:
            if trial.rollout.change == change:
                raise ActionRefusedError(
                    503, "the store does not answer; the action is applied once it can be saved"
                ) from None
            refusal = None  # a decrease of weight: that is done, and saved as soon as can be
        if refusal is not None:
            raise ActionRefusedError(409, refusal.reason)
        return self._shown(trial)

    def _outcome(
        self, trial: RolloutRun, action: str, reason: str, actor: str, person: str, full: bool
    ) -> PendingOutcome:
        """What is under way once it is asked for. Raises `StoreError`."""
        controller = self._controller
        if action != "restart":
            return controller.executor.decide(trial, self._event(trial, action, reason, actor, person, full))
        if trouble := controller.store.trouble:  # what is forgotten for it must not be lost for nothing
            raise StoreError(f"not saved, so not applied: {trouble}")
        return controller.registry.restart(self.config.plans[trial.name], actor, reason)

    async def _within(self, outcome: PendingOutcome) -> Refuse | None:
        """What comes of a decision; `TimeoutError` after `ACT_DEADLINE`, and then it goes on by itself."""
        work = asyncio.ensure_future(outcome)
        try:
            return await asyncio.wait_for(asyncio.shield(work), ACT_DEADLINE)
        except TimeoutError:
            self._controller.spawn(_rest(work))
            raise

    def _event(self, trial: RolloutRun, action: str, reason: str, actor: str, person: str, full: bool) -> RolloutEvent:
        now = self._clock()
        blocked_by = self._controller.executor.blocked_by(trial)
        match action:
            case "promote":
                rule = self.config.admin.two_person
                within = rule.promote_full if rule is not None else None
                return Promote(now, actor, reason, full, blocked_by, within, person)
            case "abort":
                return Abort(now, actor, reason)
            case "pause":
                return Pause(now, actor, reason)
            case "resume":
                return Resume(now, actor, reason)
            case _:
                trial.flush()
                return Retry(now, actor, trial.look(now, blocked_by).assessment, reason)

    async def outcomes(self, entries: list[dict[str, Any]], routes: Collection[str] | None = None) -> PostedJson:
        """What became known later, given to every rollout of these routes (of all for `None`) that waits for it: truths
        by request id, and outcomes of users, which have a `name`; how many became what (`outcome_keeper.BEST_FIRST`),
        `joined` and `unknown` always.

        Unknown are requests that were not compared, or too long ago, or have their truth already (the first wins), and
        users whom no rollout has seen.
        """
        posted = await self._controller.outcomes.post([entry for entry in entries if "name" in entry], routes)
        counted = Counter(joined=0, unknown=0)
        trials = [one for one in self._controller.trials.values() if routes is None or one.plan.route in routes]
        async for entry in in_turns(entry for entry in entries if "name" not in entry):
            truth = next(entry[word] for word in ("label", "value", "reward") if word in entry)
            waiting = sum(trial.outcome(entry["id"], truth) for trial in trials)
            counted["joined" if waiting else "unknown"] += 1
        counted.update(posted)
        self._outcomes.update(counted)
        return cast(PostedJson, dict(counted))

    # --- the model registry ------------------------------------------------------------------------------------------

    async def hook(self, kind: str, headers: Mapping[str, str], body: bytes) -> HookResultJson:
        """Take a webhook of a model registry."""
        return await self.follower.hook(kind, headers, body)

    def registry(self) -> RegistryJson | None:
        """The model registry, and the version that each of its models has."""
        return self.follower.shown()

    # --- the process tree --------------------------------------------------------------------------------------------

    def tree(self, tree: dict[str, Any]) -> None:
        """The supervisor's word on which processes there are. A worker that is not among them is gone for good."""
        self._supervisor.told(tree)
        self._controller.connections.expect(self._supervisor.pids)

    def processes(self) -> ProcessesJson:
        """The process tree, with which workers are connected."""
        workers = self._controller.connections.workers.values()
        own = self._controller.connections.replica
        return self._supervisor.processes({one.pid for one in workers if one.connected and one.replica == own})

    def fleet(self) -> FleetJson:
        """Who leads, and which replicas there are."""
        return self.fleet_view().shown()

    def _alone(self) -> FleetView:
        controller = self._controller
        name = socket.gethostname()
        where = address_text((name, controller.admin_port))
        workers = len(self._supervisor.workers)
        me = ReplicaView(name, where, "leader", package_version(), controller.config_hash, workers, 0.0, 0.0)
        return FleetView(LeaderView(name, where, self._since), 0, (me,))

    def config_in_force(self) -> ConfigJson:
        """Which configuration this replica has, since when, by whom, and why a later one was refused."""
        return self._supervisor.config()

    async def reload(self, by: str) -> tuple[bool, str]:
        """Ask the supervisor to read the files again. Raises `ActionRefusedError` when it does not say what came of
        it."""
        return await self._supervisor.reload(by)

    def ready(self) -> tuple[bool, list[str]]:
        """Whether the controller can do its work, and why not."""
        controller, reasons = self._controller, []
        if self._supervisor.draining:
            reasons.append("draining")
        if not controller.loaded:
            reasons.append("the store has not been read yet")
        if trouble := controller.store.trouble:
            reasons.append(f"the store cannot save: {trouble}")
        for trial in controller.registry.everyone:
            if trial.unwritable:
                reasons.append(f"rollout {trial.name} cannot be saved: {trial.unwritable}")
        missing = [worker["slot"] for worker in self.processes()["workers"] if not worker["connected"]]
        if missing or not self._supervisor.tree:
            reasons.append(f"not connected: {_workers(missing)}" if missing else "no worker is known yet")
        if untold := [
            worker.slot
            for worker in controller.connections.workers.values()
            if worker.replica == controller.connections.replica and worker.connected and not worker.told
        ]:
            reasons.append(f"no routing table in force yet: {_workers(untold)}")
        return not reasons, reasons

    def counts(self) -> FleetCounts:
        """All counts now."""
        controller = self._controller
        counts = controller.traffic.counts()
        for trial in controller.trials.values():
            _count_trial(counts, trial)
        times = controller.executor.times
        counts.results = dict(times.results)
        counts.rollback_seconds = {name: list(seconds) for name, seconds in times.rollback.items()}
        counts.detection_seconds = {name: list(seconds) for name, seconds in times.detection.items()}
        counts.lead_seconds = {
            trial.name: [lead] for trial in controller.registry.everyone if (lead := lead_seconds(trial)) is not None
        }
        counts.outcomes, counts.dropped = dict(self._outcomes), self._dropped()
        counts.registry_words, counts.registry_up = dict(self.follower.counts), self.follower.up
        counts.refused_links, counts.config_hash = dict(self.refused_links), controller.config_hash
        self._supervisor.describe(counts)
        for name, queue in controller.judging.queues.items():
            counts.judge_seconds[name] = (list(queue.asker.stats.buckets), queue.asker.stats.seconds)
        for trial in controller.trials.values():
            counts.untimed[trial.name] = controller.connections.untimed.get(trial.plan.trial, 0)
        counts.drift, counts.drift_changes = self.drift.routes(), dict(controller.drift.changes)
        store = controller.store
        counts.store_failures, counts.store_set_aside = store.failures, store.set_aside
        counts.store_renewed = store.renewed
        counts.store_ok, counts.store_synchronous = not store.trouble, store.synchronous
        return counts

    def replica_counts(self) -> list[ReplicaCounts]:
        """What each replica's workers have counted: they report to the leader each second."""
        tallies, found = self._controller.tallies, []
        for one in self.fleet_view().replicas:
            replica = None if one.role == "leader" else one.name
            age = tallies.age(replica)
            known = age if math.isfinite(age) else None
            found.append(ReplicaCounts(one.name, one.connected, known, tallies.merged(replica)))
        return found

    def _dropped(self) -> dict[str, int]:
        controller = self._controller
        everyone = controller.registry.everyone
        recorders = [trial.recorder for trial in everyone if trial.recorder is not None]
        return {
            "order": sum(trial.readings.late for trial in everyone),
            "replaced": controller.intake.strays,
            "pairs": controller.intake.dropped,
            "record": sum(trial.unrecorded for trial in everyone) + sum(one.dropped for one in recorders),
            "events": controller.streams.dropped,
            "observations": controller.drift.dropped,
        }


def _workers(slots: list[int]) -> str:
    return f"worker {', '.join(map(str, sorted(slots)))}"


async def _rest(work: asyncio.Future[Refuse | None]) -> None:
    await work


def _count_trial(counts: FleetCounts, trial: RolloutRun) -> None:
    ledger, name = trial.ledger, trial.name
    counts.sampled[name] = ledger.sampled
    for part in PARTS:
        counts.pairs[name, part] = getattr(ledger, part)
    for reason, n in trial.evidence.candidate_failures.items():
        counts.candidate_failures[name, reason] = n
    for reason, n in trial.pair_ledger.unparseable.items():
        counts.unparseable[name, reason] = n
    for word, n in trial.evidence.response_mismatches.items():
        counts.response_mismatches[name, word] = n
    for reason, (request_id, time_of) in trial.failed.items():
        counts.exemplars.failed(name, reason, request_id, time_of)
