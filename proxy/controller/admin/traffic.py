"""Exchanges with the upstreams since the start, for a page that shows rates: plain sums, taken from the counts of all
replicas, with each one's own behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from typing_extensions import TypedDict

from proxy.controller.admin.interface import FleetCounts, ReplicaCounts
from proxy.json_types import Whole
from proxy.model.reasons import Reason


class LegCountsJson(TypedDict):
    """Exchanges, and those of them that failed."""

    exchanges: Whole
    errors: Whole


class AddressJson(TypedDict):
    """One address of an upstream: how many workers know it and send to it now, and what became of requests."""

    address: str
    workers: Whole
    up: Whole
    requests: Whole
    errors: Whole
    ejections: Whole


RoutesTraffic = dict[str, dict[str, dict[str, LegCountsJson]]]
"""By route, upstream and leg."""
UpstreamAddresses = dict[str, list[AddressJson]]
"""By upstream."""


class CountedReplicaJson(TypedDict):
    """A replica of which there are counts; `age_seconds` since its workers last reported."""

    name: str
    connected: bool
    age_seconds: float | None


class ReplicaTrafficJson(CountedReplicaJson):
    """Traffic of one replica."""

    routes: RoutesTraffic


class ReplicaUpstreamsJson(CountedReplicaJson):
    """Upstreams as one replica knows them."""

    upstreams: UpstreamAddresses


class TrafficJson(TypedDict):
    """Exchanges and errors by route, upstream and leg: of all replicas together, and of each."""

    time: float
    routes: RoutesTraffic
    replicas: list[ReplicaTrafficJson]


class UpstreamsJson(TypedDict):
    """Each upstream's addresses: of all replicas together, and of each."""

    upstreams: UpstreamAddresses
    replicas: list[ReplicaUpstreamsJson]


def is_error(code: str) -> bool:
    """Whether a status or reason word is a failure of the upstream: a word, 429 or any 5xx; not a client that left.

    >>> is_error("200"), is_error("404"), is_error("429"), is_error("5xx"), is_error("timeout"), is_error("client_gone")
    (False, False, True, True, True, False)
    """
    return code != Reason.CLIENT_GONE and (code == "429" or code[:1] not in "1234")


def traffic_json(replicas: Sequence[ReplicaCounts], seen: Callable[[str], bool], now: float) -> TrafficJson:
    """What the counts of these replicas say of the routes that are `seen`; `now` in epoch seconds."""

    def shown(counts: Sequence[FleetCounts]) -> RoutesTraffic:
        return {route: legs for route, legs in by_route(counts).items() if seen(route)}

    return {
        "time": now,
        "routes": shown([one.counts for one in replicas]),
        "replicas": [{**_counted(one), "routes": shown([one.counts])} for one in replicas],
    }


def upstreams_json(replicas: Sequence[ReplicaCounts], seen: Callable[[str], bool]) -> UpstreamsJson:
    """What the counts of these replicas say of the upstreams that are `seen`."""

    def shown(counts: Sequence[FleetCounts]) -> UpstreamAddresses:
        return {upstream: known for upstream, known in by_upstream(counts).items() if seen(upstream)}

    return {
        "upstreams": shown([one.counts for one in replicas]),
        "replicas": [{**_counted(one), "upstreams": shown([one.counts])} for one in replicas],
    }


def _counted(one: ReplicaCounts) -> CountedReplicaJson:
    return {"name": one.name, "connected": one.connected, "age_seconds": one.age}


def by_upstream(counts: Sequence[FleetCounts]) -> UpstreamAddresses:
    """Each upstream's addresses: how many workers know it and send to it now, and what became of requests.

    >>> one = FleetCounts(endpoints={("u", "10.0.0.1:80"): [2, 1, 9, 1, 1]})
    >>> [by_upstream(all)["u"][0]["up"] for all in ([one], [one, one])]
    [1, 2]
    """
    endpoints: dict[tuple[str, str], list[int]] = {}
    for one in counts:
        for key, row in one.endpoints.items():
            endpoints[key] = [a + b for a, b in zip(endpoints.get(key, [0] * len(row)), row, strict=True)]
    found: UpstreamAddresses = {}
    for (upstream, address), (workers, up, requests, errors, ejections) in sorted(endpoints.items()):
        known: AddressJson = {
            "address": address,
            "workers": workers,
            "up": up,
            "requests": requests,
            "errors": errors,
            "ejections": ejections,
        }
        found.setdefault(upstream, []).append(known)
    return found


def by_route(counts: Sequence[FleetCounts]) -> RoutesTraffic:
    """`{route: {upstream: {leg: {"exchanges", "errors"}}}}` of counts by route, upstream, leg and code.

    >>> by_route([FleetCounts({("r", "u", "served", "200"): 3}), FleetCounts({("r", "u", "served", "timeout"): 1})])
    {'r': {'u': {'served': {'exchanges': 4, 'errors': 1}}}}
    """
    found: RoutesTraffic = {}
    for (route, upstream, leg, code), count in (item for one in counts for item in one.requests.items()):
        sums = found.setdefault(route, {}).setdefault(upstream, {}).setdefault(leg, {"exchanges": 0, "errors": 0})
        sums["exchanges"] += count
        sums["errors"] += count * is_error(code)
    return found
