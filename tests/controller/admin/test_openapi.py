"""Promise: the description names every route and nothing else, and every field of every answer of a real controller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from proxy.controller.admin import application
from proxy.controller.admin.interface import ACTIONS
from proxy.controller.admin.openapi import api_document
from proxy.controller.webhooks.outbox import Sender
from proxy.model import Outcome
from tests.controller.admin.clients import Client
from tests.controller.controllers import config_text, desk_of, eventually, running, trial_of
from tests.controller.worker import FakeWorker
from tests.predictions import language_examples as examples

ROLLOUT = "/api/v1/rollouts/{route}/{candidate}"
RICH = "mirror: {max_tokens_per_minute: 9}\n        record: {path: p.jsonl}\n        consecutive_failures"


async def test_every_route_is_described_and_every_description_is_a_route(client: Client) -> None:
    served = set()
    for route in client.server.app.router.routes():  # type: ignore[attr-defined]
        path = route.resource.canonical if route.resource else ""
        if route.method == "HEAD" or path in ("/", "/console/{path}"):
            continue
        actions = ACTIONS if "{action}" in path else ("",)
        served |= {(re.sub(r"\{action\}", action, path), route.method.lower()) for action in actions}
    described = {
        (path, method) for path, item in api_document()["paths"].items() for method in item if method != "parameters"
    }
    assert served == described


async def test_the_description_is_served(client: Client) -> None:
    assert await (await client.get("/api/v1/openapi.json")).json() == api_document()


def closed(schema: Any) -> Any:
    """A schema that takes no field it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return found | ({"additionalProperties": False} if isinstance(found.get("properties"), dict) else {})


async def check(answer: ClientResponse, path: str, method: str = "get") -> Any:
    """The JSON of an answer, which must be as described."""
    responses = api_document()["paths"][path][method]["responses"]
    assert str(answer.status) in responses, (path, answer.status)
    described = responses[str(answer.status)]
    if "$ref" in described:
        described = api_document()["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    schema = described["content"][answer.content_type]["schema"]
    value = await answer.json(content_type=None)
    whole = {"components": closed(api_document()["components"]), **closed(schema)}
    jsonschema.Draft202012Validator(whole).validate(value)
    return value


@pytest.mark.usefixtures("quick")
async def test_answers_of_a_real_controller_hold_what_is_described_and_no_more(tmp_path: Path) -> None:
    signed = 'signed_off_at: "2026-01-01T00:00:00Z", version:'
    text = config_text().replace("consecutive_failures", RICH).replace("version:", signed)
    async with running(tmp_path, text) as controller:
        worker, service = await FakeWorker(tmp_path).connect(), desk_of(controller)
        tree = {"supervisor": 1, "controller": 2, "workers": [{"slot": 0, "pid": 1, "started": 1.0}], "restarts": {}}
        refused = {"error": "line 3: …", "at": 2.0, "by": "watch"}
        config = {"hash": "0f3a", "generation": 2, "loaded": 1.0, "by": "SIGHUP", "source": "u.yaml", "files": []}
        tree |= {"leaving": [], "config": config | {"refused": refused}}
        service.tree(tree | {"draining": False})
        worker.bad(trial_of(controller), 20)
        worker.counts(trial_of(controller))
        await eventually(lambda: controller.trials["r/c"].ledger.compared == 20)
        sender = Sender(service)
        sender.start()
        async with TestClient(TestServer(application(service, sender))) as client:
            for path in api_document()["paths"]:
                if "get" in api_document()["paths"][path] and path not in ("/metrics", "/api/v1/events"):
                    await check(await client.get(path.format(route="r", candidate="c", pair="p")), path)
                    if "{route}" in path:
                        await check(await client.get(path.format(route="r", candidate="x", pair="p")), path)
            for action in ("pause", "resume", "promote", "abort", "retry", "retry"):
                answer = await client.post(f"/api/v1/rollouts/r/c/{action}")
                await check(answer, f"{ROLLOUT}/{action}", "post")
            outcome = {"id": "w0-1", "label": 1}
            several = [outcome, {"key": "user-1", "name": "conversion", "value": 1}]
            await check(await client.post("/api/v1/outcomes", json=several), "/api/v1/outcomes", "post")
            await check(await client.post("/api/v1/outcomes", data=b"{"), "/api/v1/outcomes", "post")
            await check(await client.post("/-/reload"), "/-/reload", "post")
        await sender.stop()
        worker.disconnect()


def _streams() -> list[Outcome]:
    """What two language models answer: one refuses, and each calls a tool with another argument."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    calls = [[{"id": "c", "function": {"name": "f", "arguments": f'{{"a": {n}}}'}}] for n in (1, 2)]
    messages = [
        {"content": text, "tool_calls": call}
        for text, call in zip(("I cannot help with that.", "Four."), calls, strict=True)
    ]
    bodies = [examples.sse(examples.chat_stream(one, list, usage={"completion_tokens": 7})) for one in messages]
    return [Outcome(200, head=head, body=body, seconds=0.2, first=0.1) for body in bodies]


@pytest.mark.usefixtures("quick")
async def test_what_language_models_said_is_as_described(tmp_path: Path) -> None:
    reads = "prediction: {protocol: openai, kind: text}"
    text = config_text().replace("prediction: {protocol: v2, output: y, kind: label}", reads)
    async with running(tmp_path, text) as controller:
        worker, service = await FakeWorker(tmp_path).connect(), desk_of(controller)
        pair = worker.send(trial_of(controller), *_streams())
        worker.counts(trial_of(controller))
        await eventually(lambda: controller.trials["r/c"].ledger.compared == 1)
        async with TestClient(TestServer(application(service, Sender(service)))) as client:
            asked = f"/api/v1/rollouts/r/c/pairs/{pair.id}/transcript"
            found = await check(await client.get(asked), f"{ROLLOUT}/pairs/{{pair}}/transcript")
            listed = await check(await client.get("/api/v1/rollouts/r/c/pairs"), f"{ROLLOUT}/pairs")
            charts = await check(await client.get("/api/v1/rollouts/r/c/charts"), f"{ROLLOUT}/charts")
            controller.trials["r/c"].hide(["/messages"])
            hidden = await client.get(asked)
            hidden_pairs = await (await client.get("/api/v1/rollouts/r/c/pairs")).json()
        worker.disconnect()
    _holds(found, charts["arms"])
    assert [one["pairs"][0]["transcript"] for one in (listed, hidden_pairs)] == [True, False]
    assert hidden.status == 404


def _holds(found: dict[str, Any], figures: dict[str, Any]) -> None:
    said = [found[arm]["choices"][0] for arm in ("live", "candidate")]
    assert [choice["text"] for choice in said] == ["I cannot help with that.", "Four."]
    assert [choice["refused"] for choice in said] == [True, False]
    fields = [{"path": "/a", "live": "1", "candidate": "2", "differs": True}]
    assert found["calls"] == [[{"name": "f", "live": True, "candidate": True, "fields": fields}]]
    assert figures["live"] == {"first_seconds": 0.1, "tokens": 7.0, "refusals": 1.0}
    assert figures["candidate"]["refusals"] == 0.0
