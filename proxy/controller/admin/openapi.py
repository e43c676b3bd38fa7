"""The API, described (OpenAPI 3.1). Written by hand, held to the routes by a test and to the behaviour by schemathesis.

By hand, because the handlers have no types to derive it from and because half of a good description is sentences.
"""

from __future__ import annotations

from proxy.controller.admin.event_schemas import BODIES
from proxy.controller.admin.interface import ACTIONS
from proxy.controller.admin.metrics import package_version
from proxy.controller.admin.outcome_schemas import LINES, POSTED
from proxy.controller.admin.schema_words import NUMBER, TEXT, WHOLE, Schema, component, list_of, nullable, object_of
from proxy.controller.admin.schemas import (
    ADDRESS,
    SCHEMAS,
)

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


def _content(schema: Schema, kind: str = "application/json") -> Schema:
    return {"content": {kind: {"schema": schema}}}


def _answers(good: Schema, *problems: int, code: int = 200) -> Schema:
    bad = {str(code): {"$ref": f"#/components/responses/{code}"} for code in problems}
    return {str(code): {"description": "As asked."} | good} | bad


def _get(
    operation: str, text: str, good: Schema, *problems: int, query: tuple[Schema, ...] = (), code: int = 200
) -> Schema:
    found: Schema = {"operationId": operation, "summary": text, "responses": _answers(good, *problems, code=code)}
    return {"get": found | ({"parameters": list(query)} if query else {})}


def _post(
    operation: str,
    text: str,
    good: Schema,
    *problems: int,
    body: Schema | None = None,
    code: int = 200,
    query: tuple[Schema, ...] = (),
) -> Schema:
    found: Schema = {"operationId": operation, "summary": text, "responses": _answers(good, *problems, code=code)}
    return {"post": found | ({"requestBody": body} if body else {}) | ({"parameters": list(query)} if query else {})}


