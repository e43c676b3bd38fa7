"""Keeps the promise that a climb of which nobody knows whether it was saved is neither done nor dropped until that is
found out, and that rolling back does not wait for it."""

from __future__ import annotations

import asyncio

import pytest

from proxy.controller.at_work import RolloutsAtWork
from proxy.controller.effect_executor import EffectExecutor
from proxy.controller.store.interface import Change, CommitDoubtError
from proxy.errors import StoreError
from proxy.model import State
from proxy.rollout.events import Abort, Promote
from proxy.rollout.machine import begin
from tests.controller.life import PLANS, Disk, Nobody, Plane, make_trial

LATE = 30.0


class Doubtful(Disk):
    """A store whose COMMITs may not be answered. `stands`: whether one that was not answered was carried out."""

    doubts = stands = False

    async def save(self, *changes: Change) -> None:
        if self.doubts:
            if self.stands:
                await super().save(*changes)
            raise CommitDoubtError("COMMIT was not answered")
        await super().save(*changes)


class Scene:
    """A rollout in shadow that a person promotes while COMMITs are not answered."""

    def __init__(self, *, stands: bool) -> None:
        self.disk = Doubtful()
        self.trials = RolloutsAtWork()
        self.executor = EffectExecutor(self.trials, self.disk, Plane(self.disk), Nobody(), lambda: 1.0)  # type: ignore[arg-type]
        self.disk.stands = stands

    async def promote(self) -> asyncio.Future[object]:
        plan = PLANS["a"]
        rollout, effects = begin(plan, 1.0)
        self.trial = self.trials[plan.name] = make_trial(plan, rollout)
        await self.executor.adopt([(self.trial, rollout, effects)])
        self.disk.doubts = True
        climbing = asyncio.ensure_future(self.executor.decide(self.trial, Promote(2.0, "ann", "", False, None)))
        for _ in range(3):
            await asyncio.sleep(0)
            await self.executor.retry()
        assert not climbing.done()
        assert self.trial.lane.weight == 0
        return climbing

    @property
    def kinds(self) -> list[str]:
        return [change.kind for change in self.disk.journal]


@pytest.mark.parametrize("stands", [True, False])
async def test_a_climb_in_doubt_is_done_once_it_is_found_out(stands: bool) -> None:
    scene = Scene(stands=stands)
    climbing = await scene.promote()
    scene.disk.doubts = False
    await scene.executor.retry()
    assert await asyncio.wait_for(climbing, LATE) is None
    assert scene.trial.rollout.state is State.CANARY
    assert scene.trial.lane.weight == 500
    assert len(scene.kinds) == len(set(scene.kinds)), "saved once"


@pytest.mark.parametrize("stands", [True, False])
async def test_rolling_back_waits_for_no_doubt(stands: bool) -> None:
    scene = Scene(stands=stands)
    climbing = await scene.promote()
    ended = asyncio.ensure_future(scene.executor.decide(scene.trial, Abort(3.0, "ann", "")))
    await asyncio.sleep(0)
    assert scene.trial.rollout.state is State.ROLLED_BACK
    scene.disk.doubts = False
    await scene.executor.retry()
    await asyncio.wait_for(asyncio.gather(climbing, ended), LATE)
    assert scene.trial.rollout.state is State.ROLLED_BACK
    assert scene.trial.lane.weight == 0
    assert scene.disk.rollouts[scene.trial.name].rollout.state is State.ROLLED_BACK


async def test_a_change_that_is_known_not_to_be_saved_is_not_done() -> None:
    scene = Scene(stands=False)
    climbing = await scene.promote()
    scene.disk.doubts, scene.disk.fails = False, True
    await scene.executor.retry()
    with pytest.raises(StoreError, match="not saved, so not applied"):
        await asyncio.wait_for(climbing, LATE)
    assert scene.trial.lane.weight == 0
    assert not scene.executor.unsaved


async def test_the_end_of_a_controller_waits_for_no_doubt() -> None:
    scene = Scene(stands=True)
    climbing = await scene.promote()
    scene.executor.end_doubts()
    with pytest.raises(StoreError):
        await asyncio.wait_for(climbing, LATE)
