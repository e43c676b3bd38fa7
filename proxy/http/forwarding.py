"""Heads of requests as models get them: what we say of the client, and the trace continued."""

from __future__ import annotations

import re

from proxy.http.headers import CHUNKED, CODED_LINE, HOP_BY_HOP, TRANSFER_ENCODING, VIA, all_values, without
from proxy.http.request_head import MARK, Request

TRACE = re.compile(  # version 00 ends with the flags; a later one may go on after a dash (W3C Trace Context, 4.3)
    rb"[ \t]*(?!ff)(?:00(?!.{53}-)|(?!00)[0-9a-f]{2})"
    rb"-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-[^\r\n]*)?[ \t]*"
)
_TRACEPARENT = b"\r\ntraceparent:"


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
        add.append(b"x-forwarded-for: " + all_values(request, b"x-forwarded-for") + b", " + peer)
    else:
        add.append(b"x-forwarded-for: " + peer)
    if b"x-forwarded-proto" not in found:
        add.append(b"x-forwarded-proto: " + scheme)
    if b"x-forwarded-host" not in found and request.host:
        add.append(b"x-forwarded-host: " + request.host.strip(b" \t"))
    add.append(VIA)
    if request.rebuild or drop:
        return _rebuilt(request, drop) + b"\r\n".join(add)
    return request.head[:-2] + b"\r\n".join(add)


def _rebuilt(request: Request, drop: set[bytes]) -> bytes:
    lines = without(request.head, drop | HOP_BY_HOP | request.named | {b"host"})
    if request.length == CHUNKED:
        lines = without(lines, TRANSFER_ENCODING) + CODED_LINE
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
