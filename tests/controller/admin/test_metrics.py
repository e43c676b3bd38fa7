"""Promise: every metric is in every scrape, with the counts as they are, in both text formats, and
nothing a client or an upstream sends can add a label value."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from proxy import config
from proxy.controller.admin.exemplars import Exemplars
from proxy.controller.admin.fleet_view import FleetView, LeaderView, ReplicaView
from proxy.controller.admin.interface import FleetCounts
from proxy.controller.admin.judge_metrics import JUDGE_BOUNDS
from proxy.controller.admin.metrics import MOST_ADDRESSES, Metrics, code_label
from proxy.model import PARTS
from proxy.pairs.link import BOUNDS
from proxy.pairs.request_log import LegEntry, example
from tests.controller.admin.drifting import COUNTS_OF_DRIFT, METRICS_OF_DRIFT
from tests.controller.admin.shown import ALIKE, JUDGED, USERS

FILE = """
upstreams: {v1: {url: 'http://127.0.0.1:9001'}, v2: {url: 'http://127.0.0.1:9002', version: '7'}}
routes:
  - name: credit
    live: v1
    rollouts: [{candidate: v2, stages: [{shadow: 100%}, {canary: 5%}]}]
webhooks: [{url: 'https://deploy.example/', secret: 'x'}]
"""
NAME = "credit/v2"

METRICS = {
    "understudy_registry_words_total": {"source", "result"},
    "understudy_registry_up": {"registry"},
    "understudy_requests_total": {"route", "upstream", "leg", "code"},
    "understudy_request_duration_seconds_bucket": {"route", "upstream", "leg", "le"},
    "understudy_proxy_overhead_seconds_bucket": {"route", "le"},
    "understudy_pairs_total": {"rollout", "result"},
    "understudy_pairs_sampled_total": {"rollout"},
    "understudy_candidate_failures_total": {"rollout", "reason"},
    "understudy_unparseable_pairs_total": {"rollout", "reason"},
    "understudy_response_mismatches_total": {"rollout", "difference"},
    "understudy_fallbacks_total": {"rollout", "reason"},
    "understudy_guard_value": {"rollout", "guard", "aspect"},
    "understudy_guard_limit": {"rollout", "guard", "aspect"},
    "understudy_guard_evidence_ratio": {"rollout", "guard", "aspect"},
    "understudy_guard_burst_size": {"rollout", "guard", "aspect"},
    "understudy_guard_verdict": {"rollout", "guard", "aspect", "verdict"},
    "understudy_judge_verdicts_total": {"rollout", "aspect", "verdict"},
    "understudy_judge_not_judged_total": {"rollout", "aspect", "reason"},
    "understudy_embedded_pairs_total": {"rollout", "aspect"},
    "understudy_judge_cost_total": {"judge"},
    "understudy_judge_cache_hits_total": {"judge"},
    "understudy_judge_up": {"judge"},
    "understudy_judge_moved": {"judge"},
    "understudy_judge_held": {"judge"},
    "understudy_judge_first_ratio": {"judge"},
    "understudy_judge_duration_seconds_bucket": {"judge", "le"},
    **METRICS_OF_DRIFT,
    "understudy_users": {"rollout", "arm", "result"},
    "understudy_outcome_mean": {"rollout", "arm"},
    "understudy_users_left_total": {"rollout", "why"},
    "understudy_rollout_weight_ratio": {"rollout"},
    "understudy_rollout_stage": {"rollout", "stage"},
    "understudy_rollouts_total": {"rollout", "result"},
    "understudy_rollback_duration_seconds_bucket": {"rollout", "le"},
    "understudy_detection_duration_seconds_bucket": {"rollout", "le"},
    "understudy_deployment_lead_time_seconds_bucket": {"rollout", "le"},
    "understudy_webhook_deliveries_total": {"event", "result"},
    "understudy_upstream_connections": {"upstream", "state"},
    "understudy_upstream_lookup_failures_total": {"upstream"},
    "understudy_upstream_unhashed_requests_total": {"upstream"},
    "understudy_upstream_not_rewritten_requests_total": {"upstream", "reason"},
    "understudy_endpoint_up": {"upstream", "address"},
    "understudy_endpoint_requests_total": {"upstream", "address"},
    "understudy_endpoint_errors_total": {"upstream", "address"},
    "understudy_endpoint_ejections_total": {"upstream", "address"},
    "understudy_request_log_total": {"sink", "result"},
    "understudy_admin_refusals_total": {"reason"},
    "understudy_fleet_replicas": {"state"},
    "understudy_fleet_configurations": set(),
    "understudy_fleet_term": set(),
    "understudy_fleet_link_lag_seconds": {"replica"},
    "understudy_fleet_clock_offset_seconds": {"replica"},
    "understudy_fleet_links_refused_total": {"reason"},
    "understudy_untimed_pairs_total": {"rollout"},
    "understudy_refused_tables_total": set(),
    "understudy_config_hash": {"hash"},
    "understudy_config_last_reload_successful": set(),
    "understudy_config_last_reload_success_timestamp_seconds": set(),
    "understudy_build_info": {"version", "python", "data_path"},
}


def rollout(**changes: Any) -> dict[str, Any]:
    finding = {"guard": "p99_latency", "segment": None, "verdict": "inconclusive", "value": 1.05, "limit": 1.2}
    finding |= {"evidence": 0.25, "low": 0.9, "high": 1.3, "pairs": 9, "eta_seconds": None, "reason": "so far"}
    finding |= {"burst_size": 1.5, "value_with_repeats": 1.05, "pairs_with_repeats": 9}
    segment = finding | {"segment": "tenant-7", "value": 9.9}
    base = {"name": NAME, "state": "canary", "weight": 5.0, "stage": {"index": 1, "name": "canary-5"}}
    unnamed = finding | {"segment": "", "value": 8.8}  # requests without the header
    return (
        base
        | {"findings": [finding, segment, unnamed], "judges": [JUDGED], "similarities": [ALIKE], "users": USERS}
        | changes
    )


class FakeController:
    """As much of `interface.AdminService` as metrics use."""

    def __init__(self, counts: FleetCounts | None = None, rollouts: list[dict[str, Any]] | None = None) -> None:
        self.config = config.parse(FILE)
        self._counts = counts or full()
        self._rollouts = [rollout()] if rollouts is None else rollouts

    def counts(self) -> FleetCounts:
        return self._counts

    def rollouts(self) -> list[dict[str, Any]]:
        return self._rollouts

    def fleet(self) -> dict[str, Any]:
        leader = ReplicaView("a", "a:1", "leader", "0.1.0", "0f3a", 2, 0.0, 0.0)
        standby = ReplicaView("b", "b:1", "standby", "0.1.0", "9c1d", 2, 0.01, 0.0)
        away = ReplicaView("c", "c:1", "standby", "0.1.0", "0f3a", 2, None, None, connected=False)
        return FleetView(LeaderView("a", "a:1", 0.0), 3, (leader, standby, away)).shown()


class FakeSender:
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter({("rollout.rolled_back", "delivered"): 2})


FLEET: dict[str, Any] = {
    "untimed": {NAME: 4},
    "refused_tables": 2,
    "refused_links": {"tls": 1, "name": 0},
    "config_hash": "0f3a",
    "config_loaded": 1_764_400_000.0,
    "reload_refused": True,
    "registry_words": {("webhook", "begun"): 1, ("poll", "unchanged"): 7},
    "registry_up": {"mlflow": 1.0},
}


def full() -> FleetCounts:
    buckets = [0] * (len(BOUNDS) + 1)
    buckets[0], buckets[3], buckets[-1] = 5, 2, 1
    return FleetCounts(
        requests={("credit", "v1", "served", "200"): 8, ("credit", "v2", "copy", "timeout"): 1},
        durations={("credit", "v1", "served"): (buckets, 62.5)},
        overhead={"credit": (buckets, 0.25)},
        fallbacks={(NAME, "timeout"): 3},
        connections={("v1", "idle"): 4},
        lookups={"v2": 2},
        unhashed={"v1": 3},
        not_rewritten={("v1", "not_json"): 3},
        endpoints={("v1", "10.0.0.1:80"): [2, 1, 8, 1, 1]},
        sampled={NAME: 9},
        pairs={(NAME, "compared"): 8},
        candidate_failures={(NAME, "timeout"): 1},
        unparseable={(NAME, "missing_output"): 4, (NAME, "made up"): 1},
        response_mismatches={(NAME, "empty"): 6},
        results={(NAME, "rolled_back"): 1},
        rollback_seconds={NAME: [0.02, 0.2]},
        detection_seconds={NAME: [30.0]},
        lead_seconds={NAME: [86400.0]},
        request_log={("traces", "written"): 4},
        outcomes={"joined": 3, "unknown": 1},
        judge_seconds={"helpful": ([1, 2, *[0] * (len(JUDGE_BOUNDS) - 1)], 0.4)},
        dropped={"order": 1, "record": 2, "events": 3},
        **(FLEET | COUNTS_OF_DRIFT),
        store_failures=1,
        store_ok=False,
    )


def samples(metrics: Metrics) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for family in classic(metrics.render()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def value(found: dict[str, list[Any]], name: str, **labels: str) -> float:
    [sample] = [s for s in found[name] if labels.items() <= s.labels.items()]
    return float(sample.value)


@pytest.mark.parametrize(("name", "labels"), METRICS.items())
def test_every_metric_is_there_with_its_labels(name: str, labels: set[str]) -> None:
    found = samples(Metrics(FakeController(), FakeSender()))
    assert {frozenset(sample.labels) for sample in found[name]} == {frozenset(labels)}


def test_a_token_budget_is_seen_where_there_is_one() -> None:
    budget = {"limit": 600, "last_minute": 90, "total": 750, "share": 0.25}
    found = samples(Metrics(FakeController(rollouts=[rollout(token_budget=budget)]), FakeSender()))
    assert value(found, "understudy_copy_tokens_total", rollout=NAME) == 750
    assert value(found, "understudy_copy_budget_share_ratio", rollout=NAME) == 0.25
    without = samples(Metrics(FakeController(rollouts=[rollout(token_budget=None)]), FakeSender()))
    assert "understudy_copy_tokens_total" not in without


def test_a_limit_of_pairs_is_seen_where_there_is_one() -> None:
    one = rollout(pair_budget={"limit": "auto", "share": 0.2})
    found = samples(Metrics(FakeController(rollouts=[one]), FakeSender()))
    assert value(found, "understudy_pair_budget_share_ratio", rollout=NAME) == 0.2


def test_the_values_are_the_counts() -> None:
    found = samples(Metrics(FakeController(), FakeSender()))
    assert value(found, "understudy_requests_total", upstream="v1", code="200") == 8
    assert value(found, "understudy_pairs_total", result="compared") == 8
    assert value(found, "understudy_response_mismatches_total", difference="empty") == 6
    assert value(found, "understudy_response_mismatches_total", difference="refusal") == 0
    assert value(found, "understudy_rollout_weight_ratio") == 0.05
    assert value(found, "understudy_guard_evidence_ratio", guard="p99_latency") == 0.25
    assert value(found, "understudy_guard_verdict", verdict="inconclusive") == 1
    assert value(found, "understudy_guard_verdict", verdict="fail") == 0
    assert value(found, "understudy_rollout_stage", stage="canary-5") == 1
    assert value(found, "understudy_rollout_stage", stage="shadow") == 0
    assert value(found, "understudy_rollback_duration_seconds_sum") == pytest.approx(0.22)
    assert value(found, "understudy_rollback_duration_seconds_bucket", le="0.02") == 1
    assert value(found, "understudy_rollback_duration_seconds_bucket", le="0.1") == 1
    assert value(found, "understudy_rollback_duration_seconds_count") == 2
    assert value(found, "understudy_webhook_deliveries_total", event="rollout.rolled_back", result="delivered") == 2
    assert value(found, "understudy_outcomes_total", result="unknown") == 1
    assert value(found, "understudy_users", arm="candidate", result="late") == 9
    assert [(s.labels["arm"], s.value) for s in found["understudy_outcome_mean"]] == [("live", 0.5)]
    assert value(found, "understudy_dropped_total", queue="record") == 2
    assert value(found, "understudy_store_up") == 0
    assert value(found, "understudy_admin_refusals_total", reason="unauthorized") == 0


def test_buckets_are_cumulative_and_end_in_the_count() -> None:
    found = samples(Metrics(FakeController(), FakeSender()))
    buckets = [s.value for s in found["understudy_request_duration_seconds_bucket"]]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[2], buckets[3], buckets[-1]) == (5, 5, 7, 8)
    assert value(found, "understudy_request_duration_seconds_count") == 8
    assert value(found, "understudy_request_duration_seconds_sum") == 62.5


def test_what_may_happen_is_zero_before_it_does() -> None:
    found = samples(Metrics(FakeController(FleetCounts()), type("Quiet", (), {"counts": Counter()})()))
    for part in PARTS:
        assert value(found, "understudy_pairs_total", rollout=NAME, result=part) == 0
    assert value(found, "understudy_rollouts_total", rollout=NAME, result="rolled_back") == 0
    assert value(found, "understudy_detection_duration_seconds_count", rollout=NAME) == 0
    assert value(found, "understudy_webhook_deliveries_total", event="rollout.promoted", result="gave_up") == 0


def test_an_ended_rollout_is_at_its_end_and_on_no_rung() -> None:
    found = samples(Metrics(FakeController(rollouts=[rollout(state="rolled_back", weight=0.0)]), FakeSender()))
    here = {s.labels["stage"] for s in found["understudy_rollout_stage"] if s.value == 1}
    assert here == {"rolled_back"}


def test_a_rollout_that_is_no_longer_configured_leaves_no_series() -> None:
    gone = rollout(name="old/gone", state="completed")
    found = samples(Metrics(FakeController(rollouts=[rollout(), gone]), FakeSender()))
    assert {s.labels["rollout"] for s in found["understudy_rollout_weight_ratio"]} == {NAME}


def test_an_archived_rollout_of_the_same_name_hides_behind_the_configured_one() -> None:
    found = samples(Metrics(FakeController(rollouts=[rollout(), rollout(weight=0.0)]), FakeSender()))
    assert value(found, "understudy_rollout_weight_ratio", rollout=NAME) == 0.05


def test_a_guard_is_told_of_all_requests_whatever_its_segments_say() -> None:
    assert value(samples(Metrics(FakeController(), FakeSender())), "understudy_guard_value") == 1.05


def test_a_guard_without_a_value_yet_has_no_value() -> None:
    finding = rollout()["findings"][0]
    young = rollout(findings=[finding | {"value": None}])
    found = samples(Metrics(FakeController(rollouts=[young]), FakeSender()))
    assert "understudy_guard_value" not in found
    assert value(found, "understudy_guard_limit") == 1.2


@given(st.dictionaries(st.text(max_size=20), st.integers(0, 100), max_size=40))
def test_no_status_or_word_from_outside_adds_a_label(codes: dict[str, int]) -> None:
    counts = FleetCounts(requests={("credit", "v1", "served", code): n for code, n in codes.items()})
    found = samples(Metrics(FakeController(counts), FakeSender()))
    seen = found.get("understudy_requests_total", [])
    assert sum(s.value for s in seen) == sum(codes.values())
    assert all(s.labels["code"] == code_label(s.labels["code"]) or s.labels["code"].endswith("xx") for s in seen)


def test_every_possible_status_gives_few_labels() -> None:
    assert len({code_label(str(number)) for number in range(100_000)}) < 75


@pytest.mark.parametrize("hostile", ['a"b', "a\\b", "a\nb", "<script>", "\u202e", "x" * 1000])
def test_a_hostile_value_is_escaped_in_both_formats(hostile: str) -> None:
    counts = FleetCounts(sampled={hostile: 3})
    metrics = Metrics(FakeController(counts), FakeSender())
    for accept, parse in (("", classic), ("application/openmetrics-text; version=1.0.0", openmetrics)):
        families = {f.name: f for f in parse(metrics.render(accept)[0].decode())}
        name = "understudy_pairs_sampled"
        family = families.get(name) or families[name + "_total"]
        assert 3 in [s.value for s in family.samples if s.labels["rollout"] == hostile]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, content_type: str) -> None:
    body, found = Metrics(FakeController(), FakeSender()).render(accept)
    assert found.startswith(content_type)
    assert body.endswith(b"# EOF\n") == ("openmetrics" in content_type)


def with_exemplars() -> FleetCounts:
    counts, found = full(), Exemplars()
    leg = LegEntry("served", "live", "v1", "", 10.0, 0.0004, None, 200, "", "s")
    late = leg._replace(seconds=99.0)
    found.take([example(route="credit", trace="a" * 32, id="first", legs=(leg,))])
    found.take([example(route="credit", trace="b" * 32, id="x" * 128, legs=(leg, late))])
    found.take([example(route="credit", id="not exported", legs=(leg,))])
    found.failed(NAME, "timeout", "id-1", 12.0)
    for hostile in ("y" * 128, '"}\\', "} # {", "\u202e"):
        found.failed(NAME, "timeout", hostile, 13.0)
    counts.exemplars = found
    return counts


def test_exemplars_lead_to_the_latest_trace_and_to_a_failure() -> None:
    metrics = Metrics(FakeController(with_exemplars()), FakeSender())
    text = metrics.render("application/openmetrics-text; version=1.0.0")[0].decode()
    found = {
        (sample.name, sample.labels.get("le")): sample.exemplar
        for family in openmetrics(text)
        for sample in family.samples
        if sample.exemplar is not None
    }
    durations = "understudy_request_duration_seconds_bucket"
    assert found[durations, "0.0005"].labels == {"trace_id": "b" * 32}  # its request's id is too long to go along
    assert (found[durations, "0.0005"].value, float(found[durations, "0.0005"].timestamp)) == (0.0004, 10.0)
    assert found[durations, "+Inf"].value == 99.0
    assert found["understudy_candidate_failures_total", None].labels == {"request_id": "id-1"}
    assert len(found) == 3


def test_the_text_format_knows_no_exemplars() -> None:
    text = Metrics(FakeController(with_exemplars()), FakeSender()).render()[0].decode()
    assert "trace_id" not in text
    assert "request_id" not in text


def test_exemplars_are_bounded_whatever_comes() -> None:
    found = Exemplars()
    for n in range(2000):
        leg = LegEntry("copy", "candidate", "v2", "", float(n), n / 7.0, None, 200, "", "s")
        found.take([example(trace="a" * 32, id=str(n), legs=(leg, leg._replace(status=0, reason="timeout")))])
        found.failed(NAME, "timeout", str(n), float(n))
    assert sum(len(series) for series in found.durations.values()) <= len(BOUNDS) + 1
    assert len(found.failures) == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus")
def test_promtool_finds_nothing_to_say() -> None:
    body, _ = Metrics(FakeController(), FakeSender()).render()
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "", "")


def test_addresses_beyond_the_bound_are_told_together() -> None:
    controller = FakeController()
    many = {("v1", f"10.0.{n}.1:80"): [1, 1, 2, 0, 0] for n in range(MOST_ADDRESSES + 5)}
    controller.counts = lambda: FleetCounts(endpoints=many)  # type: ignore[method-assign]
    found = samples(Metrics(controller, FakeSender()))["understudy_endpoint_requests_total"]
    assert len(found) == MOST_ADDRESSES + 1
    assert next(one.value for one in found if one.labels["address"] == "other") == 10
