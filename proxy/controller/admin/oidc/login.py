"""Signing in to the console: OpenID Connect's code flow with PKCE (RFC 7636), and out of it.

    /auth/login      → the provider, with state, nonce and challenge; what belongs to them goes into a cookie
    /auth/callback   ← the provider: the code is exchanged, the identity token checked, a session begun
    /auth/logout     the session ends

The session is a signed cookie that no script can read and that no other site's page can have sent; it holds who it is
and those of their groups that some grant names. Roles are looked up at each request. Nothing is kept here between
requests, so that any replica of a fleet may answer any of them.

Invariants
- A callback counts only in the browser that began the sign-in (state), once per code (the provider), for this client
  (audience), and for the token that belongs to it (nonce).
- Nothing that comes from outside decides where a browser is sent: the provider's own address, or the console.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import aiohttp
from aiohttp import web
from yarl import URL

from proxy import logs
from proxy.config.admin import Admin
from proxy.config.identity import Oidc, OidcLogin
from proxy.controller.admin.answering import answers_in
from proxy.controller.admin.callers import open_to_all
from proxy.controller.admin.handlers import SURFACE
from proxy.controller.admin.identity import IDENTITIES, SESSION, cookie_name, cookie_of
from proxy.controller.admin.oidc.claims import Proof, UnprovenError, proof
from proxy.controller.admin.problems import Problem

log = logging.getLogger("understudy.admin.oidc")

PENDING = "understudy-signing-in"
TIME = 600
"""Seconds that a sign-in may take."""
MOST = 16
"""Codes that are being exchanged at a time."""

routes = web.RouteTableDef()
_exchanges = asyncio.Semaphore(MOST)


@routes.get("/auth/login")
@open_to_all
@answers_in("", 404, 503, status=303)
async def login(request: web.Request) -> web.StreamResponse:
    """To the provider, to sign in to the console."""
    from proxy.controller.admin.oidc import jwts
    from proxy.controller.admin.oidc.provider import ProviderError

    admin, oidc, client = _configured(request)
    try:
        about = await request.app[IDENTITIES].provider(oidc).about()
    except ProviderError as error:
        raise Problem(503, f"The provider cannot be asked: {error}.", {"retry-after": "5"}) from error
    verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": _redirect(admin),
        "scope": " ".join(client.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": _challenge(verifier),
        "code_challenge_method": "S256",
    }
    answer = _sent_to(str(URL(str(about.get("authorization_endpoint"))).update_query(query)))
    pending = {"state": state, "nonce": nonce, "verifier": verifier, "exp": int(time.time()) + TIME}
    sealed = jwts.sealed(PENDING, pending, request.app[IDENTITIES].session_key(oidc))
    _set_cookie(answer, PENDING, sealed, admin, TIME, "Lax")  # it comes back from another site
    return answer


@routes.get("/auth/callback")
@open_to_all
@answers_in("", 404, 503, status=303)
async def callback(request: web.Request) -> web.StreamResponse:
    """From the provider; begins a session."""
    from proxy.controller.admin.oidc import jwts

    admin, oidc, client = _configured(request)
    key = request.app[IDENTITIES].session_key(oidc)
    pending = jwts.opened(PENDING, cookie_of(request, PENDING, admin) or "", key, time.time())
    query = request.query
    if pending is None or not hmac.compare_digest(query.get("state", "").encode(), pending["state"].encode()):
        return _refused(request, admin, "state", "no sign-in was begun in this browser, or too long ago")
    if query.get("iss", oidc.issuer) != oidc.issuer:  # RFC 9207
        return _refused(request, admin, "provider", "the answer comes from another issuer")
    if "code" not in query:
        return _refused(request, admin, "denied", f"the provider said {query.get('error', 'nothing')[:60]}")
    try:
        proven = await _exchanged(request, oidc, client, query["code"], pending)
    except UnprovenError as error:
        return _refused(request, admin, "provider", str(error))
    if not proven.caller(oidc.roles.grants).grants:
        return _refused(request, admin, "role", f"{proven.actor} has no role")
    answer = _sent_to("/")
    claims = {**proven.to_keep(), "iss": oidc.issuer}
    _set_cookie(answer, SESSION, jwts.sealed(SESSION, claims, key), admin, int(client.session), "Strict")
    _set_cookie(answer, PENDING, "", admin, 0, "Lax")
    logs.event(log, "admin.signed_in", actor=proven.actor)
    return answer


@routes.post("/auth/logout")
@open_to_all
@answers_in("", 403, 404, status=204)
async def logout(request: web.Request) -> web.StreamResponse:
    """Ends the session in this browser."""
    admin, _, _ = _configured(request)
    answer = web.Response(status=204)
    _set_cookie(answer, SESSION, "", admin, 0, "Strict")
    return answer


async def _exchanged(
    request: web.Request, oidc: Oidc, client: OidcLogin, code: str, pending: Mapping[str, Any]
) -> Proof:
    """Who the provider says it is that brings this code, until their session ends. Raises `UnprovenError`."""
    from proxy.controller.admin.oidc import jwts
    from proxy.controller.admin.oidc.provider import ProviderError

    provider = request.app[IDENTITIES].provider(oidc)
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": str(pending["verifier"])}
    form |= {"redirect_uri": _redirect(request.app[SURFACE].config.admin), "client_id": client.client_id}
    secret = client.client_secret.get_secret_value() if client.client_secret is not None else None
    # RFC 6749, 2.3.1: both are encoded before they are put together.
    auth = "" if secret is None else aiohttp.encode_basic_auth(quote_plus(client.client_id), quote_plus(secret))
    if _exchanges.locked():
        raise Problem(503, f"{MOST} people are signing in just now.", {"retry-after": "2"})
    async with _exchanges:
        try:
            about = await provider.about()
            given = await provider.fetch(str(about.get("token_endpoint")), form, auth)
            token = str(given.get("id_token"))
            keys = await provider.keys_for(jwts.key_id(token))
        except ProviderError as error:
            raise UnprovenError(str(error)) from error
    now = time.time()
    claims = jwts.checked(token, keys, oidc, now, audience=client.client_id, nonce=str(pending["nonce"]))
    # For whom a bearer token may be issued is another question: this one is for us.
    ours = oidc.model_copy(update={"authorized_parties": ()})
    found = proof(claims, ours)
    return replace(found, until=now + client.session)


def _configured(request: web.Request) -> tuple[Admin, Oidc, OidcLogin]:
    admin = request.app[SURFACE].config.admin
    if admin.oidc is None or admin.oidc.login is None:
        raise Problem(404, "There is no provider to sign in by: `admin.oidc.login` is not configured.")
    return admin, admin.oidc, admin.oidc.login


def _redirect(admin: Admin) -> str:
    return (admin.url or "").rstrip("/") + "/auth/callback"


def _challenge(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _sent_to(where: str) -> web.Response:
    return web.Response(status=303, headers={"location": where})


def _refused(request: web.Request, admin: Admin, why: str, detail: str) -> web.StreamResponse:
    """Back to the console, which has words for `why`; what happened is in the log."""
    logs.event(log, "admin.sign_in_refused", logging.WARNING, why=why, detail=detail, peer=request.remote)
    answer = _sent_to(f"/?sign_in={why}")
    _set_cookie(answer, PENDING, "", admin, 0, "Lax")
    return answer


def _set_cookie(answer: web.StreamResponse, name: str, value: str, admin: Admin, seconds: int, same_site: str) -> None:
    secure = (admin.url or "").startswith("https:")
    answer.set_cookie(
        cookie_name(name, admin), value, max_age=seconds, path="/", httponly=True, secure=secure, samesite=same_site
    )
