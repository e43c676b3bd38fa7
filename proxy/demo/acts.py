"""The three acts: what each shows, how it is watched, and the promises it is held to.

A promise is checked at the client or against the admin API, never against the demo's own expectation of what the proxy
did: what counts is the answers a client got, which arm they came from, and the signed webhooks that arrived.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

from proxy.demo.digits import DigitRequest, Studio
from proxy.demo.processes import DemoProcess
from proxy.demo.receiver import Receiver
from proxy.demo.screen import Screen
from proxy.demo.traffic import Seen, Traffic

RATE = 250.0
"""Requests per second."""
PATIENCE = 60.0
"""Seconds an act may take to its end."""
AFTERMATH = 2.0
"""Seconds that traffic goes on after the end, to see who answers then."""
GRACE = 0.5
"""Seconds after the API first says `rolled_back` in which an answer of the candidate may still have been on its way."""
DELIVERY = 10.0
"""Seconds a webhook may take."""
COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


@dataclass(frozen=True, slots=True)
class Act:
    """One act: a route with one rollout, and how it must end."""

    title: str
    story: str
    route: str
    candidate: str
    model: str
    flags: tuple[str, ...]
    end: str
    reaches: str
    events: tuple[str, ...]

    @property
    def rollout(self) -> str:
        """The rollout's name."""
        return f"{self.route}/{self.candidate}"


ACTS = (
    Act(
        title="Act 1: a better model",
        story="Live is a logistic regression, the candidate a support vector machine, which is better.",
        route="better",
        candidate="svm",
        model="svm",
        flags=(),
        end="promoted",
        reaches="canary-50",
        events=("rollout.advanced", "rollout.promoted"),
    ),
    Act(
        title="Act 2: the same model, deployed wrongly",
        story="Trained on scaled pixels, served raw ones. Every answer is well formed, fast, and wrong.",
        route="skewed",
        candidate="svm-raw-pixels",
        model="svm",
        flags=("--raw-pixels",),
        end="rolled_back",
        reaches="shadow",
        events=("rollout.rolled_back",),
    ),
    Act(
        title="Act 3: correct in shadow, broken as a canary",
        story="It writes an audit log for real requests, not for copies, and the log's disk is full.",
        route="failing",
        candidate="svm-audited",
        model="svm",
        flags=("--audit-log-broken",),
        end="rolled_back",
        reaches="canary-10",
        events=("rollout.advanced", "rollout.rolled_back"),
    ),
)


@dataclass(slots=True)
class Tally:
    """What the client counted in one act."""

    candidate: str
    requests: int = 0
    by_candidate: int = 0
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0
    last_by_candidate: float = float("-inf")

    def add(self, seen: Seen[DigitRequest]) -> None:
        """Count one answer, and check that it is what the model that gave it predicts."""
        self.requests += 1
        self.slowest = max(self.slowest, seen.seconds)
        if seen.served_by == self.candidate:
            self.by_candidate += 1
            self.last_by_candidate = max(self.last_by_candidate, seen.due)
        if problem := _problem(seen, "svm" if seen.served_by == self.candidate else "logistic"):
            self.errors.append(problem)


