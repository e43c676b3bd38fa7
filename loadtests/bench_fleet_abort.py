"""Deciding pair → weight 0 on the last worker of a fleet, over many rollbacks: `python -m loadtests.bench_fleet_abort`.

    --replicas 4 --workers 2 --runs 100

Starts PostgreSQL and the replicas on this machine, with traffic on each. A candidate that answers 500 is rolled
back by the tripwire (`consecutive_failures`); the time is the leader's own, from the batch that decides until every
worker of every replica has acknowledged the table (`understudy_rollback_seconds`, log `rollout.weight_0`). Then the
candidate is well again, `restart` begins a new trial, and the next one is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from tests.e2e.fleets import NAME, Fleet, fleet, settings
from tests.fakes import Load, model_process, set_mood
from tests.postgres import PostgresServer, place
from tests.postgres import running as postgres_running

RATE = 40.0
"""Requests a second to each replica."""
PATIENCE = 60.0


def p99(values: list[float]) -> float:
    """The 99th percentile, by rank.

    >>> p99([float(n) for n in range(1, 101)])
    99.0
    """
    return sorted(values)[max(0, -(-99 * len(values) // 100) - 1)]


async def rolled_back(it: Fleet, candidate: str, runs: int) -> list[float]:
    """Seconds of each rollback."""
    leader = await it.settled()
    for run in range(runs):
        await leader.until(NAME, lambda rollout: rollout["state"] == "canary", PATIENCE)
        await set_mood(candidate, mode="error")
        await leader.until(NAME, lambda rollout: rollout["state"] == "rolled_back", PATIENCE)
        await set_mood(candidate, mode="normal")
        async with asyncio.timeout(PATIENCE):
            while len(it.events("rollout.weight_0")) <= run:  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.02)
        await leader.api(f"/api/v1/rollouts/{NAME}/restart", {"reason": "the next run"})
    told = it.events("rollout.weight_0")
    assert not [entry for entry in told if entry["behind"]], "workers that had not acknowledged"
    return [float(entry["seconds"]) for entry in told]


async def measure(url: str, folder: Path, replicas: int, workers: int, runs: int) -> list[float]:
    """Start everything and roll back so often."""
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        config = settings(live, candidate, consecutive_failures=3)
        it = await stack.enter_async_context(fleet(folder, url, config, replicas, lease="10s", workers=workers))
        for replica in it.replicas:
            await stack.enter_async_context(Load(f"{replica.data_url}/r/infer", RATE))
        return await rolled_back(it, candidate, runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("replicas", 4), ("workers", 2), ("runs", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with place() as folder, tempfile.TemporaryDirectory() as homes:
        server = PostgresServer.made(folder)
        with postgres_running(server):
            url = server.url(server.database())
            seconds = asyncio.run(measure(url, Path(homes), options.replicas, options.workers, options.runs))
    print(
        f"{len(seconds)} rollbacks, {options.replicas} replicas × {options.workers} workers: "
        f"median {median(seconds) * 1000:.0f} ms, p99 {p99(seconds) * 1000:.0f} ms, most {max(seconds) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
