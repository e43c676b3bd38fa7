"""Promise: after a webhook MLflow is asked what holds; only while it does not answer does the webhook's own word count.
What is not asked for, unreadable or of another model begins nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from proxy.config import Config, parse
from proxy.config.registry import MlflowConfig, Trigger
from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.model_registry.follower import RegistryFollower
from proxy.controller.model_registry.keeper import VersionKeeper
from proxy.controller.model_registry.mlflow_client import MlflowClient, RegistryError
from proxy.errors import StoreError
from proxy.model.lineage import Lineage

NOW = 1_796_000_000.0
FILE = """
upstreams: {live: {url: "http://l"}, next: {url: "http://n-{version}"}}
routes: [{name: r, live: live, rollouts: [{candidate: next, shadow: 100%}]}]
registry:
  mlflow: {url: "http://mlflow", secret: s3cret}
  models: {fraud: {upstream: next, when: alias candidate}}
"""


class FakeUser:
    """A controller that only remembers what it was told to apply, and its store."""

    def __init__(self, file: str = FILE) -> None:
        self.config: Config = parse(file)
        self.generation = 0
        self.reloading = asyncio.Lock()
        self.applied: list[dict[str, str]] = []
        self.kept: dict[str, Any] = {}
        self.full = False
        self._tasks: list[asyncio.Task[None]] = []
        self.versions = VersionKeeper(self, self, self.config, lambda: NOW)

    async def apply(self, lost: str = "") -> None:
        self.applied.append(self.config.named_versions)

    def spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def settled(self) -> list[dict[str, str]]:
        await asyncio.gather(*self._tasks)
        return self.applied

    async def keep_registry(self, said: dict[str, Any]) -> None:
        if self.full:
            raise StoreError("disk full")
        self.kept = json.loads(json.dumps(said))

    async def registry(self) -> dict[str, Any]:
        return self.kept


class FakeClient:
    """MLflow, which says what holds, or is away."""

    def __init__(self, holds: str | None = None, away: bool = False) -> None:
        self.holds, self.away = holds, away

    def __call__(self, config: MlflowConfig) -> MlflowClient:
        return self  # type: ignore[return-value]

    async def current(self, model: str, trigger: Trigger) -> Lineage | None:
        if self.away:
            raise RegistryError("http://mlflow: no answer")
        return None if self.holds is None else Lineage("mlflow", model, self.holds, f"run-{self.holds}")

    async def close(self) -> None:
        pass


def alias(version: Any, at: str = "2026-11-30T10:00:00+00:00", **changes: Any) -> bytes:
    data = {"name": "fraud", "alias": "candidate", "version": version} | changes
    return json.dumps({"entity": "model_version_alias", "action": "created", "timestamp": at, "data": data}).encode()


def signed(body: bytes, delivery: str = "d", secret: bytes = b"s3cret") -> dict[str, str]:
    stamp = str(int(NOW))
    digest = hmac.digest(secret, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(digest).decode()
    return {"x-mlflow-delivery-id": delivery, "x-mlflow-timestamp": stamp, "x-mlflow-signature": signature}


def follower(user: FakeUser, client: FakeClient) -> RegistryFollower:
    return RegistryFollower(user, lambda: NOW, client)


async def test_what_holds_now_counts_not_what_the_webhook_says() -> None:
    user = FakeUser()
    it = follower(user, FakeClient("5"))
    said = await it.hook("mlflow", signed(alias("3")), alias("3"))
    assert (said["result"], said["version"]) == ("begun", "5")
    assert await user.settled() == [{"next": "5"}]
    assert (await it.hook("mlflow", signed(alias("3"), "e"), alias("3")))["result"] == "unchanged"
    assert (await it.hook("mlflow", signed(alias("3"), "e"), alias("3")))["result"] == "repeated"


async def test_while_mlflow_is_away_the_webhook_counts_and_older_ones_do_not() -> None:
    user = FakeUser()
    it = follower(user, FakeClient(away=True))
    newer, older = alias("4", "2026-11-30T11:00:00+00:00"), alias("3", "2026-11-30T10:00:00+00:00")
    assert (await it.hook("mlflow", signed(newer), newer))["result"] == "begun"
    said = await it.hook("mlflow", signed(older, "e"), older)
    assert (said["result"], said["why"]) == ("older", "version 4 was named later")
    assert await user.settled() == [{"next": "4"}]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (alias("3", name="other"), "has no model 'other'"),
        (alias("3", alias="champion"), "begins on `alias candidate`"),
        (b'{"entity": "registered_model", "action": "created", "data": {}}', "begins no trial"),
    ],
)
async def test_what_is_of_something_else_is_ignored(body: bytes, why: str) -> None:
    user = FakeUser()
    said = await follower(user, FakeClient("9")).hook("mlflow", signed(body), body)
    assert (said["result"], why in said["why"]) == ("ignored", True)
    assert user.applied == []
    assert user.kept == {}


@pytest.mark.parametrize(
    "body",
    [b"no json", b"[]", alias("../3"), alias(None), alias("3", "yesterday"), alias("3", alias=7)],
)
async def test_what_cannot_be_read_is_said_and_changes_nothing(body: bytes) -> None:
    user = FakeUser()
    with pytest.raises(ActionRefusedError) as caught:
        await follower(user, FakeClient("9")).hook("mlflow", signed(body), body)
    assert caught.value.status == 400
    assert (user.applied, user.kept) == ([], {})


async def test_what_is_forged_is_refused_and_counted() -> None:
    user = FakeUser()
    it = follower(user, FakeClient("9"))
    with pytest.raises(ActionRefusedError) as caught:
        await it.hook("mlflow", signed(alias("3"), secret=b"guess"), alias("3"))
    assert caught.value.status == 401
    assert "s3cret" not in caught.value.reason
    assert it.counts["webhook", "refused"] == 1
    with pytest.raises(ActionRefusedError) as caught:
        await it.hook("registry", {}, b"{}")
    assert caught.value.status == 404


async def test_a_disk_that_is_full_takes_nothing_and_a_retry_is_a_first_try() -> None:
    user = FakeUser()
    it = follower(user, FakeClient("3"))
    user.full = True
    with pytest.raises(StoreError):
        await it.hook("mlflow", signed(alias("3")), alias("3"))
    assert (user.versions.known, user.applied) == ({}, [])
    user.full = False
    assert (await it.hook("mlflow", signed(alias("3")), alias("3")))["result"] == "begun"


async def test_a_new_controller_goes_on_with_what_was_said() -> None:
    user = FakeUser()
    await follower(user, FakeClient("3")).hook("mlflow", signed(alias("3")), alias("3"))
    other = FakeUser()
    other.kept = user.kept
    await other.versions.take_up()
    assert other.config.named_versions == {"next": "3"}
    assert other.config.plans["r/next"].lineage == Lineage("mlflow", "fraud", "3", "run-3")
    said = await follower(other, FakeClient("3")).hook("mlflow", signed(alias("3")), alias("3"))
    assert said["result"] == "repeated"
