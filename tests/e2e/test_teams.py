"""Promise: teams change their files as Kubernetes mounts them, and the proxy follows without a signal; what is broken
is refused and told, and what ran runs on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.harness import Understudy, running, served

TEAM = """owner: team {name}
upstreams:
  {name}-v1: {{url: '{url}'}}
  {name}-v2: {{url: '{url}', version: "{version}", headers: {{set: {{x-key: '${{file:key}}'}}}}}}
routes:
  - name: {name}
    match: {{path: /{name}/*}}
    live: {name}-v1
    rollouts: [{{candidate: {name}-v2, shadow: 100%}}]
"""


class Mount:
    """A folder as the kubelet mounts a ConfigMap: links through `..data`, which turns from one version to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._version = folder, 0
        folder.mkdir()

    def turn(self, **files: str) -> None:
        """Show these files, all at one moment."""
        self._version += 1
        inner = self.folder / f"..version-{self._version}"
        inner.mkdir()
        for name, text in files.items():
            (inner / f"{name}.yaml").write_text(text)
        for name in files:
            link = self.folder / f"{name}.yaml"
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}.yaml")
        following = self.folder / "..data_tmp"
        following.symlink_to(inner.name)
        os.rename(following, self.folder / "..data")
        for link in self.folder.glob("*.yaml"):
            if not link.exists():
                link.unlink()


async def _ok(request: web.Request) -> web.Response:
    return web.Response(text=request.headers.get("x-key", "none"))


@asynccontextmanager
async def _house(folder: Path) -> AsyncIterator[tuple[Understudy, Mount, Callable[..., str]]]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", _ok)
    async with served(app) as url:

        def team(name: str, version: str = "1") -> str:
            return TEAM.format(name=name, url=url, version=version)

        (folder / "key").write_text("first\n")
        mount = Mount(folder / "teams")
        mount.turn(credit=team("credit"))
        config: dict[str, Any] = {
            "include": "teams/*.yaml",
            "server": {"listen": "127.0.0.1:0", "workers": 2, "watch": "100ms"},
            "upstreams": {"sorry": {"url": url, "headers": {"set": {"x-key": "${file:key}"}}}},
            "default": {"live": "sorry"},
        }
        async with running(folder, config) as understudy:
            yield understudy, mount, team


async def _until(understudy: Understudy, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    last: dict[str, Any] = {}
    try:
        async with asyncio.timeout(30):
            while not (last and done(last)):
                await asyncio.sleep(0.05)
                last = await understudy.api("/api/v1/config")
    except TimeoutError:
        raise AssertionError(f"{last}\n{understudy.output[-3000:]}") from None
    return last


async def _said(understudy: Understudy, path: str) -> str:
    async with aiohttp.request("GET", f"{understudy.data_url}{path}") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_a_team_comes_with_its_file_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    async with _house(tmp_path) as (understudy, mount, team):
        first = await understudy.api("/api/v1/config")
        assert (first["by"], first["refused"]) == ("start", None)
        assert first["files"] == [
            {"name": str(understudy.config), "owner": None}, {"name": "teams/credit.yaml", "owner": "team credit"},
        ]  # fmt: skip
        assert (await understudy.rollout("credit/credit-v2"))["owner"] == "team credit"

        mount.turn(credit=team("credit"), fraud=team("fraud"))
        second = await _until(understudy, lambda seen: seen["generation"] > first["generation"])
        assert (second["by"], second["refused"]) == ("watch", None)
        assert second["hash"] != first["hash"]
        assert await understudy.rollout("fraud/fraud-v2")

        mount.turn(credit=team("credit"), fraud=team("fraud").replace("live: fraud-v1", "live: fraud-v9"))
        third = await _until(understudy, lambda seen: seen["refused"] is not None)
        assert (third["hash"], third["by"], third["refused"]["by"]) == (second["hash"], "watch", "watch")
        assert "teams/fraud.yaml, line 8: routes[0].live: there is no upstream `fraud-v9`" in third["refused"]["error"]
        assert await understudy.rollout("fraud/fraud-v2")
        assert "understudy_config_last_reload_successful 0.0" in await understudy.metrics()
        await asyncio.sleep(0.5)  # several looks: it is tried once
        assert len(understudy.events("config.refused")) == 1

        mount.turn(credit=team("credit"))
        fourth = await _until(understudy, lambda seen: seen["refused"] is None)
        assert fourth["hash"] == first["hash"]
        assert "understudy_config_last_reload_successful 1.0" in await understudy.metrics()


@pytest.mark.chaos
async def test_a_key_that_changes_is_read_again_and_a_controller_that_died_knows_all_files(tmp_path: Path) -> None:
    async with _house(tmp_path) as (understudy, _mount, _team):
        assert await _said(understudy, "/other") == "first"
        before = await understudy.api("/api/v1/config")
        (tmp_path / "key").write_text("second\n")
        after = await _until(understudy, lambda seen: seen["generation"] > before["generation"])
        assert after["hash"] == before["hash"]  # what is filled in is no part of it
        assert await _said(understudy, "/other") == "second"
        os.kill((await understudy.processes())["controller"], signal.SIGKILL)
        await understudy.until("credit/credit-v2", lambda found: found["owner"] == "team credit")
        assert (await understudy.api("/api/v1/config"))["by"] == "watch"


async def test_who_had_it_read_again_is_told(tmp_path: Path) -> None:
    async with _house(tmp_path) as (understudy, _mount, _team):
        await understudy.api("/-/reload", {})
        assert (await understudy.api("/api/v1/config"))["by"].startswith("anonymous")
        understudy.process.send_signal(signal.SIGHUP)
        await _until(understudy, lambda seen: seen["by"] == "SIGHUP")
