"""Two rollouts under load, one of them with answers that are small and are expensive to read: how long a rollback of
either takes, and how long the admin port.

The models are servers in this process. An arm that breaks answers 500 once and is rolled back for one failure
(`consecutive_failures: 1`), so that the deciding pair is known: the time is from that answer until every worker has
said that the weight is 0, by the program's log.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import orjson

from tests.e2e.harness import Understudy, route, running

PAD = b"[" + b",".join([b'{"x":0,"y":1}'] * 60_000) + b"]"
"""As many objects and members as are read."""

PLAIN = b'{"outputs":[{"name":"predict","datatype":"INT64","shape":[1],"data":[1]}],"pad":%s}'


def http(body: bytes, line: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """An answer as it is sent."""
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
    return head % (status, line, len(body)) + body


ORDINARY = http(PLAIN % b"[]")
DEAR = http(gzip.compress(PLAIN % PAD), b"content-encoding: gzip\r\n")
BROKEN = http(b"{}", status=b"500 Internal Server Error")


@dataclass
class Model:
    """A model server: `answer` to everything. `broke_at` is when it first gave one that is broken."""

    answer: bytes
    broke_at: float = 0.0
    url: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Model]:
        """Listen."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                if self.answer is BROKEN and not self.broke_at:
                    self.broke_at = time.time()
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@dataclass
class Figures:
    """Seconds."""

    rollback_other: float = 0.0
    rollback_dear: float = 0.0
    admin: list[float] = field(default_factory=list)
    compared: int = 0
    dropped: int = 0

    @property
    def admin_median(self) -> float:
        """Of a request to the admin port."""
        return median(self.admin)

    @property
    def admin_late(self) -> float:
        """Nine of ten requests to the admin port took less."""
        return sorted(self.admin)[len(self.admin) * 9 // 10]


async def measure(folder: Path, *, dear: bool, seconds: float = 3.0, rate: float = 60.0) -> Figures:
    """Load both rollouts for so many seconds, break one candidate after the other, and see."""
    figures = Figures()
    answer = DEAR if dear else ORDINARY
    models = [Model(answer), Model(answer), Model(ORDINARY), Model(ORDINARY)]
    _, candidate, _, other = models
    async with AsyncExitStack() as stack:
        for model in models:
            await stack.enter_async_context(model.serving())
        understudy = await stack.enter_async_context(running(folder, _config(models)))
        tasks = [
            asyncio.create_task(_load(f"{understudy.data_url}/dear/infer", rate)),
            asyncio.create_task(_load(f"{understudy.data_url}/other/infer", rate)),
            asyncio.create_task(_ask(understudy, figures)),
        ]
        try:
            await asyncio.sleep(seconds)
            figures.rollback_other = await _broken(understudy, other, "other/b")
            figures.rollback_dear = await _broken(understudy, candidate, "dear/a")
            ledger = (await understudy.rollout("dear/a"))["ledger"]
            figures.compared, figures.dropped = ledger["compared"], ledger["link_full"]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return figures


def _config(models: list[Model]) -> dict[str, Any]:
    names = ("live", "a", "other-live", "b")
    stages = [{"shadow": "100%", "min_pairs": 10**9}]
    guards = {"max_disagreement": "5%"}
    return {
        "upstreams": {name: {"url": model.url} for name, model in zip(names, models, strict=True)},
        "routes": [
            route("dear", "live", "a", stages, guards=guards, consecutive_failures=1),
            route("other", "other-live", "b", stages, guards=guards, consecutive_failures=1),
        ],
    }


async def _load(url: str, rate: float) -> None:
    """Requests of bodies of their own, as many a second, whatever the answers take."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def one(number: int) -> None:
            with suppress(aiohttp.ClientError):  # the program may be ending
                async with session.post(url, data=orjson.dumps({"n": number})) as got:
                    await got.read()

        under_way: set[asyncio.Task[None]] = set()
        start, number = time.monotonic(), 0
        while True:
            if len(under_way) < 200:
                task = asyncio.create_task(one(number))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            number += 1
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))


async def _ask(understudy: Understudy, figures: Figures) -> None:
    while True:
        for path in ("/healthz", "/api/v1/rollouts", "/metrics"):
            began = time.monotonic()
            await (understudy.metrics() if path == "/metrics" else understudy.api(path))
            figures.admin.append(time.monotonic() - began)
            await asyncio.sleep(0.02)


async def _broken(understudy: Understudy, model: Model, name: str) -> float:
    model.answer = BROKEN
    await understudy.until(name, lambda rollout: bool(rollout["state"] == "rolled_back"))
    async with asyncio.timeout(30):
        while not (found := [e for e in understudy.events("rollout.weight_0") if e["rollout"] == name]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return datetime.fromisoformat(found[0]["time"]).timestamp() - model.broke_at
