"""A fleet under load while its leaders are frozen and whatever there is gets killed, in random order:
`python -m loadtests.fleet_chaos --stops 100 --kills 50`.

Frozen (SIGSTOP) is the leader's controller, for longer than its lease, then it goes on. Killed are a leader's or a
standby's controller, a worker, and PostgreSQL, which is started again. Meanwhile the rollout climbs, is rolled back for
a candidate that fails, and is begun anew.

Checked: no client error beyond the requests in a killed worker's hands; no term given twice or out of order; the
journal tells one story, its entries are numbered without a gap, it has each roll back and restart that was answered,
and its announcements are in the outbox once each; after a roll back nobody is served by the candidate, on any replica;
who was frozen does not lead when it goes on; what a worker was sent by a former leader it refused; another leads within
`LATEST_KILL` of a kill, and within a second of the end of the lease after a stop; nobody else does after a standby or a
worker is killed. Printed: how long a takeover took.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from proxy.demo.traffic import Seen
from tests.e2e.fleets import NAME, Fleet, fleet, kill, settings
from tests.e2e.harness import Understudy
from tests.fakes import Load, model_process, set_mood
from tests.postgres import PostgresServer, place
from tests.postgres import running as postgres_running

LEASE = 3.0
RATE = 30.0
"""Requests a second to each replica."""
IN_HAND = 20
"""Requests that a worker may hold when it is killed."""
PATIENCE = 90.0
LATEST_KILL = 2.0
LATEST_STOP = LEASE + 1.0
"""Seconds until another leads."""
HOOK = "http://127.0.0.1:9/"
"""Nobody listens there: what is announced stays in the outbox, to be counted."""


@dataclass
class Story:
    """What was done, and how long others took to lead."""

    it: Fleet
    server: PostgresServer
    candidate: str
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter)
    after_stop: list[float] = field(default_factory=list)
    after_kill: list[float] = field(default_factory=list)

    async def pid(self, replica: Understudy, what: str) -> int | None:
        """A process of a replica, `None` where it cannot be asked just now."""
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            tree = await replica.processes()
            found = tree["controller"] if what == "controller" else self.dice.choice(tree["workers"])["pid"]
            return int(found) if found is not None else None
        return None

    async def stop_leader(self) -> None:
        """Freeze who leads past its lease."""
        leader = await self.it.leader(PATIENCE)
        pid = await self.pid(leader, "controller")
        if pid is None:
            return
        began = time.monotonic()
        kill(pid, signal.SIGSTOP)
        try:
            await self.it.leader(PATIENCE, but=leader)
            self.after_stop.append(time.monotonic() - began)
        finally:
            kill(pid, signal.SIGCONT)
        self.done["stop"] += 1
        await self.it.settled(PATIENCE)
        assert len([one for one in self.it.replicas if await self.it.leads(one)]) == 1, "two lead"

    async def kill_one(self) -> None:
        """Kill a process, or the server."""
        what = self.dice.choice(["leader", "standby", "worker", "postgres"])
        leader = await self.it.leader(PATIENCE)
        if what == "postgres":
            await asyncio.to_thread(self.server.kill)
            await asyncio.sleep(self.dice.random() * 2)
            await asyncio.to_thread(self.server.start)
        else:
            others = [one for one in self.it.replicas if one is not leader]
            one = leader if what == "leader" else self.dice.choice(self.it.replicas if what == "worker" else others)
            pid = await self.pid(one, "worker" if what == "worker" else "controller")
            if pid is None:
                return
            began, terms, term = time.monotonic(), len(self.it.events("fleet.leading")), self.it.term
            kill(pid)
            if what in ("standby", "worker"):
                await self.it.settled(PATIENCE)
                assert len(self.it.events("fleet.leading")) == terms, f"{what} was killed, and the leader changed"
            if what == "leader":
                await self.it.leader(PATIENCE, after=term)
                self.after_kill.append(time.monotonic() - began)
        self.done[what] += 1
        await self.it.settled(PATIENCE)

    async def roll_back(self) -> None:
        """Let the candidate fail, see it out everywhere, and begin anew."""
        leader = await self.it.leader(PATIENCE)
        await leader.until(NAME, lambda rollout: rollout["state"] == "canary", PATIENCE)
        await set_mood(self.candidate, mode="error")
        await leader.until(NAME, lambda rollout: rollout["state"] == "rolled_back", PATIENCE)
        await set_mood(self.candidate, mode="normal")
        await asyncio.gather(*(_serves_live(replica) for replica in self.it.replicas))
        self.done["rolled back"] += 1
        await leader.api(f"/api/v1/rollouts/{NAME}/restart", {"reason": "the next one"})


async def _serves_live(replica: Understudy) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(40):
            async with session.post(f"{replica.data_url}/r/infer", data=b'{"inputs": []}') as answer:
                assert answer.headers.get("x-served-by") != "c", replica.folder.name


async def _journal(leader: Understudy) -> list[dict[str, Any]]:
    """Every entry, the oldest first."""
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        page = await leader.api(f"/api/v1/rollouts/{NAME}/journal?limit=200{before}")
        found += page["journal"]
        if page["next"] is None:
            return found[::-1]
        before = f"&before={page['next']}"


def check(story: Story, journal: list[dict[str, Any]], outbox: list[str], numbers: list[int]) -> None:
    """Fail at the first promise that was broken. `numbers` are those of the journal's rows, of the whole store."""
    terms = [entry["term"] for entry in story.it.events("fleet.leading")]
    assert terms == sorted(set(terms)), f"terms {terms}"
    for before, after in pairwise(journal):
        one, other = before["detail"], after["detail"]
        if after["kind"] not in ("began", "restarted"):
            assert other["from"]["state"] == one["to"]["state"], (before, after)
        assert other["change"] - one["change"] in (0, 1), (before["kind"], after["kind"])
    kinds = Counter(entry["kind"] for entry in journal)
    told = Counter(outbox)
    for kind in ("rolled_back", "advanced", "promoted"):
        assert told[f"rollout.{kind}"] == kinds[kind], (told, kinds)
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "entries are missing"
    assert kinds["rolled_back"] == kinds["restarted"] == story.done["rolled back"], (kinds, story.done)
    for entry in story.it.events("table.refused"):
        refused, held = ((entry[key]["term"], entry[key]["number"]) for key in ("refused", "held"))
        assert refused < held, entry
    late = [t for t in story.after_kill if t > LATEST_KILL], [t for t in story.after_stop if t > LATEST_STOP]
    assert late == ([], []), late


