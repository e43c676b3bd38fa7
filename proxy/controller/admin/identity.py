"""Who a request of the admin port comes from: what it brings as proof, held against the configuration in force."""

from __future__ import annotations

import hmac

from aiohttp import web

from proxy.config.identity import AdminToken
from proxy.config.server import Admin
from proxy.controller.admin.callers import ANONYMOUS, Caller, Grant, Role
from proxy.controller.admin.problems import Problem

CALLER = web.RequestKey("caller", Caller)
"""Where `access` leaves the caller on a request."""


def caller_of(request: web.Request) -> Caller:
    """Who asks, as `access.middleware` found."""
    return request[CALLER]


def identify(request: web.Request, admin: Admin) -> Caller:
    """Who asks; raises `Problem` (401) where that must be proven and is not."""
    if not admin.asks_who:
        return ANONYMOUS
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        token = with_token(given.strip(), admin.named_tokens)
        if token is not None:
            return caller_with(token)
    raise Problem(401, "This needs a token: Authorization: Bearer …", {"www-authenticate": "Bearer"})


def with_token(given: str, tokens: tuple[AdminToken, ...]) -> AdminToken | None:
    """Which token this is. Each is compared in constant time, and all of them are: neither how long it takes nor the
    answer tells of one how near a wrong one came."""
    data = given.encode("utf-8", "surrogateescape")
    same = [one for one in tokens if hmac.compare_digest(data, one.token.get_secret_value().encode())]
    return same[0] if same else None


def caller_with(token: AdminToken) -> Caller:
    """Who has this token."""
    routes = None if token.routes is None else frozenset(token.routes)
    return Caller(f"token:{token.name}", (Grant(Role[token.role.upper()], routes),))
