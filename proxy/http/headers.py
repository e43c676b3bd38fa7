"""Heads of requests and answers: what they mean, and how they leave the proxy.

A head reaches this module only after llhttp has accepted it in strict mode, so every line is `name: value` ended by
CRLF, without folding or control bytes. What llhttp lets pass and another server might read differently is refused here
(`HeadError`): a missing or second Host, a version other than 1.0 and 1.1, more than one space in the request line, any
transfer coding but a plain `chunked`, underscores in the names of headers that frame or vouch for the message.

Most heads need no change: they are forwarded as they came, byte for byte, with our lines appended. One is rebuilt only
when it carries something that must not travel on (RFC 9110, 7.6.1): hop-by-hop headers, headers that `Connection`
names, an absolute-form target, headers that we set ourselves.

Cost is why this is one regular expression over the lower-cased head instead of a callback per header: 1 µs against 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from proxy.http import credentials
from proxy.http.ids import valid_id
from proxy.http.scanning import scanner

CHUNKED: Final = -1
"""Length of a message in chunked framing."""
UNTIL_CLOSE: Final = -2
"""Length of an answer that ends when the connection is closed."""

_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te",
     b"upgrade")
)  # fmt: skip
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})
_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
CREDENTIALS = frozenset(name.encode() for name in credentials.HEADERS)
MARK = b"x-shadow"
"""Says that a request is a copy and serves nobody: ours to say, and no client's."""
_REQUEST_NAMES = (
    _HOP | _FRAMING | _FORWARDED | CREDENTIALS | {b"expect", b"x-request-id", b"traceparent", MARK, b"x-real-ip"}
)
_SET_BY_US = _FORWARDED | {b"x-request-id"}
_CLAIM = re.compile(rb"\r\n(x[-_]forwarded[-_][^:\r]*|forwarded|x[-_]real[-_]ip|x-shadow):")
"""What a client may only say when it is a proxy of ours: who asked, how, and whether it counts."""
_VIA = b"via: 1.1 understudy\r\n"
_OURS = frozenset({b"x-understudy-request-id", b"x-served-by", b"x-understudy-error"})
_PLAIN = frozenset({b"date", b"content-length", b"transfer-encoding", b"content-type", b"x-request-id"})
_ANSWER_NAMES = _HOP | _OURS | _PLAIN

_ALIKE = re.compile(
    b"\r\n(%b):" % b"|".join(re.escape(n).replace(rb"\-", b"[-_]") for n in _FRAMING | _SET_BY_US | {MARK})
)
"""With `_` for `-` these are the same headers to whatever hands them on as CGI variables (PEP 3333)."""
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:( *)chunked\r\n")
"""No tab and nothing behind it: the oldest way to have one of two servers overlook it. With more than one space before
it, it is written anew."""
_TRANSFER_ENCODING = frozenset({b"transfer-encoding"})
_CODED = b"transfer-encoding: chunked\r\n"
_MAX_DIGITS = 19
"""Of a length: what 63 bits hold. Zeros in front are legal, but how many of them a server reads is its own affair."""
_MAX_TOKENS = 64
"""In `Connection`: nobody names more in earnest, and each is looked for in every line."""
_VERSIONS = {b"HTTP/1.1": False, b"HTTP/1.0": True}
_REASON = re.compile(rb"(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")  # RFC 9112, 4
_HOST = re.compile(rb"[^\s,/@?#\\]*")
_PROTOCOL = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")  # RFC 9110, 7.8
_CARRIES_HTTP = re.compile(rb"h[23]|http|tls", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE)
TRACE = re.compile(  # version 00 ends with the flags; a later one may go on after a dash (W3C Trace Context, 4.3)
    rb"[ \t]*(?!ff)(?:00(?!.{53}-)|(?!00)[0-9a-f]{2})"
    rb"-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-[^\r\n]*)?[ \t]*"
)
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
_TRACEPARENT = b"\r\ntraceparent:"
_CONDITIONAL = re.compile(rb"\r\nif-(none-match|modified-since):", re.IGNORECASE)


class HeadError(ValueError):
    """A head that is refused although llhttp accepts it; the text says why."""


