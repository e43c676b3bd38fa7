"""The API, described (OpenAPI 3.1). Written by hand, held to the routes by a test and to the behaviour by schemathesis.

By hand, because the handlers have no types to derive it from and because half of a good description is sentences.
"""

from __future__ import annotations

from typing import Any

from proxy.controller.admin.interface import ACTIONS, PARTS
from proxy.controller.admin.metrics import package_version
from proxy.model import Kind, Mismatch, State, Verdict

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time"}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Schema], required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": names} | more


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# --- what is said ----------------------------------------------------------------------------------------------------

NUMBER = _maybe({"type": "number"})
FINDING = _object(
    {
        "guard": TEXT,
        "aspect": TEXT | {"description": "The prediction that it judges, where there are several."},
        "key": TEXT | {"description": "Guard and aspect: what `guards`, `units` and `causes` call it."},
        "title": TEXT | {"description": "What the guard measures, in words."},
        "segment": _maybe(TEXT),
        "verdict": {"enum": [*Verdict]},
        "value": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "limit": NUMBER,
        "unit": {"enum": ["percent", "times", "seconds", "number"], "description": "Of value, low, high and limit."},
        "evidence": {"type": "number", "description": "Share of what is needed to fail; 1 is decided."},
        "pairs": WHOLE,
        "eta_seconds": NUMBER,
        "reason": TEXT,
        "burst_size": {
            "type": "number",
            "minimum": 1,
            "description": "Size of the bursts of differences; evidence to fail is divided by it.",
        },
        "value_with_repeats": NUMBER | {"description": "`value` over all pairs, those with a body just seen included."},
        "pairs_with_repeats": WHOLE,
    }
)
NEED = _object(
    {
        "what": {"enum": ["ready", "pairs", "candidate_pairs", "seconds", "guards"]},
        "have": {"type": "number", "minimum": 0},
        "want": {"type": "number", "minimum": 0},
    }
)
ADDRESS = _object(
    {"address": TEXT, "workers": WHOLE, "up": WHOLE, "requests": WHOLE, "errors": WHOLE, "ejections": WHOLE}
)
STAGE = _object({"index": WHOLE, "name": TEXT, "entered_at": MOMENT, "waiting_for": TEXT, "needs": _list(NEED)})
SAMPLE_RATIO = _object(
    {
        "candidate_pairs": WHOLE,
        "pairs": WHOLE,
        "expected": {"type": "number"},
        "log_bayes_factor": {"type": "number"},
    }
)
BUDGET = _object({"limit": WHOLE, "last_minute": WHOLE, "total": WHOLE, "share": {"type": "number"}})
PACE = _object({"limit": {"type": ["integer", "string"]}, "share": {"type": "number"}})
LEAD = _object({"seconds": {"type": "number"}, "slo_seconds": NUMBER, "within_slo": _maybe({"type": "boolean"})})
OUTCOMES = _object(
    {
        "joined": WHOLE,
        "live_loss": {"type": "number"},
        "candidate_loss": {"type": "number"},
        "drop": _object({"value": {"type": "number"}, "low": NUMBER, "high": NUMBER}),
    }
)
LABELS = _object({"counted": WHOLE, "unlabelled": WHOLE, "left_out": WHOLE, "waiting": WHOLE})
RECORD = _object({"path": TEXT, "written": WHOLE, "dropped": WHOLE, "error": _maybe(TEXT)})
ROLLOUT = _object(
    {
        "name": TEXT,
        "route": TEXT,
        "live": TEXT,
        "candidate": TEXT,
        "version": TEXT,
        "state": {"enum": [*State]},
        "since": MOMENT | {"description": "When this state, or its stage, began; of an ended one when it ended."},
        "paused": {"type": "boolean"},
        "blocked_by": _maybe(TEXT),
        "stage": _ref("Stage"),
        "stages": _list(TEXT),
        "weight": {"type": "number", "minimum": 0, "maximum": 100, "description": "Percent."},
        "verdict": {"enum": [*Verdict]},
        "kind": {"enum": [*Kind], "description": "Of predictions; `auto` until live's first answers are known."},
        "kinds": {
            "type": "object",
            "additionalProperties": {"enum": [*Kind]},
            "description": "Of several predictions, by name; `kind` is that of the first.",
        },
        "guards": {
            "type": "object",
            "additionalProperties": TEXT,
            "description": "The limits, by guard, as the file says them.",
        },
        "findings": _list(_ref("Finding")),
        "ledger": _ref("Ledger"),
        "outcomes": _maybe(OUTCOMES) | {"description": "By delayed labels, where `max_quality_drop` has no limit."},
        "labels": _maybe(LABELS)
        | {
            "description": "Requests whose `label_delay` has passed, with (`counted`) and without a later truth, those "
            "left out for memory, and truths that wait for that time; null before the first truth."
        },
        "repeats": WHOLE,
        "candidate_failures": {"type": "object", "additionalProperties": WHOLE},
        "unparseable": {"type": "object", "additionalProperties": WHOLE, "description": "Pairs, by the reason word."},
        "why_unparseable": _maybe(TEXT) | {"description": "The same in words, with the key to check."},
        "response_mismatches": _object(
            {word.value: WHOLE for word in Mismatch if word},
            required=(),
            additionalProperties=False,
            description="Pairs whose responses differ in form, by difference.",
        ),
        "began_at": MOMENT,
        "cause": _maybe(TEXT) | {"description": "The word for its last end."},
        "reason": _maybe(TEXT) | {"description": "Why it ended so."},
        "lead_time": _maybe(LEAD) | {"description": "Once it is known: sign-off to the first answer at weight 100."},
        "protocol": _maybe(TEXT) | {"description": "By which answers are read, once one could be."},
        "sample_ratio": _maybe(SAMPLE_RATIO)
        | {"description": "Whether the candidate answers its share; it never decides."},
        "token_pairs": _object({"usage": WHOLE, "events": WHOLE})
        | {
            "description": "Pairs by what the tokens of `time_per_token` were counted by, since the controller's start."
        },
        "token_budget": _maybe(BUDGET) | {"description": "Tokens of copies; `share` of the stage's pairs it affords."},
        "pair_budget": _maybe(PACE) | {"description": "Pairs a second; `share` of the stage's pairs it affords."},
        "record": _maybe(RECORD) | {"description": "The file of pairs, where one is written."},
    }
)
ENTRY = _object(
    {
        "number": WHOLE,
        "time": {"type": "number", "description": "Epoch seconds."},
        "kind": TEXT,
        "actor": TEXT,
        "reason": TEXT,
        "detail": {"type": "object", "description": "What it was decided on, the evidence aside."},
        "evidence_bytes": WHOLE,
    }
)
ASKED = _object({"method": TEXT, "path": TEXT, "body": TEXT})
ANSWERED = _object(
    {
        "status": WHOLE,
        "reason": _maybe(TEXT),
        "seconds": NUMBER,
        "body": TEXT,
        "prediction": _maybe(_list({})),
    }
)
READ_ASPECT = _object(
    {
        "name": TEXT,
        "difference": {"type": "number"},
        "live": _maybe(_list({})),
        "candidate": _maybe(_list({})),
        "detail": TEXT,
    }
)
SEEN_PAIR = _object(
    {
        "id": {"type": "string", "description": "The pair's own; no other has it."},
        "request_id": {
            "type": "string",
            "description": "By which the caller knows the request; it may repeat its ids.",
        },
        "time": MOMENT,
        "served": {"enum": ["live", "candidate"]},
        "difference": {"type": "number", "description": "0 to 1, 1 for a mismatch; 2 when the candidate failed."},
        "fault": _maybe(TEXT),
        "live_fault": _maybe(TEXT),
        "mismatch": _maybe({"enum": [word.value for word in Mismatch if word]}),
        "detail": TEXT,
        "segment": _maybe(TEXT),
        "request": ASKED,
        "live": ANSWERED,
        "candidate": ANSWERED,
        "aspects": _list(READ_ASPECT) | {"description": "What was read as each of several predictions."},
    }
)
ENDPOINT = _object(
    {
        "url": TEXT,
        "events": _list(TEXT),
        "template": TEXT,
        "signed": {"type": "boolean"},
        "ended": {"type": "boolean", "description": "It answered 410."},
        "deliveries": {"type": "object", "additionalProperties": WHOLE, "description": "How many, by state."},
        "failures_in_a_row": WHOLE,
        "last_attempt": _maybe(MOMENT),
        "last_answer": _maybe(TEXT),
        "held_until": _maybe(MOMENT),
    }
)
CHARTS = _object(
    {
        "pairs": WHOLE,
        "window": WHOLE,
        "units": {"type": "object", "additionalProperties": TEXT},
        "titles": {"type": "object", "additionalProperties": TEXT},
        "latency": _maybe({"type": "object"}),
        "predictions": _maybe({"type": "object"}),
        "aspects": {
            "type": "object",
            "additionalProperties": _maybe({"type": "object"}),
            "description": "Of several predictions, by name, what `predictions` is of the only one.",
        },
        "history": {"type": "object"},
    }
)
WORKER = _object({"slot": WHOLE, "pid": _maybe(WHOLE), "started": NUMBER, "connected": {"type": "boolean"}})
PROCESSES = _object(
    {
        "supervisor": WHOLE,
        "controller": _maybe(WHOLE),
        "workers": _list(WORKER),
        "restarts": {"type": "object", "additionalProperties": WHOLE},
        "leaving": _list(WHOLE),
        "draining": {"type": "boolean"},
        "config": _object({"loaded": NUMBER, "reload_refused": _maybe(TEXT)}),
    }
)
REPLICA = _object(
    {
        "name": TEXT,
        "address": TEXT,
        "role": {"enum": ["leader", "standby"]},
        "version": TEXT,
        "config_hash": TEXT,
        "workers": WHOLE,
        "link_lag_seconds": NUMBER,
        "clock_offset_seconds": NUMBER,
        "connected": {"type": "boolean"},
    }
)
FLEET = _object(
    {
        "leader": _maybe(_object({"name": TEXT, "address": TEXT, "since": MOMENT})),
        "term": WHOLE,
        "replicas": _list(REPLICA),
    }
)
_WHO: dict[str, Schema] = {
    "reason": {"type": "string", "maxLength": 1000},
    "actor": {"type": "string", "minLength": 1, "maxLength": 200, "default": "api"},
}
_FULL: Schema = {"type": "boolean", "default": False, "description": "All the way to 100 %."}
PROMOTION = _object(_WHO | {"full": _FULL}, required=(), additionalProperties=False)
HAND = _object(_WHO | {"full": {"const": False}}, required=(), additionalProperties=False)
_GIVEN: dict[str, Schema] = {
    "label": {"type": ["string", "integer", "boolean"]},
    "value": {"type": "number"},
    "reward": {"type": "number"},
}
OUTCOME: Schema = {
    "oneOf": [
        _object({"id": {"type": "string", "minLength": 1, "maxLength": 128}, name: kind}, additionalProperties=False)
        for name, kind in _GIVEN.items()
    ]
}
PROBLEM = _object(
    {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT, "reasons": _list(TEXT)},
    required=("type", "title", "status", "detail"),
)

