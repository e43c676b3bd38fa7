"""What many routes cost: start, reload, memory, /metrics, and whether a reload is felt by clients: 40 and 400 routes.

    python -m loadtests.bench_routes [ROUNDS]

Each route has two upstreams and a rollout with three guards and three stages; ten routes are a team's file. *Start* is
from the command to `/readyz`, first with a new store, so that every trial begins, then with the one that is there. A
*reload* has one file changed. For what clients feel, one route has 300 requests/s, every one mirrored and compared; a
round has four stretches of 5 s in an order of its own: nothing, nothing again, one reload, and a reload in each second.
Latency is taken from when a request was due, at a client that shares the cores with everything else. The ratio of the
second to the first is the noise in which the others stand.
"""

from __future__ import annotations

import asyncio
import gzip
import signal
import sys
import tempfile
import time
from itertools import permutations
from pathlib import Path
from statistics import median
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


async def reloaded(understudy: Understudy, file: Path, text: str) -> float:
    """Seconds of a reload with another text in one file."""
    await asyncio.to_thread(file.write_text, text)
    began = time.perf_counter()
    async with aiohttp.request("POST", f"{understudy.admin_url}/-/reload") as answer:
        assert answer.status == 200, await answer.text()
    return time.perf_counter() - began


async def felt(understudy: Understudy, load: Load, change: Any, rounds: int) -> dict[str, list[list[float]]]:
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


async def measure(routes: int, rounds: int, old: str, new: str) -> None:
    """One size, printed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "teams").mkdir()
        for number in range(routes // PER_TEAM):
            (folder / "teams" / f"{number:03}.yaml").write_text(team(number, old, new))
        config = {"include": "teams/*.yaml", "upstreams": {"sorry": {"url": old}}, "default": {"live": "sorry"}}
        first, then = await started(folder, config), await started(folder, config)
        print(f"{routes} routes: start {first} with a new store, {then} with its own", flush=True)
        last = folder / "teams" / f"{routes // PER_TEAM - 1:03}.yaml"
        async with running(folder, config) as understudy, Load(f"{understudy.data_url}/m0/infer", RATE) as load:
            await load.more(600)
            turn = 0

            async def change() -> float:
                nonlocal turn
                turn += 1
                return await reloaded(understudy, last, team(routes // PER_TEAM - 1, old, new, f"{4 + turn % 2}s"))

            took = sorted([await change() for _ in range(5)])
            print(f"{routes} routes: reload {median(took):.2f} s (longest of 5 {took[-1]:.2f} s)", flush=True)
            print(f"{routes} routes: {await sizes(understudy)}", flush=True)
            found = await felt(understudy, load, change, rounds)
            show(routes, found)
            assert not load.problems(), load.problems()[:3]


def show(routes: int, found: dict[str, list[list[float]]]) -> None:
    """Latencies and their ratios to the first arm, round by round."""
    for share in (0.5, 0.99):
        each = {arm: [quantile(one, share) for one in rounds] for arm, rounds in found.items()}
        base = each[ARMS[0]]
        for arm in ARMS:
            ratio = median(now / then for now, then in zip(each[arm], base, strict=True))
            words = f"p{100 * share:g} {1000 * median(each[arm]):.2f} ms, {ratio:.2f} x"
            print(f"{routes} routes, {arm}: {words}", flush=True)


async def main(rounds: int) -> None:
    """Run and print."""
    async with model_process("old") as (_, old), model_process("new") as (_, new):
        for routes in (400, 40):
            await measure(routes, rounds, old, new)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 6))