def request_scanner(extra: Iterable[bytes] = ()) -> re.Pattern[bytes]:
    """The pattern for request heads: every header with a meaning to us, and those the configuration names."""
    return scanner(_REQUEST_NAMES | {name.lower() for name in extra})


_ANSWERS = scanner(_ANSWER_NAMES)
_REQUESTS = request_scanner()


def original(head: bytes, low: bytes, name: bytes) -> bytes:
    """The value of the header `name` (lower case) as it was written; the first one, or nothing.

    >>> head = b"GET / HTTP/1.1\\r\\nX-User: Ann\\r\\n\\r\\n"
    >>> original(head, head.lower(), b"x-user")
    b'Ann'
    """
    at = low.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    return head[at : head.find(b"\r\n", at)].strip(b" \t")


def is_conditional(head: bytes) -> bool:
    """Whether a request may be answered by 304 (RFC 9110, 15.4.5).

    >>> [is_conditional(b"GET / HTTP/1.1\\r\\n%b: a\\r\\n\\r\\n" % name) for name in (b"If-None-Match", b"If-Match")]
    [True, False]
    """
    return _CONDITIONAL.search(head) is not None


def has_bare_lf(data: bytes, known: int = 0) -> bool:
    """Whether part of a head has a line that does not end in CRLF, so that the whole will be refused. The first `known`
    bytes have none.

    >>> has_bare_lf(b"GET / HTTP/1.1\\r\\nHost: a\\r"), has_bare_lf(b"GET / HTTP/1.1\\n")
    (False, True)
    >>> has_bare_lf(b"GET / HTTP/1.1\\r\\n", 15), has_bare_lf(b"GET / HTTP/1.1\\n", 14)
    (False, True)
    """
    at = known - 1 if known and data[known - 1] == 13 else known
    return data.count(b"\n", at) != data.count(b"\r\n", at)


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
        return len(words) == 3 and words[2] in _VERSIONS
    return len(words) < 3 or any(version.startswith(words[2].removesuffix(b"\r")) for version in _VERSIONS)


class Http1Message:
    """What requests and answers have: the head as it came, and how long the body is (`CHUNKED`: framed so)."""

    __slots__ = ("head", "length")

    head: bytes
    length: int