def _problem(seen: Seen[DigitRequest], model: str) -> str:
    """What is wrong with an answer; empty when it is the label that `model` must give."""
    if seen.status != 200:
        return seen.error or f"status {seen.status}: {seen.body[:200]!r}"
    try:
        labels = tuple(orjson.loads(seen.body)["outputs"][0]["data"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"unreadable answer: {error!r}"
    right = seen.asked.expected[model]
    return "" if labels == right else f"{seen.served_by} answered {labels}, {model} says {right}"


@dataclass(frozen=True, slots=True)
class ActResult:
    """How an act went. `broken` lists the promises it did not keep."""

    act: Act
    state: str
    seconds: float
    pairs: int
    tally: Tally
    fallbacks: int
    to_zero: float | None
    broken: tuple[str, ...]

    @property
    def facts(self) -> dict[str, str]:
        """Its column in the summary."""
        tally = self.tally
        return {
            "": self.act.title.split(":")[0],
            "candidate": self.act.candidate,
            "end": self.state,
            "pairs needed": f"{self.pairs:,}",
            "requests": f"{tally.requests:,}",
            "answered by the candidate": f"{tally.by_candidate:,}",
            "answered by live instead": f"{self.fallbacks:,}",
            "errors a client saw": f"{len(tally.errors):,}",
            "slowest answer": f"{tally.slowest * 1000:.0f} ms",
            "from verdict to weight 0": "" if self.to_zero is None else f"{self.to_zero * 1000:.0f} ms",
        }

    def report(self) -> dict[str, Any]:
        """The same as JSON values, times in seconds, with the promises that were broken."""
        tally = self.tally
        return {
            "rollout": self.act.rollout,
            "title": self.act.title,
            "state": self.state,
            "expected": self.act.end,
            "seconds": round(self.seconds, 3),
            "pairs": self.pairs,
            "requests": tally.requests,
            "by_candidate": tally.by_candidate,
            "fallbacks": self.fallbacks,
            "client_errors": len(tally.errors),
            "slowest_seconds": round(tally.slowest, 4),
            "to_weight_0_seconds": self.to_zero,
            "broken": list(self.broken),
        }


class DemoStage:
    """Where acts are played: a running proxy, its admin API, the webhook receiver and the screen."""

    def __init__(
        self, data_url: str, admin_url: str, receiver: Receiver, studio: Studio | None, screen: Screen
    ) -> None:
        self.data_url, self.admin_url = data_url, admin_url
        self._receiver, self._studio, self._screen = receiver, studio, screen

    async def ready(self, proxy: DemoProcess, within: float) -> None:
        """Return when the proxy is ready; raises `ChildError` when it ends first or is not within `within` seconds."""
        async with aiohttp.ClientSession(self.admin_url, timeout=aiohttp.ClientTimeout(total=1)) as admin:
            await proxy.until(lambda: _is_ready(admin), within)

    def traffic(
        self, act: Act, seed: int, rate: float, on_seen: Callable[[Seen[DigitRequest]], None]
    ) -> Traffic[DigitRequest]:
        """Requests for an act's route, `rate` a second, drawn by `seed`."""
        studio = self._studio
        assert studio is not None
        source = random.Random(seed)  # noqa: S311 - draws digits
        url = f"{self.data_url}/v2/models/{act.route}/infer"
        return Traffic(url, rate, lambda: studio.draw(source), lambda request: request.body, on_seen)

    async def play(self, act: Act, seed: int) -> ActResult:
        """Play one act to its end, or for `PATIENCE` seconds."""
        loop = asyncio.get_running_loop()
        tally = Tally(act.candidate)
        traffic = self.traffic(act, seed, RATE, tally.add)
        started = loop.time()
        async with aiohttp.ClientSession(self.admin_url, timeout=aiohttp.ClientTimeout(total=10)) as admin:
            sending = asyncio.create_task(traffic.run())
            try:
                rollout, names = await self._watch(admin, act, tally, started)
                ended = loop.time()
                await asyncio.sleep(AFTERMATH)
            finally:
                traffic.stop()
                await sending
            deliveries = [await self._receiver.wait_for(act.rollout, event, DELIVERY) for event in act.events]
            metrics = await _metrics(admin, act.rollout)
        broken = list(_broken(act, rollout, names, tally, ended))
        broken += [f"no {e} webhook" for e, d in zip(act.events, deliveries, strict=True) if d is None]
        broken += [f"{self._receiver.forged} webhooks with a wrong signature"] if self._receiver.forged else []
        if act.end == "rolled_back" and metrics.to_zero is None:
            broken.append("no rollback_duration_seconds was measured")
        return ActResult(
            act=act,
            state=rollout["state"],
            seconds=ended - started,
            pairs=rollout["ledger"]["compared"],
            tally=tally,
            fallbacks=metrics.fallbacks,
            to_zero=metrics.to_zero,
            broken=tuple(broken),
        )

    async def _watch(
        self, admin: aiohttp.ClientSession, act: Act, tally: Tally, started: float
    ) -> tuple[dict[str, Any], list[str]]:
        """Follow the rollout to its end; gives its last state and the names of the stages it was seen in."""
        loop, names = asyncio.get_running_loop(), list[str]()
        while True:
            rollout = await _rollout(admin, act)
            name = rollout["stage"]["name"] if rollout["state"] in ("shadow", "canary") else rollout["state"]
            elapsed = loop.time() - started
            if not names or names[-1] != name:
                names.append(name)
                self._screen.keep()
                self._screen.say(f"  {elapsed:5.1f} s  {name}: the candidate answers {rollout['weight']:g} %", "bold")
            self._screen.status(elapsed, list(_status_lines(rollout, tally, elapsed)))
            if rollout["state"] in ("promoted", "rolled_back") or elapsed > PATIENCE:
                self._screen.keep()
                return rollout, names
            await asyncio.sleep(0.25)


@dataclass(frozen=True, slots=True)
class _Metrics:
    fallbacks: int
    to_zero: float | None


async def _is_ready(admin: aiohttp.ClientSession) -> bool:
    try:
        async with admin.get("/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _rollout(admin: aiohttp.ClientSession, act: Act) -> dict[str, Any]:
    async with admin.get(f"/api/v1/rollouts/{act.route}/{act.candidate}") as answer:
        answer.raise_for_status()
        rollout: dict[str, Any] = await answer.json()
        return rollout


async def _metrics(admin: aiohttp.ClientSession, rollout: str) -> _Metrics:
    async with admin.get("/metrics") as answer:
        text = await answer.text()
    fallbacks, count, total = 0, 0.0, 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("rollout") != rollout:
                continue
            if sample.name == "understudy_fallbacks_total":
                fallbacks += int(sample.value)
            elif sample.name == "understudy_rollback_duration_seconds_count":
                count = sample.value
            elif sample.name == "understudy_rollback_duration_seconds_sum":
                total = sample.value
    return _Metrics(fallbacks, total / count if count else None)


def _status_lines(rollout: dict[str, Any], tally: Tally, elapsed: float) -> Iterator[tuple[str, str]]:
    ledger = rollout["ledger"]
    yield (
        f"  {elapsed:5.1f} s  {ledger['compared']:,} pairs compared, {tally.requests:,} requests, "
        f"{tally.by_candidate:,} answered by the candidate, {len(tally.errors)} client errors",
        "dim",
    )
    for finding in rollout["findings"]:
        if finding["segment"] is None:
            yield (
                f"           {finding['reason']}",
                COLOURS[finding["verdict"]],
            )


def _broken(act: Act, rollout: dict[str, Any], names: list[str], tally: Tally, ended: float) -> Iterator[str]:
    """The promises of an act that did not hold, in words."""
    if rollout["state"] != act.end:
        yield f"ended {rollout['state']}, not {act.end}"
    if act.reaches not in names:
        yield f"never seen in {act.reaches}, only in {', '.join(names)}"
    if tally.errors:
        yield f"{len(tally.errors)} client errors, the first: {tally.errors[0]}"
    if act.end == "promoted" and tally.by_candidate == 0:
        yield "the promoted candidate answered nobody"
    if act.reaches == "shadow" and tally.by_candidate:
        yield f"the candidate answered {tally.by_candidate} requests from shadow"
    if act.end == "rolled_back" and tally.last_by_candidate > ended + GRACE:
        yield "the candidate still answered after it was rolled back"
