"""Who may ask: what is proven, what that may do, and the two checks that keep a web page of someone else's from using
the reader's browser.

- *Caller.* `identity` says who asks, and the handler its needs (`needs_role`). A handler that declares nothing
  is refused to everybody. Health, metrics and the console's own files, which hold no data (a page must load before it
  can ask who is there), are open.
- *Host.* Where nobody has to prove anything, a DNS name that was made to point here (rebinding) would make a hostile
  page same-origin with this port. So the name must be an address, `localhost`, or the one in `admin.listen`. Otherwise
  such a page gets nothing, and any name (a Kubernetes service, say) is fine.
- *Origin.* A request that changes something and says where it comes from must come from this very port, or from
  `admin.url`, by which people reach it through a proxy that speaks TLS for it. The scheme counts: a page that came over
  plain HTTP is not the one behind TLS.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from proxy.controller.admin.callers import About, Needs, Role, why_refused
from proxy.controller.admin.handlers import SURFACE
from proxy.controller.admin.identity import CALLER, IDENTITIES
from proxy.controller.admin.problems import Handler, Problem

READING = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    # Nothing inline, nothing from elsewhere; a string that looks like HTML stays a string.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put the same protective headers on every answer; data is never kept by a cache."""
    response.headers.update(HEADERS)
    response.headers.setdefault("cache-control", "no-store")


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what may not be asked; raises `Problem` (401, 403)."""
    needed = needs_of(request)
    admin = request.app[SURFACE].config.admin
    passed_on = getattr(request.protocol, "passed_on", None) is True  # the standby has looked at Host and Origin
    if needed.role is not None:
        if not admin.asks_who and not passed_on:
            check_host(request.headers.get("host", ""), admin.listen)
        identities = request.app[IDENTITIES]
        request[CALLER] = caller = await identities.identify(request, admin, passed_on=passed_on)
        route = request.match_info.get("route")
        if why := why_refused(caller, needed, route):
            raise Problem(403, why, needs=needed.role.word, actor=caller.actor)
    if request.method not in READING and not passed_on:
        check_origin(request, admin.url)
    return await handler(request)


def needs_of(request: web.Request) -> Needs:
    """What the handler of this request declares. A path or method that there is none for needs someone who may ask at
    all; a handler that declares nothing is open to nobody: raises `Problem` (403)."""
    if request.match_info.http_exception is not None:
        return Needs(Role.VIEW, About.NOTHING)
    declared = getattr(request.match_info.handler, "needs", None)
    if not isinstance(declared, Needs):
        raise Problem(403, "This endpoint does not say which role it needs, so nobody may ask.")
    return declared


def check_host(host: str, listen: str) -> None:
    """Raise 403 unless the host is an address, `localhost` or what `admin.listen` names.

    >>> check_host("[::1]:9090", "127.0.0.1:9090"), check_host("LOCALHOST", "127.0.0.1:9090")
    (None, None)
    """
    name = _hostname(host)
    if name in ("localhost", _hostname(listen)):
        return
    try:
        ip_address(name)
    except ValueError:
        raise Problem(403, "The Host header names a host that this port does not serve.") from None


def check_origin(request: web.Request, url: str | None) -> None:
    """Raise 403 when a browser says that another site sent this; `url` is the port's other name, if it has one."""
    given, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    own, named = origin_of(f"{request.scheme}://{request.headers.get('host', '')}"), origin_of(url or "")
    if own is not None and named is not None and own.split("://")[1] == named.split("://")[1]:
        own = named  # by that name it is reached through the proxy only
    origin = origin_of(given or "")
    if given is not None and (origin is None or origin not in (own, named)):
        raise Problem(403, "The Origin header names another site. Behind a proxy, set `admin.url` to the console's.")
    if site not in ("none", "same-origin"):
        raise Problem(403, "A browser sent this on behalf of another site.")


def origin_of(url: str) -> str | None:
    """Scheme, host and port of a URL, as a browser writes an origin; `None` when it has none.

    >>> origin_of("https://Models.example:443/understudy/"), origin_of("null")
    ('https://models.example', None)
    """
    try:
        parts = urlsplit(url.lower())
        port = parts.port
    except ValueError:  # half an IPv6 address: nobody's
        return None
    if not parts.netloc:
        return None
    usual = port == {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.netloc.removesuffix(f':{port}') if usual else parts.netloc}"


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
