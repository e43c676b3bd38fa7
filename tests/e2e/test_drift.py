"""Promise: a shift of what live is sent is found from live alone, reported once by a webhook, over a killed controller
and a restart too, until it is over; rollouts know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import orjson
import pytest
from aiohttp import web

from proxy.controller.admin.event_view import webhook_schema
from tests.e2e.fleets import fleet
from tests.e2e.harness import Understudy, running, served
from tests.postgres import Postgres

pytestmark = pytest.mark.slow
SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
WITHIN = 90.0


@asynccontextmanager
async def model() -> AsyncIterator[str]:
    """A model that scores an amount."""

    async def handle(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response({"score": 1.0 / (1.0 + 100.0 / max(1.0, asked["amount"]))})

    app = web.Application()
    app.router.add_post("/score", handle)
    async with served(app) as url:
        yield url


class Receiver:
    """A webhook receiver; `events` by id, so that repeats do not count."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}

    async def hear(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self.events[request.headers["webhook-id"]] = body
        jsonschema.validate(body, webhook_schema())
        return web.Response()

    def of(self, kind: str, field: str = "amount") -> list[dict[str, Any]]:
        return [e["data"] for e in self.events.values() if e["type"] == kind and e["data"]["field"] == field]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/hook", self.hear)
        async with served(app) as url:
            yield f"{url}/hook"


class Traffic:
    """Requests without end; `mean` is that of their amounts."""

    def __init__(self, url: str) -> None:
        self.mean, self._url, self._dice = 100.0, url, random.Random(7)
        self.failed = self.answered = 0

    async def run(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._ask(session) for _ in range(4)))

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        while True:
            body = {"amount": self._dice.gauss(self.mean, 20.0)}
            headers = {"x-country": self._dice.choice(["DE", "FR", "FR"])}
            try:
                async with session.post(f"{self._url}/score", json=body, headers=headers) as answer:
                    self.answered += answer.status == 200
                    self.failed += answer.status != 200
            except aiohttp.ClientError:
                self.failed += 1


@asynccontextmanager
async def traffic(proxy: Understudy) -> AsyncIterator[Traffic]:
    """Requests meanwhile; nobody of them may fail."""
    one = Traffic(proxy.data_url)
    asking = asyncio.create_task(one.run())
    try:
        yield one
        assert one.failed == 0
    finally:
        asking.cancel()


def config(live: str, hook: str, **more: Any) -> dict[str, Any]:
    drift = {
        "inputs": {
            "amount": {"pointer": "/amount", "kind": "number"},
            "country": {"header": "x-country", "kind": "label"},
        },
        "predictions": True,
        "reference": {"first": 300},
        "observations_per_second": 200,
    }
    route = {
        "name": "fraud",
        "live": "v1",
        "prediction": {"protocol": "json", "pointer": "/score", "kind": "score"},
        "drift": drift,
        **more,
    }
    return {
        "upstreams": {"v1": {"url": live}, "v2": {"url": live}},
        "routes": [route],
        "webhooks": [{"url": hook, "secret": SECRET, "events": ["drift.detected", "drift.ended"]}],
    }


async def until(done: Callable[[], Any], what: str, proxy: Understudy) -> Any:
    try:
        async with asyncio.timeout(WITHIN):
            while not (found := done()):  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.05)
            return found
    except TimeoutError:
        raise AssertionError(f"{what}\n{proxy.output[-5000:]}") from None


