"""Heads of requests: what they mean (`headers` says how heads are read).

Refused are a missing or second Host, a version other than 1.0 and 1.1, more than one space in the request line, any
transfer coding but a plain `chunked`, underscores in the names of headers that frame or vouch for the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from proxy.http import credentials
from proxy.http.headers import (
    CHUNKED,
    CHUNKED_LINE,
    FRAMING,
    HOP_BY_HOP,
    VERSIONS,
    VIA,
    HeadError,
    Http1Message,
    all_values,
    check_repeats,
    connection_tokens,
    content_length,
    has_bare_lf,
    original,
    without,
)
from proxy.http.ids import valid_id
from proxy.http.scanning import scanner

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
CREDENTIALS: Final = frozenset(name.encode() for name in credentials.HEADERS)
MARK = b"x-shadow"
"""Says that a request is a copy and serves nobody: ours to say, and no client's."""
MEANT: Final = HOP_BY_HOP | FRAMING | _FORWARDED | {b"expect", b"x-request-id", MARK, b"x-real-ip"}
"""On their values depends what a head means; of others that are looked at, only who asks for them."""
_REQUEST_NAMES = MEANT | CREDENTIALS | {b"traceparent"}
SET_BY_US = _FORWARDED | {b"x-request-id"}
_CLAIM = re.compile(rb"\r\n(x[-_]forwarded[-_][^:\r]*|forwarded|x[-_]real[-_]ip|x-shadow):")
"""What a client may only say when it is a proxy of ours: who asked, how, and whether it counts."""
_ALIKE = re.compile(
    b"\r\n(%b):" % b"|".join(re.escape(n).replace(rb"\-", b"[-_]") for n in FRAMING | SET_BY_US | {MARK})
)
"""With `_` for `-` these are the same headers to whatever hands them on as CGI variables (PEP 3333)."""
_HOST = re.compile(rb"[^\s,/@?#\\]*")
_PROTOCOL = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")  # RFC 9110, 7.8
_CARRIES_HTTP = re.compile(rb"h[23]|http|tls", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE)
JSON_SIZE: Final = b"inference-header-content-length"
"""Says how much of a body is JSON, when binary tensors follow."""
OF_BODY = frozenset(
    {b"content-length", b"transfer-encoding", b"trailer", JSON_SIZE}
    | {b"content-md5", b"content-digest", b"repr-digest", b"digest"}
)
"""What describes a body, and is no longer true when that is changed."""
PLAIN: Final = 1
"""The form of a request's body: its bytes are the content."""
TENSORS: Final = 2
"""Its head says how much of it is JSON."""
CODED: Final = 3
"""It is compressed."""
_NONE: frozenset[bytes] = frozenset()
_CONDITIONAL = re.compile(rb"\r\nif-(none-match|modified-since):", re.IGNORECASE)


def request_scanner(extra: Iterable[bytes] = ()) -> re.Pattern[bytes]:
    """The pattern for request heads: every header with a meaning to us, and those the configuration names."""
    return scanner(_REQUEST_NAMES | {name.lower() for name in extra})


_REQUESTS = request_scanner()


def is_conditional(head: bytes) -> bool:
    """Whether a request may be answered by 304 (RFC 9110, 15.4.5).

    >>> [is_conditional(b"GET / HTTP/1.1\\r\\n%b: a\\r\\n\\r\\n" % name) for name in (b"If-None-Match", b"If-Match")]
    [True, False]
    """
    return _CONDITIONAL.search(head) is not None


def may_become_a_head(begun: bytes, known: int = 0) -> bool:
    """Whether what came so far of a request's head may still become one; what may not is refused at once. The first
    `known` bytes were asked about before.

    >>> [may_become_a_head(it) for it in (b"GE", b"GET / HTTP/1.", b"GET / HTTP/5.6", b"GET /\\r\\n", b"\\x16\\x03")]
    [True, True, False, False, False]
    """
    if has_bare_lf(begun, known):
        return False
    stop = begun.find(b"\r\n")
    if 0 <= stop < known - 1:
        return True  # as its first line was then
    line, end = (begun, False) if stop < 0 else (begun[:stop], True)
    words = line.split(b" ", 2)
    if not line[:1].isalpha():
        return begun in (b"", b"\r")
    if end:
        return len(words) == 3 and words[2] in VERSIONS
    return len(words) < 3 or any(version.startswith(words[2].removesuffix(b"\r")) for version in VERSIONS)


