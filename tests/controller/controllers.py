"""A controller over real sockets and a real store, with a disk that can be told to fail: for tests of what it
decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.config import parse
from proxy.controller.controller import Controller
from proxy.controller.service import ControllerService
from proxy.controller.store.interface import KEPT, Change
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.controller.supervisor_link import SupervisorLink
from proxy.errors import StoreError
from proxy.pairs.channel import Channel
from tests.controller.worker import FakeWorker

CONFIG = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "VERSION"}, d: {url: "http://127.0.0.1:3"}}
routes:
  - name: r
    live: l
    prediction: {protocol: v2, output: y, kind: label}
    rollouts:
      - candidate: c
        stages: [{shadow: 100%, min_pairs: 100}, {canary: 5%, min_pairs: 100}]
        consecutive_failures: 5
        guards: {max_disagreement: LIMIT}
webhooks: [{url: "http://127.0.0.1:4/hook", secret: x, events: [rollout.rolled_back, rollout.promoted]}]
"""
NAME, HOOK = "r/c", "http://127.0.0.1:4/hook"


def config_text(version: str = "1", limit: str = "10%", more: str = "") -> str:
    return CONFIG.replace("VERSION", version).replace("LIMIT", limit) + more


class Shaky(SqliteStore):
    """A store whose disk can be told to fail; `saves` are those that went through."""

    broken = False
    retention = KEPT

    def __init__(self, path: Path) -> None:
        super().__init__(path, self.retention)
        self.saves: list[Change] = []

    async def save(self, *changes: Change) -> None:
        if self.broken:
            self.error = "disk full"
            self.failures += 1
            raise StoreError("disk full")
        await super().save(*changes)
        self.saves += changes


@asynccontextmanager
async def running(folder: Path, text: str | None = None) -> AsyncIterator[Controller]:
    text = text or config_text()
    controller = Controller(parse(text, directory=folder), text, Shaky(folder / "u.db"))
    await controller.start(folder)
    try:
        yield controller
    finally:
        await controller.stop()


async def eventually(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  # what is waited for here has no event of its own
            await asyncio.sleep(0.005)


async def reload(controller: Controller, text: str, folder: Path) -> str:
    return await controller.reload(parse(text, directory=folder), text, controller.generation + 1)


def desk_of(controller: Controller) -> ControllerService:
    """Its API's side, without a supervisor."""
    return ControllerService(controller, SupervisorLink(Channel(lambda *_: None)))


def kinds(controller: Controller) -> list[str]:
    return [change.kind for change in controller.store.saves]  # type: ignore[attr-defined]


def trial_of(controller: Controller) -> str:
    return controller.trials[NAME].plan.trial


async def to_canary(controller: Controller, worker: FakeWorker) -> None:
    worker.good(trial_of(controller), 400)
    await worker.weight(NAME, 500)
    await eventually(lambda: controller.trials[NAME].evidence.compared == 400)  # it may climb before all are read


class Rounds:
    """Counts rounds of looks."""

    def __init__(self, controller: Controller) -> None:
        self.count = 0
        controller.alive = self._one

    def _one(self) -> None:
        self.count += 1

    async def more(self, count: int) -> None:
        goal = self.count + count
        await eventually(lambda: self.count >= goal)
