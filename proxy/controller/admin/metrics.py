"""Prometheus metrics: a scrape reads the counts that exist anyway and writes them out; no request ever does any work.

A custom collector instead of prometheus-client's own counters, because the numbers are born in the workers (as plain
integers, merged by addition) and the library's `labels().inc()` costs more than the rest of a request's bookkeeping.

Invariants
- Every label value comes from the configuration, from the certified replicas of the fleet or from a closed set: an
  upstream's invented status is counted under its class (`2xx`), an unknown word under `internal`. A scrape's size does
  not depend on what clients send.
- What can be known before it happens (each rollout's ledger parts, each end, each webhook result) is present with 0,
  so that `rate()` and alerts see the first event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy import logs
from proxy.built import DATA_PATH
from proxy.config import Config
from proxy.controller.admin import fleet_metrics
from proxy.controller.admin.drift_metrics import drift_families
from proxy.controller.admin.families import PREFIX, binned, buckets_of, counter, gauge
from proxy.controller.admin.fleet_view import FleetJson
from proxy.controller.admin.interface import FleetCounts
from proxy.controller.admin.judge_metrics import judge_families
from proxy.controller.admin.later_metrics import later_families
from proxy.controller.admin.registry_metrics import registry_families
from proxy.controller.admin.rollout_view import RolloutJson
from proxy.controller.webhooks.policy import AttemptResult
from proxy.model import PARTS, Mismatch, Verdict
from proxy.model.reasons import REASONS, Reason
from proxy.pairs.link import BOUNDS

ENDS = ("promoted", "rolled_back")
ADMIN_REFUSALS = (
    Reason.TOO_MANY_CONNECTIONS,
    Reason.REQUEST_TIMEOUT,
    Reason.SLOW_CLIENT,
    Reason.BAD_REQUEST,
    Reason.BODY_TOO_LARGE,
    Reason.UNAUTHORIZED,
)
"""Why the admin port refuses somebody."""

ROLLBACK_BOUNDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds from the deciding batch to weight 0 on every worker; the target is below 0.1."""

TRIAL_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 7 * 86400.0)
"""Seconds of a trial: from a crash at once to a drift that takes a week to prove."""

DAY = 86400.0
LEAD_BOUNDS = (3600.0, 6 * 3600.0, DAY, 2 * DAY, 3 * DAY, 5 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY)
"""Seconds from sign-off to weight 100."""

MOST_ADDRESSES = 64
"""Addresses of one upstream that are labels of their own; those beyond are `other`."""

_STATUSES = frozenset(str(status.value) for status in HTTPStatus)
_WORDS = frozenset(word.value for word in REASONS if word)


class MetricsSource(Protocol):
    """The part of `interface.AdminService` that is used here."""

    @property
    def config(self) -> Config: ...
    def rollouts(self) -> Sequence[RolloutJson]: ...
    def counts(self) -> FleetCounts: ...
    def fleet(self) -> FleetJson: ...


class Deliveries(Protocol):
    """The part of `webhooks.Sender` that is used here."""

    counts: Counter[tuple[str, str]]


def code_label(code: str) -> str:
    """The label of a status or reason word: itself when it is one of a closed set, else its class.

    >>> code_label("200"), code_label("599"), code_label("timeout"), code_label("<script>")
    ('200', '5xx', 'timeout', 'internal')
    """
    if code in _STATUSES or code in _WORDS:
        return code
    if len(code) == 3 and code.isascii() and code.isdigit() and code[0] in "12345":
        return f"{code[0]}xx"
    return "internal"


def package_version() -> str:
    """The installed version, `unknown` when run from a bare checkout."""
    try:
        return version("understudy")
    except PackageNotFoundError:
        return "unknown"


