"""Promise: the whole circle with a real MLflow, nobody touching YAML, in under three minutes: inputs drift, the alarm's
receiver trains a scikit-learn model on recent data and registers it, it is tried in shadow and canary, is promoted, and
the alias that live follows points to it.

In the environment that `make test-servers` makes. Scanner, traffic, receiver and server of versions are the demo's.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from proxy.demo.loop import RATE, TRAINED_ON, TRUTH_AFTER, LoopTally
from proxy.demo.loop_config import render_loop
from proxy.demo.processes import Troupe
from proxy.demo.receiver import Receiver
from proxy.demo.scans import CHAMPION, Scan, Scanner
from proxy.demo.traffic import Traffic
from tests.e2e.harness import Understudy, running
from tests.integration.mlflow_server import PYTHON, MlflowServer
from tests.ports import free_port

pytestmark = pytest.mark.servers

TRAIN = Path(__file__).with_name("mlflow_train.py")
MODEL, NAME = "digits", "digits/next"
SECRET = "whsec_c2VjcmV0IG9mIHRoZSBsb29w"
ROUND = 180.0
"""Seconds from the drift's beginning to the new champion."""


class Pipeline:
    """What trains and deploys: it knows MLflow, a folder of models, and nothing of Understudy."""

    def __init__(self, mlflow: MlflowServer, folder: Path) -> None:
        self.mlflow, self.folder, self.models = mlflow, folder, folder / "models"
        self.models.mkdir()

    async def train(self, scans: list[Scan], alias: str) -> str:
        """Train on these, register, deploy; the version."""
        data = self.folder / "scans.npz"
        np.savez(data, pixels=np.stack([one.pixels for one in scans]), digits=[one.digit for one in scans])
        command = [str(PYTHON), str(TRAIN), self.mlflow.url, MODEL, str(data), str(self.models), alias]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def follow(self) -> str:
        """Let live be what the alias names; the version."""
        version = self.mlflow.version_of(MODEL, CHAMPION)
        part = self.models / f"{CHAMPION}.part"
        part.write_text(version)
        part.replace(self.models / CHAMPION)
        return version


async def until(done: Callable[[], bool], within: float) -> None:
    """Ask again and again: it happens in other processes."""
    async with asyncio.timeout(within):
        while not done():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.05)


@asynccontextmanager
async def beside(*works: Any) -> AsyncIterator[None]:
    """Work that goes on in the background; what fails in it fails the test."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        assert not [task.exception() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def follow(pipeline: Pipeline) -> None:
    while True:
        with suppress(OSError, AssertionError):
            await asyncio.to_thread(pipeline.follow)
        await asyncio.sleep(0.2)


async def tell(it: Understudy, tally: LoopTally) -> None:
    """Post what scans really showed, a moment later."""
    while True:
        await asyncio.sleep(TRUTH_AFTER)
        some, tally.truths = tally.truths, []
        if some:
            await it.api("/api/v1/outcomes", some)


def configuration(admin_port: int, hook: str, models: str, mlflow: MlflowServer) -> dict[str, Any]:
    """The demo's file with a real MLflow in the place of its registry."""
    config: dict[str, Any] = yaml.safe_load(render_loop(0, admin_port, hook, models, "http://127.0.0.1:1"))
    config["webhooks"][0]["secrets"] = [SECRET]
    named = {"upstream": "next", "when": "alias candidate", "promoted": f"alias {CHAMPION}"}
    registry = {"mlflow": {"url": mlflow.url, "secret": SECRET, "poll": "1h"}, "models": {MODEL: named}}
    return {**config, "log": {"format": "json"}, "registry": registry}


async def learned(it: Understudy) -> None:
    """Until drift knows what is normal."""
    async with asyncio.timeout(60):
        while (await it.api("/api/v1/drift"))["routes"][0]["state"] != "steady":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.2)


