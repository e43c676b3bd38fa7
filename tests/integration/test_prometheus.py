"""Promise: a real Prometheus scrapes a real run, finds every metric with sane values and evaluates our
rules, and every query of the Grafana dashboard gives something to draw."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml

from tests.controller.judging.test_gate import anchor_file, right
from tests.e2e import test_drift as drifting
from tests.e2e.fleets import fleet, settings
from tests.e2e.harness import Understudy, route, running
from tests.e2e.test_judges import equal, trial
from tests.fakes import Load, model_process, set_mood
from tests.postgres import Postgres
from tests.stand_in_judge import StandInJudge

CONFIG = Path(__file__).parents[2] / "config"
RULES = CONFIG / "prometheus"
DASHBOARD = orjson.loads((CONFIG / "grafana" / "understudy.json").read_bytes())

NAMES = (
    *("requests_total", "request_duration_seconds_bucket", "proxy_overhead_seconds_bucket", "fallbacks_total"),
    *("pairs_total", "pairs_sampled_total", "candidate_failures_total", "upstream_connections", "build_info"),
    *("guard_value", "guard_limit", "guard_evidence_ratio", "guard_verdict", "rollout_weight_ratio", "rollout_stage"),
    *("rollouts_total", "rollback_duration_seconds_count", "detection_duration_seconds_count"),
    *("deployment_lead_time_seconds_count", "webhook_deliveries_total"),
)
"""Metrics that this run must show, without the prefix."""

RECORDED = (
    "understudy:requests:rate5m",
    "understudy:request_errors:ratio5m",
    "understudy:request_duration_seconds:p99_5m",
    "understudy:proxy_overhead_seconds:p99_5m",
    "understudy:pairs_compared:ratio5m",
)

OF_A_FLEET = ("fleet_link_lag_seconds", "fleet_clock_offset_seconds", "fleet_links_refused_total")
"""Metrics that only a leader with other replicas has."""

OF_JUDGES = "understudy_judge_"
"""What metrics of judges begin with, which are there where a prediction names one."""

OF_DRIFT = ("understudy_drift_", "changes(process_start", "changes(understudy_config")
"""Queries of drift, and of what else is on its time line: `test_a_real_prometheus_finds_drift`."""

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")


def queries() -> list[str]:
    """Every query of the dashboard, its variables filled in as Grafana would."""
    found = [t["expr"] for panel in DASHBOARD["panels"] for t in panel.get("targets", ())]
    found += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    values = {"$__rate_interval": "10s", "$rollout": ".*", "$route": ".*", "$job": "understudy", "$instance": ".*"}
    for name, value in values.items():
        found = [query.replace(name, value) for query in found]
    return found


# --- the files -------------------------------------------------------------------------------------------------------


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "recording.rules.yml", "alerts.rules.yml"),
        ("test", "rules", "alerts.test.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test() -> None:
    alerts = {
        rule["alert"]
        for group in yaml.safe_load((RULES / "alerts.rules.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    tests = yaml.safe_load((RULES / "alerts.test.yml").read_text())["tests"]
    tested = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert tested == alerts


def test_the_dashboard_is_whole() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] for panel in panels)
    assert not any("$" in query for query in queries())
    used = set(re.findall(r"understudy_[a-z_]+", " ".join(queries())))
    assert {f"understudy_{name}" for name in NAMES} <= used | {f"{name}_bucket" for name in used}


# --- a real run ------------------------------------------------------------------------------------------------------


class Prometheus:
    """A running Prometheus, asked over its API."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ask(self, path: str, **params: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self._url + path, params=params) as answer:
            if answer.status == 503:  # it still reads its log: it knows nothing yet
                return {"result": [], "groups": []}
            body = await answer.json()
            assert body["status"] == "success", body
            return body["data"]

    async def query(self, expression: str) -> list[Any]:
        return list((await self.ask("/api/v1/query", query=expression))["result"])

    async def until(self, expression: str, within: float = 40.0) -> list[Any]:
        """The result of a query as soon as there is one."""
        try:
            async with asyncio.timeout(within):
                while not (found := await self.query(expression)):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.2)
                return found
        except TimeoutError:
            raise AssertionError(f"nothing after {within} s: {expression}") from None


