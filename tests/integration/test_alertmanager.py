"""Promise: the `alertmanager` template is what a real Alertmanager sends (payload version 4), field by field, so that a
receiver written for one understands the other."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web

from proxy.controller.webhooks.policy import WebhookEvent, alertmanager
from tests.e2e.harness import served

BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

pytestmark = pytest.mark.skipif(BINARY is None, reason="needs Debian's prometheus-alertmanager")

DATA = {"rollout": "credit/v2", "route": "credit", "live": "v1", "candidate": "v2", "version": "7", "findings": []}


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, asyncio.Queue[dict[str, Any]]]]:
    """A webhook receiver: its URL and what it got."""
    got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        got.put_nowait(orjson.loads(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    async with served(app) as url:
        yield f"{url}/", got


@asynccontextmanager
async def running_alertmanager(folder: Path, hook: str) -> AsyncIterator[str]:
    """A real Alertmanager that sends everything to `hook` at once; its URL."""
    config = {
        "route": {"receiver": "hook", "group_wait": "0s", "group_interval": "1s", "group_by": ["alertname"]},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": hook}]}],
    }
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    log = folder / "alertmanager.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(BINARY),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(30):
            while not (port := re.search(r'"?Listening on"? address=\S*?:(\d+)', log.read_text())):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port[1]}"
    finally:
        process.terminate()
        await process.wait()


async def theirs(folder: Path) -> dict[str, Any]:
    """What a real Alertmanager posts for one firing alert."""
    alert = {
        "labels": {"alertname": "Test", "severity": "critical"},
        "annotations": {"summary": "s"},
        "startsAt": "2026-11-20T10:00:00Z",
        "generatorURL": "http://127.0.0.1/",
    }
    async with receiver() as (hook, got), running_alertmanager(folder, hook) as url, aiohttp.ClientSession() as session:
        async with asyncio.timeout(20):
            async with session.post(f"{url}/api/v2/alerts", json=[alert]) as answer:
                assert answer.status == 200
            return await got.get()


def shape(value: Any) -> Any:
    """Keys and types of a JSON value; labels and annotations are free-form texts."""
    if isinstance(value, dict):
        free = all(isinstance(item, str) for item in value.values()) and "status" not in value
        return "texts" if free else {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


async def test_our_payload_has_the_shape_of_theirs(tmp_path: Path) -> None:
    real = await theirs(tmp_path)
    ours = orjson.loads(orjson.dumps(alertmanager(WebhookEvent("e", "rollout.rolled_back", 1_700_000_000.0, DATA))))
    assert shape(ours) == shape(real)
    assert ours["version"] == real["version"] == "4"
    assert ours["status"] == real["status"] == "firing"
    assert ours["alerts"][0]["endsAt"] == real["alerts"][0]["endsAt"]
    assert re.fullmatch(r"[0-9a-f]{16}", ours["alerts"][0]["fingerprint"])
    assert re.fullmatch(r"[0-9a-f]{16}", real["alerts"][0]["fingerprint"])


async def test_a_real_alertmanager_takes_our_alerts_as_its_own(tmp_path: Path) -> None:
    event = WebhookEvent("e", "rollout.rolled_back", 1_700_000_000.0, DATA | {"console_url": "http://127.0.0.1:9090/"})
    [alert] = alertmanager(event)["alerts"]
    posted = {key: alert[key] for key in ("labels", "annotations", "startsAt", "generatorURL")}
    async with receiver() as (hook, got), running_alertmanager(tmp_path, hook) as url:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/api/v2/alerts", json=[posted]) as answer:
            assert answer.status == 200, await answer.text()
        async with asyncio.timeout(20):
            passed_on = await got.get()
    assert passed_on["alerts"][0]["labels"] == alert["labels"]
    assert passed_on["alerts"][0]["annotations"] == alert["annotations"]