@asynccontextmanager
async def mlflow_server(folder: Path) -> AsyncIterator[MlflowServer]:
    server = MlflowServer(folder, free_port())
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        server.stop()


async def around(it: Understudy, pipeline: Pipeline, receiver: Receiver, scanner: Scanner, tally: LoopTally) -> str:
    """From a scanner that is replaced to the version that is promoted."""
    scanner.replaced = True
    await until(lambda: bool(receiver.of_type("drift.detected")), 60)
    await until(lambda: all(scan.replaced for scan in tally.known), 60)
    version = await pipeline.train(list(tally.known), "candidate")
    await it.until(NAME, lambda rollout: rollout["version"] == version, 20)
    await it.until(NAME, lambda rollout: rollout["state"] == "promoted", 120)
    assert await receiver.wait_for(NAME, "rollout.promoted", 20)
    await until(lambda: (pipeline.models / CHAMPION).read_text() == version, 30)
    return version


async def circle(
    it: Understudy, pipeline: Pipeline, receiver: Receiver, scanner: Scanner, tally: LoopTally
) -> tuple[Any, float, dict[str, Any]]:
    """Once around, with clients all the while: what came of it, how long it took, and the trial's lineage."""
    written = it.config.read_bytes()
    url = f"{it.data_url}/v2/models/digits/infer"
    named = lambda scan: {"x-request-id": scan.id}  # noqa: E731 - a header of each request
    traffic = Traffic[Scan](url, RATE, scanner.scan, lambda scan: scan.body, tally.add, headers=named)
    asking = asyncio.create_task(traffic.run())
    async with beside(tell(it, tally), follow(pipeline)):
        await learned(it)
        before, began = len(receiver.of_type("drift.detected")), time.monotonic()
        version = await around(it, pipeline, receiver, scanner, tally)
        took = time.monotonic() - began
        traffic.stop()
        await asking
    assert it.config.read_bytes() == written
    lineage = (await it.rollout(NAME))["lineage"]
    tags = await asyncio.to_thread(pipeline.mlflow.tags, MODEL, version)
    return (before, version, tags["understudy.replaced"]), took, lineage


async def test_drift_is_trained_away_and_the_registry_has_the_new_champion(tmp_path: Path) -> None:
    receiver, scanner, tally = Receiver(SECRET), Scanner(2026), LoopTally()
    runner, hook = await receiver.start()
    try:
        async with mlflow_server(tmp_path) as mlflow, Troupe(tmp_path) as troupe:
            pipeline, port, old = Pipeline(mlflow, tmp_path), free_port(), Scanner(1)
            assert await pipeline.train([old.scan() for _ in range(TRAINED_ON)], CHAMPION) == "1"
            pipeline.follow()
            mlflow.webhook(f"http://127.0.0.1:{port}/api/v1/hooks/mlflow", SECRET)
            models = await troupe.start_server("models", "proxy.demo.versions_server", "--folder", str(pipeline.models))
            async with running(tmp_path, configuration(port, hook, models, mlflow)) as it:
                found, took, lineage = await circle(it, pipeline, receiver, scanner, tally)
        assert found == (0, "2", "1")
    finally:
        await runner.cleanup()
    expected(mlflow, receiver, tally, lineage)
    logging.getLogger(__name__).info("from the new scanner to the new champion: %.1f s", took)
    assert took < ROUND


def expected(mlflow: MlflowServer, receiver: Receiver, tally: LoopTally, lineage: dict[str, Any]) -> None:
    """What else was to come of it."""
    assert not tally.errors
    assert not receiver.forged
    assert lineage["url"] == f"{mlflow.url}/#/models/{MODEL}/versions/2"
    assert lineage["run"]
    stages = [event.type for event in receiver.of(NAME)]
    assert stages[0] == "rollout.began"
    assert stages[-1] == "rollout.promoted"
    assert tally.share(True, "next") > tally.share(True, "live") + 0.1
