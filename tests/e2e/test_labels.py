"""Promise: truths that are posted wait for `label_delay` in the running program, whatever dies meanwhile; `status` and
`suggest` say what became of them and what limits the two models suggest."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from tests.e2e.harness import Understudy, route, running
from tests.fakes import FakeModel, question

pytestmark = pytest.mark.slow


async def asked(session: aiohttp.ClientSession, understudy: Understudy, numbers: range) -> None:
    """Send requests whose ids are their numbers."""
    for number in numbers:
        headers = {"content-type": "application/json", "x-request-id": f"r{number}"}
        async with session.post(f"{understudy.data_url}/m/infer", data=question(number), headers=headers) as answer:
            assert answer.status == 200
            await answer.read()


async def killed_once_saved(understudy: Understudy) -> None:
    """Kill the controller when its store has been written twice since now: what it knew by then is saved."""
    store, seen = understudy.folder / "understudy.db-wal", set[int]()
    async with asyncio.timeout(30.0):
        while len(seen) < 3:
            seen.add(store.stat().st_mtime_ns)
            await asyncio.sleep(0.05)
    first = (await understudy.processes())["controller"]
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(30.0):
        while True:
            with suppress(aiohttp.ClientError, OSError):
                if (await understudy.processes())["controller"] != first and await understudy.is_ready():
                    return
            await asyncio.sleep(0.05)


async def command(understudy: Understudy, *words: str) -> str:
    """What a command prints about the running program."""
    result = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--admin", understudy.admin_url])
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_truths_wait_for_their_time_over_a_killed_controller(tmp_path: Path) -> None:
    live, candidate = FakeModel("v1"), FakeModel("v2")
    await live.start()
    await candidate.start()
    one = route("m", "v1", "v2", [{"shadow": "100%"}], guards={"max_quality_drop": 0.05, "max_disagreement": "50%"})
    one["prediction"]["label_delay"] = "3s"
    config = {"upstreams": {"v1": {"url": live.url}, "v2": {"url": candidate.url}}, "routes": [one]}
    try:
        async with running(tmp_path, config) as understudy, aiohttp.ClientSession() as session:
            await asked(session, understudy, range(60))
            await understudy.until("m/v2", lambda rollout: rollout["ledger"]["compared"] == 60)
            truths = [{"id": f"r{number}", "label": 0} for number in range(40)]
            assert await understudy.api("/api/v1/outcomes", truths) == {"joined": 40, "unknown": 0}
            rollout = await understudy.until("m/v2", lambda rollout: rollout["labels"] is not None)
            assert rollout["labels"] == {"counted": 0, "unlabelled": 0, "left_out": 0, "waiting": 40}
            assert "delayed labels: 0 counted, 40 waiting" in await command(understudy, "status", "m/v2")
            await killed_once_saved(understudy)
            rollout = await understudy.until("m/v2", lambda rollout: rollout["labels"] is not None)
            assert rollout["labels"]["waiting"] == 40
            for number in range(60, 1000):  # the first of these whose time is label_delay after the others' ends it
                await asked(session, understudy, range(number, number + 1))
                if (rollout := await understudy.rollout("m/v2"))["labels"]["counted"]:
                    break
                await asyncio.sleep(0.05)
            rollout = await understudy.until("m/v2", lambda found: found["labels"]["counted"] == 40)
            assert rollout["labels"]["unlabelled"] >= 20
            (drop,) = [finding for finding in rollout["findings"] if finding["guard"] == "max_quality_drop"]
            assert drop["pairs"] == 40
            assert " requests had a label within 3 s (label_delay)" in drop["reason"]
            guards = yaml.safe_load(await command(understudy, "suggest", "m/v2", "--rate", "100"))["guards"]
            assert set(guards) == {"max_quality_drop", "max_disagreement"}
            assert 'understudy_labels{result="counted",rollout="m/v2"} 40.0' in await understudy.metrics()
    finally:
        await live.stop()
        await candidate.stop()
