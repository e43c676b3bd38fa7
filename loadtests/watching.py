"""What it costs to be watched: five consoles and a scrape each second, against nobody looking.

    python loadtests/watching.py [ROUNDS]

Rounds of 5 s with and without watchers alternate under 200 requests/s with every request mirrored and compared. A
console is what the page sends: the event stream, and the four questions of a rollout page each second. Watchers run in
a process of their own. Printed are the medians over rounds of the live p99 (and its ratio) and of the CPU of the
controller and of the workers. All of it means something only on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from statistics import median

import aiohttp
import psutil

from tests.e2e.harness import Understudy, route, running
from tests.fakes import Load, model_process

RATE, SECONDS, CONSOLES = 200.0, 5.0, 5
PAGE = ("", "/charts", "/pairs?order=worst&limit=20", "/journal?limit=25")


async def console(session: aiohttp.ClientSession) -> None:
    """One open rollout page."""

    async def listen() -> None:
        async with session.get("/api/v1/events") as events:
            async for _ in events.content:
                pass

    listening = asyncio.create_task(listen())
    with suppress(asyncio.CancelledError):
        while True:
            for path in ("/api/v1/traffic", *(f"/api/v1/rollouts/r/new{part}" for part in PAGE)):
                async with session.get(path) as answer:
                    await answer.read()
            await asyncio.sleep(1)
    listening.cancel()


async def scraper(session: aiohttp.ClientSession) -> None:
    """Prometheus, each second."""
    while True:
        async with session.get("/metrics") as answer:
            await answer.read()
        await asyncio.sleep(1)


async def watch(url: str) -> None:
    """Everybody who looks, until killed."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(url, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(scraper(session), *(console(session) for _ in range(CONSOLES)))


def cpu(pids: list[int]) -> float:
    """CPU seconds of processes so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


async def one_round(understudy: Understudy, load: Load, watched: bool) -> tuple[float, float, float]:
    """Live p99 (seconds), CPU of the controller and of the workers (cores)."""
    watcher = None
    if watched:
        watcher = await asyncio.create_subprocess_exec(sys.executable, "-m", "loadtests.watching", understudy.admin_url)
        await asyncio.sleep(2)
    tree = await understudy.processes()
    parts = ([tree["controller"]["pid"] if isinstance(tree["controller"], dict) else tree["controller"]],)
    parts += ([worker["pid"] for worker in tree["workers"]],)
    since, before = len(load.seen), [cpu(part) for part in parts]
    await asyncio.sleep(SECONDS)
    used = [(cpu(part) - start) / SECONDS for part, start in zip(parts, before, strict=True)]
    times = sorted(load.latencies(since))
    if watcher is not None:
        watcher.kill()
        await watcher.wait()
    return times[int(len(times) * 0.99)], used[0], used[1]


async def main(rounds: int) -> None:
    """Run and print."""
    stages = [{"shadow": "100%", "min_pairs": 10_000_000}]
    rules = route("r", "old", "new", stages, guards={"max_disagreement": "5%", "p99_latency": "3x"})
    found: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
    async with model_process("old") as (_, old), model_process("new") as (_, new):
        config = {"upstreams": {"old": {"url": old}, "new": {"url": new}}, "routes": [rules]}
        with tempfile.TemporaryDirectory() as folder:
            async with (
                running(Path(folder), config) as understudy,
                Load(f"{understudy.data_url}/r/infer", RATE) as load,
            ):
                await load.more(1000)
                for number in range(2 * rounds):
                    watched = number % 2 == 1
                    found[watched].append(await one_round(understudy, load, watched))
    for watched in (False, True):
        p99, controller, workers = (median(column) for column in zip(*found[watched], strict=True))
        who = f"{CONSOLES} consoles and a scrape each second" if watched else "nobody"
        print(f"{who:40} p99 {p99 * 1e3:7.2f} ms   controller {controller:.3f} cores   workers {workers:.3f} cores")
    ratios = [a[0] / b[0] for a, b in zip(found[True], found[False], strict=True)]
    print(f"p99 ratio, median of {rounds} rounds: {median(ratios):.3f}")


if __name__ == "__main__":
    argument = sys.argv[1] if len(sys.argv) > 1 else "7"
    asyncio.run(watch(argument) if argument.startswith("http") else main(int(argument)))
