"""Promise: of the rollouts of one route one climbs at a time, from when its climb is being saved until the last worker
has let go of it, and a person's word waits for what is under way."""

from __future__ import annotations

import asyncio

from proxy.controller.at_work import RolloutsAtWork
from proxy.controller.effect_executor import EffectExecutor
from proxy.controller.rollout_run import RolloutRun
from proxy.model import Assessment, Verdict
from proxy.rollout.events import Abort, Looked, Pause, Promote, Refuse
from proxy.rollout.machine import begin
from tests.controller.life import PLANS, Disk, Nobody, Plane, make_trial


async def two_on_a_route() -> tuple[Disk, Plane, EffectExecutor, tuple[RolloutRun, ...]]:
    """Two rollouts that have just begun, and both workers connected."""
    disk, trials = Disk(), RolloutsAtWork()
    plane = Plane(disk)
    plane.connected = {0, 1}
    executor = EffectExecutor(trials, disk, plane, Nobody(), lambda: 1.0)  # type: ignore[arg-type]
    for plan in PLANS.values():
        rollout, effects = begin(plan, 1.0)
        trials[plan.name] = make_trial(plan, rollout)
        await executor.adopt([(trials[plan.name], rollout, effects)])
    return disk, plane, executor, tuple(trials.values())


async def test_a_rollout_is_blocked_from_the_moment_another_climbs_until_the_last_worker_has_let_it_go() -> None:
    disk, plane, executor, (a, b) = await two_on_a_route()
    assert executor.blocked_by(b) is None
    disk.hangs = asyncio.Event()
    climb = asyncio.ensure_future(executor.decide(a, Looked(2.0, Assessment(Verdict.PASS), 1, 1)))
    await asyncio.sleep(0)
    assert (a.rollout.weight, executor.blocked_by(b)) == (0, a.name), "it is being saved"
    pause = asyncio.ensure_future(executor.decide(a, Pause(2.5, "ann")))
    await asyncio.sleep(0)
    assert not pause.done(), "a person's word waits for what is under way"
    disk.hangs.set()
    assert await climb is None
    assert await pause is None
    assert a.rollout.paused
    assert (a.rollout.weight, executor.blocked_by(b)) == (500, a.name)
    plane.late[1] = []
    fall = asyncio.ensure_future(executor.decide(a, Abort(3.0, "ann")))
    await asyncio.sleep(0)
    assert (a.lane.weight, plane.weights(1)[a.name]) == (0, 500)
    assert executor.blocked_by(b) == a.name, "a worker may serve it still"
    plane.read(1)
    assert await fall is None
    assert executor.blocked_by(b) is None


async def test_of_two_promotions_that_wait_for_the_disk_one_is_refused() -> None:
    """Found by the stateful test: who waits may be overtaken, and asks again who climbs when its turn comes."""
    disk, _, executor, (a, b) = await two_on_a_route()
    disk.hangs = asyncio.Event()
    pause = asyncio.ensure_future(executor.decide(b, Pause(2.0, "ann")))
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(executor.decide(b, Promote(3.0, "ann", "", False, executor.blocked_by(b))))
    await asyncio.sleep(0)
    climbing = asyncio.ensure_future(executor.decide(a, Promote(4.0, "ann", "", False, executor.blocked_by(a))))
    await asyncio.sleep(0)
    disk.hangs.set()
    assert await pause is None
    assert await climbing is None
    assert isinstance(await waiting, Refuse)
    assert (a.rollout.weight, b.rollout.weight) == (500, 0)