class Request(Http1Message):
    """What a request's head means.

    `found` maps the lower-case name of each header that is looked at to its lower-cased value: those of the proxy and
    those that a route names (`request.routes._looked_at`), and no other, so a header of a new key is to be named there;
    `named` are headers that `Connection` nominates; `keep` says that the client may send another
    request on this connection.
    """

    __slots__ = (
        "_bare", "_form", "_lines", "_public", "claims", "fork", "found", "host", "keep", "low", "method", "named",
        "offers", "old", "path", "plain", "rebuild", "route", "target", "upgrade",
    )  # fmt: skip

    low: bytes
    method: bytes
    target: bytes
    path: bytes
    old: bool
    host: bytes
    keep: bool
    upgrade: bool
    """It offers to go on in one of the protocols `offers`."""
    offers: bytes
    rebuild: bool
    plain: bytes
    """The head as forwarded, but for the lines that differ per client and request; empty when it must change more."""
    route: Any
    """Where it belongs, as the reader found; kept with the head, so that an equal head is not looked up again."""
    fork: Any
    """What says of its body where it belongs, `None` where the head says it."""
    found: dict[bytes, bytes]
    named: frozenset[bytes]
    claims: frozenset[bytes]
    """Headers that are believed only from a trusted proxy, as they are named in the head in lower case."""
    _bare: bytes
    _public: bytes
    _form: int
    _lines: list[bytes] | None

    def __init__(self) -> None:
        self._bare, self._public, self._form, self._lines = b"", b"", 0, None

    def body_form(self) -> int:
        """`PLAIN`, `TENSORS` or `CODED`. Looked up once, as an equal head is kept."""
        if self._form == 0:
            self._form = PLAIN
            if original(self.head, self.low, b"content-encoding").lower() not in (b"", b"identity"):
                self._form = CODED
            elif original(self.head, self.low, JSON_SIZE):
                self._form = TENSORS
        return self._form

    def bare(self) -> bytes:
        """`plain` without the lines that describe the body, for a body that was changed."""
        if not self._bare and self.plain:
            self._bare = without(self.plain, OF_BODY)
        return self._bare

    def public(self) -> bytes:
        """Its head without credentials: the controller has no use for them, and records are files."""
        if not self._public:
            safe = CREDENTIALS.isdisjoint(self.found)
            self._public = self.head if safe else without(self.head, CREDENTIALS) + b"\r\n"
        return self._public

    def lines(self) -> list[bytes]:
        """The lines of its head, the two empty ones at the end among them."""
        if self._lines is None:
            self._lines = self.head.split(b"\r\n")
        return self._lines

    def again(self, head: bytes, lines: list[bytes], found: dict[bytes, bytes]) -> Request:
        """The same with another head, which means the same (`alike_heads`)."""
        other = Request()
        other.head, other.low, other._lines, other.found = head, head.lower(), lines, found
        other.plain = head[:-2] + self.plain[len(self.head) - 2 :]
        other.method, other.target, other.path, other.host = self.method, self.target, self.path, self.host
        other.length, other.keep, other.old, other.rebuild = self.length, self.keep, self.old, self.rebuild
        other.upgrade, other.offers = self.upgrade, self.offers
        other.named, other.claims = self.named, self.claims
        other.route, other.fork = self.route, self.fork
        return other

    def value(self, name: bytes) -> bytes:
        """A header's value as written; only for headers the scanner knows."""
        return original(self.head, self.low, name) if name in self.found else b""

    def cookie(self, name: bytes) -> bytes:
        """The value of one cookie (RFC 6265, 5.4), nothing when absent; `name` in lower case."""
        for part in self.value(b"cookie").split(b";"):
            key, _, value = part.strip().partition(b"=")
            if key.lower() == name:
                return value
        return b""


def given_id(request: Request) -> bytes:
    """The request id that the client gave, nothing when it gave none that is fit to be passed on.

    >>> given_id(read_request(b"GET / HTTP/1.1\\r\\nHost: m\\r\\nX-Request-Id: Ann-1\\r\\n\\r\\n"))
    b'Ann-1'
    """
    given = request.value(b"x-request-id")
    return given if given and valid_id(given) else b""


