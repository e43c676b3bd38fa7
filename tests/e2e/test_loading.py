"""Promise: a candidate that is still loading when its rollout begins is waited for and judged when it is ready."""

from __future__ import annotations

from pathlib import Path

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
