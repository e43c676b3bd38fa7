"""Who listens to the connections of workers in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.controller.worker_connections import WorkerConnection
from proxy.model import Observation, Pair
from proxy.pairs.exposed import Exposed
from proxy.pairs.request_log import RequestEntry


class Ear:
    """Notes what the connections report."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.pairs: list[Pair] = []
        self.observations: list[Observation] = []
        self.hellos: dict[str, dict[str, Any]] = {}
        self.changed = asyncio.Event()

    def _note(self, *what: Any) -> None:
        self.heard.append(what)
        self.changed.set()

    def on_pair(self, pair: Pair) -> None:
        self.pairs.append(pair)
        self._note("pair", pair.worker, pair.sequence)

    def on_observation(self, observation: Observation) -> None:
        self.observations.append(observation)
        self._note("observation", observation.worker, observation.route)

    def on_mark(self, worker: str, trial: str, sequence: int) -> None:
        self._note("mark", worker, trial, sequence)

    def on_counts(self, worker: str, counts: dict[str, Any]) -> None:
        self._note("counts", worker)

    def on_hello(self, worker: WorkerConnection, hello: dict[str, Any]) -> None:
        self.hellos[worker.name] = hello
        self._note("hello", worker.name)

    def on_entries(self, entries: list[RequestEntry]) -> None:
        self._note("entries", len(entries))

    def on_exposed(self, trial: str, exposed: Exposed) -> None:
        self._note("exposed", trial, exposed)

    def on_gone(self, worker: str) -> None:
        self._note("gone", worker)

    def latency_block(self, trial: str) -> float:
        return 0.1

    async def until(self, *what: Any) -> None:
        await self.until_true(lambda: what in self.heard)

    async def until_true(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not true():
                self.changed.clear()
                await self.changed.wait()
