"""Who may ask: the token, and the two checks that keep a web page of someone else's from using the reader's browser.

- *Token.* `Authorization: Bearer …`, compared in constant time, on everything but health, metrics and the console's
  own files, which hold no data (a page must load before it can ask for the token).
- *Host.* Without a token a DNS name that was made to point here (rebinding) would make a hostile page same-origin with
  this port. So the name must be an address, `localhost`, or the one in `admin.listen`. With a token such a page gets
  nothing, and any name (a Kubernetes service, say) is fine.
- *Origin.* A request that changes something and says where it comes from must come from this very port, or from
  `admin.url`, by which people reach it through a proxy that speaks TLS for it. The scheme counts: a page that came over
  plain HTTP is not the one behind TLS.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from proxy.controller.admin.handlers import SURFACE
from proxy.controller.admin.problems import Handler, Problem

OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines that hold no token and name hosts as they like."""

CONSOLE = ("/console/",)
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
    if request.path not in OPEN:
        admin = request.app[SURFACE].config.admin
        passed_on = getattr(request.protocol, "passed_on", None) is True  # the standby has looked at Host and Origin
        if admin.token is None and not passed_on:
            check_host(request.headers.get("host", ""), admin.listen)
        if admin.token is not None and not is_console(request):
            check_token(request.headers.get("authorization", ""), admin.token.get_secret_value())
        if request.method not in READING and not passed_on:
            check_origin(request, admin.url)
    return await handler(request)


def is_console(request: web.Request) -> bool:
    """Whether this asks for a file of the console, which holds no data."""
    return request.path == "/" or request.path.startswith(CONSOLE)


def check_token(authorization: str, token: str) -> None:
    """Raise 401 unless the header carries the token."""
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Problem(401, "This needs the token: Authorization: Bearer …", {"www-authenticate": "Bearer"})


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
