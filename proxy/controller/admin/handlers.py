"""What is at each path of the admin port. Each handler reads its inputs, asks the controller and writes the answer."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from proxy.controller.admin import inputs
from proxy.controller.admin.callers import About, Role, needs_role, open_to_all
from proxy.controller.admin.config_view import config_of
from proxy.controller.admin.identity import caller_of
from proxy.controller.admin.interface import ACTIONS, AdminService
from proxy.controller.admin.metrics import Metrics
from proxy.controller.admin.openapi import DOCUMENT
from proxy.controller.admin.outcome_lines import OutcomeLines, is_lines
from proxy.controller.admin.problems import Problem
from proxy.controller.admin.traffic import by_route, by_upstream, of_fleet
from proxy.controller.webhooks.outbox import Sender

if TYPE_CHECKING:
    from proxy.controller.admin.stream import EventStreams

MAX_BODY = 1 << 20
"""Longest body of a request, bytes."""

SURFACE: web.AppKey[AdminService] = web.AppKey("service", AdminService)
SENDER = web.AppKey("sender", Sender)
METRICS = web.AppKey("metrics", Metrics)
STREAMS: web.AppKey[EventStreams] = web.AppKey("streams")

routes = web.RouteTableDef()
ROLLOUT = "/api/v1/rollouts/{route}/{candidate}"


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON answer; what is not a finite number is `null`."""
    return web.Response(body=orjson.dumps(value), content_type="application/json", status=status)


def _name(request: web.Request) -> str:
    return f"{request.match_info['route']}/{request.match_info['candidate']}"


def _unknown(name: str) -> Problem:
    return Problem(404, f"There is no rollout {name[:200]!r}.")


def rollout_asked(request: web.Request) -> dict[str, Any]:
    """The rollout that a path names; raises `Problem` (404)."""
    name = _name(request)
    found = request.app[SURFACE].rollout(name)
    if found is None:
        raise _unknown(name)
    return found


# --- health, metrics, reload -----------------------------------------------------------------------------------------


@routes.get("/healthz")
@open_to_all
async def healthz(request: web.Request) -> web.Response:
    """The process is up."""
    return answer({"status": "up"})


@routes.get("/readyz")
@open_to_all
async def readyz(request: web.Request) -> web.Response:
    """The controller can do its work; 503 with the reasons why not."""
    ready, reasons = request.app[SURFACE].ready()
    if not ready:
        raise Problem(503, " ".join(reasons) or "Not ready.", reasons=reasons)
    return answer({"status": "ready"})


@routes.get("/metrics")
@open_to_all
async def metrics(request: web.Request) -> web.Response:
    """All metrics, in the text format that the scraper asks for."""
    body, content_type = request.app[METRICS].render(request.headers.get("accept", ""))
    response = web.Response(body=body, headers={"content-type": content_type})
    response.enable_compression()
    return response


@routes.post("/-/reload")
@needs_role(Role.ADMIN)
async def reload(request: web.Request) -> web.Response:
    """Read the configuration file again; 422 with what is wrong in it keeps the old one in force."""
    done, problem = await request.app[SURFACE].reload(caller_of(request).actor)
    if not done:
        raise Problem(422, problem or "The reload failed; the old configuration stays in force.")
    return answer({"status": "reloaded", "generation": request.app[SURFACE].generation})


# --- rollouts --------------------------------------------------------------------------------------------------------


@routes.get("/api/v1/rollouts")
@needs_role(Role.VIEW, About.FILTERED)
async def rollouts(request: web.Request) -> web.Response:
    """Every rollout that the caller may see."""
    inputs.query(request, ())
    caller = caller_of(request)
    return answer({"rollouts": [one for one in request.app[SURFACE].rollouts() if caller.sees(one["route"])]})


@routes.get(ROLLOUT)
@needs_role(Role.VIEW, About.PATH)
async def rollout(request: web.Request) -> web.Response:
    """One rollout."""
    inputs.query(request, ())
    return answer(rollout_asked(request))


@routes.get(ROLLOUT + "/findings")
@needs_role(Role.VIEW, About.PATH)
async def findings(request: web.Request) -> web.Response:
    """Its findings."""
    inputs.query(request, ())
    found = rollout_asked(request)
    return answer({"verdict": found["verdict"], "findings": found["findings"]})


@routes.get(ROLLOUT + "/pairs")
@needs_role(Role.VIEW, About.PATH)
async def pairs(request: web.Request) -> web.Response:
    """Kept pairs, the worst or the latest first, redacted."""
    values = inputs.query(request, ("order", "limit"))
    order = inputs.choice(values, "order", ("worst", "latest", "judged"))
    limit = inputs.whole_number(values, "limit", 20, 1, 200)
    assert limit is not None
    found = request.app[SURFACE].pairs(_name(request), order, limit)
    if found is None:
        raise _unknown(_name(request))
    return answer({"order": order, "pairs": found})


@routes.get(ROLLOUT + "/pairs/{pair}/transcript")
@needs_role(Role.VIEW, About.PATH)
async def transcript(request: web.Request) -> web.Response:
    """What two language models said in a kept pair."""
    inputs.query(request, ())
    pair = request.match_info["pair"]
    found = await request.app[SURFACE].transcript(_name(request), pair)
    if found is None:
        raise Problem(404, f"There is no transcript of a pair {pair[:200]!r}.")
    return answer(found)


@routes.get(ROLLOUT + "/charts")
@needs_role(Role.VIEW, About.PATH)
async def charts(request: web.Request) -> web.Response:
    """What can be drawn: distributions, latencies, labels, history."""
    inputs.query(request, ())
    found = request.app[SURFACE].charts(_name(request))
    if found is None:
        raise _unknown(_name(request))
    return answer(found)


