"""Keeps the promise of a restart: what was rolled back is tried anew with nothing of its evidence, by a trial of its
own that outlives reloads and controllers; and whoever is refused something else is told of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.cli.judging import audit
from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.controller import Controller
from proxy.controller.recordings import journal_entries
from proxy.model import Lane, State, Table
from tests.controller.controllers import NAME, config_text, desk_of, eventually, kinds, reload, running, trial_of
from tests.controller.worker import FakeWorker

pytestmark = pytest.mark.usefixtures("quick")


async def rolled_back(controller: Controller, worker: FakeWorker) -> None:
    worker.bad(trial_of(controller), 200)
    await eventually(lambda: kinds(controller)[-1] == "rolled_back")
    await eventually(lambda: not controller.executor.unsaved)


async def test_a_restart_is_a_new_trial_with_nothing_of_the_old_one(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    service = desk_of(controller)
    with pytest.raises(ActionRefusedError, match=r"it is shadow; .*`abort` it first"):
        await service.act(NAME, "restart", reason="", actor="ann")
    first = trial_of(controller)
    await rolled_back(controller, worker)
    for action in ("promote", "retry"):
        with pytest.raises(ActionRefusedError, match=f"`understudy restart {NAME}` begins a new trial") as refused:
            await service.act(NAME, action, reason="", actor="ann")
        assert refused.value.status == 409
    limit = config_text(limit="40%")
    assert await reload(controller, limit, tmp_path) == ""
    one = await service.act(NAME, "restart", reason="10% was too strict", actor="ann")
    second = trial_of(controller)
    assert second == f"{first}|again 1"
    assert (one["state"], one["weight"], one["stage"]["index"], one["verdict"]) == ("shadow", 0.0, 0, "inconclusive")
    assert (one["reason"], one["ledger"]["sampled"], one["ledger"]["compared"]) == (None, 0, 0)
    await worker.until(lambda: (lane := worker.lane(NAME)) is not None and (lane.trial, lane.again) == (second, 1))
    [entry, *_] = await controller.store.journal(NAME, 1)
    assert (entry["kind"], entry["actor"], entry["reason"]) == ("restarted", "ann", "10% was too strict")
    worker.bad(first, 30)  # of the old trial, still on their way
    worker.good(second, 400)
    await worker.weight(NAME, 500)
    await eventually(lambda: controller.trials[NAME].evidence.compared == 400)
    await eventually(lambda: controller.intake.strays == 30)
    entries = await asyncio.to_thread(lambda: list(journal_entries(controller.store.path)))
    assert all(audit(entry, evidence).holds for entry, evidence in entries)


async def test_a_restarted_trial_outlives_reloads_and_controllers(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await rolled_back(controller, worker)
    await desk_of(controller).act(NAME, "restart", reason="", actor="ann")
    second = trial_of(controller)
    worker.good(second, 20)
    await eventually(lambda: controller.trials[NAME].evidence.compared == 20)
    assert await reload(controller, config_text(limit="20%"), tmp_path) == ""
    assert (trial_of(controller), controller.trials[NAME].evidence.compared) == (second, 20)
    worker.disconnect()
    await controller.stop()
    async with running(tmp_path, config_text(limit="20%")) as other:
        assert (trial_of(other), other.trials[NAME].evidence.compared) == (second, 20)
        [lane] = other.executor.table().lanes
        assert (lane.trial, lane.again) == (second, 1)


async def test_a_version_that_comes_back_is_where_its_last_trial_ended(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await rolled_back(controller, worker)
    await desk_of(controller).act(NAME, "restart", reason="", actor="ann")
    second = trial_of(controller)
    await desk_of(controller).act(NAME, "abort", reason="tickets", actor="ann")
    for version in ("2", "1"):
        assert await reload(controller, config_text(version=version), tmp_path) == ""
    rollout = controller.trials[NAME].rollout
    assert (trial_of(controller), rollout.trial, rollout.reason) == (second, second, "tickets")
    assert rollout.state is State.ROLLED_BACK
    await desk_of(controller).act(NAME, "restart", reason="", actor="ann")
    assert trial_of(controller).endswith("|again 2")


async def test_what_is_hidden_stays_hidden_and_without_a_disk_nothing_is_forgotten(
    controller: Controller, worker: FakeWorker
) -> None:
    trial = controller.trials[NAME]
    trial.hide(["/inputs"])
    await rolled_back(controller, worker)
    controller.store.broken = True  # type: ignore[attr-defined]
    controller.store.error = "disk full"
    with pytest.raises(ActionRefusedError, match="not saved, so not applied") as refused:
        await desk_of(controller).act(NAME, "restart", reason="", actor="ann")
    assert (refused.value.status, trial.evidence.compared > 0) == (503, True)
    controller.store.broken = False  # type: ignore[attr-defined]
    controller.store.error = ""
    await desk_of(controller).act(NAME, "restart", reason="", actor="ann")
    assert (trial.redact, trial.evidence.compared) == (("/inputs",), 0)


async def test_a_new_store_learns_of_a_roll_back_from_workers_though_the_trial_was_begun_anew(tmp_path: Path) -> None:
    """It knows no number of tries: what was tried and rolled back must not serve for that."""
    async with running(tmp_path) as controller:
        tried = controller.trials[NAME].plan.tried
        worker = FakeWorker(tmp_path)
        worker.table = Table(40, (Lane(NAME, f"{tried}|again 1", State.ROLLED_BACK, 0, 0, 3, again=1),))
        await worker.connect()
        await eventually(lambda: controller.trials[NAME].rollout.state is State.ROLLED_BACK)
        worker.disconnect()
