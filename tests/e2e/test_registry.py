"""Promise: what a registry posts, signed, is tried within 5 s by every process of the tree; the newest replaces what
runs; whoever dies, it goes on; the registry hears each state of a version in order, under one `webhook-id` each, and
again only if the sender was killed; the file and the registry take turns, and who spoke last holds."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks.webhooks import Webhook

from tests.e2e.harness import Understudy, running, served
from tests.ports import free_port
from tests.registry_world import NAME, Versions, config, load

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
SIGNER = Webhook(SECRET)


class Registry:
    """Takes what is written to it, and events of webhooks, and checks each signature. A delivery that is repeated,
    since its sender was killed before it knew, has the same `webhook-id` and the same content; here it counts once."""

    def __init__(self) -> None:
        self.writes: dict[str, tuple[str, str, str]] = {}
        self.repeated = 0
        self.events: list[Any] = []
        self.down = False
        self.killed_at_first: asyncio.Future[Understudy] | None = (
            None  # its controller, before the first write is answered
        )

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_patch("/models/{model}/{version}", self._write)
        app.router.add_post("/events", self._event)
        return app

    async def _write(self, request: web.Request) -> web.Response:
        body = await request.read()
        SIGNER.verify(body, dict(request.headers))
        assert request.headers["x-api-key"] == "k3y-of-the-registry"
        if self.down:
            return web.Response(status=503)
        said = json.loads(body)
        written = (request.match_info["version"], said["state"], said["alias"])
        key = request.headers["webhook-id"]
        self.repeated += key in self.writes
        assert self.writes.setdefault(key, written) == written
        if (victim := self.killed_at_first) is not None:
            self.killed_at_first = None
            os.kill((await (await victim).processes())["controller"], signal.SIGKILL)
        return web.Response()

    @property
    def states(self) -> list[tuple[str, str, str]]:
        """What was written, in the order in which each came first."""
        return list(self.writes.values())

    async def _event(self, request: web.Request) -> web.Response:
        body = await request.read()
        SIGNER.verify(body, dict(request.headers))
        self.events.append(from_http_event(HTTPMessage(dict(request.headers), body)))
        return web.Response(status=204)


def registry(url: str) -> dict[str, Any]:
    write = {
        "url": f"{url}/models/{{model}}/{{version}}",
        "method": "PATCH",
        "headers": {"x-api-key": "k3y-of-the-registry"},
        "body": {"state": "{state}", "alias": "{alias}", "see": "{url}"},
    }
    http = {"secret": SECRET, "write": write, "page": f"{url}/{{model}}/{{version}}"}
    return {"http": http, "models": {"fraud model": {"upstream": "next", "promoted": "alias champion"}}}


def signed(body: bytes, delivery: str, at: float | None = None) -> dict[str, str]:
    when = time.time() if at is None else at
    signature = SIGNER.sign(delivery, datetime.fromtimestamp(when, UTC), body.decode())
    return {"webhook-id": delivery, "webhook-timestamp": str(int(when)), "webhook-signature": signature}


async def post(it: Understudy, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    url = f"{it.admin_url}/api/v1/hooks/registry"
    async with aiohttp.request("POST", url, data=body, headers={"content-type": "application/json"} | headers) as said:
        return said.status, await said.json(content_type=None)


async def name(it: Understudy, version: str, delivery: str) -> dict[str, Any]:
    body = json.dumps({"model": "fraud model", "version": version, "run": "run-1", "data": "d@1"}).encode()
    status, said = await post(it, body, signed(body, delivery))
    assert status == 200, said
    return said


async def began(it: Understudy, version: str, within: float = 5.0) -> dict[str, Any]:
    return await it.until(NAME, lambda rollout: rollout["version"] == version, within)


async def heard(it: Understudy, book: Registry, *wanted: tuple[str, str, str]) -> None:
    """Wait until the registry has heard this last."""
    await it.until(NAME, lambda _: tuple(book.states[-len(wanted) :]) == wanted, 30)


@pytest.mark.chaos
async def test_from_the_post_to_the_alias_with_the_kills_in_between(tmp_path: Path) -> None:
    versions, book = Versions("1", "2"), Registry()
    async with served(versions.app()) as models, served(book.app()) as url:
        whole = config(models, free_port(), registry(url))
        async with running(tmp_path, whole) as it, load(it.data_url) as seen:
            book.killed_at_first = victim = asyncio.get_running_loop().create_future()
            assert (await name(it, "2", "d-1"))["result"] == "begun"
            victim.set_result(it)
            rollout = await began(it, "2")
            assert rollout["lineage"] == {
                "registry": "http", "model": "fraud model", "version": "2", "run": "run-1", "data": "d@1",
                "url": f"{url}/fraud%20model/2",
            }  # fmt: skip
            await it.until(NAME, lambda one: one["version"] == "2" and book.repeated == 1)
            os.kill((await it.processes())["controller"], signal.SIGKILL)
            await it.until(NAME, lambda one: one["version"] == "2")
            os.kill((await it.processes())["workers"][0]["pid"], signal.SIGKILL)
            book.down = True
            await it.until(NAME, lambda one: one["state"] == "promoted", 60)
            assert versions.asked["2"] > 200
            os.killpg(it.process.pid, signal.SIGKILL)
            await it.process.wait()
        assert seen.keys() <= {200, 0}
        assert ("2", "promoted", "champion") not in book.states
        book.down = False
        async with running(tmp_path, whole) as it:
            await heard(it, book, ("2", "shadow", ""), ("2", "canary-20", ""), ("2", "promoted", "champion"))
            assert len(book.states) == 3, "each once"
            entries = (await it.api(f"/api/v1/rollouts/{NAME}/journal"))["journal"]
            assert entries[-1]["actor"] == "registry:http"
            assert (await name(it, "2", "d-2"))["result"] == "unchanged"


async def test_what_is_forged_old_repeated_or_of_another_changes_nothing(tmp_path: Path) -> None:
    versions = Versions("1")
    async with served(versions.app()) as models:
        whole = config(models, free_port(), {"http": {"secret": SECRET}, "models": {"m": {"upstream": "next"}}})
        async with running(tmp_path, whole) as it:
            body = b'{"model": "m", "version": "2"}'
            status, said = await post(it, body, signed(body, "d-1") | {"webhook-id": "d-2"})
            assert (status, SECRET in said["detail"]) == (401, False)
            status, _ = await post(it, body.replace(b"2", b"3"), signed(body, "d-1"))
            assert status == 401
            assert (await post(it, body, {}))[0] == 401
            status, said = await post(it, body, signed(body, "d-1", time.time() - 900))
            assert (status, "from now" in said["detail"]) == (401, True)
            other = b'{"model": "n", "version": "2"}'
            assert (await post(it, other, signed(other, "d-3")))[1]["result"] == "ignored"
            bad = b'{"model": "m", "version": "../2"}'
            status, said = await post(it, bad, signed(bad, "d-4"))
            assert (status, "version: expected" in said["detail"]) == (400, True)
            async with aiohttp.request("POST", f"{it.admin_url}/api/v1/hooks/mlflow", data=body) as refused:
                assert refused.status == 404
            assert (await it.api("/api/v1/registry"))["registry"]["models"][0]["version"] is None
            assert (await it.api("/api/v1/rollouts"))["rollouts"] == []
            headers = signed(body, "d-5")
            assert (await post(it, body, headers))[1]["result"] == "begun"
            assert (await post(it, body, headers))[1]["result"] == "repeated"
            late = b'{"model": "m", "version": "1"}'
            assert (await post(it, late, signed(late, "d-6", time.time() - 60)))[1]["result"] == "older"
            await began(it, "2")
            entries = (await it.api(f"/api/v1/rollouts/{NAME}/journal"))["journal"]
            assert [entry["kind"] for entry in entries if entry["kind"] != "not_ready"] == ["began"]


async def test_the_newest_replaces_what_runs_and_is_waited_for_until_its_server_has_it(tmp_path: Path) -> None:
    versions, book = Versions("1", "2"), Registry()
    async with served(versions.app()) as models, served(book.app()) as url:
        whole = config(models, free_port(), registry(url))
        async with running(tmp_path, whole) as it, load(it.data_url) as seen:
            await name(it, "2", "d-1")
            await it.until(NAME, lambda one: one["state"] == "canary", 60)
            await name(it, "3", "d-2")
            rollout = await began(it, "3")
            assert (rollout["weight"], rollout["ledger"]["compared"]) == (0, 0)
            waiting = await it.until(NAME, lambda one: "health check" in one["stage"]["waiting_for"])
            assert waiting["state"] == "shadow"
            versions.loaded.add("3")
            await it.until(NAME, lambda one: one["ledger"]["compared"] > 100)
            await heard(it, book, ("3", "shadow", ""), ("2", "superseded", ""))
        assert seen.keys() == {200}, "live answered all the while"


async def test_cloudevents_that_the_sdk_writes_are_read_and_ours_are_read_by_it(tmp_path: Path) -> None:
    versions, book = Versions("1"), Registry()
    async with served(versions.app()) as models, served(book.app()) as url:
        hook = {"secret": SECRET, "events": ["rollout.began"]}
        hooks = [
            hook | {"url": f"{url}/events?{way}", "template": way} for way in ("cloudevents", "cloudevents_binary")
        ]
        whole = config(models, free_port(), registry(url)) | {"webhooks": hooks}
        async with running(tmp_path, whole) as it:
            for version, write in (("2", to_structured_event), ("3", to_binary_event)):
                data = {"model": "fraud model", "version": version}
                message = write(CloudEvent({"type": "com.example.version", "source": "/registry"}, data))
                headers = {**message.headers, **signed(message.body, f"d-{version}")}
                status, said = await post(it, message.body, headers)
                assert (status, said["result"]) == (200, "begun")
                await began(it, version)
            await it.until(NAME, lambda _: len(book.events) == 4)
        for told in sorted(book.events, key=lambda one: str(one.get_time()))[2:]:
            assert (told.get_type(), told.get_subject()) == ("understudy.rollout.began", NAME)
            assert told.get_source() == f"{it.admin_url}/"
            data = told.get_data()
            assert (data["lineage"]["version"], data["replaces"]["version"]) == ("3", "2")


@pytest.mark.chaos
async def test_who_spoke_last_holds_the_file_or_the_registry_through_restarts(tmp_path: Path) -> None:
    versions = Versions("1", "5", "6", "7")
    async with served(versions.app()) as models:
        only = {"http": {"secret": SECRET}, "models": {"fraud model": {"upstream": "next"}}}
        whole = config(models, free_port(), only, version="5")
        async with running(tmp_path, whole) as it:
            await began(it, "5", 30)  # the file's, until the registry names one
            await name(it, "6", "d-1")
            await began(it, "6")
            it.process.send_signal(signal.SIGHUP)
            await it.until(NAME, lambda _: bool(it.events("config.reloaded")))
            assert (await it.rollout(NAME))["version"] == "6", "a reload of the same file says nothing"
        async with running(tmp_path, whole) as it:
            assert (await began(it, "6", 30))["lineage"]["registry"] == "http"
            whole["upstreams"]["next"]["version"] = "7"
            text = yaml.safe_load(it.config.read_text()) | {"upstreams": whole["upstreams"]}
            it.config.write_text(yaml.safe_dump(text, sort_keys=False))
            it.process.send_signal(signal.SIGHUP)
            assert (await began(it, "7", 30))["lineage"] is None
            shown = (await it.api("/api/v1/registry"))["registry"]["models"][0]
            assert (shown["version"], shown["named_by"], shown["seen"]) == ("7", "file", "6")
        async with running(tmp_path, whole) as it:
            await began(it, "7", 30)
            await name(it, "6", "d-2")
            assert (await began(it, "6"))["lineage"]["version"] == "6"
