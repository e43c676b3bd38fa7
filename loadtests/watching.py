"""What it costs to be watched: five consoles and a scrape each second, against nobody looking.

    python -m loadtests.watching [ROUNDS]

Under 300 requests/s, every one mirrored and compared, a round has three stretches of 5 s: nobody looks, nobody looks
again, everybody looks. All six orders come in turn. The ratio of the second to the first is the noise in which the
ratio of the third to both of them stands; one without the other says nothing on a virtual machine. A console is what
the page sends: the event stream, and each second the questions of the rollout page, all at once. The watchers are in
a process of their own at the lowest priority, because in life they are on other machines; the stretch begins when
each has had its first answers, and it counts only if every answer was a 200. Latency is taken from when a request was
due, at a client that shares the cores with everything else; beside it stands the time in the proxy, by its own
histogram.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from math import inf, sqrt
from pathlib import Path
from statistics import median

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import Understudy, route, running
from tests.fakes import Load, model_process

RATE, SECONDS, CONSOLES = 300.0, 5.0, 5
NOBODY, AGAIN, WATCHED = "nobody", "nobody, again", f"{CONSOLES} consoles and a scrape each second"
ARMS = (NOBODY, AGAIN, WATCHED)
ORDERS = tuple(permutations(ARMS))
PAGE = ("", "/charts", "/pairs?order=worst&limit=20", "/journal?limit=25")
QUESTIONS = ("/api/v1/traffic", *(f"/api/v1/rollouts/r/new{part}" for part in PAGE))


# --- who looks -------------------------------------------------------------------------------------------------------


class Watcher:
    """One who asks `paths` each second; `answers` counts the 200s, `bytes` what came."""

    def __init__(self, session: aiohttp.ClientSession, paths: tuple[str, ...]) -> None:
        self._session, self._paths = session, paths
        self.began = asyncio.Event()
        self.answers = self.bytes = 0

    async def run(self) -> None:
        while True:
            await asyncio.gather(*map(self._ask, self._paths))
            self.began.set()
            await asyncio.sleep(1)

    async def listen(self) -> None:
        """The page's event stream."""
        async with self._session.get("/api/v1/events") as events:
            async for chunk in events.content.iter_any():
                self.bytes += len(chunk)

    async def _ask(self, path: str) -> None:
        async with self._session.get(path) as answer:
            answer.raise_for_status()
            self.bytes += len(await answer.read())
            self.answers += 1


