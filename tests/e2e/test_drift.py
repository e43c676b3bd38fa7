"""Promise: a shift of what live is sent is found from live alone, reported once by a webhook, over a killed controller
and a restart too, until it is over; rollouts know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import orjson
import pytest
from aiohttp import web

from proxy.controller.admin.drift_schemas import DRIFT_EVENT
from tests.e2e.harness import Understudy, running, served

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
        jsonschema.validate(body["data"], DRIFT_EVENT)
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