def read_request(head: bytes, names: re.Pattern[bytes] = _REQUESTS) -> Request:
    """What a validated request head means; raises `HeadError`.

    >>> r = read_request(b"POST /a?b HTTP/1.1\\r\\nHost: m\\r\\nContent-Length: 3\\r\\n\\r\\n")
    >>> r.method, r.path, r.length, r.keep, r.rebuild
    (b'POST', b'/a', 3, True, False)
    """
    line = head[: head.find(b"\r\n")].split(b" ")
    if len(line) != 3:
        raise HeadError("more than one space in the request line")
    self = Request()
    self.head, self.method, target, version = head, *line
    if not head[:1].isalpha():  # llhttp skips a bare CR or LF before the method; not every server does
        raise HeadError("a request line that does not begin with a method")
    if self.method == b"CONNECT":  # a tunnel to where the client likes; llhttp takes any target for it
        raise HeadError("CONNECT")
    old = VERSIONS.get(version)
    if old is None:
        raise HeadError(f"version {version[:20]!r}, expected HTTP/1.1")
    self.low = low = head.lower()
    pairs = names.findall(low)
    self.found = found = dict(pairs)
    if len(found) != len(pairs):
        check_repeats(pairs)
    if b"_" in low and any(b"_" in name for name in _ALIKE.findall(low)):
        raise HeadError("a header that some servers take for another")
    host = found.get(b"host")
    if host is None:
        if not old:
            raise HeadError("no Host")
        host = b""
    elif _HOST.fullmatch(host.rstrip(b" \t")) is None:
        raise HeadError("not a Host")
    self.old, self.host, self.target, self.named = old, host, target, frozenset()
    self.keep, self.upgrade, self.offers = not old, False, b""
    self.rebuild = old or not HOP_BY_HOP.isdisjoint(found)
    self.claims = _NONE
    if b"forwarded" in low or MARK in found or b"x-real-ip" in found:
        self.claims = frozenset(_CLAIM.findall(low))
    if b"connection" in found:
        _read_connection(self, pairs)
    length = found.get(b"content-length")
    self.length = content_length(length) if length is not None else 0
    if b"transfer-encoding" in found:
        coded = CHUNKED_LINE.search(low)
        if coded is None or old:
            raise HeadError("a transfer coding other than chunked")
        self.length = CHUNKED
        self.rebuild = self.rebuild or len(coded[1]) > 1
    if not target.startswith(b"/"):
        _read_target(self)
    elif b"#" in target:
        raise HeadError("a fragment in the target")
    path = self.target
    query = path.find(b"?")
    self.path = path if query < 0 else path[:query]
    self.plain, self.route, self.fork = b"", None, None
    if not self.rebuild and not self.claims and b"x-request-id" not in found:
        self.plain = b"%bx-forwarded-host: %b\r\n%b" % (head[:-2], host.strip(b" \t"), VIA)
    return self


def _read_connection(request: Request, pairs: list[tuple[bytes, bytes]]) -> None:
    tokens = connection_tokens(pairs)
    request.keep = b"close" not in tokens and (not request.old or b"keep-alive" in tokens)
    if b"upgrade" in tokens and b"upgrade" in request.found and not request.old:
        request.offers = _offers(request)
        request.upgrade = bool(request.offers)
    # A client may not have framing or routing headers, nor the pair's name, removed by naming them.
    request.named = tokens - FRAMING - SET_BY_US - request.claims - {b"close", b"keep-alive", b"upgrade", b""}


def _offers(request: Request) -> bytes:
    """The protocols in `Upgrade` that a model may be offered, wherever they stand in it.

    HTTP/2, another version of HTTP and TLS are none: through the tunnel would pass requests that nobody here could see.
    """
    listed = (one.strip(b" \t") for one in all_values(request, b"upgrade").split(b","))
    return b", ".join(one for one in listed if _PROTOCOL.fullmatch(one) and not _CARRIES_HTTP.match(one))


def _read_target(request: Request) -> None:
    """Absolute-form becomes origin-form, its authority replaces Host (RFC 9112, 3.2.2)."""
    match = _ABSOLUTE.fullmatch(request.target)
    if match is not None and _HOST.fullmatch(match[1]) is not None:
        request.host = match[1]
        rest = match[2]
        request.target = rest if rest.startswith(b"/") else b"/" + rest
        if not rest and request.method == b"OPTIONS":
            request.target = b"*"
        request.rebuild = True
    elif request.target != b"*" or request.method != b"OPTIONS":
        raise HeadError("not an origin-form or absolute-form target")