class Metrics:
    """Every metric as text, for one scrape at a time."""

    def __init__(self, source: MetricsSource, deliveries: Deliveries) -> None:
        self.refusals: Counter[Reason] = Counter(dict.fromkeys(ADMIN_REFUSALS, 0))
        """What the admin port has refused, counted by whoever refuses it."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(source, deliveries, self.refusals))
        ProcessCollector(registry=self._registry)  # this process: CPU, memory, file descriptors

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type in the format that an `Accept` header asks for: OpenMetrics, or Prometheus' text."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Collector(Collector):
    """Families from the counts of one moment."""

    def __init__(self, source: MetricsSource, deliveries: Deliveries, refusals: Counter[Reason]) -> None:
        self._source, self._deliveries, self._refusals = source, deliveries, refusals

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        counts, plans = self._source.counts(), self._source.config.plans
        # An archived rollout may bear the name of a configured one, which comes first in the list.
        by_name = {
            rollout["name"]: rollout for rollout in reversed(self._source.rollouts()) if rollout["name"] in plans
        }
        current = list(by_name.values())
        names = [rollout["name"] for rollout in current]
        yield from _traffic(counts)
        yield from _pairs(counts, names)
        yield from _guards(current)
        yield from _rollouts(current, self._stages())
        yield from _budgets(current)
        yield from _paces(current)
        yield from (*judge_families(current, counts), *drift_families(counts))
        yield from later_families(current)
        yield from _ends(counts, names)
        yield self._webhooks()
        yield counter("outcomes", "Delayed outcomes, by whether a pair waited for them.", ("result",), counts.outcomes)
        text = "Items that a full queue dropped (pairs, recorded pairs, events), and pairs of replaced trials."
        yield counter("dropped", text, ("queue",), counts.dropped)
        text = "Requests and connections that the admin port refused or cut off, by reason."
        yield counter("admin_refusals", text, ("reason",), self._refusals)
        yield from (*registry_families(counts), *_storage(counts))
        yield from fleet_metrics.families(self._source.fleet(), counts, names)
        text = "Unexpected exceptions, by where the controller caught them; the log has details."
        yield counter("unexpected_errors", text, ("where",), logs.UNEXPECTED)
        build = {"version": package_version(), "python": python_version(), "data_path": DATA_PATH}
        yield InfoMetricFamily(PREFIX + "build", "What is running.", build)

    def _stages(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(stage.name for stage in plan.stages) for name, plan in self._source.config.plans.items()}

    def _webhooks(self) -> Metric:
        known = {
            (event, str(r)) for hook in self._source.config.webhooks for event in hook.events for r in AttemptResult
        }
        totals = dict.fromkeys(sorted(known), 0) | {(e, str(r)): n for (e, r), n in self._deliveries.counts.items()}
        return counter("webhook_deliveries", "Attempts to deliver an event.", ("event", "result"), totals)


# --- families --------------------------------------------------------------------------------------------------------


def _merged(values: Mapping[Any, int], key: Callable[[Any], Any]) -> Counter[Any]:
    """Values added up under new keys."""
    total: Counter[Any] = Counter()
    for old, value in values.items():
        total[key(old)] += value
    return total


def _traffic(counts: FleetCounts) -> Iterable[Metric]:
    leg = ("route", "upstream", "leg")
    requests = _merged(counts.requests, lambda k: (*k[:3], code_label(k[3])))
    yield counter("requests", "Exchanges with upstreams, by status or reason word.", (*leg, "code"), requests)
    text, exemplars = "Last request byte to last answer byte.", counts.exemplars.durations
    yield buckets_of("request_duration_seconds", text, leg, BOUNDS, counts.durations, exemplars)
    yield buckets_of(
        "proxy_overhead_seconds", "Time in the proxy, not in the model.", ("route",), BOUNDS, counts.overhead
    )
    fallbacks = _merged(counts.fallbacks, lambda k: (k[0], code_label(k[1])))
    yield counter("fallbacks", "Requests live answered for the candidate.", ("rollout", "reason"), fallbacks)
    text = "Requests that came before a worker's first routing table: live answered them, and none was sampled."
    yield counter("before_table", text, ("rollout",), counts.before_table)
    text = "Requests of the share that were not sampled, because a link to the controller was filling."
    yield counter("spared_requests", text, (), {(): counts.spared})
    yield gauge("upstream_connections", "Connections open now.", ("upstream", "state"), counts.connections)
    text = "Lookups of an upstream's host names that failed."
    yield counter("upstream_lookup_failures", text, ("upstream",), counts.lookups)
    text = "Requests without the key that `balance` hashes by, sent to the less loaded endpoint."
    yield counter("upstream_unhashed_requests", text, ("upstream",), counts.unhashed)
    text = "Requests that an upstream was to get changed (`set_json`, `path`) and could not: why."
    yield counter("upstream_not_rewritten_requests", text, ("upstream", "reason"), counts.not_rewritten)
    yield from _endpoints(counts)


def _endpoints(counts: FleetCounts) -> Iterable[Metric]:
    """By address, of which the workers know the present ones alone; of one upstream no more than `MOST_ADDRESSES`."""
    labels, rows, known = ("upstream", "address"), dict[tuple[str, str], list[int]](), Counter[str]()
    for (upstream, address), row in sorted(counts.endpoints.items()):
        known[upstream] += 1
        key = (upstream, address if known[upstream] <= MOST_ADDRESSES else "other")
        rows[key] = [a + b for a, b in zip(rows.get(key, [0] * len(row)), row, strict=True)]
    yield gauge("endpoint_up", "Workers that send requests to it now.", labels, {k: v[1] for k, v in rows.items()})
    for at, name, text in (
        (2, "requests", "Requests sent to it, copies and health checks included."),
        (3, "errors", "Requests to it that broke off, got an invalid response, or timed out."),
        (4, "ejections", "Times that a worker left it out."),
    ):
        yield counter(f"endpoint_{name}", text, labels, {key: row[at] for key, row in rows.items()})


def _pairs(counts: FleetCounts, names: Sequence[str]) -> Iterable[Metric]:
    parts = {(name, part): 0 for name in names for part in PARTS} | counts.pairs
    yield counter("pairs", "Sampled requests, by result.", ("rollout", "result"), parts)
    sampled = dict.fromkeys(names, 0) | counts.sampled
    yield counter("pairs_sampled", "Requests chosen to become a pair.", ("rollout",), sampled)
    unread = _merged(counts.unparseable, lambda k: (k[0], code_label(k[1])))
    text = "Pairs not compared because live's response could not be read, by reason."
    yield counter("unparseable_pairs", text, ("rollout", "reason"), unread)
    failures = _merged(counts.candidate_failures, lambda k: (k[0], code_label(k[1])))
    text, exemplars = "Failures of the candidate.", counts.exemplars.failures
    yield counter("candidate_failures", text, ("rollout", "reason"), failures, exemplars)
    mismatches = {(name, word.value): 0 for name in names for word in Mismatch if word} | counts.response_mismatches
    text = "Pairs whose responses differ in form: status class, refusal, empty, media type."
    yield counter("response_mismatches", text, ("rollout", "difference"), mismatches)


_GUARD_GAUGES = (
    ("guard_value", "value", "What a guard measures now."),
    ("guard_limit", "limit", "The limit a guard holds it to."),
    ("guard_evidence_ratio", "evidence", "Share of the evidence needed to fail; 1 is decided."),
    ("guard_burst_size", "burst_size", "Size of the bursts of differences; evidence to fail is divided by it."),
)


_VERDICT_LABELS = ("rollout", "guard", "aspect", "verdict")


def _guards(rollouts: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    found = [(r["name"], f) for r in rollouts for f in r["findings"] if f.get("segment") is None]
    for name, key, text in _GUARD_GAUGES:
        values = {(rollout, f["guard"], f.get("aspect", "")): f[key] for rollout, f in found if f[key] is not None}
        yield gauge(name, text, ("rollout", "guard", "aspect"), values)
    verdicts = {
        (name, f["guard"], f.get("aspect", ""), str(v)): float(f["verdict"] == v) for name, f in found for v in Verdict
    }
    yield gauge("guard_verdict", "1 for the verdict a guard has now.", _VERDICT_LABELS, verdicts)


def _rollouts(rollouts: Sequence[Mapping[str, Any]], stages: Mapping[str, Sequence[str]]) -> Iterable[Metric]:
    weights = {rollout["name"]: rollout["weight"] / 100 for rollout in rollouts}
    yield gauge("rollout_weight_ratio", "The candidate's share of answered requests.", ("rollout",), weights)
    present = {(name, stage): 0.0 for name in weights for stage in stages[name]}
    for rollout in rollouts:
        ended = rollout["state"] if rollout["state"] in (*ENDS, "completed") else None
        for stage in (*ENDS, "completed"):
            present[rollout["name"], stage] = float(stage == ended)
        if ended is None:
            present[rollout["name"], rollout["stage"]["name"]] = 1.0
    text = "1 for the stage a rollout is in, or its final state."
    yield gauge("rollout_stage", text, ("rollout", "stage"), present)


def _budgets(rollouts: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    """Rollouts with a token budget only, and what there is to say of costs."""
    budgets = {rollout["name"]: budget for rollout in rollouts if (budget := rollout.get("token_budget"))}
    total = {name: budget["total"] for name, budget in budgets.items()}
    yield counter("copy_tokens", "Tokens that copies cost, under a token budget.", ("rollout",), total)
    share = {name: budget["share"] for name, budget in budgets.items()}
    text = "Share of the stage's pairs that the token budget affords."
    yield gauge("copy_budget_share_ratio", text, ("rollout",), share)
    yield from _costs(rollouts)


def _costs(rollouts: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    """Rollouts of which both arms have a price only."""
    costs = {rollout["name"]: cost for rollout in rollouts if (cost := rollout.get("cost"))}
    totals = {(name, arm): cost[arm]["total"] for name, cost in costs.items() for arm in ("live", "candidate")}
    text = "What the answers of an arm cost, over pairs that both answered, in the currency of the prices."
    yield counter("cost", text, ("rollout", "arm"), totals)
    pairs = {name: cost["pairs"] for name, cost in costs.items()}
    yield counter("cost_pairs", "Pairs that `understudy_cost_total` is of.", ("rollout",), pairs)
    copies = {name: cost["copies"] for name, cost in costs.items()}
    yield counter("copy_cost", "What only copies cost, in the currency of the prices.", ("rollout",), copies)
    share = {rollout["name"]: money["share"] for rollout in rollouts if (money := rollout.get("cost_budget"))}
    text = "Share of the stage's pairs that `mirror.max_cost` affords."
    yield gauge("cost_budget_share_ratio", text, ("rollout",), share)


def _paces(rollouts: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    """Rollouts with a limit of pairs only."""
    share = {rollout["name"]: pace["share"] for rollout in rollouts if (pace := rollout.get("pair_budget"))}
    text = "Share of the stage's pairs that `max_pairs_per_second` affords."
    yield gauge("pair_budget_share_ratio", text, ("rollout",), share)


def _ends(counts: FleetCounts, names: Sequence[str]) -> Iterable[Metric]:
    ends = {(name, end): 0 for name in names for end in ENDS} | counts.results
    yield counter("rollouts", "Rollouts that ended, by result.", ("rollout", "result"), ends)
    for name, text, bounds, values in (
        ("rollback_duration_seconds", "Deciding batch to weight 0 on all.", ROLLBACK_BOUNDS, counts.rollback_seconds),
        ("detection_duration_seconds", "First pair to decision.", TRIAL_BOUNDS, counts.detection_seconds),
        ("deployment_lead_time_seconds", "Sign-off to weight 100.", LEAD_BOUNDS, counts.lead_seconds),
    ):
        singles = binned(bounds, values, dict.fromkeys((*names, *values)))
        yield buckets_of(name, text, ("rollout",), bounds, singles)


def _storage(counts: FleetCounts) -> Iterable[Metric]:
    text = "Requests selected for traces or the access log, by result."
    yield counter("request_log", text, ("sink", "result"), counts.request_log)
    yield gauge("store_up", "Whether the last write to the store succeeded.", (), {(): float(counts.store_ok)})
    yield counter("store_failures", "Writes to the store that failed.", (), {(): counts.store_failures})
    text = "Store files that were corrupt and set aside."
    yield counter("store_set_aside", text, (), {(): counts.store_set_aside})
    text = "Times the store's file was gone, replaced or corrupt while in use, and was written again."
    yield counter("store_renewed", text, (), {(): counts.store_renewed})
    if counts.store_synchronous is not None:
        text = "Whether a COMMIT in PostgreSQL waits for a standby: what was saved is on two machines."
        yield gauge("store_synchronous", text, (), {(): float(counts.store_synchronous)})
