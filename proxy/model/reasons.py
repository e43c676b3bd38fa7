"""The closed set of reason words.

One word stands for one thing that can go wrong with a request or an answer, and it is the same word in a metric
label, a log line, the `x-understudy-error` header, a finding and a webhook. The set is closed on purpose: metrics stay
bounded, and a word that is not listed here is a bug that raises at once.

What became of a *sample* is another closed set, the parts of the ledger (`model.findings.PARTS`). Some parts have the
name of a reason (`client_gone`, `too_large`, `too_long`), as they have the same cause; most have none.

Whose fault it is decides what is done about it: a *downstream* word is answered with a 4xx and is no evidence; an
*upstream* word is an arm's failure (evidence against the candidate, an error answer or a fallback for a client); a
*prediction* word says why an answer with a good status could not be read.

On the wire a reason is its index in `Reason` (one byte), so new words are only ever added at the end.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Every reason word. `NONE` is the empty word: nothing went wrong."""

    NONE = ""
    # The client's fault.
    BAD_REQUEST = "bad_request"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TOO_LARGE = "body_too_large"
    URI_TOO_LONG = "uri_too_long"
    HEADER_TOO_LARGE = "header_too_large"
    CLIENT_GONE = "client_gone"
    NO_ROUTE = "no_route"
    OVERRIDE_REFUSED = "override_refused"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    # A model server's fault, by arm.
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    DISCONNECT = "disconnect"
    BAD_REPLY = "bad_reply"
    POOL_FULL = "pool_full"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    TLS = "tls"
    STATUS_429 = "status_429"
    STATUS_4XX = "status_4xx"
    STATUS_5XX = "status_5xx"
    COMMITTED = "committed"
    SLOW = "slow"
    # An answer that came whole and could not be read as a prediction.
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    BAD_ENCODING = "bad_encoding"
    BAD_SHAPE = "bad_shape"
    BAD_TYPE = "bad_type"
    MISSING_OUTPUT = "missing_output"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    EMPTY = "empty"
    ROW_COUNT = "row_count"
    TRUNCATED = "truncated"
    UNKNOWN_PROTOCOL = "unknown_protocol"
    # Ours.
    DRAINING = "draining"
    INTERNAL = "internal"
    NOT_REWRITTEN = "not_rewritten"
    # Of an answer that is no failure by itself: why live was asked too, and why a copy was given up.
    STATUS_3XX = "status_3xx"
    TOO_LONG = "too_long"
    # A model server's again: it wants credentials that a copy does not carry.
    UNAUTHORIZED = "unauthorized"
    # The client's again: it sends or takes less than `server.limits.min_rate`.
    SLOW_CLIENT = "slow_client"
    # An answer that came whole again: reading it would take more room or time than an answer may.
    DECOMPRESSED_TOO_LARGE = "decompressed_too_large"
    TOO_MANY_ELEMENTS = "too_many_elements"
    # Of a connection, on either side: it sent more that is worth nothing than is worth something.
    FLOOD = "flood"
    # The client's again: more calls at once on one connection than it was told it may have.
    TOO_MANY_CALLS = "too_many_calls"


REASONS: tuple[Reason, ...] = tuple(Reason)
"""Reasons by their code on the wire."""

CODES: dict[Reason, int] = {reason: code for code, reason in enumerate(REASONS)}
"""Code on the wire (0 to 255) of each reason."""

STATUS: dict[Reason, int] = {
    Reason.BAD_REQUEST: 400,
    Reason.REQUEST_TIMEOUT: 408,
    Reason.BODY_TOO_LARGE: 413,
    Reason.URI_TOO_LONG: 414,
    Reason.HEADER_TOO_LARGE: 431,
    Reason.CLIENT_GONE: 499,
    Reason.SLOW_CLIENT: 408,
    Reason.NO_ROUTE: 404,
    Reason.OVERRIDE_REFUSED: 403,
    Reason.TOO_MANY_CONNECTIONS: 503,
    Reason.TOO_MANY_CALLS: 503,
    Reason.CONNECT: 502,
    Reason.CONNECT_TIMEOUT: 504,
    Reason.DISCONNECT: 502,
    Reason.BAD_REPLY: 502,
    Reason.FLOOD: 502,
    Reason.POOL_FULL: 503,
    Reason.TIMEOUT: 504,
    Reason.TOO_LARGE: 502,
    Reason.TLS: 502,
    Reason.DRAINING: 503,
    Reason.INTERNAL: 500,
}
"""Status of the answer the proxy itself makes for a reason (499 is only ever counted, never sent)."""

PREDICTION_WORDS: frozenset[Reason] = frozenset(
    (
        Reason.NOT_JSON, Reason.TOO_DEEP, Reason.BAD_ENCODING, Reason.BAD_SHAPE, Reason.BAD_TYPE,
        Reason.MISSING_OUTPUT, Reason.NOT_FINITE, Reason.OUT_OF_RANGE, Reason.EMPTY, Reason.ROW_COUNT,
        Reason.TRUNCATED, Reason.UNKNOWN_PROTOCOL, Reason.INTERNAL, Reason.NOT_REWRITTEN,
        Reason.DECOMPRESSED_TOO_LARGE, Reason.TOO_MANY_ELEMENTS,
    )
)  # fmt: skip
"""Words for an answer that came whole and could not be read, or a request that could not be copied as asked; on live's
side they make a pair `unparseable`."""

NO_CREDENTIALS = (
    "copies carry none of the client's credentials; give the candidate its own with `headers.set` of its upstream, "
    "or let the client's pass with `mirror.headers.drop: []`"
)
"""What an owner reads beside `unauthorized`."""
