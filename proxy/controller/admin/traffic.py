"""Exchanges with the upstreams since the start, for a page that shows rates: plain sums, taken from the counts of all
replicas, with each one's own behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxy.controller.admin.interface import FleetCounts, ReplicaCounts
from proxy.model.reasons import Reason


def is_error(code: str) -> bool:
    """Whether a status or reason word is a failure of the upstream: a word, 429 or any 5xx; not a client that left.

    >>> is_error("200"), is_error("404"), is_error("429"), is_error("5xx"), is_error("timeout"), is_error("client_gone")
    (False, False, True, True, True, False)
    """
    return code != Reason.CLIENT_GONE and (code == "429" or code[:1] not in "1234")


def of_fleet(
    replicas: Sequence[ReplicaCounts],
    name: str,
    part: Callable[[Sequence[FleetCounts]], dict[str, Any]],
    seen: Callable[[str], bool] = lambda _: True,
) -> dict[str, Any]:
    """A part of the counts under its `name`: the sum over the replicas, and that of each of them in `replicas`. `seen`
    says which of its keys are shown."""

    def shown(counts: Sequence[FleetCounts]) -> dict[str, Any]:
        return {key: value for key, value in part(counts).items() if seen(key)}

    each = [
        {"name": one.name, "connected": one.connected, "age_seconds": one.age, name: shown([one.counts])}
        for one in replicas
    ]
    return {name: shown([one.counts for one in replicas]), "replicas": each}


def by_upstream(counts: Sequence[FleetCounts]) -> dict[str, Any]:
    """Each upstream's addresses: how many workers know it and send to it now, and what became of requests.

    >>> one = FleetCounts(endpoints={("u", "10.0.0.1:80"): [2, 1, 9, 1, 1]})
    >>> [by_upstream(all)["u"][0]["up"] for all in ([one], [one, one])]
    [1, 2]
    """
    endpoints: dict[tuple[str, str], list[int]] = {}
    for one in counts:
        for key, row in one.endpoints.items():
            endpoints[key] = [a + b for a, b in zip(endpoints.get(key, [0] * len(row)), row, strict=True)]
    found: dict[str, Any] = {}
    for (upstream, address), (workers, up, requests, errors, ejections) in sorted(endpoints.items()):
        known: dict[str, Any] = {"address": address, "workers": workers, "up": up}
        known |= {"requests": requests, "errors": errors, "ejections": ejections}
        found.setdefault(upstream, []).append(known)
    return found


def by_route(counts: Sequence[FleetCounts]) -> dict[str, Any]:
    """`{route: {upstream: {leg: {"exchanges", "errors"}}}}` of counts by route, upstream, leg and code.

    >>> by_route([FleetCounts({("r", "u", "served", "200"): 3}), FleetCounts({("r", "u", "served", "timeout"): 1})])
    {'r': {'u': {'served': {'exchanges': 4, 'errors': 1}}}}
    """
    found: dict[str, Any] = {}
    for (route, upstream, leg, code), count in (item for one in counts for item in one.requests.items()):
        sums = found.setdefault(route, {}).setdefault(upstream, {}).setdefault(leg, {"exchanges": 0, "errors": 0})
        sums["exchanges"] += count
        sums["errors"] += count * is_error(code)
    return found
