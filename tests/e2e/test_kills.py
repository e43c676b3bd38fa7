"""Kept: whatever is killed and whenever, with a rollout going on under load: no wrong transition, no lost journal
entry, every announcement exactly once, and no request lost beyond those in a killed worker's hands."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web

from proxy.cli.judging import audit
from proxy.controller.recordings import journal_entries
from tests.e2e.harness import Understudy, route, running, served
from tests.fakes import Load, model_process, set_mood

KILLS = int(os.environ.get("UNDERSTUDY_KILLS", "50"))
NAME = "r/c"
STAGES = [{"shadow": "100%", "min_pairs": 200}, {"canary": "20%", "min_pairs": 200}]
EVENTS = ["rollout.advanced", "rollout.promoted", "rollout.rolled_back"]
STORE = "understudy.db"


class Receiver:
    """A webhook receiver that answers 500 to every third delivery, so that retries happen too."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._count = 0

    async def start(self, stack: AsyncExitStack) -> str:
        app = web.Application()
        app.router.add_post("/", self._take)
        return await stack.enter_async_context(served(app)) + "/"

    async def _take(self, request: web.Request) -> web.Response:
        self._count += 1
        self.heard.append((request.headers["webhook-id"], orjson.loads(await request.read())))
        return web.Response(status=500 if self._count % 3 == 0 else 204)


def config(live: str, candidate: str, hook: str, version: int) -> dict[str, Any]:
    guards = {"max_disagreement": "10%", "max_extra_errors": "10%"}
    return {
        "upstreams": {"live": {"url": live}, "c": {"url": candidate, "version": str(version)}},
        "routes": [route("r", "live", "c", STAGES, guards=guards, latency_block="0s")],
        "webhooks": [{"url": hook, "secret": "whsec_a2V5", "events": EVENTS}],
    }


class Owner:
    """Keeps a rollout going: when one ends, a new version is written down, good and bad ones in turn."""

    def __init__(self, understudy: Understudy, urls: tuple[str, str, str]) -> None:
        self.understudy, self.urls, self.version = understudy, urls, 1

    async def look(self) -> str:
        """Look at the rollout, begin a new version if this one has ended; its state, empty if nobody answers."""
        try:
            rollout = await self.understudy.rollout(NAME)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return ""
        if rollout["version"] != str(self.version):  # a reload that a kill cut short is refused: ask again
            self.understudy.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.5)
        elif rollout["state"] in ("promoted", "rolled_back"):
            self.version += 1
            await set_mood(self.urls[1], wrong=0.5 if self.version % 2 == 0 else 0.0)
            self.write()
            self.understudy.process.send_signal(signal.SIGHUP)
        return str(rollout["state"])

    def write(self) -> None:
        whole = yaml.safe_load(self.understudy.config.read_text())
        self.understudy.config.write_text(yaml.safe_dump({**whole, **config(*self.urls, self.version)}))


async def _kill(understudy: Understudy, dice: random.Random, load: Load, held: set[int]) -> str:
    """Kill one process of the tree, never the supervisor; which one. `held` gets what a killed worker may hold: the
    questions that have been asked and not answered."""
    try:
        tree = await understudy.processes()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return ""  # the controller is still on its way back
    what = dice.choice(["controller", "controller", "worker"])
    pid = tree["controller"] if what == "controller" else dice.choice(tree["workers"])["pid"]
    if pid is None:
        return ""
    if what == "worker":
        held |= load.in_flight()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return what
    return ""


async def _life(
    folder: Path, urls: tuple[str, str, str], kills: int, dice: random.Random, version: int
) -> tuple[int, Counter[str]]:
    """One supervisor's life under load with `kills` kills; it ends by being killed itself, or by SIGTERM."""
    done, held = Counter[str](), set[int]()
    home = folder / f"life-{version}-{dice.random()}"
    home.mkdir()
    async with running(home, config(*urls, version) | {"store": {"path": str(folder / STORE)}}) as understudy:
        owner = Owner(understudy, urls)
        owner.version = version
        async with Load(f"{understudy.data_url}/r/infer", reuse=False) as load:
            while done.total() < kills:
                for _ in range(dice.randint(1, 120)):
                    await owner.look()
                    await asyncio.sleep(dice.random() / 10)
                done[await _kill(understudy, dice, load, held)] += 1
                del done[""]
            async with asyncio.timeout(60):
                while not await owner.look():  # noqa: ASYNC110  # what is waited for is in another process
                    await asyncio.sleep(0.1)
            await load.more(50)
        # Wrong labels are no loss here: a version is made bad while its promoted predecessor still serves.
        lost = {seen.asked: seen.error or str(seen.status) for seen in load.seen if seen.error or seen.status != 200}
        assert lost.keys() <= held, lost
        if dice.random() < 0.5:
            understudy.process.kill()
            await understudy.process.wait()
            done["supervisor"] += 1
        else:
            assert await understudy.stop() == 0
        return owner.version, done


@pytest.mark.slow
async def test_nothing_that_is_killed_breaks_a_promise(tmp_path: Path) -> None:
    dice, receiver, done, version = random.Random(1), Receiver(), Counter[str](), 1
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        hook = await receiver.start(stack)
        while done.total() < KILLS:
            version, more = await _life(tmp_path, (live, candidate, hook), min(8, KILLS - done.total()), dice, version)
            done += more
        await asyncio.sleep(0)
    print(dict(done), "versions", version)  # noqa: T201  # the figures of this run, shown with -s
    await asyncio.to_thread(_check, tmp_path / STORE, receiver, version)  # which reads with a loop of its own


def _check(store: Path, receiver: Receiver, versions: int) -> None:
    entries = list(journal_entries(store, NAME))
    audits = [audit(entry, evidence) for entry, evidence in entries]
    assert [one for one in audits if not one.holds] == []
    _check_story([entry["detail"] | {"kind": entry["kind"]} for entry, _ in entries])
    kinds = Counter(entry["kind"] for entry, _ in entries)
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT id, type FROM outbox").fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    told = Counter(row[1].removeprefix("rollout.") for row in rows)
    assert told == Counter({kind: n for kind, n in kinds.items() if f"rollout.{kind}" in EVENTS})
    ids = {row[0] for row in rows}
    assert {name for name, _ in receiver.heard} <= ids
    # Bad versions never ended by promotion. (A rollback that was killed before its save leaves no entry if its version
    # was replaced in the file before the next controller came; every other version has one.)
    ends = [(e["detail"]["plan"]["version"], e["kind"]) for e, _ in entries if e["kind"] in ("promoted", "rolled_back")]
    assert len({version for version, _ in ends}) >= (versions - 1) * 3 // 4
    assert all(kind == "rolled_back" for version, kind in ends if int(version) % 2 == 0)


def _check_story(details: list[dict[str, Any]]) -> None:
    """Each entry starts where the last one ended, and no change number is missing (one occurs twice when a decrease
    overtook an advance that was being saved)."""
    for before, after in pairwise(details):
        if after["kind"] != "began":
            assert after["from"]["state"] == before["to"]["state"], (before, after)
            assert after["from"]["weight"] == before["to"]["weight"], (before, after)
        assert after["change"] - before["change"] in (0, 1), (before["kind"], after["kind"])
