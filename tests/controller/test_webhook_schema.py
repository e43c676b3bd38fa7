"""Promise: what a webhook carries is what docs/webhook.schema.json says, names the replica and the rollout, and holds
of all findings those alone that the verdict rests on."""

from __future__ import annotations

import json
import runpy
import socket
from pathlib import Path
from typing import Any, get_args

import jsonschema
import orjson
import pytest

from proxy.config.server import EventName
from proxy.controller.controller import Controller
from proxy.controller.webhooks.policy import body
from tests.controller.controllers import HOOK, NAME, desk_of, eventually, kinds, to_canary, trial_of
from tests.controller.worker import FakeWorker

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "webhook.schema.json").read_text("utf-8"))

pytestmark = pytest.mark.usefixtures("quick")


def test_the_file_is_current() -> None:
    written = (ROOT / "docs" / "webhook.schema.json").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "tools" / "webhook_schema.py"))["text"]() == written, "run `make docs`"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


async def sent(controller: Controller) -> dict[str, Any]:
    """The next body that is due, which must be as described."""
    await eventually(lambda: not controller.executor.unsaved)
    delivery = await controller.store.next_delivery(HOOK, 1e12, urgent=kinds(controller)[-1] == "rolled_back")
    assert delivery is not None
    whole: dict[str, Any] = orjson.loads(body(delivery.event, "standard"))
    jsonschema.Draft202012Validator(SCHEMA).validate(whole)
    return whole


async def test_a_rollback_by_evidence(controller: Controller, worker: FakeWorker) -> None:
    worker.bad(trial_of(controller), 200)
    await eventually(lambda: kinds(controller)[-1] == "rolled_back")
    data = (await sent(controller))["data"]
    assert (data["rollout"], data["actor"], data["replica"]) == (NAME, "understudy", socket.gethostname())
    assert [one["guard"] for one in data["findings"]] == ["max_disagreement"]
    assert all(one["verdict"] == "fail" for one in data["findings"])
    head = await controller.store.head()
    assert data["journal"] == {"number": head.number, "hash": head.hash}


async def test_an_action_by_hand_rests_on_no_finding(controller: Controller, worker: FakeWorker) -> None:
    await to_canary(controller, worker)
    await desk_of(controller).act(NAME, "abort", reason="tickets", actor="token:ada")
    said = await sent(controller)
    assert said["type"] == "rollout.rolled_back"
    assert said["data"]["actor"] == "token:ada"
    assert all(one["verdict"] == said["data"]["verdict"] for one in said["data"]["findings"])


def test_every_event_that_can_be_subscribed_to_is_described() -> None:
    bodies = [SCHEMA["components"]["schemas"][one["$ref"].rpartition("/")[2]] for one in SCHEMA["oneOf"]]
    described = {name for body in bodies for name in body["properties"]["type"]["enum"]}
    assert described == set(get_args(EventName))


def test_the_check_can_fail() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({"type": "rollout.promoted", "timestamp": "now", "data": {}})
