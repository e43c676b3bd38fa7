"""One process of the tree, as the supervisor knows it: its end of the control channel, its deaths, its silence."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy import logs
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame

log = logging.getLogger("understudy.supervisor")

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": f"{4 << 20}",
    "MALLOC_TRIM_THRESHOLD_": f"{16 << 20}",
    "MALLOC_TOP_PAD_": f"{1 << 20}",
}
"""What a child's environment has where the owner's says nothing else.

One thread for numpy's matrix products: they are small, and OpenBLAS's idle threads spin on the cores that the workers
need (8 times the CPU for the same evidence, measured on two busy cores). And up to 16 MiB that were freed are kept, not
given back to the kernel and asked for again, page by page, with the next body: a request of 300 kB costs a worker up to
a third less CPU (glibc, mallopt(3); other C libraries take no notice).
"""
CONTROLLER = "controller"
START_DEADLINE = 30.0
"""Seconds a child may take from its start to READY, imports included, the first time."""
RESULT_DEADLINE = 10.0
"""Seconds a child that serves may take to answer a CONFIG."""
SHORTEST_SILENCE = 5.0
"""Seconds without a word after which a child may be held to hang, at the earliest; one that turns says ALIVE each
second."""


def pause_before_restart(deaths: list[float], now: float) -> float:
    """Seconds to wait before a child is started again, from the times of its deaths.

    The first death within a minute costs nothing; each further one doubles the pause from 0.1 s to at most 5 s, so that
    a child that cannot start does not take the cores from those that serve.

    >>> pause_before_restart([100.0], 100.0), pause_before_restart([1.0, 99.0, 99.5], 100.0)
    (0.0, 0.1)
    """
    recent = sum(1 for death in deaths if now - death < 60.0)
    return 0.0 if recent <= 1 else min(5.0, 0.1 * 2.0 ** (recent - 2))


def start_deadline(stuck: int) -> float:
    """Seconds a child may take from its start to READY after so many starts in a row that were given up.

    Twice as long each time, at most eight times: where the cores are taken, a child that was merely slow would be
    killed again and again and never be ready.

    >>> start_deadline(0), start_deadline(1), start_deadline(9)
    (30.0, 60.0, 240.0)
    """
    return START_DEADLINE * 2.0 ** min(stuck, 3)


def longest_silence(controller_lost: float) -> float:
    """Seconds of silence after which a child is killed: three times as long as workers wait for a controller.

    By then nobody relies on a controller any more, and a worker's clients have long given up; sooner, a machine that is
    merely overloaded would have to start processes as well.

    >>> longest_silence(30.0), longest_silence(0.1)
    (90.0, 5.0)
    """
    return max(SHORTEST_SILENCE, 3.0 * controller_lost)


class ChildProcess(Protocol):
    """What is asked of a process: one of `asyncio`'s, or one that was started before there was a loop."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def kill(self) -> None: ...
    async def wait(self) -> int: ...


@dataclass
class Child:
    """One process of the tree and the supervisor's end of its control channel. `stuck` counts the starts in a row that
    took too long."""

    name: str
    arguments: list[str]
    listener: socket.socket
    grpc: socket.socket | None = None
    process: ChildProcess | None = None
    channel: Channel | None = None
    control: socket.socket | None = None
    spoke: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    started: float = 0.0
    deaths: list[float] = field(default_factory=list)
    restarts: int = 0
    stuck: int = 0
    was_ready: bool = False
    silent: float = 0.0
    results: asyncio.Queue[dict[str, Any] | None] = field(default_factory=asyncio.Queue)

    @property
    def is_controller(self) -> bool:
        """Whether it is the one that judges; the others serve."""
        return self.name == CONTROLLER

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    def send(self, data: bytes) -> bool:
        """Send a frame; `False` when the child is not there."""
        return self.channel is not None and self.channel.send(data)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()

    def starts(self) -> None:
        """A new process is about to take its place: nothing of the last one's is waited for."""
        self.spoke.clear()
        self.ready.clear()
        self.silent = 0.0
        self.results = asyncio.Queue()

    def died(self, now: float) -> float:
        """Its process has ended; seconds to wait before the next (`now` monotonic)."""
        if self.channel is not None:
            self.channel.close()
        self.results.put_nowait(None)
        self.deaths = [*self.deaths[-20:], now]
        self.restarts += 1
        return pause_before_restart(self.deaths, now)

    def heard(self, kind: Frame, payload: bytes) -> None:
        """A frame came from it."""
        self.silent = 0.0
        self.spoke.set()
        if kind is Frame.READY:
            self.was_ready = True
            self.ready.set()
        elif kind is Frame.RESULT:
            self.results.put_nowait(link.read_note(payload))

    def hangs(self, seconds: float, longest: float) -> bool:
        """So many more seconds have passed: whether it has been silent for too long.

        Counted by ticks that the supervisor lived through, not by the clock: when the whole tree was stopped and goes
        on, nobody has been silent.
        """
        self.silent += seconds
        return self.pid is not None and self.ready.is_set() and self.silent > longest

    async def apply(self, config: bytes, generation: int) -> str:
        """Hand it a configuration; empty when it took it, or is down and takes it at its start; else why not.

        One that is starting is sent it behind the one it starts with, and may take as long as a start.
        """
        results, served = self.results, self.ready.is_set()
        if not self.send(config):
            return ""
        deadline = RESULT_DEADLINE if served else start_deadline(self.stuck)
        try:
            async with asyncio.timeout(deadline):
                while (result := await results.get()) is not None:
                    if result.get("generation") == generation:  # else the answer to an earlier one that came too late
                        return "" if result.get("ok") else str(result.get("error"))
        except TimeoutError:
            return f"no answer within {deadline:g} s"
        # What kills a process that has served may be the configuration itself: the next one is not to start with it.
        return "died while it took the configuration" if served else ""


async def all_set(events: Iterable[asyncio.Event], stop: asyncio.Event) -> None:
    """Wait until all are set, or `stop` is, or a child has had the time that it may take to start."""

    async def wait() -> None:
        await asyncio.gather(*(event.wait() for event in events))

    waits = [asyncio.ensure_future(wait()), asyncio.ensure_future(stop.wait())]
    await asyncio.wait(waits, timeout=START_DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()


async def all_leave(children: Collection[Child], drain: bytes, deadline: float) -> bool:
    """Tell children to drain and wait for them; whether all left by themselves before the deadline (seconds)."""
    for child in children:
        child.send(drain)
    running = [child.process.wait() for child in children if child.process is not None]
    try:
        codes = await asyncio.wait_for(asyncio.gather(*running), deadline)
    except TimeoutError:
        stuck = [child for child in children if child.pid is not None]
        logs.event(log, "drain.cut_off", logging.ERROR, names=[child.name for child in stuck])
        for child in stuck:
            child.kill()
        return False
    return not any(codes)
