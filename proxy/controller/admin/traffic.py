"""Exchanges with the upstreams since the start, for a page that shows rates: plain sums, taken from the counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.model.reasons import Reason


def is_error(code: str) -> bool:
    """Whether a status or reason word is a failure of the upstream: a word, 429 or any 5xx; not a client that left.

    >>> is_error("200"), is_error("404"), is_error("429"), is_error("5xx"), is_error("timeout"), is_error("client_gone")
    (False, False, True, True, True, False)
    """
    return code != Reason.CLIENT_GONE and (code == "429" or code[:1] not in "1234")


def by_upstream(endpoints: Mapping[tuple[str, str], list[int]]) -> dict[str, Any]:
    """Each upstream's addresses: how many workers know it and send to it now, and what became of requests.

    >>> by_upstream({("u", "10.0.0.1:80"): [2, 1, 9, 1, 1]})["u"][0]["up"]
    1
    """
    found: dict[str, Any] = {}
    for (upstream, address), (workers, up, requests, errors, ejections) in sorted(endpoints.items()):
        row = {"address": address, "workers": workers, "up": up}
        row |= {"requests": requests, "errors": errors, "ejections": ejections}
        found.setdefault(upstream, []).append(row)
    return found


def by_route(requests: Mapping[tuple[str, str, str, str], int]) -> dict[str, Any]:
    """`{route: {upstream: {leg: {"exchanges", "errors"}}}}` of counts by route, upstream, leg and code.

    >>> by_route({("r", "u", "served", "200"): 3, ("r", "u", "served", "timeout"): 1})
    {'r': {'u': {'served': {'exchanges': 4, 'errors': 1}}}}
    """
    found: dict[str, Any] = {}
    for (route, upstream, leg, code), count in requests.items():
        sums = found.setdefault(route, {}).setdefault(upstream, {}).setdefault(leg, {"exchanges": 0, "errors": 0})
        sums["exchanges"] += count
        sums["errors"] += count * is_error(code)
    return found
