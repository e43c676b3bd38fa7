"""Promise: after a webhook MLflow is asked what holds; only while it does not answer does the webhook's own word count.
What is not asked for, unreadable or of another model begins nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
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
    newer, older = alias("4", "2026-11-29T11:00:00+00:00"), alias("3", "2026-11-29T10:00:00+00:00")
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


# --- another registry, which tries again with a new time -------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


PLAIN = FILE.replace('mlflow: {url: "http://mlflow", secret: s3cret}', "http: {secret: s3cret}").replace(
    ", when: alias candidate", ""
)


class Sender:
    """Posts to a follower at the time of its own clock, which may be ahead."""

    def __init__(self) -> None:
        self.clock, self.user = Clock(), FakeUser(PLAIN)
        self.user.versions = VersionKeeper(self.user, self.user, self.user.config, self.clock)
        self.it = RegistryFollower(self.user, self.clock)

    async def posts(self, version: str, delivery: str, ahead: float = 0.0, **more: Any) -> str:
        value = {"model": "fraud", "version": version} | more
        kind = "application/json"
        if "time" in more:
            event = {"specversion": "1.0", "id": delivery, "source": "/r", "type": "t", "time": value.pop("time")}
            value, kind = event | {"data": value}, "application/cloudevents+json"
        body, stamp = json.dumps(value).encode(), str(int(self.clock.now + ahead))
        digest = hmac.digest(b"s3cret", f"{delivery}.{stamp}.".encode() + body, hashlib.sha256)
        head = {"webhook-id": delivery, "webhook-timestamp": stamp, "content-type": kind}
        head["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
        return str((await self.it.hook("registry", head, body))["result"])


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@pytest.mark.parametrize("field", ["posted_at", "time"])
async def test_an_older_version_that_is_tried_again_replaces_no_newer_one(field: str) -> None:
    """The first attempt of v40 was lost; the next one comes after v41, with a new time in its headers."""
    sender = Sender()
    assert await sender.posts("v41", "e41", **{field: moment(NOW - 10)}) == "begun"
    sender.clock.now += 60
    assert await sender.posts("v40", "e40", **{field: moment(NOW - 20)}) == "older"
    assert await sender.posts("v42", "e42", **{field: moment(NOW + 50)}) == "begun"
    assert (await sender.user.settled())[-1] == {"next": "v42"}


@pytest.mark.parametrize("later", [400.0, 7000.0, 86400.0])
async def test_a_delivery_whose_answer_was_lost_counts_once_however_late_it_is_tried_again(later: float) -> None:
    sender = Sender()
    assert await sender.posts("v40", "e40") == "begun"
    sender.clock.now += 10
    assert await sender.posts("v41", "e41") == "begun"
    sender.clock.now += later
    assert await sender.posts("v40", "e40") == "repeated"


@pytest.mark.parametrize("said", [{}, {"posted_at": moment(NOW + 1e6)}])
async def test_a_clock_that_is_ahead_keeps_nobody_out(said: dict[str, Any]) -> None:
    sender = Sender()
    assert await sender.posts("v40", "e40", ahead=290.0, **said) == "begun"
    sender.clock.now += 5
    assert await sender.posts("v41", "e41") == "begun"


async def test_whole_seconds_of_headers_are_not_older_than_the_fraction_of_a_body() -> None:
    sender = Sender()
    sender.clock.now = NOW + 0.6
    assert await sender.posts("v40", "e40", posted_at=moment(NOW + 0.5)) == "begun"
    sender.clock.now = NOW + 0.9
    assert await sender.posts("v41", "e41") == "begun"


@pytest.mark.parametrize("said", [{"posted_at": "yesterday"}, {"posted_at": 7}, {"time": "2026-11-30T10:00:00"}])
async def test_a_time_that_is_none_is_said(said: dict[str, Any]) -> None:
    with pytest.raises(ActionRefusedError, match="expected a time such as"):
        await Sender().posts("v40", "e40", **said)