class Request(Http1Message):
    """What a request's head means.

    `found` maps the lower-case name of each header we know to its
    lower-cased value; `named` are headers that `Connection` nominates; `keep` says that the client may send another
    request on this connection.
    """

    __slots__ = (
        "_bare", "_form", "claims", "fork", "found", "host", "keep", "low", "method", "named", "offers", "old", "path",
        "plain", "rebuild", "route", "target", "upgrade",
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
    _form: int

    def __init__(self) -> None:
        self._bare, self._form = b"", 0

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
    old = _VERSIONS.get(version)
    if old is None:
        raise HeadError(f"version {version[:20]!r}, expected HTTP/1.1")
    self.low = low = head.lower()
    pairs = names.findall(low)
    self.found = found = dict(pairs)
    if len(found) != len(pairs):
        _check_repeats(pairs)
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
    self.rebuild = old or not _HOP.isdisjoint(found)
    self.claims = _NONE
    if b"forwarded" in low or MARK in found or b"x-real-ip" in found:
        self.claims = frozenset(_CLAIM.findall(low))
    if b"connection" in found:
        _read_connection(self, pairs)
    length = found.get(b"content-length")
    self.length = _number(length) if length is not None else 0
    if b"transfer-encoding" in found:
        coded = _CHUNKED.search(low)
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
    self.plain, self.fork = b"", None
    if not self.rebuild and not self.claims and b"x-request-id" not in found:
        self.plain = b"%bx-forwarded-host: %b\r\n%b" % (head[:-2], host.strip(b" \t"), _VIA)
    return self


def _check_repeats(pairs: list[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in pairs]
    for name in _FRAMING:
        if names.count(name) > 1:
            raise HeadError(f"more than one {name.decode()}")


def _number(length: bytes) -> int:
    """A Content-Length of which llhttp has seen that it has digits only; zeros in front may still be without end."""
    if len(length) > _MAX_DIGITS:
        raise HeadError("a Content-Length that is too large")
    return int(length)


def _tokens(pairs: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    listed = b",".join(value for name, value in pairs if name == b"connection")
    if listed.count(b",") >= _MAX_TOKENS:
        raise HeadError("too many tokens in Connection")
    return frozenset(token.strip(b" \t") for token in listed.split(b","))


def _read_connection(request: Request, pairs: list[tuple[bytes, bytes]]) -> None:
    tokens = _tokens(pairs)
    request.keep = b"close" not in tokens and (not request.old or b"keep-alive" in tokens)
    if b"upgrade" in tokens and b"upgrade" in request.found and not request.old:
        request.offers = _offers(request)
        request.upgrade = bool(request.offers)
    # A client may not have framing or routing headers, nor the pair's name, removed by naming them.
    request.named = tokens - _FRAMING - _SET_BY_US - request.claims - {b"close", b"keep-alive", b"upgrade", b""}


def _offers(request: Request) -> bytes:
    """The protocols in `Upgrade` that a model may be offered, wherever they stand in it.

    HTTP/2, another version of HTTP and TLS are none: through the tunnel would pass requests that nobody here could see.
    """
    listed = (one.strip(b" \t") for one in _all_values(request, b"upgrade").split(b","))
    return b", ".join(one for one in listed if _PROTOCOL.fullmatch(one) and not _CARRIES_HTTP.match(one))


def is_offered(request: Request, answer: Answer) -> bool:
    """Whether a 101 goes on in what the client has offered, and nothing else (RFC 9110, 7.8).

    >>> r = read_request(b"GET / HTTP/1.1\\r\\nHost: m\\r\\nConnection: upgrade\\r\\nUpgrade: h2c, a, b\\r\\n\\r\\n")
    >>> answers = [read_answer(b"HTTP/1.1 101 S\\r\\nUpgrade: %b\\r\\n\\r\\n" % it) for it in (b"B", b"h2c")]
    >>> r.offers, [is_offered(r, answer) for answer in answers]
    (b'a, b', [True, False])
    """
    chosen = {one.strip(b" \t").lower() for one in _all_values(answer, b"upgrade").split(b",")}
    return chosen <= set(request.offers.lower().split(b", "))


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


# --- out to a model --------------------------------------------------------------------------------------------------


def without(head: bytes, drop: frozenset[bytes] | set[bytes]) -> bytes:
    """The head's lines, first line included, that are not headers named in `drop`; ends after the last line's CRLF.

    >>> without(b"GET / HTTP/1.1\\r\\nA: 1\\r\\nb: 2\\r\\n\\r\\n", {b"a"})
    b'GET / HTTP/1.1\\r\\nb: 2\\r\\n'
    """
    first, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].lower() not in drop]
    return b"\r\n".join([first, *kept, b""])


def client_lines(peer: bytes, scheme: bytes) -> bytes:
    """The lines that are the same for every request of one client; a request id completes the last.

    >>> client_lines(b"::1", b"http")
    b'x-forwarded-for: ::1\\r\\nx-forwarded-proto: http\\r\\nx-request-id: '
    """
    return b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-request-id: " % (peer, scheme)


def forwarded(request: Request, request_id: bytes, peer: bytes, scheme: bytes, trusted: bool = False) -> bytes:
    """A request's head as models get it, without the final blank line and before any `traceparent` of the leg.

    From a trusted proxy `x-forwarded-for` is extended by the peer, `-proto` and `-host` are set unless it has set them,
    and the rest of what it claims stays. What anybody else claims is replaced by ours, or left out.
    """
    if request.plain:
        return b"".join((request.plain, client_lines(peer, scheme), request_id, b"\r\n"))
    drop, add = set(request.claims) & {MARK} if trusted else set(request.claims), list[bytes]()
    found = request.found.keys() if trusted else request.found.keys() - request.claims
    if request.value(b"x-request-id") != request_id or request.low.count(b"\r\nx-request-id:") > 1:
        drop.add(b"x-request-id")
        add.append(b"x-request-id: " + request_id)
    if b"x-forwarded-for" in found:
        drop.add(b"x-forwarded-for")
        add.append(b"x-forwarded-for: " + _all_values(request, b"x-forwarded-for") + b", " + peer)
    else:
        add.append(b"x-forwarded-for: " + peer)
    if b"x-forwarded-proto" not in found:
        add.append(b"x-forwarded-proto: " + scheme)
    if b"x-forwarded-host" not in found and request.host:
        add.append(b"x-forwarded-host: " + request.host.strip(b" \t"))
    add.append(_VIA)
    if request.rebuild or drop:
        return _rebuilt(request, drop) + b"\r\n".join(add)
    return request.head[:-2] + b"\r\n".join(add)


def _all_values(message: Request | Answer, name: bytes) -> bytes:
    lines = message.head.split(b"\r\n")[1:]
    split = (line.partition(b":") for line in lines)
    return b", ".join(value.strip(b" \t") for key, _, value in split if key.lower() == name)


def _rebuilt(request: Request, drop: set[bytes]) -> bytes:
    lines = without(request.head, drop | _HOP | request.named | {b"host"})
    if request.length == CHUNKED:
        lines = without(lines, _TRANSFER_ENCODING) + _CODED
    rest = lines[lines.find(b"\r\n") + 2 :]
    first = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, request.target, request.host.strip(b" \t"))
    if request.upgrade:
        first += b"connection: upgrade\r\nupgrade: %b\r\n" % request.offers
    return first + rest


