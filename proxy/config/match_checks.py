"""What is wrong with which requests belong to a route (`routes[].match`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.blaming import Blamer
from proxy.config.grpc import speaks
from proxy.config.route import Match, RouteConfig
from proxy.config.text import Path
from proxy.config.tree import Config
from proxy.fields.sticky import in_message
from proxy.json_pointer import parse_pointer
from proxy.model.worker_config import DEFAULT_ROUTE, OWN_PATHS


def check_reachable(config: Config, blame: Blamer) -> None:
    """A route that is never reached, since an earlier one on the same listener takes every request that it would take;
    and routes of two owners that one request fits: which of them has it would depend on the names of their files."""
    grpc = [speaks(config, route.live) for route in config.routes]
    earlier = _Earlier()
    for n, route in enumerate(config.routes):
        if blame.is_broken(("routes", n, "match")):
            continue
        for m in earlier.near(route.match.path):
            problem = _conflict(m, n, config, blame) if grpc[m] is grpc[n] else None
            if problem is not None:
                blame(*problem)
                break
        earlier.add(n, route.match.path)


class _Earlier:
    """The routes so far, by path: of hundreds only a few can have a request in common with another one.

    >>> earlier = _Earlier()
    >>> for n, path in enumerate(["/a", "/b", "/a*", None]): earlier.add(n, path)
    >>> earlier.near("/b"), earlier.near("/b*")
    ([1, 2, 3], [0, 1, 2, 3])
    """

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = {}
        self._wide: list[int] = []
        self._every: list[int] = []

    def add(self, n: int, path: str | None) -> None:
        """The next route has this path."""
        self._every.append(n)
        (self._wide if _is_wide(path) else self._exact.setdefault(path or "", [])).append(n)

    def near(self, path: str | None) -> list[int]:
        """Those that may have a request in common with a route of this path, in their order."""
        return self._every if _is_wide(path) else sorted([*self._exact.get(path or "", ()), *self._wide])


def _is_wide(path: str | None) -> bool:
    return path is None or path.endswith("*")


def _conflict(m: int, n: int, config: Config, blame: Blamer) -> tuple[Path, str, str] | None:
    """What is wrong with route `n` behind route `m`: where, what, and what to do."""
    earlier, route = config.routes[m], config.routes[n]
    if _strangers(earlier, route) and _meet(earlier.match, route.match):
        there = blame.document.place(("routes", m), ("routes", n))
        problem = f"matches requests that {there} (`{earlier.name}`, {earlier.owner}) matches as well"
        return ("routes", n, "match"), problem, "another path, or a header or field that tells them apart"
    if _takes_all(earlier.match, route.match):
        there = blame.document.place(("routes", m), ("routes", n))
        hint = f"{there} (`{earlier.name}`) matches all its requests; put this one first, or narrow that one"
        return ("routes", n), f"the route `{route.name}` is never reached", hint
    return None


def _takes_all(there: Match, here: Match) -> bool:
    return (
        _covers(there.path, here.path)
        and there.headers.items() <= here.headers.items()
        and there.json.items() <= here.json.items()
        and (not there.methods or (bool(here.methods) and set(here.methods) <= set(there.methods)))
    )


def _strangers(one: RouteConfig, other: RouteConfig) -> bool:
    return one.owner is not None and other.owner is not None and one.owner != other.owner


def _meet(one: Match, other: Match) -> bool:
    """Whether a request can fit both.

    >>> _meet(Match(path="/v2/*"), Match(path="/v2/a")), _meet(Match(path="/a"), Match(path="/b"))
    (True, False)
    >>> _meet(Match(headers={"x-team": "a"}), Match(path="/a", headers={"x-team": "b"}))
    False
    """
    return (
        (_covers(one.path, other.path) or _covers(other.path, one.path))
        and not (one.methods and other.methods and set(one.methods).isdisjoint(other.methods))
        and _agree(one.headers, other.headers)
        and _agree(one.json, other.json)
    )


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(other.get(key, value) == value for key, value in one.items())


def check_fork(n: int, config: Config, blame: Blamer) -> None:
    """A route that the body decides for: fields that can be read, and one default for each path."""
    match, path = config.routes[n].match, ("routes", n, "match")
    if match.default and not match.json:
        blame((*path, "default"), "has no meaning without `json`", "a route without it gets all remaining requests")
    for pointer in match.json:
        if not pointer:
            blame((*path, "json", pointer), "is the whole body", "name a field of it, such as /model")
        elif speaks(config, config.routes[n].live) and not in_message(parse_pointer(pointer)):
            blame((*path, "json", pointer), "is not a supported field of ModelInferRequest", "such as /model_name")
    same = [m for m, other in enumerate(config.routes[:n]) if match.default and _alike(other.match, match)]
    if same:
        there = blame.document.place(("routes", same[0]), path)
        blame((*path, "default"), f"{there} is the default of the same path already", "one of them is")


def _alike(one: Match, other: Match) -> bool:
    return one.default and (one.path, set(one.methods), one.headers) == (other.path, set(other.methods), other.headers)


def _covers(wide: str | None, narrow: str | None) -> bool:
    """Whether every path that matches `narrow` matches `wide`.

    >>> _covers("/v2/*", "/v2/models/m/infer"), _covers("/v2/*", None), _covers(None, "/a")
    (True, False, True)
    """
    if wide is None:
        return True
    return narrow is not None and (narrow.startswith(wide[:-1]) if wide.endswith("*") else wide == narrow)


def check_reserved(path: Path, route: RouteConfig, blame: Blamer) -> None:
    """A path, or a name, that is the proxy's own or that nothing matches."""
    if (route.match.path or "").startswith(OWN_PATHS):
        problem = f"paths under {OWN_PATHS} are the proxy's own (health), so this route is never reached"
        blame((*path, "match", "path"), problem)
    if set(route.match.path or "") & set("?#"):
        blame((*path, "match", "path"), "is matched against the path alone, without query and fragment", "leave it out")
    if "*" in (route.match.path or "")[:-1]:
        problem = "a `*` matches the rest of the path and is allowed only at the end"
        blame((*path, "match", "path"), problem, "end it there, or write a route for each path")
    if route.name == DEFAULT_ROUTE:
        hint = "another name, or `default: {live: …}` at the top for what matches no route"
        blame((*path, "name"), f"`{DEFAULT_ROUTE}` is the name of the default route in metrics and logs", hint)
