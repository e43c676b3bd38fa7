"""The part of the tree that says who may do what on the admin port, and what is wrong with it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from proxy.config.blaming import Blamer
from proxy.config.text import Path
from proxy.config.types import Duration, FilePath, Header, Name, Network, Section, Url
from proxy.spelling import nearest
from proxy.units import duration

LONGEST_SKEW, LONGEST_SESSION, SHORTEST_KEY = 300.0, 86400.0, 32

RoleName = Literal["view", "operate", "admin"]
"""`controller.admin.callers.Role` has the same."""

_SENDABLE = re.compile(r"[!-~]([ -~]*[!-~])?")

RouteNames = Annotated[tuple[Name, ...], Field(min_length=1)]


class AdminToken(Section):
    """A bearer token of the admin port: its name is the actor of what is done with it."""

    name: Name
    """What it is called in the journal, as `token:NAME`."""
    token: SecretStr
    """The token itself; at least as long as `openssl rand -hex 16` makes them, if others can reach the port."""
    role: RoleName
    """`view` reads; `operate` also acts on rollouts and posts outcomes; `admin` does everything."""
    routes: RouteNames | None = None
    """The only routes it may see and act on; all of them when absent."""


class RoleGrant(Section):
    """A role for those who have a value (a group, say)."""

    value: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """What their groups must hold; everybody who is proven when absent."""
    role: RoleName
    """`view`, `operate` or `admin`, as for a token."""
    routes: RouteNames | None = None
    """The only routes it is for; all of them when absent."""


Grants = Annotated[tuple[RoleGrant, ...], Field(min_length=1)]


class OidcRoles(Section):
    """Which roles the provider's users have."""

    claim: Annotated[str, Field(min_length=1)] = "groups"
    """The claim with a user's groups: a name, or a path such as `/realm_access/roles`."""
    grants: Grants
    """Roles by group. A user with several roles has the highest one on each route; a user without a role is refused."""


class OidcLogin(Section):
    """Signing in to the console (code flow with PKCE). Needs `admin.url`; the provider must allow
    `URL/auth/callback`."""

    client_id: Annotated[str, Field(min_length=1)]
    """What the provider calls this client. It is the audience of the identity tokens."""
    client_secret: SecretStr | None = None
    """What the client proves itself with; none for a public client."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What is asked for; some providers give groups for a scope of their own only."""
    session: Duration = 3600.0
    """How long a user stays signed in; then the user signs in again at the provider. At most 24h."""
    session_key: SecretStr | None = None
    """What sessions are signed with, at least 32 letters; a random one at each start when absent. The replicas of a
    fleet must have the same one."""


class Oidc(Section):
    """Users of an OpenID Connect provider (needs the extra `oidc`)."""

    issuer: Url
    """The provider's `iss`, exactly. Its addresses and keys are found below it, at
    `/.well-known/openid-configuration`."""
    audience: Annotated[str, Field(min_length=1)]
    """What bearer tokens must be meant for (`aud`)."""
    roles: OidcRoles
    """Which roles its users have."""
    actor: Annotated[str, Field(min_length=1)] = "sub"
    """The claim by which the journal calls a user: `oidc:SUB`, and with another claim `oidc:VALUE (SUB)`. `email` is
    used only if the provider says `email_verified`; otherwise it is `oidc:SUB`. Persons are always compared by issuer
    and subject."""
    authorized_parties: tuple[str, ...] = ()
    """The clients to which bearer tokens may have been issued (`azp`); any of the provider's when empty."""
    clock_skew: Duration = 30.0
    """How far the provider's clock may be off; at most 5m."""
    ca: FilePath | None = None
    """Certificates to trust for it, PEM; the system's when absent."""
    login: OidcLogin | None = None
    """Signing in to the console by it; bearer tokens only when absent."""


class TrustedUserHeader(Section):
    """A header in which a proxy in front names the user that it has authenticated."""

    header: Header
    """The header with the user's name, such as `x-forwarded-user`; the journal says `proxy:NAME`."""
    proxies: Annotated[tuple[Network, ...], Field(min_length=1)]
    """The proxy's addresses or networks. The proxy must remove the header from the requests that it receives. From any
    other address the header is ignored."""
    groups: Header | None = None
    """The header with the user's groups, with commas between."""
    grants: Grants
    """Roles by group, as for `oidc`."""


class TwoPerson(Section):
    """Actions that a second person has to confirm."""

    promote_full: Duration
    """A promotion by hand to 100 % (`--full`, or out of the last stage): how long the second person has."""


