"""Fixtures of a controller that looks and saves often, with one worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.controller.controller import Controller
from tests.controller.controllers import NAME, running
from tests.controller.worker import FakeWorker

FAST = 0.02


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and snapshots come fast, so that a test need not wait for them."""
    monkeypatch.setattr("proxy.controller.controller.TICK", FAST)
    monkeypatch.setattr("proxy.controller.controller.SNAPSHOT", FAST)
    monkeypatch.setattr("proxy.controller.rollout_run.LOOK_SHARE", 1.0)
    monkeypatch.setattr("proxy.controller.rollout_run.PATIENT_SHARE", 1.0)


@pytest.fixture
async def controller(quick: None, tmp_path: Path) -> AsyncIterator[Controller]:
    async with running(tmp_path) as one:
        yield one


@pytest.fixture
async def worker(controller: Controller, tmp_path: Path) -> AsyncIterator[FakeWorker]:
    one = await FakeWorker(tmp_path).connect()
    await one.until(lambda: one.lane(NAME))
    yield one
    one.disconnect()
