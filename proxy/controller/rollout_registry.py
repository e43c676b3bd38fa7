"""Which rollouts there are: those that the file names, at work, and those that ended and can still be looked at.

    plans of a configuration ──apply──▶ begun · gone on with under a changed plan · taken out · taken up again

What a change of the file means for a rollout is decided in `rollout.machine`; here it is found, and its evidence,
ledger and recorder are brought in line with it.

Invariants
- No rollout begins before `take_up` has said what is saved of it.
- Earlier pairs stay judged by the limits in force when they came; a new trial gets nothing of the old one's evidence,
  and a version that was rolled back before comes back with its own.
- Of the rollouts that ended only the last `SHOWN_ENDED` keep pairs and charts, and the last `KEEP_ENDED` are here at
  all: years of candidates, each with a name of its own, must fill neither the memory nor the disk. One that the file
  names again is taken up from the store: rolled back if it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from proxy import logs
from proxy.config import Config
from proxy.controller.counting import Tallies
from proxy.controller.effect_executor import EffectExecutor
from proxy.controller.recorder import Recorder, RecordingRule
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.controller.store.interface import KEEP_ENDED, RolloutStore, Saved
from proxy.errors import StoreError
from proxy.evidence import Evidence, EvidenceError
from proxy.model import Plan, State
from proxy.pairs.ledger import PairLedger
from proxy.rollout.events import Effects, Refuse, Reloaded, Removed, Restart, RolloutState
from proxy.rollout.machine import begin, unknown

log = logging.getLogger("understudy.registry")

SHOWN_ENDED = 10
"""Ended rollouts, the last ones, whose pairs and charts can still be looked at: some MiB each."""


class RolloutRegistry:
    """Fills `trials` (shared with `effect_executor`) with the rollouts of the configuration in force, by name."""

    def __init__(
        self,
        trials: dict[str, RolloutRun],
        executor: EffectExecutor,
        store: RolloutStore,
        tallies: Tallies,
        clock: Callable[[], float],
    ) -> None:
        self.trials = trials
        self.ended: dict[str, RolloutRun] = {}
        self._executor, self._store, self._tallies, self._clock = executor, store, tallies, clock
        self._by_trial: dict[str, RolloutRun] = {}

    @property
    def everyone(self) -> tuple[RolloutRun, ...]:
        """Rollouts at work, then those that ended."""
        return (*self.trials.values(), *self.ended.values())

    def of(self, trial: str) -> RolloutRun | None:
        """The rollout, at work or ended, whose present trial this is."""
        return self._by_trial.get(trial)

    def take_up(self, rollouts: Sequence[Saved], named: Collection[str]) -> None:
        """Rollouts as the last controller left them, the latest change last; `named` are those of the file."""
        over = [saved for saved in rollouts if saved.rollout.over and saved.rollout.name not in named]
        left_out = {saved.rollout.name for saved in over[:-KEEP_ENDED]}
        for saved in rollouts:
            if saved.rollout.name not in left_out:
                trial = _restored(saved)
                (self.ended if saved.archived else self.trials)[trial.name] = trial
        self._index()

    def check(self, config: Config) -> None:
        """Raise `EvidenceError` when evidence at hand cannot go on under a plan; changes nothing."""
        for name, plan in config.plans.items():
            trial = self.trials.get(name) or self.ended.get(name)
            if trial is None or trial.plan.tried != plan.tried:
                continue
            if trial.plan.guards != plan.guards:
                Evidence.load(
                    replace(plan, again=trial.plan.again), trial.evidence.dump()
                )  # tries the change on a copy

    async def apply(self, config: Config, config_hash: str, lost: str = "") -> None:
        """Bring the rollouts in line with the plans of a configuration; `config_hash` goes into recorded files, `lost`
        says why it is not known how far those had come of which nothing is saved."""
        mirrors = {f"{route.name}/{one.candidate}": one.mirror for route, one in config.rollouts()}
        for name in [name for name in self.trials if name not in config.plans]:
            await self._remove(self.trials[name], config)
        kept = await self._kept([name for name in config.plans if name not in self.trials and name not in self.ended])
        begun: list[tuple[RolloutRun, RolloutState, Effects]] = []
        for name, plan in config.plans.items():
            trial = self.trials.get(name) or self.ended.pop(name, None) or kept.get(name)
            if trial is None:
                begun.append(self._new(plan, lost))
            else:
                self.trials[name] = trial
                await self._replan(trial, plan)
            self.trials[name].budget.follow(mirrors[name])
        await self._let_go()  # only now: what the file names again is not among them
        self._index()
        await self._executor.adopt(begun)
        await self._record(config, config_hash)

    async def close(self) -> None:
        """Write and close what is recorded."""
        await asyncio.gather(*(_end_recording(trial) for trial in self.everyone))

    # --- one rollout -------------------------------------------------------------------------------------------------

    async def _kept(self, names: Collection[str]) -> dict[str, RolloutRun]:
        """Rollouts that ended so long ago that only the store knows of them."""
        try:
            found = await self._store.rollouts(names) if names else {}
        except StoreError as error:
            logs.event(log, "past.unreadable", logging.ERROR, rollout=", ".join(names), error=str(error))
            return {}
        # One that had not failed, and of whose evidence nothing is left, begins anew.
        return {name: _restored(saved) for name, saved in found.items() if not saved.archived or saved.evidence}

    def _new(self, plan: Plan, lost: str) -> tuple[RolloutRun, RolloutState, Effects]:
        """A rollout that begins, its first state and what that asks for."""
        rollout, effects = begin(plan, self._clock()) if not lost else unknown(plan, self._clock(), lost)
        trial = self.trials[plan.name] = RolloutRun(plan, rollout, fresh_evidence(plan), PairLedger())
        self._by_trial[plan.trial] = trial
        return trial, rollout, effects

    async def _replan(self, trial: RolloutRun, plan: Plan) -> None:
        await self._executor.settled(trial)
        previous, earlier = trial.plan, None
        if plan.tried != previous.tried:
            earlier = await self._earlier(plan)
            plan = earlier.plan if earlier is not None else plan
            trial.renew(plan, self._tallies.ledgers(plan.trial))
            if earlier is not None:
                trial.evidence, trial.pair_ledger = earlier.evidence, earlier.pair_ledger
        elif (plan := replace(_with_segments_of(previous, plan), again=previous.again)) != previous:
            trial.flush()
            trial.evidence.change_limits(plan)
            trial.adopt(plan)
        if self._by_trial.get(previous.trial) is trial:
            del self._by_trial[previous.trial]
        self._by_trial[plan.trial] = trial
        before = earlier.rollout if earlier is not None else None
        await self._executor.decide(trial, Reloaded(self._clock(), previous, before))

    async def restart(self, plan: Plan, actor: str, reason: str) -> Refuse | None:
        """Try anew what was rolled back, as the file has it (`plan`) and with nothing of the old evidence."""
        trial = self.trials[plan.name]
        await self._executor.settled(trial)
        if trial.rollout.state is State.ROLLED_BACK:
            plan, hidden = replace(plan, again=trial.plan.again + 1), trial.redact
            trial.renew(plan, self._tallies.ledgers(plan.trial))
            trial.hide(hidden)
            self._index()
        return await self._executor.decide(trial, Restart(self._clock(), actor, reason))

    async def _earlier(self, plan: Plan) -> RolloutRun | None:
        """The last trial of what is planned, if another one has replaced it and it had been rolled back by then."""
        try:
            saved = await self._store.past(plan.name, plan.tried)
            if saved is None or saved.rollout.state is not State.ROLLED_BACK or saved.rollout.cause == "removed":
                return None
            plan = replace(plan, again=saved.plan.again)
            evidence = Evidence.load(plan, saved.evidence) if saved.evidence else fresh_evidence(plan)
            return RolloutRun(plan, saved.rollout, evidence, PairLedger.load(saved.ledger))
        except (StoreError, EvidenceError) as error:
            logs.event(log, "past.unreadable", logging.ERROR, rollout=plan.name, error=str(error))
            return None

    async def _remove(self, trial: RolloutRun, config: Config) -> None:
        route = next((route for route in config.routes if route.name == trial.plan.route), None)
        became_live = route is not None and route.live == trial.plan.candidate
        await self._executor.decide(trial, Removed(self._clock(), became_live))
        del self.trials[trial.name]
        self.ended[trial.name] = trial

    async def _let_go(self) -> None:
        """Of what ended long ago keep less, and then nothing but its end."""
        for older in list(self.ended.values())[:-SHOWN_ENDED]:
            older.forget()
        for oldest in list(self.ended)[:-KEEP_ENDED]:
            await _end_recording(self.ended.pop(oldest))
            with suppress(StoreError):  # the next clean-up does it
                await self._store.let_go(oldest)

    # --- all of them -------------------------------------------------------------------------------------------------

    async def _record(self, config: Config, config_hash: str) -> None:
        """Recorders as the configuration asks for them; one whose rule is unchanged goes on."""
        rules = {f"{route.name}/{one.candidate}": one for route, one in config.rollouts()}
        for trial in self.everyone:
            one, rule = rules.get(trial.name), None
            if one is not None and one.record is not None:
                trial.hide(one.record.redact)
                rule = RecordingRule.of(one.record, one.mirror.headers.dropped)
            if rule != (trial.recorder.rule if trial.recorder is not None else None):
                await _end_recording(trial)
                trial.recorder = Recorder(rule, trial.name, config_hash) if rule is not None else None

    def _index(self) -> None:
        self._by_trial.clear()
        self._by_trial.update({trial.plan.trial: trial for trial in (*self.ended.values(), *self.trials.values())})


def _with_segments_of(previous: Plan, plan: Plan) -> Plan:
    """A trial tells the segments apart that it began with: their evidence is part of one capital, and starts once."""
    if plan.segments != previous.segments:
        logs.event(log, "segments.kept", logging.WARNING, rollout=plan.name, until="the next trial")
    return replace(plan, segments=previous.segments)


def _restored(saved: Saved) -> RolloutRun:
    """A rollout as the last controller left it."""
    rollout, plan = saved.rollout, saved.plan
    try:
        # Of what ended long ago only the end is kept.
        gone = rollout.over and not saved.evidence
        evidence = fresh_evidence(plan) if gone else Evidence.load(plan, saved.evidence)
        pair_ledger = PairLedger.load(saved.ledger)
    except EvidenceError as error:
        # Without evidence nothing may climb on what is there no more: it starts over, or stays where it ended.
        logs.event(log, "evidence.lost", logging.ERROR, rollout=rollout.name, error=str(error))
        evidence, pair_ledger = fresh_evidence(plan), PairLedger()
        rollout = rollout if rollout.over else replace(rollout, trial="")
    trial = RolloutRun(plan, rollout, evidence, pair_ledger)
    trial.entered()
    return trial


async def _end_recording(trial: RolloutRun) -> None:
    """In a thread: a disk that hangs must not hold up the loop that judges."""
    recorder, trial.recorder = trial.recorder, None
    if recorder is not None:
        await asyncio.to_thread(recorder.close)
        trial.unrecorded += recorder.dropped
