"""Twenty minutes at 500 requests a second: no request fails, memory and file descriptors of every process stay flat.

    python -m loadtests.soak [--minutes 20] [--rate 500]

Half of the traffic is on a route in shadow, half on one with a 20 % canary, and every minute the shadowed candidate
has ten bad seconds (garbage, hangs, floods, errors in turn), because what leaks is usually the path that is rarely
taken. Its guards are so wide that it is never rolled back. Linux only: it reads /proc. Not in CI.

Flat means: the median of the last quarter is at most 10 % or 4 MiB (whichever is more) above the median of the second
quarter; the first one is warm-up. For file descriptors, at most 8 more.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from proxy.demo.traffic import Seen, Traffic
from tests.e2e.harness import Understudy, route, running
from tests.fakes import answer, model_process, question, set_mood

MOODS = ("garbage", "hang", "flood", "error")
EVERY = 5.0
"""Seconds between two looks at /proc."""
CONNECTIONS = 50
"""Of the load itself, on each route: aiohttp uses all that it has ever opened in turn, so that without a bound the file
descriptors of a worker rise with every moment in which the machine is busy, and do not come down again."""
GUARDS = {"max_disagreement": "99%", "max_extra_errors": "99%"}


class Count:
    """Counts answers and keeps the first few problems; nothing that grows."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.answers, self.problems, self.slowest = 0, list[str](), 0.0
        self.failed = 0

    def add(self, seen: Seen[int]) -> None:
        """Check one answer byte for byte."""
        self.answers += 1
        self.slowest = max(self.slowest, seen.seconds)
        if seen.status == 200 and seen.body == answer(seen.served_by, question(seen.asked)):
            return
        self.failed += 1
        if len(self.problems) < 10:
            self.problems.append(seen.error or f"{seen.status} by {seen.served_by}: {seen.body[:100]!r}")


def look(pid: int) -> tuple[float, int]:
    """Resident MiB and open file descriptors of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
    return resident, len(os.listdir(f"/proc/{pid}/fd"))


async def watch(understudy: Understudy, end: float) -> dict[str, list[tuple[float, int]]]:
    """Look at every process until `end` (loop time); raises `AssertionError` when one has been replaced."""
    loop, seen = asyncio.get_running_loop(), defaultdict[str, list[tuple[float, int]]](list)
    tree = await understudy.processes()
    pids = {"supervisor": tree["supervisor"], "controller": tree["controller"]}
    pids |= {f"worker {worker['slot']}": worker["pid"] for worker in tree["workers"]}
    while loop.time() < end:
        for name, pid in pids.items():
            seen[name].append(look(pid))
        await asyncio.sleep(EVERY)
    assert (await understudy.processes())["restarts"] == tree["restarts"], "a process died"
    return seen


async def misbehave(url: str) -> None:
    """Ten bad seconds a minute."""
    for mood in itertools.cycle(MOODS):
        for mode, seconds in (("normal", 50), (mood, 10)):
            await set_mood(url, mode=mode)
            await asyncio.sleep(seconds)


def flat(name: str, seen: list[tuple[float, int]]) -> bool:
    """Print how one process did; whether it stayed flat."""
    quarter = len(seen) // 4
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    memory = [statistics.median(resident for resident, _ in part) for part in (early, late)]
    files = [statistics.median(count for _, count in part) for part in (early, late)]
    good = memory[1] <= memory[0] + max(4.0, memory[0] * 0.1) and files[1] <= files[0] + 8
    print(
        f"{name:12} {memory[0]:7.1f} -> {memory[1]:7.1f} MiB (peak {max(r for r, _ in seen):.1f})   "
        f"{files[0]:5.0f} -> {files[1]:5.0f} files   {'flat' if good else 'GROWS'}"
    )
    return good


async def soak(minutes: float, rate: float) -> bool:
    """One soak; whether everything was as it must be."""
    count, loop = Count(), asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            model_process("live") as (_, live),
            model_process("good") as (_, good),
            model_process("wild") as (_, wild),
            running(Path(folder), _config(live, good, wild)) as understudy,
        ):
            traffic = [
                Traffic(
                    f"{understudy.data_url}/{name}/infer",
                    rate / 2,
                    lambda: next(count.numbers),
                    question,
                    count.add,
                    connections=CONNECTIONS,
                )
                for name in ("shadowed", "canaried")
            ]
            work = [asyncio.create_task(each.run()) for each in traffic]
            mischief = asyncio.create_task(misbehave(wild))
            started = time.monotonic()
            seen = await watch(understudy, loop.time() + minutes * 60)
            mischief.cancel()
            for each in traffic:
                each.stop()
            await asyncio.gather(*work)
            rollouts = (await understudy.api("/api/v1/rollouts"))["rollouts"]
            seconds = time.monotonic() - started
    print(f"{count.answers:,} answers in {seconds:.0f} s, {count.failed} failed, slowest {count.slowest * 1000:.0f} ms")
    for problem in count.problems:
        print("  ", problem)
    for rollout in rollouts:
        print(f"{rollout['name']}: {rollout['state']}, {rollout['ledger']}")
    steady = [flat(name, looks) for name, looks in seen.items()]
    return all(steady) and count.failed == 0 and count.answers > 0.99 * rate * seconds


def _config(live: str, good: str, wild: str) -> dict[str, Any]:
    wide = {"guards": GUARDS, "consecutive_failures": 1_000_000}
    shadow, canary = [{"shadow": "100%", "min_pairs": 10**9}], [{"canary": "20%", "min_pairs": 10**9}]
    return {
        "upstreams": {"live": {"url": live}, "good": {"url": good}, "wild": {"url": wild, "timeout": "1s"}},
        "routes": [
            route("shadowed", "live", "wild", shadow, **wide),
            route("canaried", "live", "good", canary, **wide),
        ],
    }


def main() -> None:
    """Parse the command line and soak."""
    parser = argparse.ArgumentParser(description="memory and file descriptors under long load")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=500.0)
    options = parser.parse_args()
    sys.exit(0 if asyncio.run(soak(options.minutes, options.rate)) else 1)


if __name__ == "__main__":
    main()
