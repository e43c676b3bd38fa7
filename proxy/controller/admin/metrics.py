"""Prometheus metrics: a scrape reads the counts that exist anyway and writes them out; no request ever does any work.

A custom collector instead of prometheus-client's own counters, because the numbers are born in the workers (as plain
integers, merged by addition) and the library's `labels().inc()` costs more than the rest of a request's bookkeeping.

Invariants
- Every label value comes from the configuration or from a closed set: an upstream's invented status is counted under
  its class (`2xx`), an unknown word under `internal`. A scrape's size does not depend on what clients send.
- What can be known before it happens (each rollout's ledger parts, each end, each webhook result) is present with 0,
  so that `rate()` and alerts see the first event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from proxy import logs
from proxy.built import DATA_PATH
from proxy.config import Config
from proxy.controller.admin.interface import PARTS, FleetCounts
from proxy.controller.webhooks.policy import AttemptResult
from proxy.model import Mismatch, Verdict
from proxy.model.reasons import REASONS, Reason
from proxy.pairs.link import BOUNDS

PREFIX = "understudy_"
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

_NONE: Mapping[Any, Any] = {}
_STATUSES = frozenset(str(status.value) for status in HTTPStatus)
_WORDS = frozenset(word.value for word in REASONS if word)


class MetricsSource(Protocol):
    """The part of `interface.AdminService` that is used here."""

    @property
    def config(self) -> Config: ...
    def rollouts(self) -> list[dict[str, Any]]: ...
    def counts(self) -> FleetCounts: ...
    def fleet(self) -> dict[str, Any]: ...


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
        labels = {(r["name"], result): n for r in current for result, n in (r.get("labels") or {}).items()}
        text = "Requests and their delayed labels, by result."
        yield _gauge("labels", text, ("rollout", "result"), labels)
        yield from _ends(counts, names)
        yield self._webhooks()
        yield _counter("outcomes", "Delayed outcomes, by whether a pair waited for them.", ("result",), counts.outcomes)
        text = "Items that a full queue dropped (pairs, recorded pairs, events), and pairs of replaced trials."
        yield _counter("dropped", text, ("queue",), counts.dropped)
        text = "Requests and connections that the admin port refused or cut off, by reason."
        yield _counter("admin_refusals", text, ("reason",), self._refusals)
        yield from _storage(counts)
        yield from _fleet(self._source.fleet())
        text = "Unexpected exceptions, by where the controller caught them; the log has details."
        yield _counter("unexpected_errors", text, ("where",), logs.UNEXPECTED)
        build = {"version": package_version(), "python": python_version(), "data_path": DATA_PATH}
        yield InfoMetricFamily(PREFIX + "build", "What is running.", build)

    def _stages(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(stage.name for stage in plan.stages) for name, plan in self._source.config.plans.items()}

    def _webhooks(self) -> Metric:
        known = {
            (event, str(r)) for hook in self._source.config.webhooks for event in hook.events for r in AttemptResult
        }
        totals = dict.fromkeys(sorted(known), 0) | {(e, str(r)): n for (e, r), n in self._deliveries.counts.items()}
        return _counter("webhook_deliveries", "Attempts to deliver an event.", ("event", "result"), totals)


# --- families --------------------------------------------------------------------------------------------------------


def _counter(
    name: str, text: str, labels: Sequence[str], values: Mapping[Any, float], exemplars: Mapping[Any, Exemplar] = _NONE
) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        names = [key] if isinstance(key, str) else list(key)
        family.add_metric(names, value, exemplar=exemplars.get(key))
    return family


def _gauge(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family


def _cumulative(
    bounds: Sequence[float], counts: Sequence[int], exemplars: Mapping[int, Exemplar] = _NONE
) -> list[tuple[str, float, Exemplar | None]]:
    """Prometheus' buckets of plain ones: each counts what is at or below its bound.

    >>> _cumulative((1.0, 2.0), [3, 4, 5])
    [('1.0', 3.0, None), ('2.0', 7.0, None), ('+Inf', 12.0, None)]
    """
    total, buckets = 0.0, list[tuple[str, float, Exemplar | None]]()
    for n, (bound, count) in enumerate(zip((*map(str, bounds), "+Inf"), counts, strict=True)):
        total += count
        buckets.append((bound, total, exemplars.get(n)))
    return buckets


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    bounds: Sequence[float],
    values: Mapping[Any, tuple[list[int], float]],
    exemplars: Mapping[Any, Mapping[int, Exemplar]] = _NONE,
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for key, (counts, total) in values.items():
        buckets: Any = _cumulative(bounds, counts, exemplars.get(key, _NONE))  # typed for two of the three it takes
        family.add_metric([key] if isinstance(key, str) else list(key), buckets, total)
    return family


def _binned(bounds: Sequence[float], values: Mapping[str, list[float]], names: Iterable[str]) -> dict[Any, Any]:
    """Plain buckets of single values, for each of `names`."""
    binned = {}
    for name in names:
        counts = [0] * (len(bounds) + 1)
        for value in values.get(name, ()):
            counts[bisect_left(bounds, value)] += 1
        binned[name] = (counts, sum(values.get(name, ())))
    return binned


def _merged(values: Mapping[Any, int], key: Callable[[Any], Any]) -> Counter[Any]:
    """Values added up under new keys."""
    total: Counter[Any] = Counter()
    for old, value in values.items():
        total[key(old)] += value
    return total


def _traffic(counts: FleetCounts) -> Iterable[Metric]:
    leg = ("route", "upstream", "leg")
    requests = _merged(counts.requests, lambda k: (*k[:3], code_label(k[3])))
    yield _counter("requests", "Exchanges with upstreams, by status or reason word.", (*leg, "code"), requests)
    text, exemplars = "Last request byte to last answer byte.", counts.exemplars.durations
    yield _histogram("request_duration_seconds", text, leg, BOUNDS, counts.durations, exemplars)
    yield _histogram(
        "proxy_overhead_seconds", "Time in the proxy, not in the model.", ("route",), BOUNDS, counts.overhead
    )
    fallbacks = _merged(counts.fallbacks, lambda k: (k[0], code_label(k[1])))
    yield _counter("fallbacks", "Requests live answered for the candidate.", ("rollout", "reason"), fallbacks)
    text = "Requests that came before a worker's first routing table: live answered them, and none was sampled."
    yield _counter("before_table", text, ("rollout",), counts.before_table)
    yield _gauge("upstream_connections", "Connections open now.", ("upstream", "state"), counts.connections)
    text = "Lookups of an upstream's host names that failed."
    yield _counter("upstream_lookup_failures", text, ("upstream",), counts.lookups)
    text = "Requests without the key that `balance` hashes by, sent to the less loaded endpoint."
    yield _counter("upstream_unhashed_requests", text, ("upstream",), counts.unhashed)
    text = "Requests that an upstream was to get changed (`set_json`, `path`) and could not: why."
    yield _counter("upstream_not_rewritten_requests", text, ("upstream", "reason"), counts.not_rewritten)
    yield from _endpoints(counts)


def _endpoints(counts: FleetCounts) -> Iterable[Metric]:
    """By address, of which the workers know the present ones alone; of one upstream no more than `MOST_ADDRESSES`."""
    labels, rows, known = ("upstream", "address"), dict[tuple[str, str], list[int]](), Counter[str]()
    for (upstream, address), row in sorted(counts.endpoints.items()):
        known[upstream] += 1
        key = (upstream, address if known[upstream] <= MOST_ADDRESSES else "other")
        rows[key] = [a + b for a, b in zip(rows.get(key, [0] * len(row)), row, strict=True)]
    yield _gauge("endpoint_up", "Workers that send requests to it now.", labels, {k: v[1] for k, v in rows.items()})
    for at, name, text in (
        (2, "requests", "Requests sent to it, copies and health checks included."),
        (3, "errors", "Requests to it that broke off, got an invalid response, or timed out."),
        (4, "ejections", "Times that a worker left it out."),
    ):
        yield _counter(f"endpoint_{name}", text, labels, {key: row[at] for key, row in rows.items()})


def _pairs(counts: FleetCounts, names: Sequence[str]) -> Iterable[Metric]:
    parts = {(name, part): 0 for name in names for part in PARTS} | counts.pairs
    yield _counter("pairs", "Sampled requests, by result.", ("rollout", "result"), parts)
    sampled = dict.fromkeys(names, 0) | counts.sampled
    yield _counter("pairs_sampled", "Requests chosen to become a pair.", ("rollout",), sampled)
    unread = _merged(counts.unparseable, lambda k: (k[0], code_label(k[1])))
    text = "Pairs not compared because live's response could not be read, by reason."
    yield _counter("unparseable_pairs", text, ("rollout", "reason"), unread)
    failures = _merged(counts.candidate_failures, lambda k: (k[0], code_label(k[1])))
    text, exemplars = "Failures of the candidate.", counts.exemplars.failures
    yield _counter("candidate_failures", text, ("rollout", "reason"), failures, exemplars)
    mismatches = {(name, word.value): 0 for name in names for word in Mismatch if word} | counts.response_mismatches
    text = "Pairs whose responses differ in form: status class, refusal, empty, media type."
    yield _counter("response_mismatches", text, ("rollout", "difference"), mismatches)


_GUARD_GAUGES = (
    ("guard_value", "value", "What a guard measures now."),
    ("guard_limit", "limit", "The limit a guard holds it to."),
    ("guard_evidence_ratio", "evidence", "Share of the evidence needed to fail; 1 is decided."),
    ("guard_burst_size", "burst_size", "Size of the bursts of differences; evidence to fail is divided by it."),
)


def _guards(rollouts: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    found = [(r["name"], f) for r in rollouts for f in r["findings"] if f.get("segment") is None]
    for name, key, text in _GUARD_GAUGES:
        values = {(rollout, f["guard"]): f[key] for rollout, f in found if f[key] is not None}
        yield _gauge(name, text, ("rollout", "guard"), values)
    verdicts = {(name, f["guard"], str(v)): float(f["verdict"] == v) for name, f in found for v in Verdict}
    yield _gauge("guard_verdict", "1 for the verdict a guard has now.", ("rollout", "guard", "verdict"), verdicts)


def _rollouts(rollouts: Sequence[Mapping[str, Any]], stages: Mapping[str, Sequence[str]]) -> Iterable[Metric]:
    weights = {rollout["name"]: rollout["weight"] / 100 for rollout in rollouts}
    yield _gauge("rollout_weight_ratio", "The candidate's share of answered requests.", ("rollout",), weights)
    present = {(name, stage): 0.0 for name in weights for stage in stages[name]}
    for rollout in rollouts:
        ended = rollout["state"] if rollout["state"] in (*ENDS, "completed") else None
        for stage in (*ENDS, "completed"):
            present[rollout["name"], stage] = float(stage == ended)
        if ended is None:
            present[rollout["name"], rollout["stage"]["name"]] = 1.0
    text = "1 for the stage a rollout is in, or its final state."
    yield _gauge("rollout_stage", text, ("rollout", "stage"), present)


def _budgets(rollouts: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    """Rollouts with a token budget only."""
    budgets = {rollout["name"]: budget for rollout in rollouts if (budget := rollout.get("token_budget"))}
    total = {name: budget["total"] for name, budget in budgets.items()}
    yield _counter("copy_tokens", "Tokens that copies cost, under a token budget.", ("rollout",), total)
    share = {name: budget["share"] for name, budget in budgets.items()}
    text = "Share of the stage's pairs that the token budget affords."
    yield _gauge("copy_budget_share_ratio", text, ("rollout",), share)


def _paces(rollouts: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    """Rollouts with a limit of pairs only."""
    share = {rollout["name"]: pace["share"] for rollout in rollouts if (pace := rollout.get("pair_budget"))}
    text = "Share of the stage's pairs that `max_pairs_per_second` affords."
    yield _gauge("pair_budget_share_ratio", text, ("rollout",), share)


def _ends(counts: FleetCounts, names: Sequence[str]) -> Iterable[Metric]:
    ends = {(name, end): 0 for name in names for end in ENDS} | counts.results
    yield _counter("rollouts", "Rollouts that ended, by result.", ("rollout", "result"), ends)
    for name, text, bounds, values in (
        ("rollback_duration_seconds", "Deciding batch to weight 0 on all.", ROLLBACK_BOUNDS, counts.rollback_seconds),
        ("detection_duration_seconds", "First pair to decision.", TRIAL_BOUNDS, counts.detection_seconds),
        ("deployment_lead_time_seconds", "Sign-off to weight 100.", LEAD_BOUNDS, counts.lead_seconds),
    ):
        binned = _binned(bounds, values, dict.fromkeys((*names, *values)))
        yield _histogram(name, text, ("rollout",), bounds, binned)


def _fleet(view: Mapping[str, Any]) -> Iterable[Metric]:
    replicas = view["replicas"]
    states = Counter(one["role"] if one["connected"] else "cut_off" for one in replicas)
    text = "Replicas that this one knows of, by what they do now; the leader knows all of its fleet."
    known = {state: float(states[state]) for state in ("leader", "standby", "cut_off")}
    yield _gauge("fleet_replicas", text, ("state",), known)
    text = "Different configurations among them; 1 when all have the same file."
    different = float(len({one["config_hash"] for one in replicas}))
    yield _gauge("fleet_configurations", text, (), {(): different})


def _storage(counts: FleetCounts) -> Iterable[Metric]:
    text = "Requests selected for traces or the access log, by result."
    yield _counter("request_log", text, ("sink", "result"), counts.request_log)
    text = "Whether this replica's controller judges: 1 on one machine, and on the leader of a fleet."
    yield _gauge("leader", text, (), {(): float(counts.leads)})
    yield _gauge("store_up", "Whether the last write to the store succeeded.", (), {(): float(counts.store_ok)})
    yield _counter("store_failures", "Writes to the store that failed.", (), {(): counts.store_failures})
    text = "Store files that were corrupt and set aside."
    yield _counter("store_set_aside", text, (), {(): counts.store_set_aside})
    text = "Times the store's file was gone, replaced or corrupt while in use, and was written again."
    yield _counter("store_renewed", text, (), {(): counts.store_renewed})
    if counts.store_synchronous is not None:
        text = "Whether a COMMIT in PostgreSQL waits for a standby: what was saved is on two machines."
        yield _gauge("store_synchronous", text, (), {(): float(counts.store_synchronous)})
