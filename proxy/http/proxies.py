"""Which HTTP proxy a request goes through, as the environment says: what curl and requests read, and nothing more.

    http_proxy, https_proxy    by the scheme of what is asked; `all_proxy` for those that are not named
    no_proxy                   what is asked directly: names (with all that is below them), addresses, networks, `*`

Of each variable the lower-case spelling is read first. `aiohttp` has a reader of its own (`trust_env`), which compares
names only, so that `NO_PROXY=10.0.0.0/8` and `host:port` mean nothing, and sends credentials from `~/.netrc`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?")


def proxy_of(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy's URL for a request to `url`, `None` when it is asked directly. A proxy without a scheme speaks HTTP.

    >>> proxy_of("https://hooks.example/x", {"HTTPS_PROXY": "proxy.example:3128"})
    'http://proxy.example:3128'
    >>> proxy_of("http://10.1.2.3/x", {"http_proxy": "http://p:1", "NO_PROXY": "localhost, 10.0.0.0/8"}) is None
    True
    """
    parts = urlsplit(url)
    chosen = _variable(f"{parts.scheme}_proxy", environment) or _variable("all_proxy", environment)
    if not chosen or _is_direct(parts.hostname or "", parts.port or _PORTS.get(parts.scheme), environment):
        return None
    return chosen if "://" in chosen else f"http://{chosen}"


def _variable(name: str, environment: Mapping[str, str]) -> str:
    """An empty variable in lower case counts: it is how one takes back what is set in upper case."""
    return environment.get(name, environment.get(name.upper(), "")).strip()


def _is_direct(host: str, port: int | None, environment: Mapping[str, str]) -> bool:
    entries = re.split(r"[\s,]+", _variable("no_proxy", environment).lower())
    return any(_matches(entry, host.lower().rstrip("."), port) for entry in entries if entry)


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of `no_proxy` names a host.

    >>> _matches("example.com", "hooks.example.com", 80), _matches(".example.com", "example.com", 80)
    (True, True)
    >>> _matches("example.com", "notexample.com", 80), _matches("h:8080", "h", 80), _matches("::1", "::1", 80)
    (False, False, True)
    """
    if entry == "*":
        return True
    found = _ENTRY.fullmatch(entry)
    if found is not None and found["port"] and int(found["port"]) != port:
        return False
    name = entry if found is None else found["v6"] or found["host"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name: an entry names it, or a domain above it
        name = name.removeprefix("*").strip(".")
        return host == name or host.endswith(f".{name}")
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False
