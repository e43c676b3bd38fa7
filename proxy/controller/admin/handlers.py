"""What is at each path of the admin port. Each handler reads its inputs, asks the controller and says what it said."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from typing_extensions import TypedDict

from proxy.controller.admin import inputs
from proxy.controller.admin.answering import PostedBody, answers, answers_in
from proxy.controller.admin.callers import About, CallerJson, Role, needs_role, open_to_all
from proxy.controller.admin.chart_view import ChartsJson
from proxy.controller.admin.config_view import ConfigJson, config_of
from proxy.controller.admin.fleet_view import FleetJson
from proxy.controller.admin.identity import caller_of
from proxy.controller.admin.inputs import HandActionJson, OutcomeJson, PromotionJson, QueryParameter, limit_to
from proxy.controller.admin.interface import ACTIONS, AdminService
from proxy.controller.admin.metrics import Metrics
from proxy.controller.admin.outcome_lines import OutcomeLines, is_lines
from proxy.controller.admin.outcome_view import PostedJson
from proxy.controller.admin.pair_view import PairsJson, TranscriptJson
from proxy.controller.admin.problems import Problem
from proxy.controller.admin.process_view import ProcessesJson
from proxy.controller.admin.rollout_view import FindingsJson, JournalJson, RolloutJson, RolloutsJson, TrialsJson
from proxy.controller.admin.traffic import TrafficJson, UpstreamsJson, traffic_json, upstreams_json
from proxy.controller.store.interface import EntryJson, HeadJson
from proxy.controller.webhooks.endpoints import EndpointJson
from proxy.controller.webhooks.outbox import Sender
from proxy.json_types import Whole

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


class StatusJson(TypedDict):
    """How it is."""

    status: str


class ReloadedJson(StatusJson):
    """The number of the configuration in force."""

    generation: Whole


class WebhooksJson(TypedDict):
    """Every endpoint of webhooks."""

    webhooks: list[EndpointJson]


def _name(request: web.Request) -> str:
    return f"{request.match_info['route']}/{request.match_info['candidate']}"


def _unknown(name: str) -> Problem:
    return Problem(404, f"There is no rollout {name[:200]!r}.")


def rollout_asked(request: web.Request) -> RolloutJson:
    """The rollout that a path names; raises `Problem` (404)."""
    name = _name(request)
    found = request.app[SURFACE].rollout(name)
    if found is None:
        raise _unknown(name)
    return found


# --- health, metrics, reload -----------------------------------------------------------------------------------------


@routes.get("/healthz")
@open_to_all
@answers(query=None)
async def healthz(_request: web.Request) -> StatusJson:
    """The process is up."""
    return {"status": "up"}


@routes.get("/readyz")
@open_to_all
@answers(503, query=None)
async def readyz(request: web.Request) -> StatusJson:
    """It can do its work; 503 says why not."""
    ready, reasons = request.app[SURFACE].ready()
    if not ready:
        raise Problem(503, " ".join(reasons) or "Not ready.", reasons=reasons)
    return {"status": "ready"}


@routes.get("/metrics")
@open_to_all
@answers_in("text/plain")
async def metrics(request: web.Request) -> web.Response:
    """Prometheus or OpenMetrics text."""
    body, content_type = request.app[METRICS].render(request.headers.get("accept", ""))
    response = web.Response(body=body, headers={"content-type": content_type})
    response.enable_compression()
    return response


@routes.post("/-/reload")
@needs_role(Role.ADMIN)
@answers(422, 503, query=None)
async def reload(request: web.Request) -> ReloadedJson:
    """Read the configuration again."""
    done, problem = await request.app[SURFACE].reload(caller_of(request).actor)
    if not done:
        raise Problem(422, problem or "The reload failed; the old configuration stays in force.")
    return {"status": "reloaded", "generation": request.app[SURFACE].generation}


# --- rollouts --------------------------------------------------------------------------------------------------------


@routes.get("/api/v1/rollouts")
@needs_role(Role.VIEW, About.FILTERED)
@answers()
async def rollouts(request: web.Request) -> RolloutsJson:
    """Every rollout."""
    caller = caller_of(request)
    return {"rollouts": [one for one in request.app[SURFACE].rollouts() if caller.sees(one["route"])]}


@routes.get(ROLLOUT)
@needs_role(Role.VIEW, About.PATH)
@answers()
async def rollout(request: web.Request) -> RolloutJson:
    """One rollout."""
    return rollout_asked(request)


@routes.get(ROLLOUT + "/findings")
@needs_role(Role.VIEW, About.PATH)
@answers()
async def findings(request: web.Request) -> FindingsJson:
    """Its verdict and findings."""
    found = rollout_asked(request)
    return {"verdict": found["verdict"], "findings": found["findings"]}


_ORDER = QueryParameter("order", "Which pairs.", {"enum": ["worst", "latest", "judged"], "default": "worst"})


@routes.get(ROLLOUT + "/pairs")
@needs_role(Role.VIEW, About.PATH)
@answers(query=(_ORDER, limit_to(200, 20)))
async def pairs(request: web.Request, order: str, limit: int) -> PairsJson:
    """Kept pairs, redacted."""
    found = request.app[SURFACE].pairs(_name(request), order, limit)
    if found is None:
        raise _unknown(_name(request))
    return {"order": order, "pairs": found}


@routes.get(ROLLOUT + "/pairs/{pair}/transcript")
@needs_role(Role.VIEW, About.PATH)
@answers()
async def transcript(request: web.Request) -> TranscriptJson:
    """What two language models said in a kept pair; 404 where nothing can be shown."""
    pair = request.match_info["pair"]
    found = await request.app[SURFACE].transcript(_name(request), pair)
    if found is None:
        raise Problem(404, f"There is no transcript of a pair {pair[:200]!r}.")
    return found


@routes.get(ROLLOUT + "/charts")
@needs_role(Role.VIEW, About.PATH)
@answers()
async def charts(request: web.Request) -> ChartsJson:
    """What can be drawn: distributions, latencies, labels, history."""
    found = request.app[SURFACE].charts(_name(request))
    if found is None:
        raise _unknown(_name(request))
    return found


@routes.get(ROLLOUT + "/trials")
@needs_role(Role.VIEW, About.PATH)
@answers(503, query=(limit_to(100, 20),))
async def trials(request: web.Request, limit: int) -> TrialsJson:
    """Its earlier trials, newest first."""
    return {"trials": await request.app[SURFACE].earlier(rollout_asked(request)["name"], limit)}


def page_of(entries: list[EntryJson], limit: int) -> JournalJson:
    """A page of `limit` of these entries, of which one more was asked for: `next` is the `before` of the page after."""
    page = entries[:limit]
    return {"journal": page, "next": page[-1]["number"] if len(entries) > limit else None}


@routes.get(ROLLOUT + "/journal")
@needs_role(Role.VIEW, About.PATH)
@answers(503, query=inputs.PAGE)
async def journal(request: web.Request, limit: int, before: int | None) -> JournalJson:
    """Every change, newest first."""
    name = _name(request)
    found = await request.app[SURFACE].journal(name, limit + 1, before)
    if not found and request.app[SURFACE].rollout(name) is None:
        raise _unknown(name)
    return page_of(found, limit)


def _acting(action: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = PostedBody(PromotionJson if action == "promote" else HandActionJson)
    summary = f"{action.capitalize()} by hand; the rollout afterwards."

    @needs_role(Role.OPERATE, About.PATH)
    @answers(409, 503, name=action, summary=summary, query=None, body=body)
    async def act(request: web.Request) -> RolloutJson:
        given = await inputs.hand_action(request, action)
        caller = caller_of(request)
        done = request.app[SURFACE].act(_name(request), action, actor=caller.actor, person=caller.person, **given)
        return await done

    return act


for _action in ACTIONS:
    routes.post(f"{ROLLOUT}/{_action}")(_acting(_action))


# --- the rest --------------------------------------------------------------------------------------------------------


_LINES = {"type": "string", "description": "One of them a line; a line that is wrong is told and left out."}
_OUTCOMES = PostedBody(OutcomeJson | list[OutcomeJson], required=True, also={"application/x-ndjson": _LINES})


@routes.post("/api/v1/outcomes")
@needs_role(Role.OPERATE, About.FILTERED)
@answers(503, query=None, body=_OUTCOMES)
async def outcomes(request: web.Request) -> PostedJson:
    """What became known later: labels by request id, outcomes of users by sticky key or request id."""
    take = partial(request.app[SURFACE].outcomes, routes=caller_of(request).routes(Role.OPERATE))
    if is_lines(request):
        return await OutcomeLines(take).read(request)
    return await take(await inputs.outcomes(request))


@routes.get("/api/v1/events")
@needs_role(Role.VIEW, About.FILTERED)
@answers_in("text/event-stream", 503, checked=True)
async def events(request: web.Request) -> web.StreamResponse:
    """Server-sent events, without end."""
    inputs.query_values(request, ())
    return await request.app[STREAMS].serve(request, caller_of(request))


@routes.get("/api/v1/traffic")
@needs_role(Role.VIEW, About.FILTERED)
@answers()
async def traffic(request: web.Request) -> TrafficJson:
    """Exchanges and errors by route, upstream and leg: of all replicas together, and of each."""
    return traffic_json(request.app[SURFACE].replica_counts(), caller_of(request).sees, time.time())


@routes.get("/api/v1/upstreams")
@needs_role(Role.VIEW, About.FILTERED)
@answers()
async def upstreams(request: web.Request) -> UpstreamsJson:
    """Each upstream's addresses, and how many workers use them: of all replicas together, and of each."""
    service, caller = request.app[SURFACE], caller_of(request)
    routes = [route for route in service.config.routes if caller.sees(route.name)]
    of_those = {name for route in routes for name in (route.live, *(one.candidate for one in route.rollouts))}
    everything = caller.routes(Role.VIEW) is None
    return upstreams_json(service.replica_counts(), (lambda _: True) if everything else of_those.__contains__)


