"""Schemas of who asks, of what they may say when they act, and of refusals."""

from __future__ import annotations

from proxy.controller.admin.schema_words import TEXT, Schema, list_of, nullable, object_of

_WHO: dict[str, Schema] = {"reason": {"type": "string", "maxLength": 1000}}
_FULL: Schema = {"type": "boolean", "default": False, "description": "All the way to 100 %."}
PROMOTION = object_of(_WHO | {"full": _FULL}, required=(), additionalProperties=False)
HAND = object_of(_WHO | {"full": {"const": False}}, required=(), additionalProperties=False)
ROLE: Schema = {"enum": ["view", "operate", "admin"]}
CALLER = object_of(
    {
        "actor": TEXT,
        "proven": {"type": "boolean"},
        "grants": list_of(object_of({"role": ROLE, "routes": nullable(list_of(TEXT))})),
        "until": nullable({"type": "number"}),
    }
)
PROBLEM = object_of(
    {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT, "reasons": list_of(TEXT)}
    | {"needs": ROLE, "actor": TEXT, "sign_in": list_of({"enum": ["token", "oidc"]})},
    required=("type", "title", "status", "detail"),
)
