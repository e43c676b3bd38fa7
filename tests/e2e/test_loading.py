"""Promise: a candidate that is still loading when its rollout begins is waited for and judged when it is ready; one
that restarts in mid-trial is waited for too, and what it lost by that counts for nothing; one that never comes ends
as `stalled`, and whoever subscribed to that is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.e2e.harness import route, running
from tests.fakes import FakeModel, Load
from tests.ports import free_port


async def test_a_candidate_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    live = await FakeModel("v1").start()
    late = FakeModel("v2", port=free_port())
    upstreams = {"v1": {"url": live.url}, "v2": {"url": late.url, "health": {"path": "/ready", "interval": "100ms"}}}
    stages = [{"shadow": "100%", "min_pairs": 100}, {"canary": "10%"}]
    routes = [route("m", "v1", "v2", stages, guards={"max_extra_errors": "2%"}, consecutive_failures=5)]
    async with running(tmp_path, {"upstreams": upstreams, "routes": routes}) as understudy:
        async with Load(f"{understudy.data_url}/m/infer", 100.0, models={"v2": "v2"}) as load:
            waiting = await understudy.until("m/v2", lambda r: "candidate ready" in r["stage"]["waiting_for"])
            assert (waiting["state"], waiting["ledger"]["sampled"]) == ("shadow", 0)
            await load.more(50)
            await late.start()
            judged = await understudy.until(
                "m/v2", lambda r: r["ledger"]["compared"] >= 20 and "candidate ready" not in r["stage"]["waiting_for"]
            )
            assert judged["state"] in ("shadow", "canary")
            assert not load.problems()
        kinds = [entry["kind"] for entry in (await understudy.api("/api/v1/rollouts/m/v2/journal"))["journal"]]
        assert {"not_ready", "ready"} <= set(kinds)
    await live.stop()
    await late.stop()


def configured(live: FakeModel, candidate: FakeModel, stages: list[dict[str, Any]], **health: str) -> dict[str, Any]:
    checked = {"url": candidate.url, "health": {"path": "/ready", **health}}
    guards = {"max_extra_errors": "2%"}
    return {
        "upstreams": {"v1": {"url": live.url}, "v2": checked},
        "routes": [route("m", "v1", "v2", stages, guards=guards, consecutive_failures=5)],
    }


@pytest.mark.chaos
@pytest.mark.parametrize("stage", [{"shadow": "100%", "min_pairs": 100_000}, {"canary": "50%", "min_pairs": 100_000}])
async def test_one_that_restarts_in_mid_trial_is_waited_for(tmp_path: Path, stage: dict[str, Any]) -> None:
    """Five failures in a row would end it, and come in the twentieth part of a second; its health is checked once a
    second."""
    live, candidate = await FakeModel("v1").start(), await FakeModel("v2").start()
    first = next(iter(stage))
    config = configured(live, candidate, [stage, {"canary": "60%"}], interval="1s")
    async with running(tmp_path, config) as understudy:
        async with Load(f"{understudy.data_url}/m/infer", 100.0, models={"v2": "v2"}) as load:
            await understudy.until("m/v2", lambda r: r["state"] == first and r["ledger"]["compared"] >= 50)
            candidate.die()
            away = await understudy.until("m/v2", lambda r: "candidate ready" in r["stage"]["waiting_for"])
            await load.more(100)
            await candidate.start()
            back = await understudy.until("m/v2", lambda r: "candidate ready" not in r["stage"]["waiting_for"])
            judged = await understudy.until(
                "m/v2", lambda r: r["ledger"]["compared"] >= back["ledger"]["compared"] + 50
            )
        assert not load.problems()
        assert away["state"] == judged["state"] == first
        assert away["ledger"]["not_ready"] > 0
        journal = (await understudy.api("/api/v1/rollouts/m/v2/journal"))["journal"]
        kinds = [entry["kind"] for entry in journal if entry["kind"] in ("not_ready", "ready")]
        assert kinds[:2] == ["ready", "not_ready"]  # the newest first
        told = next(entry["reason"] for entry in journal if entry["kind"] == "ready")
        assert told.startswith("the candidate is ready, after ")
        assert 'result="not_ready"' in await understudy.metrics()
    await live.stop()
    await candidate.stop()


async def test_one_that_never_comes_ends_as_stalled_and_that_is_told(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(orjson.loads(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    live, never = await FakeModel("v1").start(), FakeModel("v2", port=free_port())
    config = configured(live, never, [{"canary": "50%"}], interval="100ms", wait="1s")
    config["webhooks"] = [{"url": hook, "secret": "whsec_a2V5", "events": ["rollout.stalled"]}]
    async with running(tmp_path, config) as understudy:
        async with Load(f"{understudy.data_url}/m/infer", 100.0) as load:
            ended = await understudy.until("m/v2", lambda r: r["state"] == "rolled_back")
            await load.until(lambda: bool(heard))
        assert not load.problems()
        assert (ended["cause"], ended["ledger"]["sampled"]) == ("stalled", 0)
        assert "was not ready for" in ended["reason"]
        assert [event["type"] for event in heard] == ["rollout.stalled"]
    await live.stop()
    await runner.cleanup()
