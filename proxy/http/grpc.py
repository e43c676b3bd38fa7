"""gRPC over HTTP/2 in the words of the rest: heads, statuses, messages, deadlines.

A call travels through the same exchange as an HTTP request, so it is written as one: its head as an HTTP/1.1 head
(`request_head`), its status as the HTTP status that stands for it (`http_status`), its body as it is, messages with
their five bytes of prefix. The model's end writes it as HTTP/2 again (`grpc_opening`); `grpc_answer` reads answers.

Sources: gRPC's `PROTOCOL-HTTP2.md`; for the statuses `google/rpc/code.proto`, which names the HTTP status of each.
"""

from __future__ import annotations

import re
from functools import lru_cache

from proxy.http.headers import HeadError
from proxy.http.http2.frames import Headers
from proxy.model.reasons import Reason

CODES: tuple[tuple[str, int], ...] = (
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
)
"""Name and HTTP status of each gRPC status, by its number. What is a failure of an arm follows from the latter."""

_SAID = {
    Reason.BAD_REQUEST: "INVALID_ARGUMENT",
    Reason.REQUEST_TIMEOUT: "DEADLINE_EXCEEDED",
    Reason.SLOW_CLIENT: "DEADLINE_EXCEEDED",
    Reason.BODY_TOO_LARGE: "RESOURCE_EXHAUSTED",
    Reason.NO_ROUTE: "UNIMPLEMENTED",
    Reason.OVERRIDE_REFUSED: "PERMISSION_DENIED",
    Reason.TIMEOUT: "DEADLINE_EXCEEDED",
    Reason.BAD_REPLY: "INTERNAL",
    Reason.FLOOD: "INTERNAL",
    Reason.TOO_LARGE: "INTERNAL",
    Reason.INTERNAL: "INTERNAL",
}
_NUMBERS = {name: number for number, (name, _) in enumerate(CODES)}

_NAME = re.compile(rb"[a-z0-9_.!#$%&'*+^`|~-]+")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(rb"/[\x21-\x7e]*")
_AUTHORITY = re.compile(rb"[\x21-\x7e]*")
_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
"""Headers that HTTP/2 does not have (RFC 9113, 8.2.2)."""
_BREAKS = frozenset(b"\r\n\0")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def http_status(status: bytes) -> int:
    """The HTTP status that stands for a `grpc-status`, 0 for what is none.

    >>> http_status(b"0"), http_status(b"14"), http_status(b"3"), http_status(b"x")
    (200, 503, 400, 0)
    """
    if not (status.isdigit() and len(status) <= 9):
        return 0
    number = int(status)
    return CODES[number][1] if number < len(CODES) else 500  # a number from the future is UNKNOWN


def code_for(reason: Reason) -> int:
    """The gRPC status of an answer that the proxy makes itself.

    >>> code_for(Reason.CONNECT), code_for(Reason.TIMEOUT), code_for(Reason.NO_ROUTE)
    (14, 4, 12)
    """
    return _NUMBERS[_SAID.get(reason, "UNAVAILABLE")]


def status_words(head: bytes) -> str:
    """What a gRPC answer's head says of its status, for a sentence; empty when it is not gRPC's.

    >>> status_words(b"HTTP/1.1 503 Service Unavailable\\r\\ngrpc-status: 14\\r\\ngrpc-message: no%20gpu\\r\\n\\r\\n")
    'UNAVAILABLE'
    """
    at = head.find(b"\r\ngrpc-status: ")
    number = head[at + 15 : head.find(b"\r\n", at + 15)] if at >= 0 else b""
    if not (number.isdigit() and len(number) <= 9):
        return ""
    return CODES[int(number)][0] if int(number) < len(CODES) else f"gRPC status {int(number)}"


# --- heads -----------------------------------------------------------------------------------------------------------


class NotGrpcError(HeadError):
    """A sound HTTP/2 request that is no gRPC call; `answer` is what grpc-go answers (its `http2_server.go`)."""

    def __init__(self, status: bytes, code: bytes, words: bytes) -> None:
        super().__init__(words.decode())
        allow = [(b"allow", b"POST")] if status == b"405" else []
        said = [(b"grpc-status", code), (b"grpc-message", words)]
        self.answer: Headers = [(b":status", status), (b"content-type", b"application/grpc"), *allow, *said]