def trace(request: Request, head: bytes, span: bytes, fresh: bytes) -> bytes:
    """`head` (as `forwarded` made it) with the trace continued under a span of this leg (W3C Trace Context, 3.2, 4.3).

    `span` is 16 hex digits, `fresh` 32 more for a new trace, used when the client's `traceparent` cannot be read; then
    `tracestate` goes too, as the recommendation asks. A request without `traceparent` gets none.
    """
    if b"traceparent" not in request.found:
        return head
    low = head.lower()
    at = low.find(_TRACEPARENT)
    if at < 0:  # the owner drops it on copies, or the client named it in Connection
        return head
    once = low.find(_TRACEPARENT, at + 1) < 0
    match = TRACE.fullmatch(head, at + len(_TRACEPARENT), head.find(b"\r\n", at + 2)) if once else None
    if match is None:
        return without(head, {b"traceparent", b"tracestate"}) + b"traceparent: 00-%b-%b-01\r\n" % (fresh, span)
    return head[: match.start("span")] + span + head[match.end("span") :]


# --- back to the client ----------------------------------------------------------------------------------------------


NO_STREAM: Final = 0
EVENTS: Final = 1
LINES: Final = 2
_LINES: Final = re.compile(rb"application/(?:(?:x-)?(?:ndjson|jsonlines)|jsonl|stream\+json)\b")


class Answer(Http1Message):
    """What an answer's head means. `length` as in `Request`, or `UNTIL_CLOSE`; `keep`: the connection stays usable."""

    __slots__ = ("base", "dated", "events", "found", "keep", "named", "old", "request_id", "status", "stream")

    status: int
    old: bool
    keep: bool
    events: bool
    stream: int
    """Where its first piece is looked for (`first_piece`): `NO_STREAM`, `EVENTS`, or `LINES` of unknown length."""
    dated: bool
    """It says when it was made; one that does not gets a `Date` from us (RFC 9110, 6.6.1)."""
    base: bytes
    """The head as the client gets it, without the blank line and before our lines."""
    request_id: bytes
    """The model's own `x-request-id`, which stands in `base`; empty when it gives none."""
    found: dict[bytes, bytes]
    named: frozenset[bytes]


