"""What many routes cost: start, reload, memory, /metrics, and whether a reload is felt by clients: 40 and 400 routes.

    python -m loadtests.bench_routes [ROUNDS [ROUTES...]]

Each route has two upstreams and a rollout with three guards and three stages; ten routes are a team's file. *Start* is
from the command to `/readyz`, first with a new store, so that every trial begins, then with the one that is there. A
*reload* has one file changed. For what clients feel, one route has 300 requests/s, every one mirrored and compared; a
round has four stretches of 5 s in an order of its own: nothing, nothing again, one reload, and a reload in each second.
Whoever asks for it is a process of its own, as an operator is: what asking costs must not delay the client that
measures; and client and models, which in life are on other machines, go before everything else where they may (as root:
nice -10). Latency is taken from when a request was due. Ratios are of all rounds' latencies together, and round by
round (the geometric mean of the ratios of each round's quantiles: one bad stretch does not decide), each with the 95 %
interval of rounds drawn again; those of the second stretch to the first are the noise in which the others stand.
"""

from __future__ import annotations

import asyncio
import gzip
import math
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import chain, permutations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import aiohttp
import psutil
import yaml

from loadtests.watching import quantile
from tests.e2e.harness import Understudy, route, running
from tests.fakes import Load, model_process

RATE, SECONDS, PER_TEAM = 300.0, 5.0, 10
ARMS = ("nothing", "nothing, again", "one reload", "a reload each second")
STAGES: list[dict[str, Any]] = [
    {"shadow": "100%", "min_pairs": 10_000_000},
    {"canary": "5%", "min_time": "10m"},
    {"canary": "25%", "min_time": "10m"},
]
Change = Callable[[], Awaitable[float]]
GUARDS = {"max_disagreement": "5%", "p99_latency": "3x", "max_extra_errors": "1%"}


def arm(name: str, model: str) -> str:
    """The upstream of a route; that with traffic is called as its model calls itself, which is what the load checks."""
    return model if name == "m0" else f"{name}-{model}"


def team(number: int, old: str, new: str, idle: str = "4s") -> str:
    """The file of one team."""
    names = [f"m{PER_TEAM * number + n}" for n in range(PER_TEAM)]
    upstreams: dict[str, Any] = {}
    for name in names:
        upstreams[arm(name, "old")] = {"url": old, "idle_timeout": idle}
        upstreams[arm(name, "new")] = {"url": new, "version": "2"}
    routes = [route(name, arm(name, "old"), arm(name, "new"), STAGES, guards=GUARDS) for name in names]
    return yaml.safe_dump({"owner": f"team {number}", "upstreams": upstreams, "routes": routes}, sort_keys=False)


async def started(folder: Path, config: dict[str, Any]) -> str:
    """How long from the command to readiness, and how much CPU of all processes, of one that is ended again."""
    began = time.perf_counter()
    async with running(folder, config) as understudy:
        took, tree = time.perf_counter() - began, await understudy.processes()
        pids = [tree["supervisor"], tree["controller"], *(worker["pid"] for worker in tree["workers"])]
        spent = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids]
        await understudy.stop(signal.SIGINT)
    await asyncio.to_thread((folder / "understudy.log").unlink)  # the next one's address is looked for in its own
    return f"{took:.2f} s (CPU: supervisor {spent[0]:.1f} s, controller {spent[1]:.1f} s, a worker {spent[2]:.1f} s)"


def operate(file: Path, url: str, number: int, old: str, new: str) -> None:
    """Another text into one file and a reload, at each line of standard input; says the seconds of the reload."""
    texts = [team(number, old, new, idle) for idle in ("5s", "4s")]
    for turn, _ in enumerate(sys.stdin):
        file.write_text(texts[turn % 2])
        began = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/-/reload", method="POST"), timeout=30) as answer:
            answer.read()
        print(time.perf_counter() - began, flush=True)


