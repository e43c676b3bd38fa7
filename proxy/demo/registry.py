"""A model registry of the demo's own, in MLflow's place: versions are files, an alias is a file, and what Understudy
says of a version is kept in memory.

It speaks what any registry other than MLflow may: a signed JSON body in, a template out (docs/registry.md). A real
MLflow is what `make test-servers` uses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import orjson
from aiohttp import web

from proxy.demo.receiver import verify
from proxy.demo.scans import CHAMPION

MODEL = "digits"


class DemoRegistry:
    """Versions in `folder`. `on_state` is told (version, state, alias) as the proxy writes them."""

    def __init__(self, folder: Path, secret: str, on_state: Callable[[str, str, str], None]) -> None:
        self._folder, self._secret, self._on_state = folder, secret, on_state
        self.forged = 0
        self.states: dict[str, list[str]] = {}
        """What was said of each version, in order."""
        folder.mkdir(exist_ok=True)

    def file(self, version: str) -> Path:
        """Where a version's model is."""
        return self._folder / f"{MODEL}-{version}.pickle"

    @property
    def champion(self) -> str:
        """The version that the alias points to."""
        return (self._folder / CHAMPION).read_text()

    def point(self, version: str) -> None:
        """Let the alias point to a version."""
        part = self._folder / f"{CHAMPION}.part"
        part.write_text(version)
        part.replace(self._folder / CHAMPION)

    async def announce(self, admin_url: str, version: str, run: str, data: str) -> str:
        """Tell the proxy of a new version, signed; what it says comes of it."""
        body = orjson.dumps({"model": MODEL, "version": version, "run": run, "data": data})
        name, at = f"version-{version}", int(time.time())
        digest = hmac.digest(
            base64.b64decode(self._secret.removeprefix("whsec_")), f"{name}.{at}.".encode() + body, hashlib.sha256
        )
        headers = {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(at),
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }
        url = f"{admin_url}/api/v1/hooks/registry"
        async with aiohttp.request("POST", url, data=body, headers=headers) as answer:
            answer.raise_for_status()
            return str((await answer.json())["result"])

    async def write(self, request: web.Request) -> web.Response:
        """PATCH /models/{model}/versions/{version}: what became of it."""
        body = await request.read()
        if not verify(request.headers, body, self._secret, time.time()):
            self.forged += 1
            return web.Response(status=401)
        said, version = orjson.loads(body), request.match_info["version"]
        self.states.setdefault(version, []).append(said["state"])
        if said["alias"] == CHAMPION:
            self.point(version)
        self._on_state(version, said["state"], said["alias"])
        return web.Response(status=204)

    async def start(self) -> tuple[web.AppRunner, str]:
        """Listen on a free loopback port; gives the runner (to clean up) and the URL."""
        app = web.Application()
        app.router.add_patch("/models/{model}/versions/{version}", self.write)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
