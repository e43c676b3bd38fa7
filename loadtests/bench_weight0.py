"""Time from the deciding pair to weight 0 on every worker: `python -m loadtests.bench_weight0 [--runs 50]`.

A real controller with a real store and two workers' ends of the links in one process (fakes that acknowledge at once):
pairs go in at 500/s, and the clock runs from the moment the deciding pair is written to the link until both workers
have been told weight 0. Which pair decides is found afterwards, by adding the same pairs one by one to fresh evidence.

Two ways to fail: every candidate answer is missing (the tripwire decides), and every answer is wrong (the budget does).
Prints a table in Markdown; the target is below 100 ms. What is left out is the way of a table through a busy worker.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from proxy.config import parse
from proxy.controller.controller import Controller
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.evidence import Evidence, Tripwire
from proxy.model import Arm, Outcome, Pair, Plan
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.rollout.events import Promote
from tests.controller.worker import FakeWorker, answer

RATE = 500.0
CONFIG = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "1"}}
routes:
  - name: r
    live: l
    prediction: {protocol: v2, output: y, kind: label}
    rollouts:
      - candidate: c
        stages: [{canary: 5%}, {canary: 25%}]
        guards: {max_disagreement: 2%, max_extra_errors: 1%, p99_latency: 1.2x, median_latency: 1.2x}
"""
NAME = "r/c"
CANDIDATES = {"no answer": Outcome(0, Reason.CONNECT), "wrong answer": answer(9)}


def deciding(plan: Plan, pairs: list[Pair]) -> int:
    """Number of the pair after which the wire was tripped or the budget crossed."""
    evidence, wire = Evidence.begin(plan, 0), Tripwire(plan.consecutive_failures)
    for number, pair in enumerate(pairs):
        reading = read_pair(plan.prediction, pair)
        evidence.add([reading])
        if wire.add(reading) or evidence.crossed():
            return number
    return len(pairs) - 1


async def one_run(candidate: Outcome) -> float:
    """Seconds from the deciding pair to weight 0 on both workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        controller = Controller(parse(CONFIG, directory=folder), CONFIG, SqliteStore(folder / "u.db"))
        await controller.start(folder)
        workers = [await FakeWorker(folder, slot, f"w{slot}", slot + 1).connect() for slot in (0, 1)]
        trial = controller.trials[NAME]
        if trial.rollout.weight == 0:
            await controller.decisions.decide(trial, Promote(time.time(), "bench"))
        for worker in workers:
            await worker.weight(NAME, 500)
        gone = asyncio.gather(*(worker.weight(NAME, 0) for worker in workers))
        sent: list[float] = []
        pairs: list[Pair] = []
        while not gone.done():
            pairs.append(workers[0].send(trial.plan.trial, answer(1), candidate, stage=1, served=Arm.LIVE))
            sent.append(time.perf_counter())
            await asyncio.wait([gone], timeout=1 / RATE)
        ended = time.perf_counter()
        for worker in workers:
            worker.disconnect()
        await controller.stop()
        return ended - sent[deciding(trial.plan, pairs)]


async def main(runs: int) -> None:
    """Print the table."""
    print(f"{platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, {runs} runs each\n")
    print("| candidate | median ms | p90 ms | maximum ms |\n|---|---|---|---|")
    for name, candidate in CANDIDATES.items():
        found = sorted([await one_run(candidate) for _ in range(runs)])
        p90 = found[int(0.9 * (runs - 1))]
        print(f"| {name} | {statistics.median(found) * 1e3:.1f} | {p90 * 1e3:.1f} | {found[-1] * 1e3:.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    uvloop.run(main(parser.parse_args().runs))
