"""`understudy demo --loop`: the loop closed. Inputs drift, an alarm goes out, a model is trained on recent data and
registered, and is tried, promoted and given the alias, with nobody touching a file.

    a scanner is replaced ──▶ drift.detected ──webhook──▶ Trainer: train, register ──signed webhook──▶ a trial: shadow,
    live follows the alias ◀── alias champion ◀── promoted ◀── canary 50 % ◀── canary 10 % ◀──────────────┘

Everything is watched from outside: what clients are answered, the webhooks that arrive, what the registry is told.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from proxy.demo.acts import DemoStage
from proxy.demo.loop_config import render_loop
from proxy.demo.processes import Troupe, free_port
from proxy.demo.receiver import ReceivedWebhook, Receiver
from proxy.demo.registry import DemoRegistry
from proxy.demo.scans import Scan, Scanner, train_on
from proxy.demo.screen import Screen
from proxy.demo.traffic import Seen, Traffic

RATE = 200.0
"""Requests per second."""
PATIENCE = 180.0
"""Seconds that the whole circle may take."""
QUIET = 5.0
"""Seconds without an alarm, once the reference is learned, before the scanner is replaced."""
TRAINED_ON = 600
"""Recent scans, of which the digits are known, that a version is trained on."""
TRUTH_AFTER = 0.3
"""Seconds between two posts of what scans really showed."""
NAME = "digits/next"
BEGINS_WITHIN = 5.0
ENDS = {"promoted", "rolled_back", "stalled"}


@dataclass(slots=True)
class LoopTally:
    """What clients saw: right answers by who answered and by scanner, errors, and the scans whose digits are known."""

    right: Counter[tuple[bool, str]] = field(default_factory=Counter)
    asked: Counter[tuple[bool, str]] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=400))
    known: deque[Scan] = field(default_factory=lambda: deque(maxlen=TRAINED_ON))
    truths: list[dict[str, Any]] = field(default_factory=list)

    def add(self, seen: Seen[Scan]) -> None:
        """Count an answer."""
        scan = seen.asked
        if seen.status != 200:
            self.errors.append(seen.error or f"status {seen.status}: {seen.body[:200]!r}")
            return
        right = orjson.loads(seen.body)["outputs"][0]["data"][0] == scan.digit
        self.asked[scan.replaced, seen.served_by] += 1
        self.right[scan.replaced, seen.served_by] += right
        self.recent.append(right)
        self.known.append(scan)
        self.truths.append({"id": scan.id, "label": scan.digit})

    @property
    def now(self) -> float:
        """Share of right answers of late."""
        return sum(self.recent) / max(1, len(self.recent))

    def share(self, replaced: bool, by: str) -> float:
        """Share of right answers of one arm, on scans of one scanner."""
        return self.right[replaced, by] / max(1, self.asked[replaced, by])


class LoopPlay:
    """One turn of the loop over a running proxy."""

    def __init__(self, stage: DemoStage, receiver: Receiver, registry: DemoRegistry, screen: Screen) -> None:
        self._stage, self._receiver, self._registry, self._screen = stage, receiver, registry, screen
        self._scanner, self.tally = Scanner(2026), LoopTally()
        self._began = asyncio.get_running_loop().time()
        self.times: dict[str, float] = {}
        """When what happened, in seconds."""

    @property
    def elapsed(self) -> float:
        """Seconds since the first request."""
        return asyncio.get_running_loop().time() - self._began

    def mark(self, what: str, text: str, colour: str = "bold") -> None:
        """Keep when it happened, and say so."""
        self.times.setdefault(what, self.elapsed)
        self._screen.keep()
        self._screen.say(f"  {self.elapsed:5.1f} s  {text}", colour)

    def told(self, version: str, state: str, alias: str) -> None:
        """The registry was told of a version."""
        self.times.setdefault(f"{version} {state}", self.elapsed)
        if alias:
            self.mark("moved", f"the registry's alias {alias} points to version {version}, and live follows it")

    async def play(self) -> None:
        """Once around, or until `PATIENCE` has run out."""
        traffic = self._traffic(RATE)
        async with aiohttp.ClientSession(self._stage.admin_url, timeout=aiohttp.ClientTimeout(total=10)) as admin:
            others = [asyncio.create_task(work) for work in (traffic.run(), self._tell(admin), self._show(admin))]
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._around(admin)
            except TimeoutError:
                pass
            finally:
                traffic.stop()
                await asyncio.wait([others[0]])
                for task in others[1:]:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)

    def _traffic(self, rate: float) -> Traffic[Scan]:
        url, scanner = f"{self._stage.data_url}/v2/models/digits/infer", self._scanner
        name = lambda scan: {"x-request-id": scan.id}  # noqa: E731 - a header of each request
        return Traffic(url, rate, scanner.scan, lambda scan: scan.body, self.tally.add, headers=name)

    async def go_on(self) -> None:
        """Keep everything running, with a little traffic, until we are cancelled."""
        self._screen.say()
        self._screen.say("Still running; Ctrl-C ends it.", "bold")
        self._screen.say(f"  console   {self._stage.admin_url}/#/{NAME}")
        with suppress(asyncio.CancelledError):
            await self._traffic(20.0).run()
        self._screen.say("Stopping.")

    async def _around(self, admin: aiohttp.ClientSession) -> None:
        await self._until_learned(admin)
        await asyncio.sleep(QUIET)
        self.mark("before", f"live reads {self.tally.now:.1%} of the digits right")
        self._scanner.replaced = True
        self.mark("replaced", "the scanner is replaced: fainter, and one pixel further to the right", "yellow")
        alarm = await self._event("drift.detected")
        self.mark("alarm", f"drift.detected: {alarm.data['reason']}", "yellow")
        await self._train()
        await self._event("rollout.began")
        self.mark("began", "the trial of version 2 has begun")
        await _until(lambda: bool(ENDS & set(self._registry.states.get("2", ()))))
        await asyncio.sleep(2.0)  # clients go on, to see who answers then
        self.mark("after", f"clients are answered {self.tally.now:.1%} right", "green")

    async def _until_learned(self, admin: aiohttp.ClientSession) -> None:
        """Until drift knows what is normal."""
        while True:
            async with admin.get("/api/v1/drift") as answer:
                [drift] = (await answer.json())["routes"]
            if drift["fields"] and drift["state"] != "learning":
                return
            await asyncio.sleep(0.25)

    async def _event(self, kind: str) -> ReceivedWebhook:
        """The first webhook of this type, once it is here."""
        await _until(lambda: bool(self._receiver.of_type(kind)))
        return self._receiver.of_type(kind)[0]

    async def _train(self) -> None:
        """What a training pipeline does when it is called: wait for enough recent data, train, register."""
        fresh = len(self.tally.known)
        await _until(lambda: all(scan.replaced for scan in self.tally.known))
        await asyncio.to_thread(train_on, list(self.tally.known), self._registry.file("2"))
        self.mark("trained", f"version 2 is trained on the last {fresh:,} scans, and registered")
        result = await self._registry.announce(self._stage.admin_url, "2", "demo-run-2", f"last {fresh} scans")
        self.times["announced"] = self.elapsed
        if result != "begun":
            self.mark("refused", f"the proxy says: {result}", "red")

    async def _tell(self, admin: aiohttp.ClientSession) -> None:
        """Post what scans really showed, a moment later, as people or time would tell."""
        while True:
            await asyncio.sleep(TRUTH_AFTER)
            some, self.tally.truths = self.tally.truths, []
            if some:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with admin.post("/api/v1/outcomes", json=some) as answer:
                        await answer.read()

    async def _show(self, admin: aiohttp.ClientSession) -> None:
        stage = ""
        while True:
            rollout: dict[str, Any] | None = None
            with suppress(aiohttp.ClientError, TimeoutError):
                async with admin.get(f"/api/v1/rollouts/{NAME}") as answer:
                    rollout = await answer.json() if answer.status == 200 else None
            name = "" if rollout is None else rollout["stage"]["name"]
            if rollout is not None and name != stage:
                stage = name
                self.mark(name, f"{name}: version {rollout['version']} answers {rollout['weight']:g} %")
            self._screen.status(self.elapsed, list(self._lines(rollout)))
            await asyncio.sleep(0.25)

    def _lines(self, rollout: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
        asked = sum(self.tally.asked.values())
        colour = "green" if self.tally.now > 0.9 else "red"
        yield (
            f"  {self.elapsed:5.1f} s  {asked:,} requests, of the last 400 {self.tally.now:.1%} answered right",
            colour,
        )
        for finding in (rollout or {}).get("findings", ()):
            if finding["guard"] == "max_quality_drop" and finding["segment"] is None:
                yield f"           {finding['reason']}", "dim"


async def _until(done: Callable[[], bool]) -> None:
    """Ask again and again: what is waited for happens in other processes, and the whole play has a deadline."""
    while not done():  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.05)


def broken(play: LoopPlay, receiver: Receiver, registry: DemoRegistry, untouched: bool) -> Iterator[str]:
    """The promises that did not hold, in words."""
    times, tally = play.times, play.tally
    for what in ("replaced", "alarm", "trained", "began", "shadow", "canary-10", "canary-50", "promoted", "after"):
        if what not in times:
            yield f"never came: {what}"
            return
    if times["alarm"] < times["replaced"] + 0.2:  # faster than any answer to the first new scan
        yield f"an alarm before anything drifted: {receiver.of_type('drift.detected')[0].data['reason']}"
    if times["began"] - times["announced"] > BEGINS_WITHIN:
        yield f"the trial began {times['began'] - times['announced']:.1f} s after the version was registered"
    if registry.champion != "2" or "promoted" not in registry.states["2"]:
        yield f"the champion is version {registry.champion}"
    if tally.errors:
        yield f"{len(tally.errors)} client errors, the first: {tally.errors[0]}"
    if tally.share(True, "next") < tally.share(False, "live") - 0.05:
        yield f"the new version reads {tally.share(True, 'next'):.1%} right"
    if receiver.forged or registry.forged:
        yield f"{receiver.forged + registry.forged} deliveries with a wrong signature"
    if not untouched:
        yield "somebody has touched the configuration file"
    if play.elapsed > PATIENCE:
        yield f"it took {play.elapsed:.0f} s"


async def play_loop(folder: Path, screen: Screen, keep: bool = False) -> dict[str, Any]:
    """Set the stage, go around once, say how it went; gives it as JSON values. With `keep` it all runs on at the end,
    with traffic, until a signal cancels us."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    receiver, plays = Receiver(secret), list[LoopPlay]()

    def told(version: str, state: str, alias: str) -> None:
        for play in plays:
            play.told(version, state, alias)

    registry = DemoRegistry(folder / "models", secret, told)
    runner, hook = await receiver.start()
    books, registry_url = await registry.start()
    try:
        async with Troupe(folder) as troupe:
            stage, config = await _set(folder, screen, troupe, receiver, registry, hook, registry_url, secret)
            before = hashlib.sha256(config.read_bytes()).digest()
            play = LoopPlay(stage, receiver, registry, screen)
            plays.append(play)
            await play.play()
            troupe.check()
            untouched = before == hashlib.sha256(config.read_bytes()).digest()
            result = _sum_up_loop(play, list(broken(play, receiver, registry, untouched)), screen)
            if keep:
                await play.go_on()
            return result
    finally:
        await runner.cleanup()
        await books.cleanup()


