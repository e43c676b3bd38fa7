"""What tests of a model registry need around it: a server with several versions of a model, and load on a route."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from tests.e2e.harness import route

log = logging.getLogger(__name__)
STAGES = [{"shadow": "100%", "min_pairs": 100}, {"canary": "20%", "min_pairs": 100}]
NAME = "r/next"


class Versions:
    """Versions of one model behind `/v{version}`, as a server that loads them one by one: `/v3/ready` is 404 before 3
    is there. Those in `wrong` answer another label. `asked` counts predictions by version."""

    def __init__(self, *loaded: str) -> None:
        self.loaded, self.wrong, self.asked = set(loaded), set[str](), Counter[str]()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v{version}/ready", self._ready)
        app.router.add_post("/v{version}/r/infer", self._infer)
        return app

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["version"] in self.loaded else 404)

    async def _infer(self, request: web.Request) -> web.Response:
        version = request.match_info["version"]
        if version not in self.loaded:
            return web.json_response({"error": f"no version {version}"}, status=404)
        self.asked[version] += 1
        value = (await request.json())["inputs"][0]["data"][0]
        label = value % 3 + (1 if version in self.wrong else 0)
        output = {"name": "predict", "shape": [1], "datatype": "INT64", "data": [label]}
        return web.json_response({"model_name": "m", "model_version": version, "outputs": [output]})


@asynccontextmanager
async def load(url: str, rate: float = 150.0) -> AsyncIterator[Counter[int]]:
    """Requests for the route; what was answered, by status (0: nothing was). A server that is away is asked again."""
    seen, numbers, under_way = Counter[int](), itertools.count(), set[asyncio.Task[None]]()

    async def ask(session: aiohttp.ClientSession, number: int) -> None:
        tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [number]}
        try:
            async with session.post(f"{url}/r/infer", json={"inputs": [tensor]}) as answer:
                await answer.read()
                seen[answer.status] += 1
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("request %d was not answered: %r", number, error)
            seen[0] += 1

    async def send() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            try:
                while True:
                    task = asyncio.create_task(ask(session, next(numbers)))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    await asyncio.sleep(1 / rate)
            finally:  # before the session closes, which would break them off
                await asyncio.gather(*under_way)

    sending = asyncio.create_task(send())
    try:
        yield seen
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def config(models: str, admin_port: int, registry: dict[str, Any], **upstream: Any) -> dict[str, Any]:
    """A route whose candidate's version a registry names, of a server of `Versions`."""
    guards = {"max_disagreement": "10%", "max_extra_errors": "10%", "p99_latency": "10s"}
    candidate = {
        "url": f"{models}/v{{version}}",
        "health": {"path": "/ready", "interval": "200ms"},
        "connect_timeout": "5s",
    }
    return {
        "admin": {"listen": f"127.0.0.1:{admin_port}"},
        "upstreams": {"live": {"url": f"{models}/v1", "connect_timeout": "5s"}, "next": {**candidate, **upstream}},
        "routes": [route("r", "live", "next", STAGES, guards=guards, latency_block="0s")],
        "registry": registry,
    }
