"""What is wrong with which requests belong to a route (`routes[].match`)."""

from __future__ import annotations

from proxy.config.blaming import Blamer
from proxy.config.grpc import speaks
from proxy.config.route import Match, RouteConfig
from proxy.config.text import Path
from proxy.config.tree import Config
from proxy.fields.sticky import in_message
from proxy.json_pointer import parse
from proxy.model.worker_config import DEFAULT_ROUTE, OWN_PATHS


def check_reachable(n: int, config: Config, blame: Blamer) -> None:
    """A route is never reached when an earlier one, on the same listener, takes every request that it would take."""
    routes = config.routes
    here = routes[n].match
    for m, route in enumerate(routes[:n]):
        if speaks(config, route.live) is not speaks(config, routes[n].live):
            continue
        there = route.match
        wider = _covers(there.path, here.path) and there.headers.items() <= here.headers.items()
        wider = wider and there.json.items() <= here.json.items()
        if wider and (not there.methods or (here.methods and set(here.methods) <= set(there.methods))):
            hint = f"routes[{m}] (`{route.name}`) matches all its requests; put this one first, or narrow that one"
            if not blame.is_broken(("routes", m, "match")) and not blame.is_broken(("routes", n, "match")):
                blame(("routes", n), f"the route `{routes[n].name}` is never reached", hint)
            return


def check_fork(n: int, config: Config, blame: Blamer) -> None:
    """A route that the body decides for: fields that can be read, and one default for each path."""
    match, path = config.routes[n].match, ("routes", n, "match")
    if match.default and not match.json:
        blame((*path, "default"), "has no meaning without `json`", "a route without it gets all remaining requests")
    for pointer in match.json:
        if not pointer:
            blame((*path, "json", pointer), "is the whole body", "name a field of it, such as /model")
        elif speaks(config, config.routes[n].live) and not in_message(parse(pointer)):
            blame((*path, "json", pointer), "is not a supported field of ModelInferRequest", "such as /model_name")
    same = [m for m, other in enumerate(config.routes[:n]) if match.default and _alike(other.match, match)]
    if same:
        blame((*path, "default"), f"routes[{same[0]}] is the default of the same path already", "one of them is")


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
