"""Promise: the controller waits for a candidate that no worker may send anything, says so, journals how long it took,
and after `health.wait` ends the rollout as `stalled` and announces it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.controller.report import rollout_json
from proxy.model import State
from tests.controller.controllers import NAME, config_text, eventually, kinds, running
from tests.controller.worker import FakeWorker

pytestmark = pytest.mark.usefixtures("quick")


def checked(wait: str) -> str:
    return config_text().replace('version: "1"', f'version: "1", health: {{path: /ready, wait: {wait}}}')


async def test_a_candidate_that_no_worker_finds_ready_is_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path, checked("10m")) as controller:
        one = await FakeWorker(tmp_path, 0, "w0", 1).connect()
        two = await FakeWorker(tmp_path, 1, "w1", 2).connect()
        trial = controller.trials[NAME]
        for worker, ready in ((one, False), (two, True)):
            worker.ready = {trial.plan.trial: ready}
            worker.counts(trial.plan.trial)
        await eventually(lambda: trial.ready)
        assert kinds(controller) == ["began"]
        two.ready = {trial.plan.trial: False}
        two.counts(trial.plan.trial)
        await eventually(lambda: kinds(controller) == ["began", "not_ready"])
        assert "candidate ready" in rollout_json(trial)["stage"]["waiting_for"]
        one.ready = {trial.plan.trial: True}
        one.counts(trial.plan.trial)
        await eventually(lambda: kinds(controller) == ["began", "not_ready", "ready"])
        trial.gone("w0")
        await eventually(lambda: kinds(controller)[-1] == "not_ready")
        one.disconnect(), two.disconnect()


async def test_after_so_long_the_rollout_ends_as_stalled(tmp_path: Path) -> None:
    async with running(tmp_path, checked("200ms")) as controller:
        worker = await FakeWorker(tmp_path).connect()
        trial = controller.trials[NAME]
        worker.ready = {trial.plan.trial: False}
        worker.counts(trial.plan.trial)
        await eventually(lambda: trial.rollout.state is State.ROLLED_BACK)
        await worker.weight(NAME, 0)
        await eventually(lambda: kinds(controller) == ["began", "not_ready", "rolled_back"])
        last = controller.store.saves[-1]  # type: ignore[attr-defined]
        assert (trial.rollout.cause, last.event.type) == ("stalled", "rollout.stalled")
        worker.disconnect()