async def _set(
    folder: Path,
    screen: Screen,
    troupe: Troupe,
    receiver: Receiver,
    registry: DemoRegistry,
    hook: str,
    registry_url: str,
    secret: str,
) -> tuple[DemoStage, Path]:
    screen.say("Training version 1 on scans of today's scanner; starting its server and the proxy …", "dim")
    scanner = Scanner(1)
    train_on([scanner.scan() for _ in range(TRAINED_ON)], registry.file("1"))
    registry.point("1")
    models = await troupe.start_server("models", "proxy.demo.versions_server", "--folder", str(folder / "models"))
    data_port, admin_port = free_port(), free_port()
    config = folder / "understudy.yaml"
    config.write_text(render_loop(data_port, admin_port, hook, models, registry_url))
    environment = {"UNDERSTUDY_DEMO_SECRET": secret}
    proxy = await troupe.start("understudy", "proxy", "serve", "--config", str(config), environment=environment)
    stage = DemoStage(f"http://127.0.0.1:{data_port}", f"http://127.0.0.1:{admin_port}", receiver, None, screen)
    await stage.ready(proxy, 30.0)
    screen.say(
        "The registry is a small one of the demo's own, in MLflow's place; a real MLflow: docs/registry.md", "dim"
    )
    screen.say(f"  console: {stage.admin_url}/    {RATE:g} requests a second, one scanned digit each")
    screen.say()
    return stage, config


def _sum_up_loop(play: LoopPlay, problems: list[str], screen: Screen) -> dict[str, Any]:
    times, tally = play.times, play.tally
    right = {
        "live, old scanner": tally.share(False, "live"),
        "live, new scanner": tally.share(True, "live"),
        "version 2, new scanner": tally.share(True, "next"),
    }
    screen.say()
    screen.table([("answered right", ""), *((name, f"{share:.1%}") for name, share in right.items())])
    if not problems:
        steps = (("replaced", "alarm"), ("alarm", "trained"), ("announced", "began"), ("began", "promoted"))
        rows = [(f"{one} → {two}", f"{times[two] - times[one]:.1f} s") for one, two in steps]
        screen.table([("", "took"), *rows, ("all of it", f"{times['after']:.1f} s")])
    for problem in problems:
        screen.say(f"  failed check: {problem}", "red")
    screen.say(
        "All checks passed; nobody touched the YAML." if not problems else "A check failed.",
        "green" if not problems else "red",
    )
    seconds = {name: round(at, 2) for name, at in times.items()}
    return {
        "ok": not problems,
        "right": {k: round(v, 4) for k, v in right.items()},
        "seconds": seconds,
        "broken": problems,
    }
