"""What is wrong where a route's requests go to two upstreams before they are answered (`routes[].dual_write`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proxy.config.text import Path
from proxy.spelling import nearest

if TYPE_CHECKING:
    from proxy.config.route import RouteConfig

_Blame = Callable[..., None]


def check_dual_write(path: Path, route: RouteConfig, known: Sequence[str], blame: _Blame) -> None:
    """Note every mistake of one route's `dual_write`, at `path`; `known` are the upstreams that there are."""
    both = route.dual_write
    if both is None:
        return
    if both.upstream not in known:
        blame((*path, "upstream"), f"there is no upstream `{both.upstream}`", nearest(both.upstream, list(known)))
    if both.upstream == route.live:
        blame((*path, "upstream"), f"`{both.upstream}` is live here, and would get each request twice")
    if both.timeout <= 0:
        blame((*path, "timeout"), "must be more than 0")
    if route.rollouts:
        hint = "give the calls that set up state a route of their own, without `rollouts`"
        blame(path, "conflicts with `rollouts`: copies would set up the state again", hint)