@routes.get("/api/v1/processes")
@needs_role(Role.VIEW, About.NOTHING)
@answers()
async def processes(request: web.Request) -> ProcessesJson:
    """The process tree."""
    return request.app[SURFACE].processes()


@routes.get("/api/v1/config")
@needs_role(Role.VIEW, About.FILTERED)
@answers(503)
async def config(request: web.Request) -> ConfigJson:
    """The configuration in force, and the last one refused."""
    service, caller = request.app[SURFACE], caller_of(request)
    found = service.config_in_force()
    if caller.routes(Role.VIEW) is not None:
        owners = {route.owner for route in service.config.routes if caller.sees(route.name)}
        found = config_of(found, owners)
    return found


@routes.get("/api/v1/fleet")
@needs_role(Role.VIEW, About.NOTHING)
@answers()
async def fleet(request: web.Request) -> FleetJson:
    """Who leads, and which replicas there are."""
    return request.app[SURFACE].fleet()


@routes.get("/api/v1/webhooks")
@needs_role(Role.VIEW)
@answers(503)
async def webhooks(request: web.Request) -> WebhooksJson:
    """Delivery state of each endpoint."""
    return {"webhooks": await request.app[SENDER].state()}


@routes.get("/api/v1/journal/head")
@needs_role(Role.VIEW, About.NOTHING)
@answers(503)
async def head(request: web.Request) -> HeadJson:
    """The last entry of the journal and the hash of all up to it; keep it elsewhere, for `judge --verify`."""
    found = await request.app[SURFACE].store.head()
    return {"number": found.number, "hash": found.hash}


@routes.get("/api/v1/me")
@needs_role(Role.VIEW, About.NOTHING)
@answers()
async def me(request: web.Request) -> CallerJson:
    """Who asks, and what they may do."""
    return caller_of(request).shown()