async def drift(proxy: Understudy, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The route's drift as soon as it is `done`; a controller that is away is waited for."""
    last: Any = None
    try:
        async with asyncio.timeout(WITHIN):
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    last = await proxy.api("/api/v1/drift/fraud")
                    if done(last):
                        return dict(last)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{last}\n{proxy.output[-5000:]}") from None


async def kill_controller(proxy: Understudy) -> None:
    pid = (await proxy.processes())["controller"]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(WITHIN):
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                if (await proxy.processes())["controller"] != pid:
                    return
            await asyncio.sleep(0.05)


async def test_a_shift_is_found_reported_once_and_ended(tmp_path: Path) -> None:
    receiver = Receiver()
    async with (
        model() as live,
        receiver.listening() as hook,
        running(tmp_path, config(live, hook)) as proxy,
        traffic(proxy) as it,
    ):
        await drift(proxy, lambda found: found["state"] == "steady")
        it.mean = 150.0
        (found,) = await until(lambda: receiver.of("drift.detected"), "no drift.detected", proxy)
        assert found["effect"]["low"] > 0
        await kill_controller(proxy)  # what was saved is taken up: nothing is reported twice, nothing is forgotten
        again = await drift(proxy, lambda found: found["fields"])
        fields = {one["field"]: one for one in again["fields"]}
        assert fields["amount"]["state"] == "drifting"
        assert fields["amount"]["alarm"]["id"] == found["alarm"]
        assert fields["country"]["state"] == "steady"
        it.mean = 100.0
        (over,) = await until(lambda: receiver.of("drift.ended"), "no drift.ended", proxy)
        assert (over["alarm"], len(receiver.of("drift.detected"))) == (found["alarm"], 1)
        journal = await proxy.api("/api/v1/drift/fraud/journal")
        kinds = [entry["kind"] for entry in reversed(journal["journal"]) if entry["detail"].get("field") == "amount"]
        assert kinds == ["drift_detected", "drift_ended"]


async def test_in_a_fleet_the_leader_watches_and_another_goes_on(tmp_path: Path, postgres: Postgres) -> None:
    """All requests come to a standby; when the leader is killed, it leads, and knows of the alarm."""
    receiver = Receiver()
    async with (
        model() as live,
        receiver.listening() as hook,
        fleet(tmp_path, postgres.url, config(live, hook), replicas=2, lease="2s") as replicas,
    ):
        leader = await replicas.settled()
        (standby,) = await replicas.standbys()
        async with traffic(standby) as it:
            await drift(standby, lambda found: found["state"] == "steady")
            it.mean = 150.0
            (found,) = await until(lambda: receiver.of("drift.detected"), "no drift.detected", leader)
            for one in (leader, standby):  # a standby asks the leader
                shown = await drift(one, lambda found: found["state"] == "drifting")
                assert [f["alarm"]["id"] for f in shown["fields"] if f["field"] == "amount"] == [found["alarm"]]
            os.killpg(leader.process.pid, signal.SIGKILL)
            await replicas.leader(but=leader)
            shown = await drift(standby, lambda found: found["fields"])
            assert [f["alarm"]["id"] for f in shown["fields"] if f["field"] == "amount"] == [found["alarm"]]
            it.mean = 100.0
            (over,) = await until(lambda: receiver.of("drift.ended"), "no drift.ended", standby)
            assert (over["alarm"], len(receiver.of("drift.detected"))) == (found["alarm"], 1)


async def test_a_rollout_goes_its_way_while_live_drifts_and_what_is_normal_can_be_changed(tmp_path: Path) -> None:
    receiver = Receiver()
    stages = [{"shadow": "100%", "min_pairs": 50}, {"canary": "50%", "min_pairs": 50}]
    guards = {"max_extra_errors": "20%", "max_response_mismatch": "20%"}
    rollout = {"candidate": "v2", "stages": stages, "guards": guards, "latency_block": "0s"}
    async with (
        model() as live,
        receiver.listening() as hook,
        running(tmp_path, config(live, hook, rollouts=[rollout])) as proxy,
        traffic(proxy) as it,
    ):
        # The candidate may serve all before live has answered often enough for its predictions to be known.
        await drift(proxy, lambda found: {f["state"] for f in found["fields"] if f["source"] == "input"} == {"steady"})
        it.mean = 150.0
        await until(lambda: receiver.of("drift.detected"), "no drift.detected", proxy)
        done = await proxy.until("fraud/v2", lambda found: found["state"] == "promoted", within=WITHIN)
        assert done["weight"] == 100.0
        shown = await drift(proxy, lambda found: True)
        inputs = [one for one in shown["fields"] if one["source"] == "input"]
        assert {one["field"]: one["state"] for one in inputs} == {"amount": "drifting", "country": "steady"}
        said = await command(proxy, "drift")
        assert "amount" in said
        assert "drifting" in said
        assert "drift: fraud: amount since" in await command(proxy, "status")
        await command(proxy, "drift", "accept", "fraud", "amount", "--reason", "new tariff")
        (over,) = await until(lambda: receiver.of("drift.ended"), "no drift.ended", proxy)
        assert over["reason"].startswith("amount: accepted by ")
        await drift(proxy, lambda found: found["fields"][0]["state"] == "steady")  # of what the candidate serves, too
        assert "no drift of a route `frau` (did you mean `fraud`?)" in await command(
            proxy, "drift", "accept", "frau", "--reason", "x", fails=True
        )


async def command(proxy: Understudy, *words: str, fails: bool = False) -> str:
    """What the command line says."""
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", *words, "--admin", proxy.admin_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(done.communicate(), WITHIN)
    assert (done.returncode != 0) == fails, said
    return said.decode()