def read_answer(head: bytes, to_head: bool = False) -> Answer:
    """What a validated answer's head means; `to_head` says that it answers HEAD. Raises `HeadError`.

    >>> a = read_answer(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n")
    >>> a.status, a.length, a.keep
    (200, 2, True)
    >>> read_answer(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 0\\r\\n\\r\\n").base
    b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n'
    """
    self = Answer()
    self.head = head
    old = _VERSIONS.get(head[:8])
    if old is None:
        raise HeadError("not HTTP/1.1")
    if _REASON.match(head, 12) is None:  # llhttp takes any bytes for it
        raise HeadError("control bytes in the reason phrase")
    self.old, self.status = old, int(head[9:12])
    low = head.lower()
    pairs = _ANSWERS.findall(low)
    self.found = found = dict(pairs)
    if len(found) != len(pairs):
        _check_repeats(pairs)
    self.keep, self.named = not old, frozenset()
    if b"connection" in found:
        tokens = _tokens(pairs)
        self.keep = b"close" not in tokens and (not old or b"keep-alive" in tokens)
        self.named = tokens - _FRAMING - {b"close", b"keep-alive", b"upgrade", b""}
    self.events = found.get(b"content-type", b"").startswith(b"text/event-stream")
    self.length = _answer_length(self, low, to_head)
    self.stream = EVENTS if self.events else NO_STREAM
    if self.length < 0 and not self.events and b"content-type" in found:
        self.stream = stream_form(found[b"content-type"], False)
    if self.length == UNTIL_CLOSE:
        self.keep = False
    self.request_id = b""
    if b"x-request-id" in found and b"x-request-id" not in self.named:
        self.request_id = original(head, low, b"x-request-id")
    self.dated = b"date" in found and b"date" not in self.named
    plain = not old and self.status != 204 and found.keys() <= _PLAIN
    if self.length == CHUNKED and b"\r\ntransfer-encoding:  " in low:
        plain = False
    if plain and not self.request_id and b"x-request-id" in found:
        plain = False  # an empty one is none
    self.base = head[:-2] if plain else _answer_base(self)
    return self


def stream_form(media_type: bytes, has_length: bool) -> int:
    """What the events of an answer are by its media type in lower case: JSON lines of known length are no stream.

    >>> [stream_form(b"application/x-ndjson", known) for known in (False, True)] == [LINES, NO_STREAM]
    True
    """
    if media_type.startswith(b"text/event-stream"):
        return EVENTS
    return LINES if not has_length and _LINES.match(media_type) is not None else NO_STREAM


def id_name(answer: Answer, request_id: bytes) -> bytes:
    """The header in which the client is told the request's id; empty when the answer holds it already.

    A model's own `x-request-id` stays, because its makers ask for it when something went wrong; ours then takes
    another name. Many models only repeat the one that they were given.

    >>> a = read_answer(b"HTTP/1.1 200 OK\\r\\nX-Request-Id: req_1\\r\\nContent-Length: 0\\r\\n\\r\\n")
    >>> id_name(a, b"0198"), id_name(a, b"req_1")
    (b'x-understudy-request-id', b'')
    """
    if not answer.request_id:
        return b"x-request-id"
    return b"" if answer.request_id == request_id else b"x-understudy-request-id"


def id_line(answer: Answer, request_id: bytes) -> bytes:
    """That header as a line of an HTTP/1.1 head."""
    name = id_name(answer, request_id)
    return b"%b: %b\r\n" % (name, request_id) if name else b""


def _answer_length(answer: Answer, low: bytes, to_head: bool) -> int:
    """RFC 9112, 6.3."""
    found, status = answer.found, answer.status
    coded = b"transfer-encoding" in found
    if coded and (_CHUNKED.search(low) is None or answer.old or status < 200 or status == 204):
        raise HeadError("a transfer coding other than chunked")
    if to_head or status < 200 or status in (204, 304):
        return 0
    if coded:
        return CHUNKED
    length = found.get(b"content-length")
    return _number(length) if length is not None else UNTIL_CLOSE


def _answer_base(answer: Answer) -> bytes:
    drop = _HOP | _OURS | answer.named
    if not answer.request_id:
        drop |= {b"x-request-id"}
    if answer.status < 200 or answer.status == 204:  # neither has a body to describe (RFC 9110, 8.6)
        drop |= {b"content-length"}
    lines = without(answer.head, drop)
    if answer.length == CHUNKED:
        lines = without(lines, _TRANSFER_ENCODING) + _CODED
    return b"HTTP/1.1" + lines[8:] if answer.old else lines
