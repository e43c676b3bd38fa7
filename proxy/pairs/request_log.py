"""An entry of the request log: what is reported of one request and its legs, for traces and for the access log.

Most requests leave none; those that were chosen are told once, when the last of their legs has ended. A worker gathers
plain tuples (`RequestEntry` and `LegEntry` in their order, without the names) and sends some at a time as JSON; the
controller gives them names again and writes them out. Times are epoch seconds, durations seconds.

Invariant: an entry holds no header, no query and no body.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from proxy.http.forwarding import TRACE
from proxy.http.request_head import Request
from proxy.pairs.link import Frame, LinkError, note, read_note
from proxy.rfc3339 import rfc3339

SINKS = ("traces", "access_log")
"""Where entries go."""


class Parent(NamedTuple):
    """The caller's part of a trace (W3C Trace Context, 3.2): hex digits, and whether it is being recorded."""

    trace: bytes
    span: bytes
    sampled: bool


def parent_of(request: Request) -> Parent | None:
    """Who called, by the request's `traceparent`; `None` without one that can be read (exactly one, well-formed).

    >>> from proxy.http.request_head import read_request
    >>> head = b"GET / HTTP/1.1\\r\\nHost: a\\r\\ntraceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\\r\\n\\r\\n"
    >>> parent_of(read_request(head)).sampled, parent_of(read_request(head.replace(b"-01", b"-00"))).sampled
    (True, False)
    """
    if b"traceparent" not in request.found or request.low.count(b"\r\ntraceparent:") != 1:
        return None
    match = TRACE.fullmatch(request.value(b"traceparent"))
    if match is None:
        return None
    return Parent(match["trace"], match["span"], bool(int(match["flags"], 16) & 1))


class LegEntry(NamedTuple):
    """One leg: `served`, `copy` or `hedge`; `first` is NaN's place-holder `None` when no byte came. `span` is the span
    id it carried, hex, or empty."""

    leg: str
    arm: str
    upstream: str
    rollout: str
    start: float
    seconds: float
    first: float | None
    status: int
    reason: str
    span: str


class RequestEntry(NamedTuple):
    """One request. `status` and `reason` are what the client got, `upstream` and `arm` who gave it (empty: the proxy
    itself); sizes are those announced, `None` for chunked messages. `trace` is empty when it is not to be exported,
    `parent` when nobody called before; `logged` says that the access log wants it."""

    start: float
    seconds: float
    id: str
    route: str
    method: str
    path: str
    client: str
    upstream: str
    arm: str
    status: int
    reason: str
    request_bytes: int | None
    answer_bytes: int | None
    hedged: bool
    fell_back: bool
    logged: bool
    trace: str
    span: str
    parent: str
    legs: tuple[LegEntry, ...]


def encode_entries(entries: list[tuple[Any, ...]]) -> bytes:
    """A REQUESTS frame from tuples in the order of `RequestEntry`."""
    return note(Frame.REQUESTS, {"request_log": entries})


def decode_entries(payload: bytes) -> list[RequestEntry]:
    """The entries of a REQUESTS frame; raises `LinkError`.

    >>> decode_entries(encode_entries([(*example()[:-1], [])])[5:]) == [example()]
    True
    """
    try:
        return [
            RequestEntry._make((*rest, tuple(LegEntry(*leg) for leg in legs)))
            for *rest, legs in read_note(payload)["request_log"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise LinkError(f"not entries: {error!r}") from None


def example(**changes: Any) -> RequestEntry:
    """An entry to show things with: a request at the epoch that live answered.

    >>> example(status=404).status
    404
    """
    plain = RequestEntry(
        0.0, 0.1, "0198", "credit", "POST", "/infer", "::1", "credit-v1", "live", 200, "", 10, 20, False, False, True,
        "", "", "", (),
    )  # fmt: skip
    return plain._replace(**changes)


def line(entry: RequestEntry) -> bytes:
    """The access log's line.

    >>> line(example())[:68]
    b'{"time":"1970-01-01T00:00:00.000Z","event":"request","id":"0198","ro'
    """
    return orjson.dumps({"time": rfc3339(entry.start), "event": "request", **fields(entry)}) + b"\n"


def fields(entry: RequestEntry) -> dict[str, Any]:
    """What a line of the access log says of a request, beside its time."""
    return {
        "id": entry.id,
        "route": entry.route,
        "method": entry.method,
        "path": entry.path,
        "client": entry.client,
        "arm": entry.arm or None,
        "upstream": entry.upstream or None,
        "status": entry.status,
        "reason": entry.reason or None,
        "seconds": round(entry.seconds, 6),
        "request_bytes": entry.request_bytes,
        "answer_bytes": entry.answer_bytes,
        "hedged": entry.hedged,
        "fell_back": entry.fell_back,
        "trace_id": entry.trace or None,
        "legs": [
            {"leg": one.leg, "upstream": one.upstream, "status": one.status or None, "reason": one.reason or None,
             "seconds": round(one.seconds, 6)}
            for one in entry.legs
        ],
    }  # fmt: skip
