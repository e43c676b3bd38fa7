"""Keeps the controller's promises over real sockets and a real store: good candidates climb and bad ones lose their
traffic before anything is saved, and a failing disk forbids climbing only."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.controller import Controller
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import Change
from proxy.model import BUCKETS, Arm, Outcome, State
from proxy.model.reasons import Reason
from tests.controller.controllers import (
    HOOK,
    NAME,
    Rounds,
    Shaky,
    config_text,
    desk_of,
    eventually,
    kinds,
    running,
    to_canary,
    trial_of,
)
from tests.controller.worker import FakeWorker, answer

pytestmark = pytest.mark.usefixtures("quick")


async def test_a_good_candidate_climbs_and_each_step_is_saved_before_it_is_published(
    controller: Controller, worker: FakeWorker
) -> None:
    await to_canary(controller, worker)
    stage = worker.lane(NAME).stage  # type: ignore[union-attr]
    worker.good(trial_of(controller), 400, stage=stage, served=Arm.CANDIDATE)
    await worker.weight(NAME, BUCKETS)
    assert kinds(controller) == ["began", "advanced", "promoted"]
    numbers = [change.table for change in controller.store.saves]  # type: ignore[attr-defined]
    told = list(dict.fromkeys(table.number for table in worker.tables))  # the last is told again: with fewer pairs
    assert told[-2:] == numbers[-2:]
    assert await controller.store.delivery_counts(HOOK) == {"waiting": 1}


async def test_a_bad_candidate_loses_its_traffic_is_saved_and_announced_once(
    controller: Controller, worker: FakeWorker
) -> None:
    await to_canary(controller, worker)
    worker.bad(trial_of(controller), 200, stage=1)
    await worker.weight(NAME, 0)
    await eventually(lambda: kinds(controller)[-1] == "rolled_back")
    delivery = await controller.store.next_delivery(HOOK, 1e12, urgent=True)
    assert delivery is not None
    data = delivery.event.data
    assert (data["rollout"], data["weight"], data["verdict"], data["state"]) == (NAME, 0.0, "fail", "rolled_back")
    assert data["findings"][0]["guard"] == "max_disagreement"
    assert controller.executor.times.rollback[NAME][0] < 1.0


async def test_a_way_down_overtakes_a_climb_that_is_being_saved(
    controller: Controller, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, entered, goes_on = controller.store.save, asyncio.Event(), asyncio.Event()

    async def slow(change: Change) -> None:
        if change.kind == "advanced":
            entered.set()
            await goes_on.wait()
        await save(change)

    monkeypatch.setattr(controller.store, "save", slow)
    worker.good(trial_of(controller), 400)
    await asyncio.wait_for(entered.wait(), 10)
    for _ in range(5):
        worker.send(trial_of(controller), answer(0), Outcome(0, Reason.CONNECT))
    await eventually(lambda: controller.trials[NAME].rollout.state is State.ROLLED_BACK)
    goes_on.set()
    await eventually(lambda: kinds(controller) == ["began", "advanced", "rolled_back"])
    rounds = Rounds(controller)
    await rounds.more(3)
    assert controller.trials[NAME].rollout.state is State.ROLLED_BACK
    assert all(lane.weight == 0 for table in worker.tables for lane in table.lanes)


async def test_traffic_leaves_before_the_save_and_the_save_waits_for_every_worker(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    quiet = await FakeWorker(tmp_path, slot=1, name="w1", pid=2).connect()
    await to_canary(controller, worker)
    quiet.acks = False
    before = kinds(controller)
    worker.bad(trial_of(controller), 200, stage=1)
    await quiet.weight(NAME, 0)
    await worker.weight(NAME, 0)
    assert kinds(controller) == before
    quiet.disconnect()  # a worker that is gone is not waited for
    await eventually(lambda: kinds(controller) == [*before, "rolled_back"])


async def test_failures_in_a_row_trip_the_wire_at_once(controller: Controller, worker: FakeWorker) -> None:
    await to_canary(controller, worker)
    for _ in range(5):
        worker.send(trial_of(controller), answer(1), Outcome(0, Reason.CONNECT), stage=1, served=Arm.CANDIDATE)
    await worker.weight(NAME, 0)
    rollout = controller.trials[NAME].rollout
    assert (rollout.cause, rollout.state) == ("tripwire", State.ROLLED_BACK)
    assert "5 candidate failures in a row" in rollout.reason


async def test_a_failing_disk_forbids_climbing_but_not_rolling_back(controller: Controller, worker: FakeWorker) -> None:
    await to_canary(controller, worker)
    store = controller.store
    assert isinstance(store, Shaky)
    store.broken = True
    worker.good(trial_of(controller), 400, stage=1, served=Arm.CANDIDATE)
    await eventually(lambda: store.failures > 0)
    assert controller.trials[NAME].rollout.state is State.CANARY
    worker.bad(trial_of(controller), 400, stage=1)
    await worker.weight(NAME, 0)
    await eventually(lambda: controller.executor.unsaved == [NAME])
    assert await store.delivery_counts(HOOK) == {}
    store.broken = False
    await eventually(lambda: kinds(controller)[-1] == "rolled_back")
    assert await store.delivery_counts(HOOK) == {"waiting": 1}
    assert BUCKETS not in [lane.weight for table in worker.tables for lane in table.lanes]


async def test_a_disk_that_hangs_and_a_look_that_breaks_stop_no_later_look(
    controller: Controller, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, works_again = asyncio.Event(), asyncio.Event()

    async def hangs(*_: object) -> None:
        entered.set()
        await works_again.wait()

    monkeypatch.setattr(controller.store, "snapshot", hangs)
    worker.good(trial_of(controller), 10)
    await asyncio.wait_for(entered.wait(), 10)
    rounds = Rounds(controller)
    await rounds.more(3)
    look, calls = controller.look, list[int]()

    def breaks(trial: RolloutRun) -> None:
        calls.append(rounds.count)
        if len(calls) < 3:
            raise ZeroDivisionError
        look(trial)

    monkeypatch.setattr(controller, "look", breaks)
    await eventually(lambda: len(calls) >= 3)
    assert calls[0] == calls[1] == calls[2], "a controller whose looks break is not alive"
    works_again.set()


@pytest.mark.parametrize(
    ("admin", "base"),
    [
        ("{listen: 127.0.0.1:0}", "http://127.0.0.1:4711"),
        ("{listen: 0.0.0.0:9090, token: t}", f"http://{socket.gethostname()}:4711"),
        ("{listen: '[::]:9090', token: t}", f"http://{socket.gethostname()}:4711"),
        (
            "{listen: 0.0.0.0:9090, token: t, url: https://models.example/understudy/}",
            "https://models.example/understudy",
        ),
    ],
)
async def test_webhooks_link_to_the_rollout_where_a_person_can_reach_it(tmp_path: Path, admin: str, base: str) -> None:
    async with running(tmp_path, config_text(more=f"admin: {admin}\n")) as controller:
        controller.admin_port = 4711
        worker = await FakeWorker(tmp_path).connect()
        await worker.until(lambda: worker.lane(NAME))
        worker.bad(trial_of(controller), 200)
        await eventually(lambda: kinds(controller)[-1] == "rolled_back")
        change = controller.store.saves[-1]  # type: ignore[attr-defined]
        assert change.event.data["console_url"] == f"{base}/#/r/c"
        worker.disconnect()


SECOND = """      - candidate: d
        stages: [{canary: 10%, min_pairs: 100}]
        guards: {max_disagreement: 10%}
"""


async def test_only_one_rollout_of_a_route_has_weight_and_the_other_says_whom_it_waits_for(tmp_path: Path) -> None:
    text = config_text().replace("webhooks:", SECOND + "webhooks:")
    async with running(tmp_path, text) as controller:
        worker = await FakeWorker(tmp_path).connect()
        await worker.weight("r/d", 1000)  # its first stage is a canary
        worker.good(trial_of(controller), 400)
        await eventually(lambda: controller.trials[NAME].rollout.blocked_by == "r/d")
        service = desk_of(controller)
        with pytest.raises(ActionRefusedError, match="r/d serves"):
            await service.act(NAME, "promote", reason="", actor="ann")
        await service.act("r/d", "abort", reason="", actor="ann")
        await worker.weight(NAME, 500)
        assert all(sum(lane.weight > 0 for lane in table.lanes) <= 1 for table in worker.tables)
        worker.disconnect()