async def watch(url: str) -> None:
    """Everybody who looks, until standard input ends."""
    os.nice(19)
    async with aiohttp.ClientSession(
        url, timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        consoles = [Watcher(session, QUESTIONS) for _ in range(CONSOLES)]
        watchers = [*consoles, Watcher(session, ("/metrics",))]
        looking = [asyncio.create_task(one.run()) for one in watchers]
        looking += [asyncio.create_task(one.listen()) for one in consoles]
        await asyncio.gather(*(one.began.wait() for one in watchers))
        sys.stdout.write("watching\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        for one in looking:
            assert not one.done(), one.exception()
            one.cancel()
        sys.stdout.write(f"{sum(one.answers for one in watchers)} {sum(one.bytes for one in watchers)}\n")


@asynccontextmanager
async def watchers(url: str) -> AsyncIterator[list[int]]:
    """Everybody who looks; afterwards the list holds how many answers, and bytes, they had."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.watching", url), stdin=pipe, stdout=pipe
    )
    had: list[int] = []
    assert process.stdout is not None
    assert (await process.stdout.readline()) == b"watching\n"
    yield had
    said, _ = await process.communicate(b"")
    assert process.returncode == 0
    had += map(int, said.split())


# --- what it costs ---------------------------------------------------------------------------------------------------


class Arm:
    """One way to be watched: by round latencies and the time in the proxy by bucket, CPU in cores; what was had."""

    def __init__(self) -> None:
        self.rounds: list[list[float]] = []
        self.inside: list[dict[float, float]] = []
        self.controller: list[float] = []
        self.workers: list[float] = []
        self.had = [0, 0]

    @property
    def all(self) -> list[float]:
        return [seconds for one in self.rounds for seconds in one]


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def of_buckets(buckets: dict[float, float], share: float) -> float:
    """A quantile of a cumulative histogram, linear within its bucket, as Prometheus has it."""
    wanted, low, below = share * buckets[inf], 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            return low + (bound - low) * (wanted - below) / (count - below) if bound < inf else low
        low, below = bound, count
    return low


async def overhead(understudy: Understudy) -> dict[float, float]:
    """The time in the proxy so far, requests by upper bound of the bucket."""
    families = text_string_to_metric_families(await understudy.metrics())
    name = "understudy_proxy_overhead_seconds_bucket"
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {float(sample.labels["le"]): sample.value for sample in samples}


def cpu(pids: list[int]) -> float:
    """CPU seconds of processes so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


async def stretch(understudy: Understudy, load: Load, arm: Arm) -> None:
    """Measure for a while."""
    tree = await understudy.processes()
    parts = ([tree["controller"]], [worker["pid"] for worker in tree["workers"]])
    since, began, before = len(load.seen), await overhead(understudy), [cpu(part) for part in parts]
    await asyncio.sleep(SECONDS)
    controller, workers = ((cpu(part) - start) / SECONDS for part, start in zip(parts, before, strict=True))
    arm.rounds.append(load.latencies(since))
    arm.inside.append({bound: count - began[bound] for bound, count in (await overhead(understudy)).items()})
    arm.controller.append(controller)
    arm.workers.append(workers)


async def one_round(understudy: Understudy, load: Load, arms: dict[str, Arm], number: int) -> None:
    """Every arm once, in each of the six orders in turn, so that what one leaves behind falls on the others alike."""
    for name in ORDERS[number % len(ORDERS)]:
        if name == WATCHED:
            async with watchers(understudy.admin_url) as had:
                await stretch(understudy, load, arms[name])
            arms[name].had = [a + b for a, b in zip(arms[name].had, had, strict=True)]
        else:
            await stretch(understudy, load, arms[name])
        await asyncio.sleep(0.5)


async def main(rounds: int) -> None:
    """Run and print."""
    stages = [{"shadow": "100%", "min_pairs": 10_000_000}]
    rules = route("r", "old", "new", stages, guards={"max_disagreement": "5%", "p99_latency": "3x"})
    arms = {name: Arm() for name in ARMS}
    async with model_process("old") as (_, old), model_process("new") as (_, new):
        config = {"upstreams": {"old": {"url": old}, "new": {"url": new}}, "routes": [rules]}
        with tempfile.TemporaryDirectory() as folder:
            async with (
                running(Path(folder), config) as understudy,
                Load(f"{understudy.data_url}/r/infer", RATE) as load,
            ):
                await load.more(1000)
                for number in range(rounds):
                    await one_round(understudy, load, arms, number)
                ledger = (await understudy.rollout("r/new"))["ledger"]
            assert not load.problems(), load.problems()[:3]
    show(arms, rounds)
    print(f"{ledger['compared'] / ledger['sampled']:.2%} of {ledger['sampled']:,} sampled requests compared")


def compare(what: str, first: list[float], again: list[float], watched: list[float]) -> None:
    """The medians over rounds of both ratios, with a 95 % interval by order statistics."""
    both = [(a + b) / 2 for a, b in zip(first, again, strict=True)]
    for name, over, under in ((AGAIN, again, first), (WATCHED, watched, both)):
        ratios = sorted(a / b for a, b in zip(over, under, strict=True))
        k = max(0, int(len(ratios) / 2 - 0.98 * sqrt(len(ratios))))
        print(f"{what:18} {name:36} × {median(ratios):.3f} ({ratios[k]:.3f} – {ratios[-1 - k]:.3f})")


def show(arms: dict[str, Arm], rounds: int) -> None:
    """The table, then two ratios round by round: nobody again against nobody, everybody against both of these."""
    for name, arm in arms.items():
        p50, p99 = (quantile(arm.all, share) * 1e3 for share in (0.5, 0.99))
        controller, workers = median(arm.controller), median(arm.workers)
        print(f"{name:36} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms", end="")
        print(f"   controller {controller:.3f} cores   workers {workers:.3f} cores")
    for share in (0.5, 0.99):
        compare(f"latency p{share * 100:g}", *([quantile(one, share) for one in arms[name].rounds] for name in ARMS))
        compare(f"in the proxy p{share * 100:g}", *([of_buckets(b, share) for b in arms[n].inside] for n in ARMS))
    answers, size = arms[WATCHED].had
    print(f"watchers: {answers / rounds:.0f} answers of {size / max(1, answers) / 1024:.1f} KiB a round")


if __name__ == "__main__":
    argument = sys.argv[1] if len(sys.argv) > 1 else "12"
    asyncio.run(watch(argument) if argument.startswith("http") else main(int(argument)))
