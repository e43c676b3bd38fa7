"""Promise: a new version takes over a running machine; no client is refused, no evidence is lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.harness import Understudy, route, running
from tests.fakes import Load, model_process

STAGES = [{"shadow": "100%", "min_pairs": 100}, {"canary": "20%", "min_pairs": 1_000_000}]
GUARDS = {"max_disagreement": "10%", "max_extra_errors": "10%"}


async def _said(understudy: Understudy, event: str, times: int) -> dict[str, Any]:
    async with asyncio.timeout(150):
        while len(said := understudy.events(event)) < times:
            assert understudy.process.returncode is None, understudy.output
            await asyncio.sleep(0.05)
    return said[-1]


@pytest.mark.chaos
async def test_two_upgrades_under_load_cost_no_request_and_no_evidence(tmp_path: Path) -> None:
    async with model_process("live") as (_, live), model_process("good") as (_, good):
        config = {
            "server": {"listen": "127.0.0.1:0", "workers": 2, "timeouts": {"drain_delay": "1s"}},
            "upstreams": {"live": {"url": live}, "good": {"url": good}},
            "routes": [route("r", "live", "good", STAGES, guards=GUARDS, latency_block="0s")],
        }
        async with running(tmp_path, config) as understudy:
            url = f"{understudy.data_url}/r/infer"
            async with Load(url, 100.0) as kept, Load(url, 50.0, reuse=False) as fresh:
                await understudy.until("r/good", lambda rollout: rollout["state"] == "canary")
                first = await understudy.processes()
                kept_pairs = 0
                for times in (1, 2):
                    kept_pairs = (await understudy.rollout("r/good"))["ledger"]["compared"]
                    await _upgrade(understudy, times)
                    await kept.until(_served_by_candidate(kept))
                last = await understudy.processes()
            rollout = await understudy.until("r/good", lambda r: r["ledger"]["pending"] == 0)
        assert kept.problems() == fresh.problems() == []
        assert (rollout["state"], rollout["weight"]) == ("canary", 20.0)
        assert last["supervisor"] == first["supervisor"] == understudy.process.pid
        assert last["controller"] != first["controller"]
        assert {w["pid"] for w in last["workers"]}.isdisjoint(w["pid"] for w in first["workers"])
        assert not understudy.events("process.died"), understudy.output
        ledger = rollout["ledger"]
        assert ledger["compared"] > kept_pairs >= 100
        # What workers sent between two controllers is booked, as are copies beyond `max_in_flight`; no other is lost.
        assert ledger["compared"] + ledger["link_full"] + ledger["shed"] == ledger["sampled"], ledger


async def _upgrade(understudy: Understudy, times: int) -> None:
    understudy.process.send_signal(signal.SIGUSR2)
    await _said(understudy, "upgrade.done", times)


def _served_by_candidate(load: Load) -> Callable[[], bool]:
    before = load.by("good")
    return lambda: load.by("good") > before + 5


@pytest.mark.chaos
async def test_a_version_that_cannot_go_on_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async with model_process("live") as (_, live):
        config: dict[str, Any] = {"upstreams": {"live": {"url": live}}, "routes": [{"name": "r", "live": "live"}]}
        async with running(tmp_path, config) as understudy:
            before = await understudy.processes()
            good = understudy.config.read_text("utf-8")
            elsewhere = yaml.safe_load(good)
            elsewhere["server"] |= {"workers": 3}
            for times, text, says in (
                (1, "routes: 7", "routes"),
                (2, yaml.safe_dump(elsewhere), "server.workers needs"),
            ):
                understudy.config.write_text(text, "utf-8")
                understudy.process.send_signal(signal.SIGUSR2)
                assert says in (await _said(understudy, "upgrade.refused", times))["error"]
            assert await understudy.processes() == before
            understudy.config.write_text(good, "utf-8")
            understudy.process.send_signal(signal.SIGUSR2)
            await _said(understudy, "upgrade.begun", 1)
            assert await understudy.stop() == 0, understudy.output