def check_clients(story: Story, seen: list[Seen[int]]) -> int:
    """How many requests failed; fail if they were more than those in the hands of killed workers."""
    lost = [one for one in seen if one.error or one.status != 200]
    assert len(lost) <= IN_HAND * story.done["worker"], (len(lost), lost[:5])
    return len(lost)


def configuration(live: str, candidate: str) -> dict[str, Any]:
    """One rollout, whose events wait in the outbox."""
    events = ["rollout.rolled_back", "rollout.advanced", "rollout.promoted"]
    hooks = {"webhooks": [{"url": HOOK, "secret": "whsec_a2V5", "events": events}]}
    return settings(live, candidate, consecutive_failures=5) | hooks


async def play(server: PostgresServer, database: str, folder: Path, options: argparse.Namespace) -> None:
    """The whole story."""
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        config, size = configuration(live, candidate), (options.replicas, f"{LEASE}s", options.workers)
        it = await stack.enter_async_context(fleet(folder, server.url(database), config, *size))
        story = Story(it, server, candidate, random.Random(options.seed))
        await it.settled(PATIENCE)
        async with AsyncExitStack() as traffic:
            urls = [f"{one.data_url}/r/infer" for one in it.replicas]
            loads = [await traffic.enter_async_context(Load(url, RATE, reuse=False)) for url in urls]
            await disturb(story, options)
            journal = await _journal(await it.settled(PATIENCE))
        rows = server.psql("SELECT type FROM understudy.outbox", database).split()
        numbers = [int(word) for word in server.psql("SELECT number FROM understudy.journal", database).split()]
        seen = [one for load in loads for one in load.seen]
        show(story, len(journal), len(seen), check_clients(story, seen))
        check(story, journal, rows, numbers)


def show(story: Story, entries: int, requests: int, failed: int) -> None:
    """The figures."""
    terms, refused = len(story.it.events("fleet.leading")), len(story.it.events("table.refused"))
    print(f"{dict(story.done)}; {terms} terms, {entries} journal entries, {refused} tables refused by workers")
    print(f"{requests:,} requests, {failed} failed")
    for name, times in (("frozen", story.after_stop), ("killed", story.after_kill)):
        if times:
            took = f"median {median(times):.2f} s, most {max(times):.2f} s"
            print(f"another leads after one is {name} ({len(times)}): {took}, lease {LEASE:g} s")


async def disturb(story: Story, options: argparse.Namespace) -> None:
    """Every stop and kill, in random order, with a roll back after each fifth."""
    todo = ["stop"] * options.stops + ["kill"] * options.kills
    story.dice.shuffle(todo)
    for number, what in enumerate(todo):
        await (story.stop_leader() if what == "stop" else story.kill_one())
        if number % 5 == 4:
            await story.roll_back()


def main() -> None:
    """Play it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("stops", 100), ("kills", 50), ("replicas", 3), ("workers", 1), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with place() as folder, tempfile.TemporaryDirectory() as homes:
        server = PostgresServer.made(folder)
        with postgres_running(server):
            asyncio.run(play(server, server.database(), Path(homes), options))


if __name__ == "__main__":
    main()
