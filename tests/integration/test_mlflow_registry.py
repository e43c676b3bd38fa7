"""Promise: with a real MLflow, a version that gets the alias is tried within 5 s and promoted, the champion moves
and tags say what became of it; whoever dies in between, nothing is lost; what is forged changes nothing.

MLflow's own signed webhooks, in the environment that `make test-servers` makes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.harness import Understudy, running, served
from tests.integration.mlflow_server import MlflowServer
from tests.ports import free_port
from tests.registry_world import NAME, Versions, config, load

pytestmark = pytest.mark.servers

SECRET = "s3cret of the webhook"
WITHIN = 5.0


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"), free_port())
    server.start()
    yield server
    server.stop()


def registry(mlflow: MlflowServer, model: str, **changes: Any) -> dict[str, Any]:
    server = {"url": mlflow.url, "secret": SECRET, "poll": "1h"} | changes
    return {
        "mlflow": server,
        "models": {model: {"upstream": "next", "when": "alias candidate", "promoted": "alias champion"}},
    }


async def until(what: Callable[[], Any], within: float = 60.0) -> float:
    """Ask in a thread until it is so; how long that took."""
    began = time.monotonic()
    while True:
        with suppress(AssertionError, OSError):
            if await asyncio.to_thread(what):
                return time.monotonic() - began
        assert time.monotonic() - began < within, what
        await asyncio.sleep(0.1)


class World:
    """One registered model with version 1 as its champion, a server of versions, and where Understudy will be."""

    def __init__(self, mlflow: MlflowServer, model: str, models: str, versions: Versions, folder: Path) -> None:
        self.mlflow, self.model, self.models, self.versions, self.folder = mlflow, model, models, versions, folder
        self.port = free_port()

    def config(self, **changes: Any) -> dict[str, Any]:
        return config(self.models, self.port, registry(self.mlflow, self.model, **changes))

    async def candidate(self, data: str = "") -> tuple[str, str]:
        """A new version that its server has, with the alias; number and run."""
        version, run = await asyncio.to_thread(self.mlflow.version, self.model, data)
        self.versions.loaded.add(version)
        await asyncio.to_thread(self.mlflow.alias, self.model, "candidate", version)
        return version, run

    def champion_is(self, version: str) -> Callable[[], bool]:
        return lambda: self.mlflow.version_of(self.model, "champion") == version

    def state_is(self, version: str, state: str) -> Callable[[], bool]:
        return lambda: self.mlflow.tags(self.model, version).get("understudy.state") == state


@asynccontextmanager
async def world(
    mlflow: MlflowServer, model: str, folder: Path, secrets: tuple[str, ...] = (SECRET,)
) -> AsyncIterator[World]:
    versions = Versions("1")
    async with served(versions.app()) as models:
        it = World(mlflow, model, models, versions, folder)
        mlflow.model(model)
        version, _ = mlflow.version(model)
        mlflow.alias(model, "champion", version)
        hooks = [mlflow.webhook(f"http://127.0.0.1:{it.port}/api/v1/hooks/mlflow", one) for one in secrets]
        yield it
        for hook in hooks:  # MLflow would try ten at a time for seconds
            mlflow.ask("DELETE", f"webhooks/{hook}")


async def began(it: Understudy, version: str, within: float = 30.0) -> dict[str, Any]:
    return await it.until(NAME, lambda rollout: rollout["version"] == version, within)


async def kill(it: Understudy) -> None:
    """The whole tree at once, as a machine that loses power."""
    os.killpg(it.process.pid, signal.SIGKILL)
    await it.process.wait()


async def test_a_version_is_tried_promoted_and_told(mlflow: MlflowServer, tmp_path: Path) -> None:
    async with world(mlflow, "whole", tmp_path) as w, running(tmp_path, w.config()) as it, load(it.data_url) as seen:
        with pytest.raises(aiohttp.ClientResponseError, match="404"):
            await it.rollout(NAME)  # no version is known yet
        started = time.monotonic()
        two, run = await w.candidate("payments@f00d")
        rollout = await began(it, two, WITHIN)
        assert time.monotonic() - started < WITHIN
        lineage = rollout["lineage"]
        assert (lineage["model"], lineage["run"], lineage["data"]) == ("whole", run, "payments@f00d")
        assert lineage["url"] == f"{mlflow.url}/#/models/whole/versions/{two}"
        await it.until(NAME, lambda one: one["state"] == "promoted", 60)
        await until(w.champion_is(two))
        await until(w.state_is(two, "promoted"))
        tags = mlflow.tags("whole", two)
        assert tags["understudy.rollout"] == NAME
        assert tags["understudy.replaced"] == "1"
        assert tags["understudy.journal"] == f"http://127.0.0.1:{w.port}/#/{NAME}"
        entries = (await it.api(f"/api/v1/rollouts/{NAME}/journal"))["journal"]
        first = entries[-1]
        assert (first["kind"], first["actor"]) == ("began", "registry:mlflow")
        assert first["detail"]["plan"]["lineage"] == lineage

        # a bad one is rolled back, and the champion stays
        w.versions.wrong.add("3")
        three, _ = await w.candidate()
        await began(it, three, WITHIN)
        await it.until(NAME, lambda one: one["state"] == "rolled_back", 60)
        await until(w.state_is(three, "rolled_back"))
        assert mlflow.version_of("whole", "champion") == two
        assert set(seen) == {200}


async def test_a_forged_webhook_changes_nothing(mlflow: MlflowServer, tmp_path: Path) -> None:
    async with world(mlflow, "forged", tmp_path, (SECRET, "another secret")) as w, running(tmp_path, w.config()) as it:
        two, _ = await w.candidate()
        await began(it, two, WITHIN)  # by the right one of both
        await until(lambda: len(it.events("registry.refused")) >= 1)
        shown = await it.api("/api/v1/registry")
        assert shown["registry"]["models"][0]["version"] == two
        assert SECRET not in it.output
        assert "another secret" not in it.output
        metrics = await it.metrics()
        assert 'understudy_registry_words_total{result="begun",source="webhook"} 1.0' in metrics
        assert 'understudy_registry_words_total{result="refused",source="webhook"}' in metrics


async def test_promoted_while_mlflow_is_away_and_killed_before_it_was_told(
    mlflow: MlflowServer, tmp_path: Path
) -> None:
    async with world(mlflow, "away", tmp_path) as w:
        async with running(tmp_path, w.config()) as it, load(it.data_url):
            two, _ = await w.candidate()
            await began(it, two, WITHIN)
            mlflow.stop()
            try:
                await it.until(NAME, lambda one: one["state"] == "promoted", 60)
            finally:
                await kill(it)
                mlflow.start()
        assert mlflow.version_of("away", "champion") == "1", "it could not be told"
        async with running(tmp_path, w.config()) as it:
            rollout = await it.rollout(NAME)
            assert (rollout["version"], rollout["state"]) == (two, "promoted")
            await until(w.champion_is(two))
            await until(w.state_is(two, "promoted"))
            deliveries = {hook["url"]: hook["deliveries"] for hook in (await it.api("/api/v1/webhooks"))["webhooks"]}
            assert deliveries["registry:away"].keys() == {"delivered"}


async def test_a_version_that_came_while_nobody_listened_is_tried_at_the_next_start(
    mlflow: MlflowServer, tmp_path: Path
) -> None:
    async with world(mlflow, "missed", tmp_path) as w:
        two, _ = await w.candidate()
        async with running(tmp_path, w.config()) as it:
            await began(it, two)
            await kill(it)
        three, _ = await w.candidate()
        async with running(tmp_path, w.config()) as it:
            await began(it, three)
            await until(w.state_is(two, "superseded"))
            await until(w.state_is(three, "shadow"))


async def test_a_rollback_after_the_promotion_gives_the_alias_back(mlflow: MlflowServer, tmp_path: Path) -> None:
    async with world(mlflow, "back", tmp_path) as w, running(tmp_path, w.config()) as it, load(it.data_url):
        two, _ = await w.candidate()
        await began(it, two, WITHIN)
        await it.until(NAME, lambda one: one["state"] == "promoted", 60)
        await until(w.champion_is(two))
        await it.api(f"/api/v1/rollouts/{NAME}/abort", {"reason": "business figures"})
        await until(w.champion_is("1"))
        await until(w.state_is(two, "rolled_back"))
        assert mlflow.tags("back", two)["understudy.reason"] == "business figures"
