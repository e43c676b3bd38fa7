"""Words of the configuration file that name something: parts of HTTP and JSON, places on a network, the owner's own.

Each name can stand where it will be used (a URL's path, a head, a metric's label, a file's name) without being quoted
or changed there; what could not is refused. Readers return the name as it will be compared and raise `units.Unfit`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from proxy import json_pointer
from proxy.address import ANYWHERE, address
from proxy.fields.hash_key import HashKey
from proxy.http.placement import PathRule
from proxy.spelling import nearest
from proxy.units import Unfit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"([A-Za-z0-9_]([A-Za-z0-9._-]{0,253})?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


def name(value: Any) -> str:
    """A name that can stand in a URL path, a metric label and a file name; raises `Unfit`.

    >>> name("credit-v2")
    'credit-v2'
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Unfit("a name: letters, digits, `.`, `_` and `-`, at most 64, starting with a letter or digit")
    return value


def version(value: Any) -> str:
    """A version as text; raises `Unfit` for a decimal number, because YAML has already made 1.1 of 1.10.

    >>> version("2026-11-20"), version(7)
    ('2026-11-20', '7')
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not 0 < len(value) <= 128 or not value.isprintable():
        raise Unfit("a version as text of 1 to 128 characters", "put it in quotes" if isinstance(value, float) else "")
    return value


def upstream_host(value: Any) -> str:
    """`client`, `url` or a host with or without a port, as it stands in a Host header; raises `Unfit`.

    >>> upstream_host("url"), upstream_host("Fraud-V2.models.svc:8080"), upstream_host("[::1]:80")
    ('url', 'fraud-v2.models.svc:8080', '[::1]:80')
    """
    if isinstance(value, str) and _HOST.fullmatch(value):
        return value.lower()
    raise Unfit("`client`, `url`, or a host such as fraud-v2.models.example")


def header(value: Any) -> str:
    """A header's name, in lower case; raises `Unfit`.

    >>> header("X-User-Id")
    'x-user-id'
    """
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise Unfit("the name of a header, such as x-user-id")
    return value.lower()


def header_value(value: Any) -> str:
    """A header's value: visible characters, blanks inside; raises `Unfit`.

    >>> header_value("credit-v2")
    'credit-v2'
    """
    if not isinstance(value, str) or value != value.strip() or not value.isascii() or not (value + "x").isprintable():
        raise Unfit("the value of a header, as text in ASCII", "" if isinstance(value, str) else "put it in quotes")
    return value


def method(value: Any) -> str:
    """A request method, in upper case; raises `Unfit`.

    >>> method("post")
    'POST'
    """
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise Unfit("a request method, such as POST")
    return value.upper()


def request_path(value: Any) -> str:
    """The path of a request: a slash, then visible characters; raises `Unfit`.

    >>> request_path("/v2/models/*")
    '/v2/models/*'
    """
    if not isinstance(value, str) or not re.fullmatch(r"/[!-~]*", value):
        hint = f"did you mean `/{value}`?" if isinstance(value, str) and re.fullmatch(r"[!-.0-~][!-~]*", value) else ""
        raise Unfit("a path that begins with a slash, in ASCII without blanks, such as /v2/health/ready", hint)
    return value


def pointer(value: Any) -> str:
    """A JSON pointer (RFC 6901): empty for the whole document, else starting with a slash; raises `Unfit`.

    >>> pointer("/outputs/0/data")
    '/outputs/0/data'
    """
    expected = "a JSON pointer such as /score"
    if not isinstance(value, str):
        raise Unfit(expected)
    try:
        json_pointer.parse_pointer(value)
    except ValueError:
        raise Unfit(expected, "" if value.startswith(("/", "$")) else f"did you mean `/{value}`?") from None
    return value


def redacted(value: Any) -> str:
    """What to mask: a JSON pointer, or a query parameter by its name after a `?`; raises `Unfit`.

    >>> redacted("?api_key")
    '?api_key'
    """
    if not isinstance(value, str) or not value.startswith("?"):
        return pointer(value)
    if not re.fullmatch(r"\?[^=&;#\s]+", value):
        raise Unfit("the name of a query parameter such as ?api_key")
    return value


def url(value: Any, schemes: tuple[str, ...] = ("http", "https")) -> str:
    """A URL of one of these schemes, without credentials or fragment; raises `Unfit`.

    >>> url("http://127.0.0.1:9001")
    'http://127.0.0.1:9001'
    """
    expected = "a URL such as http://127.0.0.1:9001"
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise Unfit(expected)
    try:
        parts = urlsplit(value)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Unfit(expected, "the scheme is missing" if "://" not in value else "")
    if parts.username is not None or parts.password is not None:
        raise Unfit(expected, "credentials in a URL end up in logs; use a header")
    if parts.fragment:
        raise Unfit(expected, "a fragment is never sent")
    return value


def proxy(value: Any) -> str:
    """How a receiver is reached: `environment`, `off` or the URL of an HTTP proxy, with credentials; raises `Unfit`.

    >>> proxy("off"), proxy("http://me:pw@proxy.example:3128")
    ('off', 'http://me:pw@proxy.example:3128')
    """
    if value in ("environment", "off"):
        return str(value)
    expected = "`environment`, `off`, or the URL of an HTTP proxy such as http://proxy.example:3128"
    try:
        parts = urlsplit(value)
        own = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        url(own.geturl())
    except (TypeError, ValueError, AttributeError, Unfit) as unfit:
        raise Unfit(expected, "SOCKS is not supported" if str(value).startswith("socks") else "") from unfit
    if parts.path not in ("", "/") or parts.query or not value.isascii() or not value.isprintable() or " " in value:
        raise Unfit(expected, "scheme, host and port; `user:password@` if it asks for them")
    return str(value)


def server_url(value: Any) -> str:
    """The URL of a model server: scheme, host and port, and perhaps a path that goes before every request's own; raises
    `Unfit`.

    `grpc` and `grpcs` (over TLS) are for servers that speak gRPC.

    >>> server_url("http://127.0.0.1:9001/"), server_url("https://gateway.example/tenant-b/")
    ('http://127.0.0.1:9001', 'https://gateway.example/tenant-b')
    >>> server_url("grpc://127.0.0.1:9003")
    'grpc://127.0.0.1:9003'
    """
    parts = urlsplit(url(value, ("http", "https", "grpc", "grpcs")))
    if parts.query or "?" in value:
        raise Unfit("a URL without a query", "a request keeps its own; a key belongs under `headers: {set: …}`")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def path_change(value: Any) -> PathRule:
    """`{from: PATH, to: PATH}`, of which both or neither end in `*`; raises `Unfit`.

    >>> path_change({"from": "/v1/*", "to": "/openai/*"})
    PathRule('/v1/*', '/openai/*')
    """
    expected = "`{from: /v1/*, to: /openai/*}`: two paths"
    if isinstance(value, PathRule):
        return value
    if not isinstance(value, dict) or value.keys() != {"from", "to"}:
        raise Unfit(expected)
    start, to = request_path(value["from"]), request_path(value["to"])
    if set(start + to) & set("?#"):
        raise Unfit(expected, "without query and fragment: the query stays the request's own")
    if "*" in start[:-1] or "*" in to[:-1] or start.endswith("*") is not to.endswith("*"):
        raise Unfit(expected, "a `*` matches the same rest in both and is allowed only at the end")
    return PathRule(start, to)


def path_change_text(value: PathRule) -> dict[str, str]:
    """As it is written in the file."""
    return {"from": value.start, "to": value.to}


def balance(value: Any) -> HashKey | str:
    """`least_loaded`, or what requests are hashed by; raises `Unfit`.

    >>> balance({"hash": {"header": "X-Session"}}), balance({"hash": "prefix"}), balance("least_loaded")
    (HashKey('header', 'x-session'), HashKey('prefix', ''), 'least_loaded')
    """
    expected = "`least_loaded`, `{hash: prefix}`, or `{hash: {header: NAME}}` (`cookie`, `json`)"
    if isinstance(value, HashKey):
        return value
    if value == "least_loaded":
        return "least_loaded"
    if not isinstance(value, dict) or value.keys() != {"hash"}:
        raise Unfit(expected, nearest(value, ("least_loaded",)) if isinstance(value, str) else "")
    by = value["hash"]
    if by == "prefix":
        return HashKey("prefix")
    if not isinstance(by, dict) or len(by) != 1 or not by.keys() <= {"header", "cookie", "json"}:
        raise Unfit(expected, "one of `prefix`, `header`, `cookie` and `json`")
    ((kind, name),) = by.items()
    if kind != "json":
        return HashKey(kind, header(name).lower())
    if pointer(name) == "":
        raise Unfit(expected, "the empty pointer is the whole body: name a field of it, such as /user")
    return HashKey(kind, name)


def balance_text(value: HashKey | str) -> Any:
    """As it is written in the file."""
    if isinstance(value, str):
        return value
    return {"hash": {value.kind: value.name} if value.name else value.kind}


def listen(value: Any) -> str:
    """An address to listen on, `HOST:PORT`; port 0 lets the kernel choose; raises `Unfit`.

    >>> listen("127.0.0.1:8080"), listen("[::1]:0")
    ('127.0.0.1:8080', '[::1]:0')
    """
    try:
        address(value)
    except (TypeError, ValueError):
        raise Unfit("an address HOST:PORT such as 0.0.0.0:8080", "a host is missing" * _is_port(value)) from None
    return str(value)


def _is_port(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value.lstrip(":").isdigit())


def network(value: Any) -> str:
    """An IP address, or a network in CIDR notation; raises `Unfit`.

    >>> network("10.0.0.0/8"), network("::1")
    ('10.0.0.0/8', '::1')
    """
    expected = "an IP address such as 10.0.0.7, or a network such as 10.0.0.0/8"
    if not isinstance(value, str):
        raise Unfit(expected)
    try:
        ipaddress.ip_network(value)
    except ValueError:
        try:
            meant = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise Unfit(expected, "names are not looked up" * value[:1].isalpha()) from None
        raise Unfit(expected, f"did you mean {meant}?") from None
    return value


def is_loopback(value: str) -> bool:
    """Whether an address `HOST:PORT` can be reached from this machine only.

    >>> is_loopback("127.0.0.1:9090"), is_loopback("0.0.0.0:9090"), is_loopback("localhost:1")
    (True, False, True)
    """
    host, _ = address(value)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def collide(one: str, other: str) -> bool:
    """Whether two addresses `HOST:PORT` cannot be listened on at once.

    >>> collide("0.0.0.0:8080", "127.0.0.1:8080"), collide("127.0.0.1:8080", "127.0.0.1:8081")
    (True, False)
    >>> collide("127.0.0.1:0", "127.0.0.1:0"), collide("10.0.0.1:80", "10.0.0.2:80")  # 0: the kernel chooses
    (False, False)
    """
    (host, port), (there, same) = address(one), address(other)
    return port == same != 0 and (host == there or not ANYWHERE.isdisjoint((host, there)))


def file_patterns(value: Any) -> tuple[str, ...]:
    """Paths or patterns of files: one, or a list; raises `Unfit`.

    >>> file_patterns("teams/*.yaml"), file_patterns(["a.yaml", "b.yaml"])
    (('teams/*.yaml',), ('a.yaml', 'b.yaml'))
    """
    every = value if isinstance(value, (list, tuple)) else [value]
    if not every or not all(isinstance(one, str) and one for one in every):
        raise Unfit("a path or a pattern such as `teams/*.yaml`, or a list of them")
    return tuple(every)
