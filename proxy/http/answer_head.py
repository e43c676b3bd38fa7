"""Heads of answers: what they mean, and how clients get them (`headers` says how heads are read)."""

from __future__ import annotations

import re
from typing import Final

from proxy.http.headers import (
    CHUNKED,
    CHUNKED_LINE,
    CODED_LINE,
    FRAMING,
    HOP_BY_HOP,
    TRANSFER_ENCODING,
    UNTIL_CLOSE,
    VERSIONS,
    HeadError,
    Http1Message,
    all_values,
    check_repeats,
    connection_tokens,
    content_length,
    original,
    without,
)
from proxy.http.request_head import Request
from proxy.http.scanning import scanner

_OURS = frozenset({b"x-understudy-request-id", b"x-served-by", b"x-understudy-error"})
_PLAIN = frozenset({b"date", b"content-length", b"transfer-encoding", b"content-type", b"x-request-id"})
_ANSWER_NAMES = HOP_BY_HOP | _OURS | _PLAIN
_REASON = re.compile(rb"(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")  # RFC 9112, 4
_ANSWERS = scanner(_ANSWER_NAMES)


def is_offered(request: Request, answer: Answer) -> bool:
    """Whether a 101 goes on in what the client has offered, and nothing else (RFC 9110, 7.8).

    >>> from proxy.http.request_head import read_request
    >>> r = read_request(b"GET / HTTP/1.1\\r\\nHost: m\\r\\nConnection: upgrade\\r\\nUpgrade: h2c, a, b\\r\\n\\r\\n")
    >>> answers = [read_answer(b"HTTP/1.1 101 S\\r\\nUpgrade: %b\\r\\n\\r\\n" % it) for it in (b"B", b"h2c")]
    >>> r.offers, [is_offered(r, answer) for answer in answers]
    (b'a, b', [True, False])
    """
    chosen = {one.strip(b" \t").lower() for one in all_values(answer, b"upgrade").split(b",")}
    return chosen <= set(request.offers.lower().split(b", "))


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
    old = VERSIONS.get(head[:8])
    if old is None:
        raise HeadError("not HTTP/1.1")
    if _REASON.match(head, 12) is None:  # llhttp takes any bytes for it
        raise HeadError("control bytes in the reason phrase")
    self.old, self.status = old, int(head[9:12])
    low = head.lower()
    pairs = _ANSWERS.findall(low)
    self.found = found = dict(pairs)
    if len(found) != len(pairs):
        check_repeats(pairs)
    self.keep, self.named = not old, frozenset()
    if b"connection" in found:
        tokens = connection_tokens(pairs)
        self.keep = b"close" not in tokens and (not old or b"keep-alive" in tokens)
        self.named = tokens - FRAMING - {b"close", b"keep-alive", b"upgrade", b""}
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
    if coded and (CHUNKED_LINE.search(low) is None or answer.old or status < 200 or status == 204):
        raise HeadError("a transfer coding other than chunked")
    if to_head or status < 200 or status in (204, 304):
        return 0
    if coded:
        return CHUNKED
    length = found.get(b"content-length")
    return content_length(length) if length is not None else UNTIL_CLOSE


def _answer_base(answer: Answer) -> bytes:
    drop = HOP_BY_HOP | _OURS | answer.named
    if not answer.request_id:
        drop |= {b"x-request-id"}
    if answer.status < 200 or answer.status == 204:  # neither has a body to describe (RFC 9110, 8.6)
        drop |= {b"content-length"}
    lines = without(answer.head, drop)
    if answer.length == CHUNKED:
        lines = without(lines, TRANSFER_ENCODING) + CODED_LINE
    return b"HTTP/1.1" + lines[8:] if answer.old else lines