def _query(name: str, schema: Schema, text: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": text, "schema": schema}


def _whole(low: int, high: int, default: int | None = None) -> Schema:
    schema: Schema = {"type": "integer", "minimum": low, "maximum": high}
    return schema if default is None else schema | {"default": default}


_ANY: Schema = {"2XX": {"description": "Delivered; 410 ends the subscription, anything else is tried again."}}
_DATA = (400, 401, 403)
_ONE = (*_DATA, 404)
_OPEN: Schema = {"security": []}
_ROLLOUT = "/api/v1/rollouts/{route}/{candidate}"
_GATE = _content(component("Gate"))
_VERSION = _query(
    "version", TEXT, "The version that is asked about; another one's trial is a 409. A POST has it here or in its body."
)
_MEANT = {"required": False} | _content(object_of({"metadata": {"type": "object"}}, required=()))
_NAMES = [{"name": n, "in": "path", "required": True, "schema": TEXT} for n in ("route", "candidate")]


def _open(path: Schema) -> Schema:
    return {method: operation | _OPEN for method, operation in path.items()}


def _action(action: str) -> Schema:
    body = {"required": False} | _content(component("Promotion" if action == "promote" else "HandAction"))
    text = f"{action.capitalize()} by hand; the rollout afterwards."
    return _post(action, text, _content(component("Rollout")), *_ONE, 409, 413, 503, body=body)


def _named(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _hook() -> Schema:
    text = "A webhook of a model registry, signed: MLflow's, or of any other one (plain, or a CloudEvent)."
    body = {"required": True} | _content({"type": "object"})
    return _post("hook", text, _content(component("HookResult")), 400, 401, 403, 404, 413, 502, 503, body=body)


def _of_fleet(name: str, schema: Schema) -> dict[str, Schema]:
    """A sum over the replicas, and each one's own; `age_seconds` since its workers last reported."""
    one = {"name": TEXT, "connected": {"type": "boolean"}, "age_seconds": NUMBER, name: schema}
    return {name: schema, "replicas": list_of(object_of(one))}


def _paths() -> dict[str, Schema]:
    status = _content(object_of({"status": TEXT}))
    reloaded = _content(object_of({"status": TEXT, "generation": WHOLE}))
    plain = _content(TEXT, "text/plain")
    page = (_query("limit", _whole(1, 500, 50), "Entries."), _query("before", _whole(0, (1 << 63) - 1), "Older than."))
    worst = _query("order", {"enum": ["worst", "latest", "judged"], "default": "worst"}, "Which pairs.")
    many = {"oneOf": [component("Outcome"), list_of(component("Outcome"))]}
    entries = object_of({"journal": list_of(component("Entry")), "next": nullable(WHOLE)})
    of_one = {
        "": _get("rollout", "One rollout.", _content(component("Rollout")), *_ONE),
        "/findings": _get(
            "findings",
            "Its verdict and findings.",
            _content(object_of({"verdict": TEXT, "findings": list_of(component("Finding"))})),
            *_ONE,
        ),
        "/pairs": _get(
            "pairs",
            "Kept pairs, redacted.",
            _content(object_of({"order": TEXT, "pairs": list_of(component("Pair"))})),
            *_ONE,
            query=(worst, _query("limit", _whole(1, 200, 20), "How many.")),
        ),
        "/pairs/{pair}/transcript": _get(
            "transcript",
            "What two language models said in a kept pair; 404 where nothing can be shown.",
            _content(component("Transcript")),
            *_ONE,
        )
        | {"parameters": [*_NAMES, {"name": "pair", "in": "path", "required": True, "schema": TEXT}]},
        "/charts": _get(
            "charts",
            "What can be drawn: distributions, latencies, labels, history.",
            _content(component("Charts")),
            *_ONE,
        ),
        "/gate": _get("gate", "What another program may do with the candidate.", _GATE, *_ONE, 409, query=(_VERSION,)),
        "/gate/promote": _post(
            "gateToPromote", "200 when its verdict is pass.", _GATE, *_ONE, 409, 413, body=_MEANT, query=(_VERSION,)
        ),
        "/gate/rollback": _post(
            "gateToRollBack", "200 when it is fail.", _GATE, *_ONE, 409, 413, body=_MEANT, query=(_VERSION,)
        ),
        "/trials": _get(
            "trials",
            "Its earlier trials, newest first.",
            _content(object_of({"trials": list_of(component("Trial"))})),
            *_ONE,
            503,
            query=(_query("limit", _whole(1, 100, 20), "How many."),),
        ),
        "/journal": _get("journal", "Every change, newest first.", _content(entries), *_ONE, 503, query=page),
    } | {f"/{action}": _action(action) for action in ACTIONS}
    names = [{"name": "route", "in": "path", "required": True, "schema": TEXT}]
    drift = {
        "": _get("drift_of_route", "Drift of one route, with charts.", _content(component("DriftWithCharts")), *_ONE),
        "/journal": _get(
            "drift_journal", "What became of it, newest first.", _content(entries), *_ONE, 503, query=page
        ),
        "/accept": _post(
            "accept_drift",
            "Take what a field is now for normal; the route afterwards.",
            _content(component("Drift")),
            *_ONE,
            413,
            503,
            body={"required": False} | _content(component("DriftAcceptance")),
        ),
    }
    return {
        "/healthz": _open(_get("healthz", "The process is up.", status)),
        "/readyz": _open(_get("readyz", "It can do its work; 503 says why not.", status, 503)),
        "/metrics": _open(_get("metrics", "Prometheus or OpenMetrics text.", plain)),
        "/-/reload": _post("reload", "Read the configuration again.", reloaded, 401, 403, 422, 503),
        "/api/v1/rollouts": _get(
            "rollouts", "Every rollout.", _content(object_of({"rollouts": list_of(component("Rollout"))})), *_DATA
        ),
        **{_ROLLOUT + end: {"parameters": _NAMES} | path for end, path in of_one.items()},
        "/api/v1/drift": _get(
            "drift",
            "Drift of every route that has `drift`.",
            _content(object_of({"routes": list_of(component("Drift"))})),
            *_DATA,
        ),
        **{"/api/v1/drift/{route}" + end: {"parameters": names} | path for end, path in drift.items()},
        "/api/v1/outcomes": _post(
            "outcomes",
            "What became known later: labels by request id, outcomes of users by sticky key or request id.",
            _content(POSTED),
            *_DATA,
            413,
            503,
            body={"required": True, "content": _content(many)["content"] | LINES},
        ),
        "/api/v1/events": _get(
            "events", "Server-sent events, without end.", _content(TEXT, "text/event-stream"), *_DATA, 503
        ),
        "/api/v1/traffic": _get(
            "traffic",
            "Exchanges and errors by route, upstream and leg: of all replicas together, and of each.",
            _content(object_of({"time": {"type": "number"}, **_of_fleet("routes", {"type": "object"})})),
            *_DATA,
        ),
        "/api/v1/upstreams": _get(
            "upstreams",
            "Each upstream's addresses, and how many workers use them: of all replicas together, and of each.",
            _content(object_of(_of_fleet("upstreams", {"type": "object", "additionalProperties": list_of(ADDRESS)}))),
            *_DATA,
        ),
        "/api/v1/processes": _get("processes", "The process tree.", _content(component("Processes")), *_DATA),
        "/api/v1/config": _get(
            "config",
            "The configuration in force, and the last one refused.",
            _content(component("Config")),
            *_DATA,
            503,
        ),
        "/api/v1/fleet": _get(
            "fleet", "Who leads, and which replicas there are.", _content(component("Fleet")), *_DATA
        ),
        "/api/v1/webhooks": _get(
            "webhooks",
            "Delivery state of each endpoint.",
            _content(object_of({"webhooks": list_of(component("Endpoint"))})),
            *_DATA,
            503,
        ),
        "/auth/login": _open(_get("login", "To the provider, to sign in to the console.", {}, 404, 503, code=303)),
        "/auth/callback": _open(_get("callback", "From the provider; begins a session.", {}, 404, 503, code=303)),
        "/auth/logout": _open(_post("logout", "Ends the session in this browser.", {}, 403, 404, code=204)),
        "/api/v1/journal/head": _get(
            "head",
            "The last entry of the journal and the hash of all up to it; keep it elsewhere, for `judge --verify`.",
            _content(object_of({"number": WHOLE, "hash": TEXT})),
            *_DATA,
            503,
        ),
        "/api/v1/me": _get("me", "Who asks, and what they may do.", _content(component("Caller")), *_DATA),
        "/api/v1/hooks/{kind}": _open(_hook()) | {"parameters": [_named("kind", {"enum": ["mlflow", "registry"]})]},
        "/api/v1/registry": _get(
            "registry",
            "The model registry, and the version that each of its models has here.",
            _content(object_of({"registry": nullable(component("Registry"))})),
            *_DATA,
        ),
        "/api/v1/openapi.json": _get("openapi", "This document.", _content({"type": "object"}), 401, 403),
    }


DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "Understudy admin API",
        "version": package_version(),
        "description": "Watch rollouts and act on them. Weights are in percent, shares and limits are ratios.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    },
    "servers": [{"url": "/"}],
    "security": [{"token": []}, {}],
    "paths": _paths(),
    "webhooks": {
        name: {"post": {"requestBody": {"required": True} | _content(body), "responses": _ANY}}
        for name, body in BODIES.items()
    },
    "components": {
        "schemas": SCHEMAS,
        "responses": {
            str(code): {"description": why} | _content(component("Problem"), "application/problem+json")
            for code, why in _WHY.items()
        },
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
"""The document at `/api/v1/openapi.json`."""
