"""Who a request of the admin port comes from: what it brings as proof, held against the configuration in force.

In this order, and the first that there is decides, right or wrong: `Authorization: Bearer` (a token of the file, else
one of the provider) or `Basic` (a token's name and the token), the console's session cookie, a trusted proxy's header.
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import b64decode
from collections.abc import Callable
from http.cookies import SimpleCookie
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.config.admin import Admin
from proxy.config.identity import AdminToken, Oidc, TrustedUserHeader
from proxy.controller.admin.callers import ANONYMOUS, Caller, Grant, Role
from proxy.controller.admin.oidc.claims import Proof, UnprovenError, actor_of, granted, same_name
from proxy.controller.admin.problems import Problem

if TYPE_CHECKING:
    from proxy.controller.admin.oidc.provider import Provider

CALLER = web.RequestKey("caller", Caller)
"""Where `access` leaves the caller on a request."""
SESSION = "understudy-session"
BELIEVED = "x-understudy-believed"
"""The header by which a standby tells the leader which header of a trusted proxy it passes on; nobody else's counts."""
LONGEST_TOKEN = 16 << 10


def caller_of(request: web.Request) -> Caller:
    """Who asks, as `access.middleware` found."""
    return request[CALLER]


class Identities:
    """All ways to prove who one is. What the provider said is kept from one request to the next, until the
    configuration names another one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._provider: Provider | None = None
        self._random_key = secrets.token_hex(32)

    def provider(self, oidc: Oidc) -> Provider:
        """The provider that is configured now."""
        if self._provider is None or self._provider.oidc is not oidc:
            from proxy.controller.admin.oidc.provider import Provider  # who has no `oidc` needs no joserfc

            if self._provider is None or not self._provider.same(oidc):
                self._provider = Provider(oidc)
            self._provider.oidc = oidc
        return self._provider

    def session_key(self, oidc: Oidc) -> str:
        """What sessions are signed with."""
        key = oidc.login.session_key if oidc.login is not None else None
        return key.get_secret_value() if key is not None else self._random_key

    async def identify(self, request: web.Request, admin: Admin, *, passed_on: bool) -> Caller:
        """Who asks; raises `Problem` (401, 503) where that must be proven and is not."""
        if not admin.asks_who:
            return ANONYMOUS
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._bearer(given.strip(), admin)
        if scheme.lower() == "basic":
            return by_name(given.strip(), admin)
        found = self._in_session(request, admin) if scheme == "" else None
        if found is None and admin.trusted_user_header is not None and scheme == "":
            found = from_proxy(request, admin.trusted_user_header, passed_on=passed_on)
        if found is None:
            raise unproven("This needs a proof of who asks: Authorization: Bearer …", admin)
        return found

    async def _bearer(self, given: str, admin: Admin) -> Caller:
        token = with_token(given, admin.named_tokens)
        if token is not None:
            return caller_with(token)
        oidc = admin.oidc
        if oidc is None or given.count(".") != 2 or len(given) > LONGEST_TOKEN:
            raise unproven("This token is not known here.", admin)
        from proxy.controller.admin.oidc import jwts
        from proxy.controller.admin.oidc.claims import proof
        from proxy.controller.admin.oidc.provider import ProviderError

        try:
            keys = await self.provider(oidc).keys_for(jwts.key_id(given))
            claims = jwts.checked(given, keys, oidc, self._clock(), audience=oidc.audience)
            return proof(claims, oidc).caller(oidc.roles.grants)
        except UnprovenError as error:
            raise unproven(f"This token proves nothing: {error}.", admin) from error
        except ProviderError as error:
            raise Problem(503, f"This token cannot be checked: {error}.", {"retry-after": "5"}) from error

    def _in_session(self, request: web.Request, admin: Admin) -> Caller | None:
        cookie = cookie_of(request, SESSION, admin)
        if cookie is None or admin.oidc is None or admin.oidc.login is None:
            return None
        from proxy.controller.admin.oidc import jwts

        said = jwts.opened(SESSION, cookie, self.session_key(admin.oidc), self._clock())
        if said is None or said.get("iss") != admin.oidc.issuer or "person" not in said:
            raise unproven("You are not signed in any more.", admin)
        return Proof.kept(said).caller(admin.oidc.roles.grants)


IDENTITIES = web.AppKey("identities", Identities)
"""Where an application has them."""


def by_name(given: str, admin: Admin) -> Caller:
    """Who has a token of the file and gives its name with it, as programs do that know a URL only
    (`https://NAME:TOKEN@…`). Raises `Problem` (401)."""
    try:
        name, _, token = b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        name = token = ""
    found = with_token(token, admin.named_tokens)
    if found is None or found.name != name:
        raise unproven("This name and token are not known here.", admin)
    return caller_with(found)


def unproven(detail: str, admin: Admin) -> Problem:
    """That nobody is proven, and how one could be."""
    ways = ["token"] if admin.named_tokens else []
    ways += ["oidc"] if admin.oidc is not None and admin.oidc.login is not None else []
    return Problem(401, detail, {"www-authenticate": "Bearer"}, sign_in=ways)


def cookie_name(name: str, admin: Admin) -> str:
    """A cookie's whole name: behind https one that only https, and this host alone, can have set."""
    return f"__Host-{name}" if (admin.url or "").startswith("https:") else name


def cookie_of(request: web.Request, name: str, admin: Admin) -> str | None:
    """The value of a cookie."""
    whole = cookie_name(name, admin)
    for header in request.headers.getall("cookie", ()):
        if whole in header:
            cookies: SimpleCookie = SimpleCookie()
            cookies.load(header)
            if whole in cookies:
                return cookies[whole].value
    return None


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


def from_proxy(request: web.Request, rule: TrustedUserHeader, *, passed_on: bool) -> Caller | None:
    """Whom the proxy in front names; `None` where it names nobody, or is not one that is believed. The leader cannot
    see who sent what a standby passes on: the standby says whether it was such a proxy, and in which header."""
    names = request.headers.getall(rule.header, ())
    believed = request.headers.get(BELIEVED, "").lower() == rule.header.lower()
    if not names or not (believed if passed_on else is_proxy(request.remote or "", rule)):
        return None
    try:
        if len(names) > 1:
            raise UnprovenError("the header is there twice")
        actor = actor_of("proxy", names[0].strip())
    except UnprovenError as error:
        raise Problem(401, f"{rule.header}: {error}.", {"www-authenticate": "Bearer"}) from error
    listed = request.headers.getall(rule.groups, ()) if rule.groups is not None else ()
    values = frozenset(one.strip() for text in listed for one in text.split(",") if one.strip())
    return Caller(actor, granted(rule.grants, values), person=same_name(actor))


def is_proxy(peer: str, rule: TrustedUserHeader) -> bool:
    """Whether an address is one of the proxies that are believed."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ip_network(one, strict=False) for one in rule.proxies)
