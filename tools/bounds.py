"""The bounds that no key moves, as they stand in the code: the last section of `docs/configuration.md`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """One constant, or several that belong together."""

    where: str
    """`module:NAME` under `proxy`; several by `,`."""
    what: str
    """What it bounds."""
    value: str
    """How it is written: a format of the constants, in their order."""
    beyond: str
    """What happens then, and which reason or metric says so."""

    @property
    def names(self) -> list[str]:
        """Each constant as `module:NAME`."""
        module, _, names = self.where.partition(":")
        return [f"{module}:{name}" for name in names.split(",")]

    def __str__(self) -> str:
        module, _, _ = self.where.partition(":")
        values = [getattr(importlib.import_module(f"proxy.{module}"), name.partition(":")[2]) for name in self.names]
        return f"| {self.what} | {self.value.format(*map(_Number, values))} | {self.beyond} |"


class _Number(float):
    """A number as people write it.

    >>> f"{_Number(64 * 1024):B}, {_Number(1024)}, {_Number(0.5)} s"
    '64 KiB, 1,024, 0.5 s'
    """

    def __format__(self, unit: str) -> str:
        if not unit:
            return f"{float(self):,.0f}" if self.is_integer() else f"{float(self):g}"
        power, prefix = (20, "Mi") if self % (1 << 20) == 0 else (10, "Ki")
        return f"{self / (1 << power):.0f} {prefix}{unit}"


CLIENTS = (
    Bound("http.headers:_MAX_TOKENS", "Names in `Connection`", "{}", "400, `bad_request`"),
    Bound("http.headers:_MAX_DIGITS", "Digits of a `Content-Length`", "{}", "400 (a model's: 502, `bad_reply`)"),
    Bound(
        "http.chunks:MAX_LINE",
        "A chunk's line with its extensions; the trailers of a message twice as much",
        "{:B}",
        "400, `bad_request` (a model's: `bad_reply`)",
    ),
    Bound(
        "worker.downstream.http1_connection:MAX_AHEAD",
        "Pipelined requests that wait",
        "{:B}",
        "the client is not read until some are answered",
    ),
    Bound(
        "worker.downstream.http1_connection:HALF_CLOSED",
        "From a client's end of sending to the first byte of its answer",
        "{} s",
        "closed, `client_gone`",
    ),
    Bound(
        "worker.downstream.http1_connection:LINGER,MAX_LINGER",
        "What a client still sends behind an answer that ends the connection",
        "{} s, {:B}",
        "closed",
    ),
    Bound(
        "worker.pace:GRACE,HURRY",
        "How far a client may be behind `server.limits.min_rate`, and when others wait for what it holds",
        "{} s, {} s",
        "cut off, `slow_client` (408 while it sends)",
    ),
    Bound(
        "worker.downstream.listener:UNSENT",
        "What the kernel takes of an answer and cannot send yet",
        "{:B}",
        "the rest waits in the worker (`server.limits.buffer`), then at the model",
    ),
)
TURNS = (
    Bound(
        "worker.turn:AT_ONCE,PER_TURN",
        "Work that one connection causes at once, and all that waits in one turn, in about microseconds",
        "{}, {}",
        "the rest waits for later turns, and the connection is not read meanwhile",
    ),
    Bound(
        "worker.turn:DEAR_REST",
        "Reading of long heads: one part of the time to so many for everything else",
        "1 to {}",
        "they wait",
    ),
)
CALLERS = (
    Bound(
        "worker.downstream.grpc:MAX_STREAMS",
        "Calls under way on one connection",
        "{}",
        "RST_STREAM REFUSED_STREAM, `too_many_calls`",
    ),
    Bound(
        "worker.downstream.grpc:MAX_RESETS,RESETS_PER_SECOND",
        "Calls that a client breaks off",
        "{}, and {} a second",
        "GOAWAY ENHANCE_YOUR_CALM, `flood`",
    ),
    Bound(
        "http.http2.sending:CALM,CALM_PER_SECOND",
        "Control, empty or invalid frames, less useful ones",
        "{}, and {} a second",
        "GOAWAY ENHANCE_YOUR_CALM, `flood`",
    ),
    Bound("worker.http2_protocol:MAX_UNSENT", "What waits for a peer that does not read", "{:B}", "closed, `flood`"),
    Bound(
        "http.http2.frames:WINDOW,LINK_WINDOW",
        "Bytes that the proxy has not processed, of one stream and of a connection",
        "{:B}, {:B}",
        "the peer must wait (RFC 9113, 5.2); FLOW_CONTROL_ERROR when it does not",
    ),
    Bound("http.http2.frames:MAX_FRAME", "A frame", "{:B}", "GOAWAY FRAME_SIZE_ERROR, `bad_request` (`bad_reply`)"),
)
MODELS = (
    Bound("worker.upstream.http1:MAX_ANSWER_HEAD", "An answer's head", "{:B}", "502, `bad_reply`"),
    Bound("worker.upstream.http1:MAX_INTERIM", "1xx answers before the answer", "{}", "502, `bad_reply`"),
    Bound(
        "worker.upstream.pool:MAX_WAITING",
        "Requests that wait for a connection to one upstream",
        "{}",
        "503, `pool_full`",
    ),
    Bound(
        "request.legs:MAX_WAITING",
        "A request's body that waits for a connection",
        "{:B}",
        "the client is not read meanwhile",
    ),
    Bound(
        "request.routes:MAX_BODY,MAX_MEMORY",
        "`dual_write`: one call, and all of a route's in one worker",
        "{:B}, {:B}",
        "live alone gets it, `too_large`",
    ),
)
CONTROLLER = (
    Bound(
        "request.exposures:MOST_SEEN,MOST_PENDING",
        "`max_outcome_drop`: users that one worker remembers as reported, and that wait to be reported",
        "{}, {}",
        "all are reported again; reported with their next request, and counted",
    ),
    Bound(
        "evidence.input.exposures:MOST",
        "Users of one rollout that are kept for `max_outcome_drop`",
        "{}",
        "half of the users, by a hash, are kept from then on",
    ),
    Bound(
        "evidence.input.early_posts:MOST",
        "Outcomes of one rollout that wait for their user",
        "{}",
        "such an outcome is unknown",
    ),
    Bound(
        "controller.fairness:PATIENCE",
        "What a pair waits, in work of the controller, where its rollout's take more than 1 ms each",
        "{} s",
        "dropped, `link_full`",
    ),
    Bound(
        "controller.fairness:MAX_LENGTH,MAX_BYTES",
        "Pairs of one rollout that wait in the controller",
        "{}, {:B}",
        "dropped where they take more than 1 ms each; else the workers are not read meanwhile",
    ),
    Bound(
        "worker.publisher:MAX_BACKLOG",
        "Pairs of one worker that wait for the controller",
        "{:B}",
        "dropped, `link_full`",
    ),
    Bound(
        "worker.request_log:MAX_WAITING",
        "Lines of the access log and spans of one worker that wait",
        "{}",
        "dropped, counted",
    ),
)
_MORE = "`too_many_elements`; more with a larger `mirror.max_body`"
ANSWERS = (
    Bound("predictions.bounds:VALUES", "JSON values, elements of tensors", "{}", _MORE),
    Bound("predictions.bounds:MEMBERS", "Members of JSON objects", "{}", _MORE),
    Bound(
        "predictions.bounds:NODES",
        "JSON arrays and objects, items of rankings, words of a text",
        "{}",
        _MORE,
    ),
    Bound(
        "predictions.bounds:PARTS",
        "Events or lines of a stream, protobuf fields, elements of BYTES tensors",
        "{}",
        _MORE,
    ),
    Bound("predictions.shapes:MAX_ROWS", "Rows", "{}", "`too_many_elements`"),
    Bound("predictions.rows:MAX_LABELS", "Labels with their scores", "{}", "`too_many_elements`"),
    Bound("predictions.shapes:MAX_RANK", "Dimensions of a tensor", "{}", "`too_deep`"),
    Bound(
        "predictions.codings:MAX_CODINGS,MAX_MEMBERS",
        "Content codings of one body, members of one gzip",
        "{}, {}",
        "`bad_encoding`",
    ),
    Bound("predictions.codings:MAX_WINDOW", "How far a zstd frame looks back", "{:B}", "`bad_encoding`"),
)
PARTS = {
    "Any peer": TURNS,
    "A client": CLIENTS,
    "A client or model over HTTP/2": CALLERS,
    "A model": MODELS,
    "An answer that is read": ANSWERS,
    "The controller": CONTROLLER,
}
NOT_FELT = {
    "http.http2.sending:MAX_BROKEN_OFF": "older streams are treated alike, without being told apart",
    "http.http2.blocks:MAX_KNOWN": "a cache",
    "http.grpc_opening:MAX_KNOWN_STARTS": "a cache",
    "http.http2.frames:MAX_INT31": "the protocol's own",
    "request.counts:MOST_GONE": "names that left the file",
    "worker.upstream.pool:MAX_KNOWN": "a cache",
    "request.routes:MAX_KNOWN": "a cache",
    "worker.request_log:MAX_PATH": "what is told of a path, not what it may be",
    "worker.books:MOST_OVER": "trials that left the file",
    "pairs.key_forms:MOST_EARLIER": "keys of earlier configurations; the log tells of those that are forgotten",
    "http.placement:MAX_KNOWN": "a cache",
    "http.first_piece:MOST": "where an event is looked at for what it says; it is passed on whole",
    "worker.upstream.balancing:MAX_KNOWN": "a cache",
    "pairs.gate:MAX_NOTE": "reports of our own processes",
    "pairs.replicas:MAX_NAME": "as long as a host name may be",
}
"""Constants that bound what nobody outside can feel, and why."""


def section() -> Iterator[str]:
    """The section's lines."""
    yield "## Bounds without a key"
    yield ""
    yield "These bounds are fixed. A `word` in the last column is the code in `understudy_requests_total`; for answers"
    yield "that are read, it is the reason of a candidate's failure or of an unparseable pair."
    for title, bounds in PARTS.items():
        yield from ("", f"| {title} | at most | beyond it |", "|---|---|---|")
        yield from map(str, bounds)