@asynccontextmanager
async def prometheus(folder: Path, *targets: str) -> AsyncIterator[Prometheus]:
    """Our own configuration, with the targets put in and a scrape each second."""
    config = yaml.safe_load((RULES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": list(targets)}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(30):
            while not (port := re.search(r'"?Listening on"? address=\S*?:(\d+)', log.read_text())):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield Prometheus(f"http://127.0.0.1:{port[1]}")
    finally:
        process.terminate()
        await process.wait()


STAGES = [{"shadow": "100%", "min_pairs": 100000}, {"canary": "50%", "min_pairs": 100000}]
GUARDS = {"max_disagreement": "5%", "p99_latency": "5s", "max_extra_errors": "2%"}


@asynccontextmanager
async def a_busy_proxy(folder: Path) -> AsyncIterator[tuple[Understudy, str]]:
    """Two rollouts under load; the second candidate's URL."""
    rollout = {"guards": GUARDS, "latency_block": "0s", "fallback": {"after": "100ms"}}
    async with model_process("old") as (_, old), model_process("new") as (_, new), model_process("bad") as (_, bad):
        config = {
            "upstreams": {
                "old": {"url": old},
                "new": {"url": new, "signed_off_at": "2026-11-18T09:00:00Z"},
                "bad": {"url": bad},
            },
            "routes": [route("good", "old", "new", STAGES, **rollout), route("worse", "old", "bad", STAGES, **rollout)],
            "webhooks": [{"url": f"{bad}/hook", "secret": "x", "events": ["rollout.rolled_back", "rollout.promoted"]}],
        }
        async with running(folder, config) as understudy:
            yield understudy, bad


async def hand(understudy: Understudy, name: str, full: bool) -> None:
    await understudy.api(f"/api/v1/rollouts/{name}/promote", {"reason": "test", "full": full})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")
async def test_a_real_prometheus_finds_everything(tmp_path: Path) -> None:
    async with (
        a_busy_proxy(tmp_path) as (understudy, bad),
        prometheus(tmp_path, understudy.admin_url.removeprefix("http://")) as found,
        Load(f"{understudy.data_url}/good/infer", 60),
        Load(f"{understudy.data_url}/worse/infer", 60),
    ):
        await found.until('up{job="understudy"} == 1')
        await hand(understudy, "good/new", full=True)
        await hand(understudy, "worse/bad", full=False)
        await found.until('understudy_rollout_weight_ratio{rollout="worse/bad"} == 0.5')
        await found.until('understudy_requests_total{route="worse", upstream="bad", leg="served"} > 0')
        await set_mood(bad, mode="error")
        await found.until('understudy_rollouts_total{rollout="worse/bad", result="rolled_back"} == 1')
        await found.until('understudy_webhook_deliveries_total{event="rollout.rolled_back", result="retry"} > 0')
        await everything_is_there(found)
        await values_are_sane(found)
        await rules_are_evaluated(found)
        await the_dashboard_draws(found)


async def everything_is_there(found: Prometheus) -> None:
    for name in NAMES:
        await found.until(f"understudy_{name}", within=15)


async def values_are_sane(found: Prometheus) -> None:
    for claim in (
        'understudy_rollout_weight_ratio{rollout="good/new"} == 1',
        'understudy_rollout_weight_ratio{rollout="worse/bad"} == 0',
        'understudy_rollout_stage{rollout="worse/bad", stage="rolled_back"} == 1',
        'understudy_rollouts_total{rollout="good/new", result="promoted"} == 1',
        'understudy_fallbacks_total{rollout="worse/bad"} > 0',
        'understudy_candidate_failures_total{rollout="worse/bad", reason="status_5xx"} > 0',
        "understudy_rollback_duration_seconds_sum / understudy_rollback_duration_seconds_count < 5",
        "understudy_deployment_lead_time_seconds_sum > 86400",
        'increase(understudy_requests_total{upstream="old", leg="served", code="200"}[10s]) > 10',
        "histogram_quantile(0.5, sum by (le) (rate(understudy_proxy_overhead_seconds_bucket[10s]))) < 1",
        "understudy_store_up == 1",
    ):
        assert await found.until(claim, within=15), claim
    lost = "understudy_pairs_sampled_total - on (rollout) sum by (rollout) (understudy_pairs_total)"
    assert all(float(sample["value"][1]) >= 0 for sample in await found.query(lost))


async def rules_are_evaluated(found: Prometheus) -> None:
    groups = (await found.ask("/api/v1/rules"))["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    for name in RECORDED:
        await found.until(name)
    await found.until('ALERTS{alertname="UnderstudyRolledBack", rollout="worse/bad"}')


async def the_dashboard_draws(found: Prometheus) -> None:
    for query in queries():
        if not any(name in query for name in (*OF_A_FLEET, OF_JUDGES, *OF_DRIFT)):
            await found.until(query, within=20)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")
async def test_a_real_prometheus_finds_what_a_fleet_says_of_itself(tmp_path: Path, postgres: Postgres) -> None:
    async with (
        model_process("live") as (_, live),
        model_process("c") as (_, candidate),
        fleet(tmp_path, postgres.url, settings(live, candidate), replicas=2, lease="2s") as it,
    ):
        leader = await it.settled()
        targets = [one.admin_url.removeprefix("http://") for one in it.replicas]
        async with prometheus(tmp_path, *targets) as found:
            for query in queries():
                if any(name in query for name in OF_A_FLEET):
                    await found.until(query, within=20)
            assert len(await found.until("understudy_config_hash")) == 2
            await found.until("count(count by (hash) (understudy_config_hash)) == 1 and sum(understudy_leader) == 1")
            leader.config.write_text("upstreams: 1")
            with pytest.raises(aiohttp.ClientResponseError):
                await leader.api("/-/reload", {})
            await found.until("understudy_config_last_reload_successful == 0")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")
async def test_a_real_prometheus_finds_what_judges_say(tmp_path: Path) -> None:
    judge = StandInJudge(right, mood="first")
    async with (
        trial(tmp_path, judge, equal("candidate"), anchors=anchor_file(tmp_path)) as (understudy, _),
        prometheus(tmp_path, understudy.admin_url.removeprefix("http://")) as found,
    ):
        for query in queries():
            if OF_JUDGES in query:
                await found.until(query, within=40)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")
async def test_a_real_prometheus_finds_drift(tmp_path: Path) -> None:
    """And the dashboard's annotations: what drifts, a controller that restarts and another configuration."""
    receiver = drifting.Receiver()
    async with (
        drifting.model() as live,
        receiver.listening() as hook,
        running(tmp_path, drifting.config(live, hook)) as understudy,
        prometheus(tmp_path, understudy.admin_url.removeprefix("http://")) as found,
        drifting.traffic(understudy) as traffic,
    ):
        await found.until('understudy_drift_learning{field="amount"} == 0', within=drifting.WITHIN)
        traffic.mean = 150.0
        await found.until('understudy_drift_drifting{field="amount"} == 1', within=drifting.WITHIN)
        await found.until('ALERTS{alertname="UnderstudyDrift", field="amount"}')
        await found.until('understudy_drift_effect_low{field="amount"} > 0', within=20)
        for query in queries():
            if "understudy_drift_" in query and 'event="ended"' not in query:
                await found.until(query, within=20)
        traffic.mean = 100.0
        await found.until(
            'increase(understudy_drift_alarms_total{field="amount", event="ended"}[1m]) > 0', drifting.WITHIN
        )
        await drifting.kill_controller(understudy)
        await understudy.api("/-/reload", {})
        for query in queries():
            if any(word in query for word in OF_DRIFT):
                await found.until(query, within=20)