SCHEMAS = {
    "Rollout": ROLLOUT,
    "Stage": STAGE,
    "Finding": FINDING,
    "Ledger": _object({part: {"type": "integer"} for part in ("sampled", *PARTS, "pending")}),
    "Pair": SEEN_PAIR,
    "Entry": ENTRY,
    "Endpoint": ENDPOINT,
    "Charts": CHARTS,
    "Processes": PROCESSES,
    "Fleet": FLEET,
    "HandAction": HAND,
    "Promotion": PROMOTION,
    "Outcome": OUTCOME,
    "Problem": PROBLEM,
}

# --- where -----------------------------------------------------------------------------------------------------------

_WHY = {
    400: "An input that is not as described here.",
    401: "The token is missing or wrong.",
    403: "A browser sent this for another site.",
    404: "There is no such rollout.",
    409: "Not possible in the rollout's present state.",
    413: "The body is too long.",
    422: "The file has mistakes; the old configuration stays in force.",
    502: "A standby asked the leader, which gave no answer.",
    503: "Not now; the detail says why.",
}


def _content(schema: Schema, kind: str = "application/json") -> Schema:
    return {"content": {kind: {"schema": schema}}}


def _answers(good: Schema, *problems: int) -> Schema:
    bad = {str(code): {"$ref": f"#/components/responses/{code}"} for code in problems}
    return {"200": {"description": "As asked."} | good} | bad