@routes.get(ROLLOUT + "/trials")
@needs_role(Role.VIEW, About.PATH)
async def trials(request: web.Request) -> web.Response:
    """Its earlier trials, newest first."""
    values = inputs.query(request, ("limit",))
    limit = inputs.whole_number(values, "limit", 20, 1, 100)
    assert limit is not None
    name = rollout_asked(request)["name"]
    return answer({"trials": await request.app[SURFACE].earlier(name, limit)})


@routes.get(ROLLOUT + "/journal")
@needs_role(Role.VIEW, About.PATH)
async def journal(request: web.Request) -> web.Response:
    """A page of the journal, newest first; `next` is the `before` of the page after it."""
    values = inputs.query(request, ("limit", "before"))
    limit = inputs.whole_number(values, "limit", 50, 1, 500)
    before = inputs.whole_number(values, "before", None, 0, inputs.BIGGEST)
    assert limit is not None
    name = _name(request)
    found = await request.app[SURFACE].journal(name, limit + 1, before)
    if not found and request.app[SURFACE].rollout(name) is None:
        raise _unknown(name)
    page = found[:limit]
    return answer({"journal": page, "next": page[-1]["number"] if len(found) > limit else None})


@routes.post(ROLLOUT + "/{action:" + "|".join(ACTIONS) + "}")
@needs_role(Role.OPERATE, About.PATH)
async def act(request: web.Request) -> web.Response:
    """Do something by hand; the rollout afterwards, 409 when it is not possible now."""
    action = request.match_info["action"]
    given = await inputs.hand_action(request, action)
    caller = caller_of(request)
    done = request.app[SURFACE].act(_name(request), action, actor=caller.actor, person=caller.person, **given)
    return answer(await done)


# --- the rest --------------------------------------------------------------------------------------------------------


@routes.post("/api/v1/outcomes")
@needs_role(Role.OPERATE, About.FILTERED)
async def outcomes(request: web.Request) -> web.Response:
    """Take delayed labels and outcomes of users, for the rollouts that the caller may act on."""
    take = partial(request.app[SURFACE].outcomes, routes=caller_of(request).routes(Role.OPERATE))
    if is_lines(request):
        return answer(await OutcomeLines(take).read(request))
    return answer(await take(await inputs.outcomes(request)))


@routes.get("/api/v1/events")
@needs_role(Role.VIEW, About.FILTERED)
async def events(request: web.Request) -> web.StreamResponse:
    """Events as they happen."""
    inputs.query(request, ())
    return await request.app[STREAMS].serve(request, caller_of(request))


@routes.get("/api/v1/traffic")
@needs_role(Role.VIEW, About.FILTERED)
async def traffic(request: web.Request) -> web.Response:
    """Exchanges and errors by route, upstream and leg, since the workers started: of all replicas, and of each."""
    inputs.query(request, ())
    seen = caller_of(request).sees
    counts = request.app[SURFACE].replica_counts()
    return answer({"time": time.time(), **of_fleet(counts, "routes", by_route, seen)})


@routes.get("/api/v1/upstreams")
@needs_role(Role.VIEW, About.FILTERED)
async def upstreams(request: web.Request) -> web.Response:
    """Each upstream's addresses, and how many workers use them: of all replicas, and of each."""
    inputs.query(request, ())
    service, caller = request.app[SURFACE], caller_of(request)
    routes = [route for route in service.config.routes if caller.sees(route.name)]
    of_those = {name for route in routes for name in (route.live, *(one.candidate for one in route.rollouts))}
    everything = caller.routes(Role.VIEW) is None
    seen = (lambda _: True) if everything else of_those.__contains__
    return answer(of_fleet(service.replica_counts(), "upstreams", by_upstream, seen))


@routes.get("/api/v1/processes")
@needs_role(Role.VIEW, About.NOTHING)
async def processes(request: web.Request) -> web.Response:
    """The process tree."""
    inputs.query(request, ())
    return answer(request.app[SURFACE].processes())


@routes.get("/api/v1/config")
@needs_role(Role.VIEW, About.FILTERED)
async def config(request: web.Request) -> web.Response:
    """The configuration in force, and the last one that was refused."""
    inputs.query(request, ())
    service, caller = request.app[SURFACE], caller_of(request)
    found = service.config_in_force()
    if caller.routes(Role.VIEW) is not None:
        owners = {route.owner for route in service.config.routes if caller.sees(route.name)}
        found = config_of(found, owners)
    return answer(found)


@routes.get("/api/v1/fleet")
@needs_role(Role.VIEW, About.NOTHING)
async def fleet(request: web.Request) -> web.Response:
    """Who leads, and who else is there."""
    inputs.query(request, ())
    return answer(request.app[SURFACE].fleet())


@routes.get("/api/v1/webhooks")
@needs_role(Role.VIEW)
async def webhooks(request: web.Request) -> web.Response:
    """Each webhook endpoint's delivery state."""
    inputs.query(request, ())
    return answer({"webhooks": await request.app[SENDER].state()})


@routes.get("/api/v1/journal/head")
@needs_role(Role.VIEW, About.NOTHING)
async def head(request: web.Request) -> web.Response:
    """Where the journal's chain ends, to be kept elsewhere."""
    inputs.query(request, ())
    found = await request.app[SURFACE].store.head()
    return answer({"number": found.number, "hash": found.hash})


@routes.get("/api/v1/me")
@needs_role(Role.VIEW, About.NOTHING)
async def me(request: web.Request) -> web.Response:
    """Who asks, and what they may do."""
    inputs.query(request, ())
    return answer(caller_of(request).shown())


@routes.get("/api/v1/openapi.json")
@needs_role(Role.VIEW, About.NOTHING)
async def openapi(request: web.Request) -> web.Response:
    """This API, described."""
    return answer(DOCUMENT)
