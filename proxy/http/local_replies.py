"""Answers that the proxy makes itself: errors and health. Each error is written once and kept as bytes."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus

from proxy.model.reasons import STATUS, Reason

_WORDS = {
    Reason.BAD_REQUEST: "the request is not well-formed HTTP/1.1",
    Reason.REQUEST_TIMEOUT: "the request did not arrive in time",
    Reason.SLOW_CLIENT: "the request came more slowly than server.limits.min_rate",
    Reason.BODY_TOO_LARGE: "the request body is longer than server.limits.max_body",
    Reason.URI_TOO_LONG: "the request target is longer than server.limits.max_header",
    Reason.HEADER_TOO_LARGE: "the request head is longer than server.limits.max_header",
    Reason.NO_ROUTE: "no route matches, and the configuration has no default",
    Reason.OVERRIDE_REFUSED: "the candidate cannot be asked for: it serves nobody now, or the arm is unknown",
    Reason.TOO_MANY_CONNECTIONS: "server.limits.max_connections are open",
    Reason.CONNECT: "the model server could not be reached",
    Reason.CONNECT_TIMEOUT: "the model server did not accept a connection in time",
    Reason.DISCONNECT: "the model server closed the connection before its answer was complete",
    Reason.BAD_REPLY: "the model server's answer is not well-formed HTTP/1.1",
    Reason.POOL_FULL: "every connection to the model server is in use",
    Reason.TIMEOUT: "the model server did not answer in time",
    Reason.TLS: "no trusted TLS connection to the model server",
    Reason.COMMITTED: "the model server broke off its answer",
    Reason.DRAINING: "the proxy is about to stop",
}

_STAYS = (b"connection: close\r\n\r\n", b"connection: keep-alive\r\n\r\n")
"""The end of a head; the second is for clients of HTTP/1.0, which wait for the end of the connection without it."""


def words(reason: Reason) -> str:
    """What a reason means to a caller.

    >>> words(Reason.NO_ROUTE)
    'no route matches, and the configuration has no default'
    """
    return _WORDS.get(reason, HTTPStatus(STATUS.get(reason, 500)).phrase.lower())


@cache
def _parts(reason: Reason) -> tuple[bytes, bytes]:
    status = HTTPStatus(STATUS.get(reason, 500))
    body = f'{{"error":"{reason.value}","message":"{words(reason)}"}}\n'.encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nx-understudy-error: {reason.value}\r\n"
    )
    return head.encode(), body


def error(reason: Reason, request_id: bytes, keep: bool, to_head: bool, date: bytes) -> bytes:
    """A whole error answer; `to_head` leaves out the body, `date` is its line.

    >>> error(Reason.NO_ROUTE, b"", False, True, b"date: now\\r\\n").split(b"\\r\\n")[0]
    b'HTTP/1.1 404 Not Found'
    """
    head, body = _parts(reason)
    if request_id:
        head += b"x-request-id: " + request_id + b"\r\n"
    return head + date + _STAYS[keep] + (b"" if to_head else body)


def health(path: bytes, ready: bool, method: bytes, keep: bool, date: bytes) -> bytes:
    """The answer to `/-/healthz`, `/-/readyz`, or another path kept for the proxy (404)."""
    if path == b"/-/healthz":
        status, body = b"200 OK", b"ok\n"
    elif path == b"/-/readyz":
        status, body = (b"200 OK", b"ready\n") if ready else (b"503 Service Unavailable", b"not ready\n")
    else:
        return error(Reason.NO_ROUTE, b"", keep, method == b"HEAD", date)
    head = b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n" % (status, len(body))
    return head + date + _STAYS[keep] + (b"" if method == b"HEAD" else body)
