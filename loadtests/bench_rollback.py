"""How many requests does a bad canary answer before it is out?

    python -m loadtests.bench_rollback [--rate 500] [--case wrong]
    python -m loadtests.bench_rollback --dear

A candidate that was good for `GOOD` seconds as a 5 % canary breaks in one of four ways. Counted at the client, from the
moment of the break: requests that the candidate answered or live answered in its place, how many of its bad answers
reached a client, the slowest answer, and the time until the API says `rolled_back`. Guards and rates are those of the
documentation. On a machine too slow for the rate the client falls behind: the slowest answer then takes seconds, and
the counts belong to a lower rate.

Beside it, by calculation, what a controller that looks at aggregate metrics once a minute and rolls back after five
failed checks lets through: it needs five whole minutes, so `rate x weight x 300 s`, if its metrics see the fault.

`--dear` measures how long a rollback takes while one of two rollouts gives answers of 2 KiB that are as expensive
to read as is allowed, 60 a second of each arm: from the answer that decides it to weight 0 in every worker, `ROUNDS`
times, beside the same with ordinary answers; and what the admin port takes meanwhile (`tests/e2e/dear.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.dear import measure
from tests.e2e.harness import Understudy, route, running
from tests.fakes import Load, answer, model_process, question, set_mood

WEIGHT = 5.0
GOOD = 15.0
"""Seconds the canary is good before it breaks."""
PATIENCE = 600.0
ROUNDS = 3
MODEL = {"delay": 0.005, "sigma": 0.5}
CASES: dict[str, dict[str, Any]] = {
    "crash": {},
    "errors": {"mode": "error"},
    "p99": {"slower": 8.0, "tail": 0.03},  # 3 % of requests take 8 x as long: that makes p99 three times as long
    "slow": {"slower": 3.0},
    "wrong": {"wrong": 0.05},
}
WORDS = {
    "crash": "process killed",
    "errors": "100 % errors",
    "p99": "p99 x 3, median the same",
    "slow": "everything x 3",
    "wrong": "5 % wrong labels",
}
GUARDS = {
    "max_disagreement": "2%",
    "p99_latency": "1.2x",
    "median_latency": "1.2x",
    "max_extra_errors": "0.2%",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case came to."""

    asked: int
    bad: int
    errors: int
    slowest: float
    seconds: float
    state: str
    causes: str


async def one(case: str, rate: float) -> Outcome:
    """Break a canary in one way and count."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            model_process("live") as (_, live),
            model_process("new") as (process, new),
            running(Path(folder), _config(live, new)) as understudy,
        ):
            for url in (live, new):
                await set_mood(url, **MODEL)
            async with Load(f"{understudy.data_url}/r/infer", rate=rate, wrong=CASES[case]) as load:
                await load.more(int(GOOD * rate))
                before = await understudy.rollout("r/new")
                assert before["state"] == "canary", before
                since, began = len(load.seen), asyncio.get_running_loop().time()
                if case == "crash":
                    process.kill()
                else:
                    await set_mood(new, **CASES[case])
                rollout, seconds = await _end(understudy, began)
                await load.more(int(rate))
            return _count(load, since, rollout, seconds, await _fallbacks(understudy))


async def _end(understudy: Understudy, began: float) -> tuple[dict[str, Any], float]:
    loop = asyncio.get_running_loop()
    while True:
        rollout = await understudy.rollout("r/new")
        elapsed = loop.time() - began
        if rollout["state"] == "rolled_back" or elapsed > PATIENCE:
            return rollout, elapsed
        await asyncio.sleep(0.01)


async def _fallbacks(understudy: Understudy) -> int:
    lines = (await understudy.metrics()).splitlines()
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("understudy_fallbacks_total{")))


def _count(load: Load, since: int, rollout: dict[str, Any], seconds: float, fallbacks: int) -> Outcome:
    after = load.seen[since:]
    by_candidate = [seen for seen in after if seen.served_by == "new"]
    bad = sum(seen.body != answer("new", question(seen.asked)) for seen in by_candidate)
    causes = [finding["guard"] for finding in rollout["findings"] if finding["verdict"] == "fail"]
    return Outcome(
        asked=len(by_candidate) + fallbacks,
        bad=bad,
        errors=sum(seen.status != 200 for seen in after),
        slowest=max(seen.seconds for seen in after),
        seconds=seconds,
        state=rollout["state"],
        causes=", ".join(causes) or "consecutive failures",
    )


def _config(live: str, new: str) -> dict[str, Any]:
    stages = [{"canary": f"{WEIGHT:g}%", "min_pairs": 10**9}]
    return {
        "upstreams": {"live": {"url": live}, "new": {"url": new, "timeout": "2s"}},
        "routes": [route("r", "live", "new", stages, guards=GUARDS)],
    }


async def dear() -> bool:
    """Print a row for each round; whether every roll back came within half a second."""
    print("| answers | roll back of the other | of its own | admin port, median | slowest | pairs read | dropped |")
    print("|---|---|---|---|---|---|---|")
    every = True
    for number in range(2 * ROUNDS):
        is_dear = number % 2 == 1
        with tempfile.TemporaryDirectory() as folder:
            found = await measure(Path(folder), dear=is_dear)
        every &= max(found.rollback_other, found.rollback_dear) < 0.5
        print(
            f"| {'dear' if is_dear else 'ordinary'} | {found.rollback_other:.2f} s | {found.rollback_dear:.2f} s "
            f"| {1000 * found.admin_median:.0f} ms | {1000 * max(found.admin):.0f} ms "
            f"| {found.compared} | {found.dropped} |",
            flush=True,
        )
    return every


def main() -> None:
    """Parse the command line, run the cases, print the table."""
    parser = argparse.ArgumentParser(description="requests answered by a bad canary before it is out")
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--dear", action="store_true")
    options = parser.parse_args()
    if options.dear:
        sys.exit(0 if asyncio.run(dear()) else 1)
    by_interval = round(options.rate * WEIGHT / 100 * 300)
    print(
        "| fault | sent to the canary | bad answers seen | client errors | slowest | out after | by | 1-minute checks |"
    )
    print("|---|---|---|---|---|---|---|---|")
    every = True
    for case in options.case or CASES:
        found = asyncio.run(one(case, options.rate))
        every &= found.state == "rolled_back" and found.errors == 0
        print(
            f"| {WORDS[case]} | {found.asked:,} | {found.bad:,} | {found.errors} | {found.slowest:.2f} s "
            f"| {found.seconds:.2f} s | {found.causes if found.state == 'rolled_back' else found.state} "
            f"| {by_interval:,} |",
            flush=True,
        )
    sys.exit(0 if every else 1)


if __name__ == "__main__":
    main()