def request_head(headers: Headers) -> bytes:
    """A call's headers as an HTTP/1.1 head; raises `NotGrpcError` for another request, `HeadError` for none.

    >>> request_head([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"m"),
    ...               (b"te", b"trailers"), (b"content-type", b"application/grpc")])
    b'POST /a.B/C HTTP/1.1\\r\\nhost: m\\r\\ncontent-type: application/grpc\\r\\n\\r\\n'
    """
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    host = None
    kind = b""
    for name, value in headers:
        if name[:1] == b":":
            if lines or name in pseudo:
                raise HeadError("a pseudo-header out of place")
            pseudo[name] = value
        elif name == b"host":
            if host is not None:
                raise HeadError("more than one host")
            host = value
        elif name == b"te":
            if value.strip(b" \t").lower() != b"trailers":  # RFC 9113, 8.2.2
                raise HeadError("another TE than trailers")
        elif name != b"content-length":
            if not is_name(name):
                raise HeadError("not the name of a header")
            if name == b"content-type":
                kind = value
            lines.append(b"%b: %b\r\n" % (name, value.strip(b" \t")))
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if (
        _METHOD.fullmatch(method) is None
        or b":scheme" not in pseudo
        or _PATH.fullmatch(path) is None
        or len(pseudo) > 4
    ):
        raise HeadError("not a call")
    authority = pseudo.get(b":authority", host or b"")
    if _AUTHORITY.fullmatch(authority) is None:
        raise HeadError("not an authority")
    text = _checked(lines)
    if not kind.lower().startswith(b"application/grpc"):
        raise NotGrpcError(b"415", b"3", b"invalid gRPC request content-type")
    if method != b"POST":
        raise NotGrpcError(b"405", b"13", b"the method of a gRPC call is POST")
    return b"POST %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (path, authority, text)


def announced(headers: Headers) -> int:
    """The length of a call's body as `content-length` says it, -1 where it says none; raises `HeadError`.

    >>> announced([(b":method", b"POST"), (b"content-length", b"5")]), announced([])
    (5, -1)
    """
    said = {value.strip(b" \t") for name, value in headers if name == b"content-length"}
    if not said:
        return -1
    length = said.pop()
    if said or not length.isdigit() or len(length) > 19:
        raise HeadError("not a Content-Length")
    return int(length)


def is_trailers(headers: Headers) -> bool:
    """Whether a header block may end a call: no pseudo-header, no connection's own (RFC 9113, 8.1, 8.2)."""
    return all(is_name(name) and not set(value) & _BREAKS for name, value in headers)


def _checked(lines: list[bytes]) -> bytes:
    text = b"".join(lines)
    if text.count(b"\n") != len(lines) or text.count(b"\r") != len(lines) or b"\0" in text:
        raise HeadError("a line break in a header")
    return text


@lru_cache(maxsize=1024)
def is_name(name: bytes) -> bool:
    """Whether a header of HTTP/2 may be called so."""
    return _NAME.fullmatch(name) is not None and name not in _CONNECTION


def refusal(reason: Reason, words: str) -> Headers:
    """The trailers of an answer that the proxy makes itself.

    >>> refusal(Reason.CONNECT, "no way")[:2]
    [(b'grpc-status', b'14'), (b'grpc-message', b'no way')]
    """
    message = words.encode("ascii", "replace").replace(b"%", b"%25")
    code = b"%d" % code_for(reason)
    return [(b"grpc-status", code), (b"grpc-message", message), (b"x-understudy-error", reason.value.encode())]


# --- deadlines -------------------------------------------------------------------------------------------------------


def timeout_seconds(timeout: bytes) -> float:
    """Seconds of a `grpc-timeout`; infinity for what is none.

    >>> timeout_seconds(b"250m"), timeout_seconds(b"2S"), timeout_seconds(b"soon")
    (0.25, 2.0, inf)
    """
    match = _TIMEOUT.fullmatch(timeout.strip())
    return int(match[1]) * _UNITS[match[2]] if match else float("inf")


def timeout_text(left: float) -> bytes:
    """A `grpc-timeout` of so many seconds, at least a millisecond.

    >>> timeout_text(0.25), timeout_text(-1)
    (b'250m', b'1m')
    """
    milliseconds = max(1, int(left * 1000))
    return b"%dm" % milliseconds if milliseconds < 10**8 else b"%dS" % min(milliseconds // 1000, 10**8 - 1)


# --- messages --------------------------------------------------------------------------------------------------------


class TooLong(ValueError):  # noqa: N818 - it names a state of the message
    """A message that says it is longer than allowed."""


class Messages:
    """Counts the messages of one direction as their bytes pass, cut anywhere.

    >>> messages = Messages(100)
    >>> messages.feed(bytes([0, 0, 0, 0, 2]) + b"ab"); messages.begun, messages.whole
    (1, True)
    """

    __slots__ = ("_left", "_limit", "_prefix", "begun")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = self.begun = 0
        self._prefix = b""

    @property
    def whole(self) -> bool:
        """Whether the last message begun has ended."""
        return not self._left and not self._prefix

    def feed(self, data: bytes) -> None:
        """More bytes; raises `TooLong`."""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            if not self._prefix and end - at >= 5:  # there may be thousands of little ones
                self.begun += 1
                self._left = data[at + 1] << 24 | data[at + 2] << 16 | data[at + 3] << 8 | data[at + 4]
                at += 5
                if self._left > self._limit:
                    raise TooLong
                continue
            if not self._prefix:
                self.begun += 1
            step = min(5 - len(self._prefix), end - at)
            self._prefix += data[at : at + step]
            at += step
            if len(self._prefix) == 5:
                self._left = int.from_bytes(self._prefix[1:], "big")
                self._prefix = b""
                if self._left > self._limit:
                    raise TooLong
