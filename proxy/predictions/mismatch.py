"""In what two answers differ before either is read: a refusal, another class of status, nothing in one, another type.

Needs no `prediction`: without it, this is all that tells a candidate which redirects every request to a log-in page
from live. Pure, the same whichever arm is named first, and never a difference between equal answers.

- A *refusal* is a status that says that the request was not for this server: a wrong path, method, credential or
  format. Nearly all are mistakes of a deployment.
- The classes are 2xx, 3xx and 4xx. Where the request was conditional, a 304 stands for a 200 whose body the client has
  already: it counts as 2xx, and its body and type are not compared. 408, 429 and 5xx are failures of the arm that gives
  them, and like an answer that never came they are compared with nothing: `max_extra_errors` counts the candidate's.
- *Empty* is an answer without a byte, of gRPC also one whose messages are all empty. HEAD has no body to compare.
- *Media types* are compared without parameters and without regard to case, when both answers have a body. One without
  Content-Type is `application/octet-stream` (RFC 9110, 8.3); `application/grpc+proto` is `application/grpc` (gRPC over
  HTTP/2, PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

import re

from proxy.http.grpc import status_words
from proxy.http.request_head import is_conditional
from proxy.http.statuses import NOT_MODIFIED, REFUSALS, is_failure, status_class
from proxy.model import Mismatch, Outcome
from proxy.predictions.message import decoded, mark_of, media_type
from proxy.predictions.unreadable import Unreadable

_CODED_EMPTY = 64
"""Bytes that nothing at all may come to in a content coding: gzip takes 20 and a file's name."""

_SHOWN = 80
"""Characters of a media type in a sentence."""

_CODING = mark_of("content-encoding")
_JSON = frozenset(b'{["')
"""First bytes by which no content coding begins that is known here."""
_TYPE_LINE = re.compile(rb"\r\ncontent-type:([^\r]*)", re.IGNORECASE)
_GRPC = "application/grpc"

_SAME, _REFUSAL, _CLASS = Mismatch.NONE, Mismatch.REFUSAL, Mismatch.STATUS_CLASS
_EMPTY, _MEDIA = Mismatch.EMPTY, Mismatch.MEDIA_TYPE  # looking up a member of an enum costs 0.1 µs in Python 3.11


def is_compared(outcome: Outcome) -> bool:
    """Whether this is an answer that may be compared with another.

    >>> is_compared(Outcome(307)), is_compared(Outcome(404)), is_compared(Outcome(429)), is_compared(Outcome(503))
    (True, True, False, False)
    """
    return not outcome.reason and outcome.status >= 200 and not is_failure(outcome.status)


def mismatch(request_head: bytes, live: Outcome, candidate: Outcome) -> Mismatch | None:
    """The first thing in which two answers differ, `Mismatch.NONE` when they do in nothing, `None` when there are not
    two to compare. `request_head` tells HEAD, and whether a 304 was asked for.

    >>> mismatch(b"POST / HTTP/1.1", Outcome(200, body=b"1"), Outcome(307))
    <Mismatch.STATUS_CLASS: 'status_class'>
    """
    ours, theirs = live.status, candidate.status
    if ours != 200 or theirs != 200 or live.reason or candidate.reason:  # seldom, and asking costs two calls
        if not (is_compared(live) and is_compared(candidate)):
            return None
        if (ours in REFUSALS) is not (theirs in REFUSALS):
            return _REFUSAL
        if status_class(ours) != status_class(theirs):
            return _CLASS
        if ours == NOT_MODIFIED or theirs == NOT_MODIFIED:
            return _SAME if ours == theirs or is_conditional(request_head) else _CLASS
    if request_head[:5] == b"HEAD ":
        return _typed(live, candidate) if media_type(live.head) and media_type(candidate.head) else _SAME
    empty = is_empty(live)
    if empty is not is_empty(candidate):
        return _EMPTY
    return _SAME if empty else _typed(live, candidate)


def is_empty(outcome: Outcome) -> bool:
    """Whether an answer has nothing in it, its content coding undone.

    >>> grpc = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/grpc\\r\\n\\r\\n"
    >>> is_empty(Outcome(200)), is_empty(Outcome(200, head=grpc, body=bytes(5))), is_empty(Outcome(200, body=b"0"))
    (True, True, False)
    """
    body = outcome.body
    if not body:
        return True
    if body[0] == 0:  # a message of gRPC that is not compressed, and nothing but prefixes of length 0
        return len(body) % 5 == 0 and body.count(0) == len(body) and type_of(outcome.head).startswith(_GRPC)
    if len(body) > _CODED_EMPTY or body[0] in _JSON or outcome.head.lower().find(_CODING) < 0:
        return False
    try:
        return not decoded(outcome.head, body, 0)
    except Unreadable:
        return False


def type_of(head: bytes) -> str:
    """The media type by which an answer is compared.

    >>> type_of(b"HTTP/1.1 200 OK\\r\\nContent-Type: Text/HTML; charset=utf-8\\r\\n\\r\\n"), type_of(b"HTTP/1.1 200 OK")
    ('text/html', 'application/octet-stream')
    """
    found = media_type(head)
    return _GRPC if found == f"{_GRPC}+proto" else found or "application/octet-stream"


def told(what: Mismatch, live: Outcome, candidate: Outcome) -> str:
    """The difference in words, of the candidate.

    >>> told(Mismatch.STATUS_CLASS, Outcome(200), Outcome(307))
    'answered 307 where live answered 200'
    """
    if what is _EMPTY:
        return "an empty answer where live's is not" if is_empty(candidate) else "an answer where live's is empty"
    if what is _MEDIA:
        return f"answered {type_of(candidate.head)[:_SHOWN]} where live answered {type_of(live.head)[:_SHOWN]}"
    return f"answered {answered(candidate)} where live answered {answered(live)}"


def answered(outcome: Outcome) -> str:
    """An answer's status in words.

    >>> answered(Outcome(404)), answered(Outcome(404, head=b"HTTP/1.1 404 Not Found\\r\\ngrpc-status: 5\\r\\n\\r\\n"))
    ('404', 'NOT_FOUND (as 404)')
    """
    words = status_words(outcome.head)
    return f"{words} (as {outcome.status})" if words else str(outcome.status)


def _typed(live: Outcome, candidate: Outcome) -> Mismatch:
    ours, theirs = _TYPE_LINE.search(live.head), _TYPE_LINE.search(candidate.head)
    if ours and theirs and ours[1] == theirs[1]:  # nearly always, and cheaper than to read both
        return _SAME
    return _SAME if type_of(live.head) == type_of(candidate.head) else _MEDIA