def _get(operation: str, text: str, good: Schema, *problems: int, query: tuple[Schema, ...] = ()) -> Schema:
    found: Schema = {"operationId": operation, "summary": text, "responses": _answers(good, *problems)}
    return {"get": found | ({"parameters": list(query)} if query else {})}


def _post(operation: str, text: str, good: Schema, *problems: int, body: Schema | None = None) -> Schema:
    found: Schema = {"operationId": operation, "summary": text, "responses": _answers(good, *problems)}
    return {"post": found | ({"requestBody": body} if body else {})}


def _query(name: str, schema: Schema, text: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": text, "schema": schema}


def _whole(low: int, high: int, default: int | None = None) -> Schema:
    schema: Schema = {"type": "integer", "minimum": low, "maximum": high}
    return schema if default is None else schema | {"default": default}


_DATA = (400, 401, 403)
_ONE = (*_DATA, 404)
_OPEN: Schema = {"security": []}
_ROLLOUT = "/api/v1/rollouts/{route}/{candidate}"
_NAMES = [{"name": n, "in": "path", "required": True, "schema": TEXT} for n in ("route", "candidate")]


def _open(path: Schema) -> Schema:
    return {method: operation | _OPEN for method, operation in path.items()}


def _action(action: str) -> Schema:
    body = {"required": False} | _content(_ref("Promotion" if action == "promote" else "HandAction"))
    text = f"{action.capitalize()} by hand; the rollout afterwards."
    return _post(action, text, _content(_ref("Rollout")), *_ONE, 409, 413, 503, body=body)


def _of_fleet(name: str, schema: Schema) -> dict[str, Schema]:
    """A sum over the replicas, and each one's own; `age_seconds` since its workers last reported."""
    one = {"name": TEXT, "connected": {"type": "boolean"}, "age_seconds": NUMBER, name: schema}
    return {name: schema, "replicas": _list(_object(one))}


def _paths() -> dict[str, Schema]:
    status = _content(_object({"status": TEXT}))
    reloaded = _content(_object({"status": TEXT, "generation": WHOLE}))
    plain = _content(TEXT, "text/plain")
    page = (_query("limit", _whole(1, 500, 50), "Entries."), _query("before", _whole(0, (1 << 63) - 1), "Older than."))
    worst = _query("order", {"enum": ["worst", "latest"], "default": "worst"}, "Which pairs.")
    many = {"oneOf": [_ref("Outcome"), _list(_ref("Outcome"))]}
    entries = _object({"journal": _list(_ref("Entry")), "next": _maybe(WHOLE)})
    of_one = {
        "": _get("rollout", "One rollout.", _content(_ref("Rollout")), *_ONE),
        "/findings": _get(
            "findings",
            "Its verdict and findings.",
            _content(_object({"verdict": TEXT, "findings": _list(_ref("Finding"))})),
            *_ONE,
        ),
        "/pairs": _get(
            "pairs",
            "Kept pairs, redacted.",
            _content(_object({"order": TEXT, "pairs": _list(_ref("Pair"))})),
            *_ONE,
            query=(worst, _query("limit", _whole(1, 200, 20), "How many.")),
        ),
        "/charts": _get(
            "charts",
            "What can be drawn: distributions, latencies, labels, history.",
            _content(_ref("Charts")),
            *_ONE,
        ),
        "/journal": _get("journal", "Every change, newest first.", _content(entries), *_ONE, 503, query=page),
    } | {f"/{action}": _action(action) for action in ACTIONS}
    return {
        "/healthz": _open(_get("healthz", "The process is up.", status)),
        "/readyz": _open(_get("readyz", "It can do its work; 503 says why not.", status, 503)),
        "/metrics": _open(_get("metrics", "Prometheus or OpenMetrics text.", plain)),
        "/-/reload": _post("reload", "Read the configuration again.", reloaded, 401, 403, 422, 503),
        "/api/v1/rollouts": _get(
            "rollouts", "Every rollout.", _content(_object({"rollouts": _list(_ref("Rollout"))})), *_DATA
        ),
        **{_ROLLOUT + end: {"parameters": _NAMES} | path for end, path in of_one.items()},
        "/api/v1/outcomes": _post(
            "outcomes",
            "Delayed labels by request id.",
            _content(_object({"joined": WHOLE, "unknown": WHOLE})),
            *_DATA,
            413,
            503,
            body={"required": True} | _content(many),
        ),
        "/api/v1/events": _get(
            "events", "Server-sent events, without end.", _content(TEXT, "text/event-stream"), *_DATA, 503
        ),
        "/api/v1/traffic": _get(
            "traffic",
            "Exchanges and errors by route, upstream and leg: of all replicas together, and of each.",
            _content(_object({"time": {"type": "number"}, **_of_fleet("routes", {"type": "object"})})),
            *_DATA,
        ),
        "/api/v1/upstreams": _get(
            "upstreams",
            "Each upstream's addresses, and how many workers use them: of all replicas together, and of each.",
            _content(_object(_of_fleet("upstreams", {"type": "object", "additionalProperties": _list(ADDRESS)}))),
            *_DATA,
        ),
        "/api/v1/processes": _get("processes", "The process tree.", _content(_ref("Processes")), *_DATA),
        "/api/v1/fleet": _get("fleet", "Who leads, and which replicas there are.", _content(_ref("Fleet")), *_DATA),
        "/api/v1/webhooks": _get(
            "webhooks",
            "Delivery state of each endpoint.",
            _content(_object({"webhooks": _list(_ref("Endpoint"))})),
            *_DATA,
            503,
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
    "components": {
        "schemas": SCHEMAS,
        "responses": {
            str(code): {"description": why} | _content(_ref("Problem"), "application/problem+json")
            for code, why in _WHY.items()
        },
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
"""The document at `/api/v1/openapi.json`."""
