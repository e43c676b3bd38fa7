"""Paths of the admin port that are about drift."""

from __future__ import annotations

from aiohttp import web

from proxy.controller.admin import inputs
from proxy.controller.admin.answering import PostedBody, answers
from proxy.controller.admin.callers import About, Role, needs_role
from proxy.controller.admin.drift_view import DriftJson, DriftRoutesJson, DriftWithChartsJson
from proxy.controller.admin.handlers import SURFACE, page_of
from proxy.controller.admin.identity import caller_of
from proxy.controller.admin.problems import Problem
from proxy.controller.admin.rollout_view import JournalJson

routes = web.RouteTableDef()
ROUTE = "/api/v1/drift/{route}"


def _unknown(name: str) -> Problem:
    return Problem(404, f"There is no drift of a route {name[:200]!r}.")


@routes.get("/api/v1/drift")
@needs_role(Role.VIEW, About.FILTERED)
@answers(name="drift")
async def drift_of_all(request: web.Request) -> DriftRoutesJson:
    """Drift of every route that has `drift`."""
    caller = caller_of(request)
    return {"routes": [one for one in request.app[SURFACE].drift.routes() if caller.sees(one["route"])]}


@routes.get(ROUTE)
@needs_role(Role.VIEW, About.PATH)
@answers()
async def drift_of_route(request: web.Request) -> DriftWithChartsJson:
    """Drift of one route, with charts."""
    name = request.match_info["route"]
    found = await request.app[SURFACE].drift.route(name)
    if found is None:
        raise _unknown(name)
    return found


@routes.get(ROUTE + "/journal")
@needs_role(Role.VIEW, About.PATH)
@answers(503, query=inputs.PAGE)
async def drift_journal(request: web.Request, limit: int, before: int | None) -> JournalJson:
    """What became of it, newest first."""
    name = request.match_info["route"]
    found = await request.app[SURFACE].drift.journal(name, limit + 1, before)
    if not found and not request.app[SURFACE].drift.watches(name):
        raise _unknown(name)
    return page_of(found, limit)


@routes.post(ROUTE + "/accept")
@needs_role(Role.OPERATE, About.PATH)
@answers(503, query=None, body=PostedBody(inputs.DriftAcceptanceJson))
async def accept_drift(request: web.Request) -> DriftJson:
    """Take what a field is now for normal; the route afterwards."""
    given = await inputs.drift_acceptance(request)
    actor = caller_of(request).actor
    return await request.app[SURFACE].drift.accept(request.match_info["route"], actor=actor, **given)