@asynccontextmanager
async def operator(*told: str) -> AsyncIterator[Change]:
    """Somebody else who changes the configuration: each call is a reload, and gives its seconds."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "loadtests.bench_routes", "operate", *told)
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    asked, said = process.stdin, process.stdout

    async def change() -> float:
        asked.write(b"\n")
        return float(await said.readline())

    yield change
    asked.close()
    assert await process.wait() == 0


async def felt(load: Load, change: Change, rounds: int) -> dict[str, list[list[float]]]:
    """Latencies of each arm in each round."""
    found: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    orders = tuple(permutations(ARMS))
    for number in range(rounds):
        for arm in orders[7 * number % len(orders)]:
            since, until, first = len(load.seen), time.monotonic() + SECONDS, True
            while (left := until - time.monotonic()) > 0:
                if arm == ARMS[3] or (arm == ARMS[2] and first):
                    first = False
                    await change()
                await asyncio.sleep(min(1.0, left))
            found[arm].append(load.latencies(since))
            await asyncio.sleep(0.5)
    return found


async def sizes(understudy: Understudy) -> str:
    """Memory of each process and the size of /metrics."""
    tree = await understudy.processes()
    pids = {"supervisor": tree["supervisor"], "controller": tree["controller"], "worker": tree["workers"][0]["pid"]}
    memory = {name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in pids.items()}
    began = time.perf_counter()
    async with aiohttp.request("GET", f"{understudy.admin_url}/metrics", headers={"accept-encoding": ""}) as answer:
        body = await answer.read()
    took = time.perf_counter() - began
    words = ", ".join(f"{name} {size:.0f} MiB" for name, size in memory.items())
    return (
        f"{words}; /metrics {len(body) / 2**20:.2f} MiB, gzip {len(gzip.compress(body)) / 2**10:.0f} KiB, {took:.2f} s"
    )


async def idle(understudy: Understudy) -> str:
    """What the processes take while nobody asks for anything."""
    tree = await understudy.processes()
    pids = {"controller": tree["controller"], "a worker": tree["workers"][0]["pid"]}

    def spent() -> list[float]:
        return [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids.values()]

    await asyncio.sleep(3.0)  # what a start leaves to be done
    before, since = spent(), time.perf_counter()
    await asyncio.sleep(10.0)
    took = time.perf_counter() - since
    parts = zip(pids, spent(), before, strict=True)
    return ", ".join(f"{name} {(now - then) / took:.3f} of a core" for name, now, then in parts)


async def measure(routes: int, rounds: int, models: tuple[str, str], pids: tuple[int, int]) -> None:
    """One size, printed."""
    old, new = models
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "teams").mkdir()
        for number in range(routes // PER_TEAM):
            (folder / "teams" / f"{number:03}.yaml").write_text(team(number, old, new))
        config = {"include": "teams/*.yaml", "upstreams": {"sorry": {"url": old}}, "default": {"live": "sorry"}}
        fresh, again = await started(folder, config), await started(folder, config)
        print(f"{routes} routes: start {fresh} with a new store, {again} with its own", flush=True)
        last = folder / "teams" / f"{routes // PER_TEAM - 1:03}.yaml"
        async with running(folder, config) as understudy:
            print(f"{routes} routes, idle: {await idle(understudy)}", flush=True)
            told = str(last), understudy.admin_url, str(routes // PER_TEAM - 1), old, new
            async with Load(f"{understudy.data_url}/m0/infer", RATE) as load, operator(*told) as change:
                await load.more(600)
                with first(os.getpid(), *pids):
                    await work(routes, rounds, understudy, load, change)
            assert not load.problems(), load.problems()[:3]


async def work(routes: int, rounds: int, understudy: Understudy, load: Load, change: Change) -> None:
    """What is measured of a running installation."""
    took = sorted([await change() for _ in range(5)])
    print(f"{routes} routes: reload {median(took):.2f} s (longest of 5 {took[-1]:.2f} s)", flush=True)
    print(f"{routes} routes: {await sizes(understudy)}", flush=True)
    show(routes, await felt(load, change, rounds))


def ratio(now: list[list[float]], then: list[list[float]], share: float) -> str:
    """Of the quantiles of all rounds together, with the 95 % interval over rounds that are drawn again."""

    def of(rounds: Sequence[int]) -> float:
        ours, theirs = (list(chain.from_iterable(one[n] for n in rounds)) for one in (now, then))
        return quantile(ours, share) / quantile(theirs, share)

    return drawn_again(of, len(now))


def paired(now: list[list[float]], then: list[list[float]], share: float) -> str:
    """The geometric mean of the ratios of each round's quantiles, with the same interval."""
    logs = [math.log(quantile(a, share) / quantile(b, share)) for a, b in zip(now, then, strict=True)]
    return drawn_again(lambda rounds: math.exp(fmean(logs[n] for n in rounds)), len(now))


def drawn_again(of: Callable[[Sequence[int]], float], rounds: int) -> str:
    """A figure of all rounds and the 95 % interval of as many that are drawn among them."""
    draw = random.Random(1)
    drawn = sorted(of(draw.choices(range(rounds), k=rounds)) for _ in range(400))
    return f"{of(range(rounds)):.2f} x ({drawn[10]:.2f} to {drawn[389]:.2f})"


def show(routes: int, found: dict[str, list[list[float]]]) -> None:
    """Latencies and their ratios to the first arm."""
    for share in (0.5, 0.99):
        for arm, rounds in found.items():
            now = 1000 * quantile([*chain.from_iterable(rounds)], share)
            words = f"p{100 * share:g} {now:.2f} ms, {ratio(rounds, found[ARMS[0]], share)}"
            words += f", round by round {paired(rounds, found[ARMS[0]], share)}"
            print(f"{routes} routes, {arm}: {words}", flush=True)


@contextmanager
def first(*pids: int) -> Iterator[None]:
    """These processes go before all others, where that is allowed."""
    before = [os.getpriority(os.PRIO_PROCESS, pid) for pid in pids]
    try:
        for pid in pids:
            os.setpriority(os.PRIO_PROCESS, pid, -10)
    except PermissionError:
        print("client and models share the cores with everything else: only root may let them go first", flush=True)
    yield
    for pid, nice in zip(pids, before, strict=True):
        os.setpriority(os.PRIO_PROCESS, pid, nice)


async def main(rounds: int = 6, *sizes: int) -> None:
    """Run and print."""
    async with model_process("old") as (one, old), model_process("new") as (two, new):
        for routes in sizes or (400, 40):
            await measure(routes, rounds, (old, new), (one.pid, two.pid))


if __name__ == "__main__":
    if sys.argv[1:2] == ["operate"]:
        operate(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
    else:
        asyncio.run(main(*map(int, sys.argv[1:])))
