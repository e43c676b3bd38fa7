"""The API, described (OpenAPI 3.1): written from what endpoints declare (`answering`) and the types that they answer
(`describing`), when somebody asks for it first."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import Any, get_type_hints

from aiohttp import web

from proxy.controller.admin import drift, gates, handlers, hooks
from proxy.controller.admin.answering import JSON, EndpointAnswer, answers
from proxy.controller.admin.callers import About, Needs, Role, needs_role
from proxy.controller.admin.describing import Schema, json_schemas
from proxy.controller.admin.event_view import BODIES
from proxy.controller.admin.metrics import package_version
from proxy.controller.admin.oidc import login
from proxy.controller.admin.problems import CONTENT_TYPE, ProblemJson

routes = web.RouteTableDef()

_WHY = {
    400: "An input that is not as described here.",
    401: "The token is missing or wrong.",
    403: "The caller's role is not enough, or a browser sent this for another site.",
    404: "There is no such rollout.",
    409: "Not possible in the rollout's present state.",
    413: "The body is too long.",
    422: "The file has mistakes; the old configuration stays in force.",
    502: "A standby asked the leader, which gave no answer.",
    503: "Not now; the detail says why.",
}
_INFO: Schema = {
    "title": "Understudy admin API",
    "description": "Watch rollouts and act on them. Weights are in percent, shares and limits are ratios.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
_ANY: Schema = {"2XX": {"description": "Delivered; 410 ends the subscription, anything else is tried again."}}


@routes.get("/api/v1/openapi.json")
@needs_role(Role.VIEW, About.NOTHING)
@answers(query=None)
async def openapi(_request: web.Request) -> dict[str, Any]:
    """This document."""
    return await asyncio.to_thread(api_document)


def _declared() -> list[tuple[web.RouteDef, EndpointAnswer, Needs]]:
    tables = handlers.routes, drift.routes, gates.routes, login.routes, hooks.routes, routes
    each = (route for table in tables for route in table if isinstance(route, web.RouteDef))
    return [(route, route.handler.__dict__["answers"], route.handler.__dict__["needs"]) for route in each]


def _content(schema: Schema, media: str = JSON) -> Schema:
    return {"content": {media: {"schema": schema}}}


def _problems(said: EndpointAnswer, needs: Needs) -> list[int]:
    found = {*said.problems}
    found |= {401, 403} if needs.role is not None else set()
    found |= {404} if needs.about is About.PATH else set()
    found |= {400} if said.query is not None or said.body is not None else set()
    return sorted(found | ({413} if said.body is not None else set()))


def _answer_type(said: EndpointAnswer) -> Any:
    return get_type_hints(said.handler, include_extras=True)["return"] if said.media == JSON else str


def _operation(said: EndpointAnswer, needs: Needs, answer: Schema, body: Schema) -> Schema:
    good = {"description": "As asked."} | (_content(answer, said.media) if said.media else {})
    bad = {str(code): {"$ref": f"#/components/responses/{code}"} for code in _problems(said, needs)}
    found: Schema = {"operationId": said.name, "summary": said.summary, "responses": {str(said.status): good} | bad}
    if said.query:
        found["parameters"] = [
            {"name": one.name, "in": "query", "required": False, "description": one.about, "schema": one.schema}
            for one in said.query
        ]
    if said.body is not None:
        content = _content(body)["content"] | {media: {"schema": one} for media, one in said.body.also.items()}
        found["requestBody"] = {"required": said.body.required, "content": content}
    return found | ({"security": []} if needs.role is None else {})


def _path(written: str) -> tuple[str, list[Schema]]:
    """A path without its patterns, and its parameters; a pattern says which words there are.

    >>> _path("/hooks/{kind:a|b}")
    ('/hooks/{kind}', [{'name': 'kind', 'in': 'path', 'required': True, 'schema': {'enum': ['a', 'b']}}])
    """
    each = re.findall(r"{(\w+):?([^}]*)}", written)
    schemas = {name: {"enum": pattern.split("|")} if pattern else {"type": "string"} for name, pattern in each}
    named = [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in schemas.items()]
    return re.sub(r":[^}]*}", "}", written), named


@cache
def api_document() -> Schema:
    """The document at `/api/v1/openapi.json`."""
    declared = _declared()
    bodies = [said.body.kind if said.body is not None else None for _, said, _ in declared]
    kinds = [*(_answer_type(said) for _, said, _ in declared), *bodies, ProblemJson, *BODIES.values()]
    schemas, components = json_schemas(kinds)
    count = len(declared)
    answers, posted, (problem, *told) = schemas[:count], schemas[count : 2 * count], schemas[2 * count :]
    paths: dict[str, Schema] = {}
    for (route, said, needs), answer, body in zip(declared, answers, posted, strict=True):
        path, named = _path(route.path)
        item = paths.setdefault(path, {"parameters": named} if named else {})
        item[route.method.lower()] = _operation(said, needs, answer, body)
    events = {name: {"required": True} | _content(body) for name, body in zip(BODIES, told, strict=True)}
    refusal = _content(problem, CONTENT_TYPE)
    return {
        "openapi": "3.1.0",
        "info": _INFO | {"version": package_version()},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "webhooks": {name: {"post": {"requestBody": body, "responses": _ANY}} for name, body in events.items()},
        "components": {
            "schemas": components,
            "responses": {str(code): {"description": why} | refusal for code, why in _WHY.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