def is_private_url(url: str) -> bool:
    """Whether what is said there can be overheard by nobody: https, or http on this machine.

    >>> is_private_url("https://login.example"), is_private_url("http://127.0.0.1:1"), is_private_url("http://a.example")
    (True, True, False)
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        local = host == "localhost" or (bool(host) and ip_address(host).is_loopback)
    except ValueError:  # a name, or half an address
        local = False
    return bool(parts.netloc) and (parts.scheme == "https" or (parts.scheme == "http" and local))


def check_oidc(oidc: Oidc, url: str | None, fleet: bool, routes: Collection[str], blame: Blamer) -> None:
    """Note every mistake of `admin.oidc`; `url` is `admin.url`."""
    here: Path = ("admin", "oidc")
    if importlib.util.find_spec("joserfc") is None:
        blame(here, "checking tokens needs packages", "pip install 'understudy[oidc]'")
    if not is_private_url(oidc.issuer):
        blame((*here, "issuer"), f"{oidc.issuer} would give its keys over plain HTTP", "https://")
    if not 0 <= oidc.clock_skew <= LONGEST_SKEW:
        blame((*here, "clock_skew"), f"{duration(oidc.clock_skew)} is more than {duration(LONGEST_SKEW)}")
    for n, grant in enumerate(oidc.roles.grants):
        check_routes((*here, "roles", "grants", n, "routes"), grant.routes, routes, blame)
    login = oidc.login
    if login is None:
        return
    here = (*here, "login")
    if url is None:
        blame(here, "the provider sends people back to `admin.url`, and there is none", "admin: {url: https://…}")
    elif not is_private_url(url):
        blame(
            ("admin", "url"),
            f"{url}: sessions over plain HTTP can be overheard",
            "https://, by a proxy that speaks TLS",
        )
    if "openid" not in login.scopes:
        blame((*here, "scopes"), "no `openid` among them: the provider would give no identity token")
    if not 60 <= login.session <= LONGEST_SESSION:
        blame((*here, "session"), f"{duration(login.session)} is not within 1m to {duration(LONGEST_SESSION)}")
    if login.session_key is None and fleet:
        blame(here, "the replicas of a fleet need the same `session_key`", "openssl rand -hex 32")
    if login.session_key is not None and len(login.session_key.get_secret_value()) < SHORTEST_KEY:
        blame((*here, "session_key"), f"shorter than {SHORTEST_KEY} letters", "openssl rand -hex 32")


def check_user_header(header: TrustedUserHeader, plain_fleet: bool, routes: Collection[str], blame: Blamer) -> None:
    """Note every mistake of `admin.trusted_user_header`; `plain_fleet`: replicas that pass it on prove nothing."""
    here: Path = ("admin", "trusted_user_header")
    if header.header.lower() in ("authorization", "cookie", "host", "origin"):
        blame((*here, "header"), f"`{header.header}` is what clients send themselves", "x-forwarded-user, say")
    if plain_fleet:
        blame(here, "a standby passes it on, so the leader must know that it is one", "set `fleet.tls`")
    for n, grant in enumerate(header.grants):
        check_routes((*here, "grants", n, "routes"), grant.routes, routes, blame)
        if grant.value is not None and header.groups is None:
            blame((*here, "grants", n, "value"), "no header says who is in which group", "set `groups`")


def check_tokens(
    short: SecretStr | None, tokens: tuple[AdminToken, ...], routes: Collection[str], blame: Blamer
) -> None:
    """Note every mistake of `admin.token` and `admin.tokens`. An empty token would let everybody in, and one with a
    line break at its end nobody."""
    if short is not None and tokens:
        blame(("admin", "token"), "conflicts with `tokens`", "give it a name and a role there")
    found: list[tuple[Path, SecretStr]] = [(("admin", "token"), short)] if short is not None else []
    found += [(("admin", "tokens", n, "token"), one.token) for n, one in enumerate(tokens)]
    for path, token in found:
        if path not in blame.document.unfilled and not _SENDABLE.fullmatch(token.get_secret_value()):
            problem = "not a valid header value: empty, not ASCII, or with a blank at an end"
            blame(path, problem, "does it end with a line break?")
    for n, one in enumerate(tokens):
        before = tokens[:n]
        here: Path = ("admin", "tokens", n)
        if any(other.name == one.name for other in before):
            blame((*here, "name"), f"the token `{one.name}` is defined twice", "the journal tells them by their names")
        if any(other.token == one.token for other in before) and not blame.is_broken((*here, "token")):
            blame((*here, "token"), "is the same as another one's", "each has its own, or no actor is proven")
        check_routes((*here, "routes"), one.routes, routes, blame)


def check_routes(path: Path, named: tuple[str, ...] | None, routes: Collection[str], blame: Blamer) -> None:
    """Note routes that the file does not have."""
    for n, route in enumerate(named or ()):
        if route not in routes:
            hint = nearest(route, list(routes)) or (f"known: {', '.join(routes)}" if routes else "")
            blame((*path, n), f"there is no route `{route}`", hint)
