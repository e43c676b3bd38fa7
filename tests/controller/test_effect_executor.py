"""Keeps the promises of a decision whatever happens in between: for thousands of orders of events, with the disk
failing or hanging and the controller killed between any two effects, traffic never exceeds what the saved state allows,
every change is announced exactly once, and after a restart everything agrees again."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.controller.at_work import RolloutsAtWork
from proxy.controller.effect_executor import EffectExecutor
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import Contents
from proxy.controller.worker_connections import WorkerConnection
from proxy.errors import StoreError
from proxy.model import Assessment, Plan, State, Verdict
from proxy.rollout.events import (
    Abort,
    Effects,
    Looked,
    Pause,
    Promote,
    Reloaded,
    Removed,
    Resume,
    Retry,
    RolloutEvent,
    RolloutState,
    Tripped,
)
from proxy.rollout.machine import begin
from tests.controller.life import PLANS, Disk, Killed, Nobody, Plane, make_trial

names = st.sampled_from("ab")


class Life(RuleBasedStateMachine):
    """Controllers come and go over one disk and two workers; two rollouts share a route."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.disk = Disk()
        self.plane = Plane(self.disk)
        self.plans = dict(PLANS)
        self.now = 1.0
        self.boot()

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.end_tasks()
            self.loop.close()

    # --- the controller's life ---

    def boot(self) -> None:
        """A controller starts: it takes up what is saved and workers connect to it."""
        self.disk.kill, self.disk.fails, self.disk.hangs = -1, False, None
        self.plane.heard = asyncio.Event()
        self.trials = RolloutsAtWork()
        self.executor = EffectExecutor(self.trials, self.disk, self.plane, Nobody(), lambda: self.now)  # type: ignore[arg-type]
        self.executor.take_up(Contents("id", self.disk.table, list(self.disk.rollouts.values())))
        self.plane.connected = set()
        self.reloading = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.out = {name: make_trial(s.plan, s.rollout) for name, s in self.disk.rollouts.items()}
        for name in self.out.keys() - {plan.name for plan in self.plans.values()}:
            self.trials[name] = self.out[name]
            self.run(lambda n=name: self.take_out(n))
        begun: list[tuple[RolloutRun, RolloutState, Effects]] = []
        for plan in self.plans.values():
            if plan.name in self.out:
                self.run(lambda p=plan: self.put_back(p))
            else:
                rollout, effects = begin(plan, self.now)
                trial = self.trials[plan.name] = make_trial(plan, rollout)
                begun.append((trial, rollout, effects))
        if begun:
            self.run(lambda: self.executor.adopt(begun))
        for slot in (0, 1):
            self.connect(slot)

    def has_fallen(self, name: str) -> bool:
        """Whether a rollout was seen to lose weight and has not begun again since."""
        since = self.disk.journal[self.plane.fallen.get(name, len(self.disk.journal)) :]
        again = [c for c in since if c.saved.rollout.name == name and c.kind in ("began", "retried")]
        return name in self.plane.fallen and not again

    def replan(self, trial: RolloutRun, plan: Plan) -> Any:
        previous, trial.plan = trial.plan, plan
        return self.executor.decide(trial, Reloaded(self.now, previous))

    async def take_out(self, name: str) -> None:
        """As the registry does: it is there until its way down has been carried out."""
        trial = self.trials[name]
        await self.executor.decide(trial, Removed(self.now))
        self.out[name] = trial
        del self.trials[name]

    async def put_back(self, plan: Plan) -> None:
        trial = self.trials[plan.name] = self.out.pop(plan.name)
        await self.replan(trial, plan)

    def connect(self, slot: int) -> None:
        self.plane.read(slot)  # what was written to the old link
        self.plane.connected.add(slot)
        for trial, event in self.executor.greeted(self.plane.tables[slot], slot in self.plane.lost):
            self.run(lambda t=trial, e=event: self.executor.decide(t, e))
        self.executor.send_table(WorkerConnection(f"w{slot}", slot, slot))

    def run(self, start: Any) -> None:
        """Start a decision and let it go as far as it can; a controller that is killed on the way is replaced."""
        try:
            self.spin(start())
        except Killed:
            self.end_tasks()
            self.boot()

    def spin_or_boot(self) -> None:
        try:
            self.spin()
        except Killed:
            self.end_tasks()
            self.boot()

    def spin(self, work: Any = None) -> None:
        async def steps() -> None:
            if work is not None:
                self.tasks.append(asyncio.ensure_future(work))
            for _ in range(30):
                await asyncio.sleep(0)

        self.loop.run_until_complete(steps())
        done = [task for task in self.tasks if task.done()]
        self.tasks = [task for task in self.tasks if not task.done()]
        for task in done:
            if (error := task.exception()) is not None and not isinstance(error, StoreError):
                raise error

    def end_tasks(self) -> None:
        async def end() -> None:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

        self.loop.run_until_complete(end())
        self.tasks = []

    # --- what happens ---

    def happen(self, name: str, event: RolloutEvent) -> None:
        self.now += 1.0
        if (trial := self.there(name)) is not None:
            self.run(lambda: self.executor.decide(trial, event))

    def there(self, name: str) -> RolloutRun | None:
        """A rollout, if the file names it."""
        return self.trials.get(PLANS[name].name)

    def blocked_by(self, name: str) -> str | None:
        trial = self.there(name)
        return None if trial is None else self.executor.blocked_by(trial)

    @rule(name=names, verdict=st.sampled_from([Verdict.PASS, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]))
    def look(self, name: str, verdict: Verdict) -> None:
        self.happen(name, Looked(self.now, Assessment(verdict), 1, 1, self.blocked_by(name)))

    @rule(name=names)
    def trip(self, name: str) -> None:
        self.happen(name, Tripped(self.now, 20))

    @rule(name=names, action=st.sampled_from([Pause, Resume, Abort]))
    def act(self, name: str, action: Any) -> None:
        self.happen(name, action(self.now, "ann"))

    @rule(name=names, full=st.booleans())
    def promote(self, name: str, full: bool) -> None:
        self.happen(name, Promote(self.now, "ann", "", full, self.blocked_by(name)))

    @rule(name=names)
    def retry(self, name: str) -> None:
        self.happen(name, Retry(self.now, "ann", Assessment(Verdict.INCONCLUSIVE)))

    @rule(name=names, version=st.sampled_from("123"))
    def reload(self, name: str, version: str) -> None:
        plan = replace(PLANS[name], version=version)
        if self.reloading or plan.name in self.executor._saving:  # the controller waits for that first
            return
        self.plans[name] = plan
        trial = self.there(name)
        self.run(lambda: self.put_back(plan) if trial is None else self.replan(trial, plan))

    @rule(name=names)
    def taken_out_of_the_file(self, name: str) -> None:
        if self.there(name) is not None and not self.reloading and PLANS[name].name not in self.executor._saving:
            del self.plans[name]
            self.reloading = True
            self.run(lambda: self.taking_out(PLANS[name].name))

    async def taking_out(self, name: str) -> None:
        try:
            await self.take_out(name)
        finally:
            self.reloading = False

    @rule()
    def disk_fails(self) -> None:
        self.disk.fails = True

    @rule()
    def disk_works(self) -> None:
        self.disk.fails = False
        if self.disk.hangs is not None:
            self.disk.hangs.set()
            self.disk.hangs = None
        self.spin_or_boot()

    @rule()
    def controller_saves_what_waits(self) -> None:
        self.run(lambda: self.executor.retry())

    @rule()
    def disk_hangs(self) -> None:
        self.disk.hangs = self.disk.hangs or asyncio.Event()

    @rule(slot=st.sampled_from([0, 1]))
    def worker_gets_slow(self, slot: int) -> None:
        self.plane.late.setdefault(slot, [])

    @rule(slot=st.sampled_from([0, 1]))
    def worker_catches_up(self, slot: int) -> None:
        self.plane.read(slot)
        self.spin_or_boot()

    @rule(after=st.integers(0, 6))
    def kill_soon(self, after: int) -> None:
        self.disk.kill = after

    @rule()
    def kill_now(self) -> None:
        self.end_tasks()
        self.boot()

    @rule()
    def nobody_for_long(self) -> None:
        """Killed, and not back before the workers have taken the weight of unjudged candidates away."""
        self.end_tasks()
        self.plane.lose()
        self.nothing_falls(self.boot)

    @rule()
    def controller_hangs_for_long(self) -> None:
        """The same controller goes on after the workers have given it up."""
        self.plane.lose()
        self.nothing_falls(self.links_return)

    @rule(slot=st.sampled_from([0, 1]))
    def link_breaks_for_long(self, slot: int) -> None:
        self.plane.read(slot)
        self.plane.connected.discard(slot)
        self.plane.lost.add(slot)
        self.nothing_falls(self.links_return)

    @rule(name=names, version=st.sampled_from("123"))
    def file_changes_while_nobody_is_there(self, name: str, version: str) -> None:
        self.end_tasks()
        self.plans[name] = replace(PLANS[name], version=version)
        self.nothing_falls(self.boot)

    def nothing_falls(self, happens: Any) -> None:
        """Let it happen; nobody may be rolled back by it who had not been on the decrease before."""
        before = {name: saved.rollout for name, saved in self.disk.rollouts.items()}
        fallen = [name for name in self.plane.fallen if self.has_fallen(name)]
        fallen += [name for name, trial in self.trials.items() if trial.rollout.state is State.ROLLED_BACK]
        happens()
        for name, was in before.items():
            now = self.disk.rollouts[name].rollout
            # A new version begins in shadow, wherever the old one was; what the file names no more goes.
            if name not in fallen and now.trial == was.trial and now.cause != "removed" and was.cause != "removed":
                assert now.state is was.state, "taken for a roll back"

    @rule(slot=st.sampled_from([0, 1]))
    def link_breaks(self, slot: int) -> None:
        self.plane.connected.discard(slot)

    @precondition(lambda self: len(self.plane.connected) < 2)
    @rule()
    def links_return(self) -> None:
        for slot in {0, 1} - self.plane.connected:
            self.connect(slot)

    # --- what must hold at any moment ---

    @invariant()
    def traffic_is_never_above_what_is_saved(self) -> None:
        for slot in getattr(self.plane, "connected", ()):
            for name, weight in self.plane.weights(slot).items():
                saved = self.disk.rollouts.get(name)
                assert weight <= (saved.rollout.weight if saved is not None else 0), (slot, name, weight, saved)

    @invariant()
    def who_has_fallen_stays_down(self) -> None:
        """Even when the controller was killed before it could save that, or the disk took no writes. (A worker that is
        slow may not have read of it yet.)"""
        quick = self.plane.connected - self.plane.late.keys()
        for name in self.plane.fallen:
            if self.has_fallen(name):
                assert all(not self.plane.weights(slot).get(name) for slot in quick), name

    @invariant()
    def one_rollout_of_the_route_has_weight(self) -> None:
        """On all workers together, however slow one of them is."""
        served = {n for slot in self.plane.connected for n, weight in self.plane.weights(slot).items() if weight > 0}
        assert len(served) <= 1

    @invariant()
    def what_is_announced_is_journaled_and_announced_once(self) -> None:
        assert all(count == 1 for count in self.disk.outbox.values()), self.disk.outbox
        told = [change.event.id for change in self.disk.journal if change.event is not None]
        assert Counter(told) == self.disk.outbox

    @invariant()
    def the_journal_tells_a_story_without_gaps(self) -> None:
        """Each entry starts where the last one of its rollout ended, but for an advance that a decrease overtook."""
        ends: dict[str, set[tuple[str, float]]] = {}
        for change in self.disk.journal:
            name, detail = change.saved.rollout.name, change.detail
            start = (detail["from"]["state"], detail["from"]["weight"])
            end = (detail["to"]["state"], detail["to"]["weight"])
            assert name not in ends or start in ends[name], (name, detail, ends[name])
            ends[name] = {start, end} if change.kind in ("advanced", "promoted") else {end}

    @invariant()
    def when_nothing_is_under_way_everything_agrees(self) -> None:
        if self.tasks or self.executor.unsaved or self.plane.connected != {0, 1} or self.plane.late:
            return
        for trial in self.trials.values():
            saved = self.disk.rollouts[trial.name].rollout
            assert (saved.state, saved.weight) == (trial.rollout.state, trial.rollout.weight)
            for slot in (0, 1):
                assert self.plane.weights(slot).get(trial.name, 0) == trial.rollout.weight


class LongLife(Life):
    """The same, for as many orders as take some minutes."""


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
LongLife.TestCase.settings = settings(max_examples=3000, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
TestLongLife = pytest.mark.slow(LongLife.TestCase)


def test_a_worker_that_reads_late_of_a_fall_says_nothing_about_the_version_after_it() -> None:
    """Found by the long stateful test: the fall was dated when it was read, after the next version had begun."""
    life = Life()
    life.start()
    try:
        life.look("b", Verdict.PASS)
        life.worker_gets_slow(0)
        life.look("b", Verdict.FAIL)
        life.file_changes_while_nobody_is_there("b", "2")
        life.look("b", Verdict.PASS)
        assert life.plane.weights(0) == {"r/a": 0, "r/b": 500}
        life.who_has_fallen_stays_down()
        life.when_nothing_is_under_way_everything_agrees()
    finally:
        life.teardown()
