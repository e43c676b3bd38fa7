"""The whole program under test: `Understudy` starts it as a user would and talks to it from outside only."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml
from aiohttp import web
from click.testing import CliRunner

from proxy.cli import main

Rollout = dict[str, Any]


def route(name: str, live: str, candidate: str, stages: list[dict[str, Any]], **rollout: Any) -> dict[str, Any]:
    """A route `POST /NAME/infer` with one rollout, labels compared."""
    return {
        "name": name,
        "match": {"path": f"/{name}/infer", "methods": ["POST"]},
        "live": live,
        "prediction": {"protocol": "v2", "output": "predict", "kind": "label"},
        "rollouts": [{"candidate": candidate, "stages": stages, **rollout}],
    }


class Understudy:
    """A running `python -m proxy serve`; use `running` to start one."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, log: Path) -> None:
        self.folder, self.config = folder, folder / "understudy.yaml"
        self.process, self._log = process, log
        self.data_url = self.admin_url = self.grpc_address = ""
        self._admin: aiohttp.ClientSession | None = None

    @property
    def output(self) -> str:
        """All it wrote to standard error."""
        return self._log.read_text("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        found = []
        for line in self.output.splitlines():
            with suppress(orjson.JSONDecodeError):
                entry = orjson.loads(line)
                if entry.get("event") == name:
                    found.append(entry)
        return found

    async def _settle(self, within: float, alone: bool) -> None:
        """Wait until it is ready (if `alone`: serves); raises `AssertionError` with its output when it is not."""
        try:
            async with asyncio.timeout(within):
                while not (heard := self.events("listening")):
                    assert self.process.returncode is None, self.output
                    await asyncio.sleep(0.02)
                self.data_url, self.admin_url = f"http://{heard[0]['data']}", f"http://{heard[0]['admin']}"
                self.grpc_address = heard[0].get("grpc", "")
                self._admin = aiohttp.ClientSession(self.admin_url, timeout=aiohttp.ClientTimeout(total=5))
                while not await (self.takes_requests() if alone else self.is_ready()):
                    assert self.process.returncode is None, self.output
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not ready after {within} s:\n{self.output}") from None

    async def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        assert self._admin is not None
        try:
            async with self._admin.get("/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def takes_requests(self) -> bool:
        """Whether `/-/readyz` of the port for requests says that a balancer should send some."""
        try:
            async with aiohttp.request("GET", f"{self.data_url}/-/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """JSON of an admin path: GET, or POST with `body`; raises `aiohttp.ClientError` when it is refused."""
        assert self._admin is not None
        longest = aiohttp.ClientTimeout(total=60)  # a reload starts a process, however busy the machine is
        asked = self._admin.get(path) if body is None else self._admin.post(path, json=body, timeout=longest)
        async with asked as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)

    async def metrics(self) -> str:
        """The text of `/metrics`."""
        assert self._admin is not None
        async with self._admin.get("/metrics") as answer:
            return await answer.text()

    async def rollout(self, name: str) -> Rollout:
        """One rollout as the API shows it."""
        found: Rollout = await self.api(f"/api/v1/rollouts/{name}")
        return found

    async def until(self, name: str, done: Callable[[Rollout], bool], within: float = 30.0) -> Rollout:
        """The rollout as soon as `done(rollout)`; a controller that is away is waited for."""
        last: Rollout | None = None
        try:
            async with asyncio.timeout(within):
                while True:
                    with suppress(aiohttp.ClientError, OSError):
                        last = await self.rollout(name)
                        if done(last):
                            return last
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{name} after {within} s: {last}\n{self.output[-5000:]}") from None

    async def processes(self) -> dict[str, Any]:
        """The process tree."""
        tree: dict[str, Any] = await self.api("/api/v1/processes")
        return tree

    async def stop(self, number: int = signal.SIGTERM, within: float = 30.0) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def close(self) -> None:
        """End everything, however it stands."""
        if self._admin is not None:
            await self._admin.close()
        if self.process.returncode is None:
            with suppress(TimeoutError):
                await self.stop(signal.SIGINT)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def running(
    folder: Path,
    config: dict[str, Any],
    within: float = 60.0,
    environment: dict[str, str] | None = None,
    alone: bool = False,
) -> AsyncIterator[Understudy]:
    """Start the proxy in `folder` with `config`, on free ports, and end it afterwards. One that is `alone` finds no
    leader, and is only waited for until it serves its clients."""
    base = {"server": {"listen": "127.0.0.1:0", "workers": 2}, "admin": {"listen": "127.0.0.1:0"}}
    whole = {**base, "store": {"path": "understudy.db"}, **config}
    (folder / "understudy.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    log = folder / "understudy.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "serve", "--config", str(folder / "understudy.yaml")),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    understudy = Understudy(folder, process, log)
    try:
        await understudy._settle(within, alone)
        yield understudy
    finally:
        await understudy.close()


@asynccontextmanager
async def served(app: web.Application, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Where a server of a test's own listens, in its process; over TLS if there is a `context`."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"http{'s' * bool(context)}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def command_says(*words: str) -> tuple[int, str]:
    """The exit code and the standard output of a command, which runs in a thread here: a process of its own would
    import for most of a second."""
    told = await asyncio.to_thread(CliRunner().invoke, main, words, catch_exceptions=False)
    return told.exit_code, told.stdout
