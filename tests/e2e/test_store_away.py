"""Promise: while PostgreSQL is away the leader judges on: a rollback is in force at once and saved later, nobody
climbs, nobody else leads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.fleets import NAME, Fleet, fleet, settings
from tests.e2e.harness import Understudy
from tests.fakes import Load, model_process, set_mood
from tests.postgres import Postgres, PostgresServer

MORE = 40
"""Pairs that a stage of the canary wants."""
STAGES = [
    {"shadow": "100%", "min_pairs": 50},
    {"canary": "20%", "min_pairs": MORE},
    {"canary": "50%", "min_pairs": MORE},
    {"canary": "60%", "min_pairs": 1_000_000},
]
RATE = 100.0
LEASE = 10.0
"""Seconds; a leader whose process gets no core for so long stops by itself, and a busy machine may do that to it."""
MOMENT = 1.5
PATIENCE = 60.0


@dataclass
class Outage:
    """A way for a server to be away, and back."""

    begin: Callable[[PostgresServer], None]
    end: Callable[[PostgresServer], None]


FROZEN = Outage(PostgresServer.freeze, PostgresServer.thaw)
KILLED = Outage(PostgresServer.kill, PostgresServer.start)


async def play(folder: Path, postgres: Postgres, outage: Outage, seconds: float) -> None:
    """A store that is away for so long, with a rollout that would climb, then one that must go."""
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        config = settings(live, candidate, stages=STAGES, consecutive_failures=5)
        it = await stack.enter_async_context(fleet(folder, postgres.url, config, 2, lease=f"{LEASE}s"))
        leader = await it.settled()
        loads = [await stack.enter_async_context(Load(f"{one.data_url}/r/infer", RATE)) for one in it.replicas]
        began_at = await _in_stage(leader, 20.0)
        await asyncio.to_thread(outage.begin, postgres.server)
        began = time.monotonic()
        await _judges_and_does_not_climb(it, leader, began_at, began + seconds)
        await set_mood(candidate, mode="error")
        since = [len(load.seen) for load in loads]
        await leader.until(NAME, lambda rollout: rollout["state"] == "rolled_back", PATIENCE)
        await _nobody_is_served(it, loads, since)
        assert await it.leads(leader), it.output
        assert not leader.events("rollout.rolled_back"), "is announced when it is saved"
        await asyncio.to_thread(outage.end, postgres.server)
        await _is_saved(it, postgres)
        assert [p for load, n in zip(loads, since, strict=True) for p in load.problems()[:n] if "500" not in p] == []


async def _in_stage(leader: Understudy, weight: float) -> int:
    """Wait for a stage; how many pairs there are then."""
    found = await leader.until(NAME, lambda r: r["state"] == "canary" and r["weight"] == weight, PATIENCE)
    return int(found["ledger"]["compared"])


async def _judges_and_does_not_climb(it: Fleet, leader: Understudy, before: int, until: float) -> None:
    """More than enough pairs for the next stage come, and it is not entered, as long as the store is away."""
    await leader.until(NAME, lambda r: r["ledger"]["compared"] > before + 3 * MORE, PATIENCE)
    compared = 0
    while True:
        rollout = await leader.rollout(NAME)
        assert (rollout["state"], rollout["weight"]) == ("canary", 20.0), it.output
        assert len(it.events("fleet.leading")) == 1, "nobody can take a term"
        if time.monotonic() >= until:
            break
        compared = rollout["ledger"]["compared"]
        await leader.until(NAME, lambda r, c=compared: r["ledger"]["compared"] > c, PATIENCE)  # type: ignore[misc]
        await asyncio.sleep(min(1.0, max(0.0, until - time.monotonic())))


async def _nobody_is_served(it: Fleet, loads: list[Load], since: list[int]) -> None:
    """What begins from now on is live's, on each replica. The bad answers of a canary fall back, so none is seen."""
    now = [load.asked for load in loads]
    for load, first in zip(loads, now, strict=True):
        await load.until(lambda load=load, first=first: load.asked > first + 100, PATIENCE)  # type: ignore[misc]
        late = [seen for seen in load.seen if seen.asked > first and seen.served_by == "c"]
        assert late == [], (late[:3], it.output)


async def _is_saved(it: Fleet, postgres: Postgres) -> None:
    """The roll back, once, in the term that comes next, of the leader that decided it."""
    leader = await it.leader(PATIENCE)
    await it.until(lambda: _is(len(it.events("rollout.rolled_back")) == 1), PATIENCE)
    kinds = postgres.psql("SELECT kind FROM understudy.journal ORDER BY number").split()
    assert kinds == ["began", "advanced", "rolled_back"], it.output
    assert (await leader.rollout(NAME))["state"] == "rolled_back"
    terms = [(entry["term"], entry["replica"]) for entry in it.events("fleet.leading")]
    assert [term for term, _ in terms] == list(range(1, len(terms) + 1))
    assert len({replica for _, replica in terms}) == 1, "who has the evidence in its hands goes on"


async def _is(value: bool) -> bool:
    return value


@pytest.mark.chaos
async def test_a_server_that_is_killed_for_a_moment(tmp_path: Path, mortal_postgres: Postgres) -> None:
    await play(tmp_path, mortal_postgres, KILLED, MOMENT)


@pytest.mark.slow
@pytest.mark.parametrize("outage", [FROZEN, KILLED], ids=["frozen", "killed"])
async def test_a_server_that_is_away_for_five_minutes(
    tmp_path: Path, mortal_postgres: Postgres, outage: Outage
) -> None:
    await play(tmp_path, mortal_postgres, outage, 300.0)
