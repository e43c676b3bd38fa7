"""Paths of the admin port that are about drift."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.controller.admin import inputs
from proxy.controller.admin.callers import About, Role, needs_role
from proxy.controller.admin.handlers import SURFACE, answer
from proxy.controller.admin.identity import caller_of
from proxy.controller.admin.problems import Problem

routes = web.RouteTableDef()
ROUTE = "/api/v1/drift/{route}"


def _unknown(name: str) -> Problem:
    return Problem(404, f"There is no drift of a route {name[:200]!r}.")


@routes.get("/api/v1/drift")
@needs_role(Role.VIEW, About.FILTERED)
async def drift_of_all(request: web.Request) -> web.Response:
    """Drift of every route that the caller may see."""
    inputs.query(request, ())
    caller = caller_of(request)
    return answer({"routes": [one for one in request.app[SURFACE].drift.routes() if caller.sees(one["route"])]})


@routes.get(ROUTE)
@needs_role(Role.VIEW, About.PATH)
async def drift_of_route(request: web.Request) -> web.Response:
    """Drift of one route, with what can be drawn."""
    inputs.query(request, ())
    name = request.match_info["route"]
    found = await request.app[SURFACE].drift.route(name)
    if found is None:
        raise _unknown(name)
    return answer(found)


@routes.get(ROUTE + "/journal")
@needs_role(Role.VIEW, About.PATH)
async def drift_journal(request: web.Request) -> web.Response:
    """A page of the journal of a route's drift, newest first; `next` is the `before` of the page after it."""
    values = inputs.query(request, ("limit", "before"))
    limit = inputs.whole_number(values, "limit", 50, 1, 500)
    before = inputs.whole_number(values, "before", None, 0, inputs.BIGGEST)
    assert limit is not None
    name = request.match_info["route"]
    found = await request.app[SURFACE].drift.journal(name, limit + 1, before)
    if not found and not request.app[SURFACE].drift.watches(name):
        raise _unknown(name)
    page = found[:limit]
    return answer({"journal": page, "next": page[-1]["number"] if len(found) > limit else None})


@routes.post(ROUTE + "/accept")
@needs_role(Role.OPERATE, About.PATH)
async def accept_drift(request: web.Request) -> web.Response:
    """Take what a field is now for normal; the route afterwards."""
    given: dict[str, Any] = await inputs.drift_acceptance(request)
    actor = caller_of(request).actor
    return answer(await request.app[SURFACE].drift.accept(request.match_info["route"], actor=actor, **given))
