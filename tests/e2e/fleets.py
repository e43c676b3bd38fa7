"""Several replicas of the whole program on one machine, over one PostgreSQL: `fleet` starts them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.harness import Understudy, route, running
from tests.ports import free_port

STAGES = [{"shadow": "100%", "min_pairs": 50}, {"canary": "20%", "min_pairs": 100_000}]
NAME = "r/c"


def settings(live: str, candidate: str, version: int = 1, **rollout: Any) -> dict[str, Any]:
    """A configuration with one rollout, which a good candidate climbs to a canary that it does not leave."""
    guards = {"max_disagreement": "10%", "max_extra_errors": "10%"}
    options = {"stages": STAGES, "guards": guards, "latency_block": "0s", **rollout}
    return {
        "upstreams": {"live": {"url": live}, "c": {"url": candidate, "version": str(version)}},
        "routes": [route("r", "live", "c", **options)],
    }


Start = Callable[[int], Awaitable[Understudy]]


class Fleet:
    """Replicas of one fleet, and who leads them."""

    def __init__(self, replicas: list[Understudy], start: Start) -> None:
        self.replicas, self._start = replicas, start
        self.ended: list[Understudy] = []
        """Those that another process has replaced."""

    async def replace(self, number: int) -> None:
        """End a replica in good order, then start another process in its place, as a new version is rolled out."""
        old = self.replicas[number]
        assert await old.stop() == 0, old.output
        self.ended.append(old)
        self.replicas[number] = await self._start(number)

    async def leads(self, replica: Understudy) -> bool:
        """Whether a replica's controller says that it leads; not one that does not answer."""
        try:
            async with asyncio.timeout(1.0):
                return "\nunderstudy_leader 1.0" in await replica.metrics()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    @property
    def term(self) -> int:
        """Of the last leadership that anybody has begun."""
        return max((entry["term"] for entry in self.events("fleet.leading")), default=0)

    async def leader(self, within: float = 30.0, but: Understudy | None = None, after: int = 0) -> Understudy:
        """Who leads, as soon as somebody does: `but` not this one; in a later term than `after`, for a controller that
        is killed is replaced in some 50 ms, and may lead again before another has heard of it."""
        try:
            async with asyncio.timeout(within):
                while True:
                    for replica in self.replicas:
                        if replica is not but and self.term > after and await self.leads(replica):
                            return replica
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"nobody leads after {within} s\n{self.output}") from None

    async def standbys(self) -> list[Understudy]:
        """Who does not lead."""
        leader = await self.leader()
        return [replica for replica in self.replicas if replica is not leader]

    async def settled(self, within: float = 60.0) -> Understudy:
        """Who leads, when everybody is ready."""
        leader = await self.leader(within)
        await self.until(lambda: self._ready(self.replicas), within)
        return leader

    async def _ready(self, replicas: list[Understudy]) -> bool:
        return all([await replica.is_ready() for replica in replicas])

    async def until(self, true: Callable[[], Any], within: float = 30.0) -> None:
        """Wait until `true()`, a coroutine function, holds."""
        try:
            async with asyncio.timeout(within):
                while not await true():  # noqa: ASYNC110 - what is waited for is in another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not after {within} s\n{self.output}") from None

    @property
    def output(self) -> str:
        """The end of what each of them wrote."""
        return "\n".join(f"--- {one.folder.name}\n{one.output[-4000:]}" for one in self.replicas)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event, of all of them, in order."""
        found = [entry for replica in (*self.ended, *self.replicas) for entry in replica.events(name)]
        return sorted(found, key=lambda entry: str(entry["time"]))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@asynccontextmanager
async def fleet(
    folder: Path,
    url: str,
    config: dict[str, Any],
    replicas: int = 3,
    lease: str = "3s",
    workers: int = 1,
    own: Callable[[int], dict[str, Any]] = lambda number: {},
    alone: Container[int] = (),
) -> AsyncIterator[Fleet]:
    """Replicas in folders of their own, ended afterwards. `own(number)` adds to the sections of one's configuration;
    those in `alone` find no leader."""
    ports, homes = [free_port() for _ in range(replicas)], count()

    async def one(number: int) -> Understudy:
        home = folder / str(next(homes))
        home.mkdir()
        ours: dict[str, Any] = {
            "server": {"listen": "127.0.0.1:0", "workers": workers},
            "store": {"url": url},
            "fleet": {"listen": f"127.0.0.1:{ports[number]}", "lease": lease},
        }
        more = own(number)
        whole = {name: {**ours.get(name, {}), **more.get(name, {})} for name in {*ours, *more}}
        return await stack.enter_async_context(running(home, config | whole, alone=number in alone))

    async with AsyncExitStack() as stack:
        yield Fleet([await one(number) for number in range(replicas)], one)
