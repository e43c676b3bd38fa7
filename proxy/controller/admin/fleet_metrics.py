"""Metrics of a replica in its fleet: who leads, who follows how far behind, whether all have one configuration.

A machine that is no fleet is one replica that leads. Of the others only the leader knows anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client.core import Metric

from proxy.controller.admin.families import counter, gauge
from proxy.controller.admin.fleet_view import FleetJson
from proxy.controller.admin.interface import FleetCounts


def families(view: FleetJson, counts: FleetCounts, names: Sequence[str]) -> Iterable[Metric]:
    """All of them: `view` is what `GET /api/v1/fleet` shows, `names` are the rollouts of the configuration."""
    text = "Whether this replica's controller judges: 1 on one machine, and on the leader of a fleet."
    yield gauge("leader", text, (), {(): float(counts.leads)})
    yield from _replicas(view)
    yield from _configuration(view, counts)
    untimed = dict.fromkeys(names, 0) | counts.untimed
    text = "Pairs that say nothing of latency, since the clock of their replica is not known well enough."
    yield counter("untimed_pairs", text, ("rollout",), untimed if counts.leads else {})
    text = "Routing tables of a former leader that this replica's workers refused."
    yield counter("refused_tables", text, (), {(): counts.refused_tables})
    text = "Connections of other replicas that this leader refused, by reason."
    yield counter("fleet_links_refused", text, ("reason",), counts.refused_links)


def _replicas(view: FleetJson) -> Iterable[Metric]:
    replicas = view["replicas"]
    states = Counter(one["role"] if one["connected"] else "cut_off" for one in replicas)
    text = "Replicas that this one knows of, by what they do now; the leader knows all of its fleet."
    known = {state: float(states[state]) for state in ("leader", "standby", "cut_off")}
    yield gauge("fleet_replicas", text, ("state",), known)
    yield gauge("fleet_term", "Number of the leadership; 0 where there is no fleet.", (), {(): float(view["term"])})
    others = [one for one in replicas if one["role"] != "leader"]
    for name, text in (
        ("link_lag_seconds", "How long pairs of a replica take to the leader and back."),
        ("clock_offset_seconds", "How far the clock of a replica is ahead of the leader's."),
    ):
        values = {one["name"]: one[name] for one in others if one[name] is not None}
        yield gauge(f"fleet_{name}", text, ("replica",), values)


def _configuration(view: FleetJson, counts: FleetCounts) -> Iterable[Metric]:
    text = "Different configurations among the replicas that this one knows of; 1 when all have the same."
    different = float(len({one["config_hash"] for one in view["replicas"]}))
    yield gauge("fleet_configurations", text, (), {(): different})
    text = "1 for the hash of the configuration in force, without what belongs to one replica."
    yield gauge("config_hash", text, ("hash",), {counts.config_hash: 1.0})
    text = "Whether the last attempt to load the configuration succeeded."
    yield gauge("config_last_reload_successful", text, (), {(): float(not counts.reload_refused)})
    text = "When the configuration in force was loaded."
    yield gauge("config_last_reload_success_timestamp_seconds", text, (), {(): counts.config_loaded})
