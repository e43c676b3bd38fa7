"""What is kept of a request: the hash by which repeats are known, its segment, its cluster.

The hash is 64 bits of BLAKE2b over the body *without* content coding (gzip writes the time into its header), so that it
is the same in every process and nobody can craft two requests that share it on purpose. A request without a body is
known by its target. With `ignore` the JSON is parsed, the fields are dropped and the rest is hashed with sorted keys;
that costs a parse of the request, so nothing is parsed unless `ignore` or `segments.request_field` asks for it. A body
that is no JSON is hashed as it is. Of a request with binary tensors only the JSON head is thinned out. Of a long body
that was cut the first `OF_CUT` bytes are hashed, and what stands for the `rest`, the length and a checksum of all of it
(`pairs.link.cut_request`): prompts mostly begin alike, so more of the beginning would tell nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from proxy.json_pointer import parse_pointer
from proxy.model import Segments
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.json_tools import parse_json, remove, value_at
from proxy.predictions.message import decoded, head_value
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.v2_grpc import is_grpc, without_fields

OF_CUT = 1024
"""Bytes of the beginning of a body that was cut which are in its hash: all 16 KiB take ten times as long."""
MAX_NAME = 128
"""Characters of a segment's or a cluster's value; both are kept per pair, and a header may be long."""


class RequestFacts(NamedTuple):
    """`hash` is 64 bits; `segment` and `cluster` are empty when the request does not say."""

    hash: int
    segment: str = ""
    cluster: str = ""


def body_hash(head: bytes, body: bytes, bounds: Bounds = DEFAULT, rest: bytes = b"") -> int:
    """The hash alone, where nothing is ignored; raises nothing.

    >>> body_hash(b"", b"{}") == request_facts(b"", b"{}").hash
    True
    """
    if rest:
        return _hash(body[:OF_CUT] + rest)
    try:
        body = decoded(head, body, bounds.inflated)
    except Unreadable:
        return _hash(body or _target(head))  # its bytes still identify it
    return _hash(body or _target(head))


def request_facts(
    head: bytes,
    body: bytes,
    ignore: Sequence[str] = (),
    segments: Segments | None = None,
    cluster_by: str = "",
    bounds: Bounds = DEFAULT,
    rest: bytes = b"",
) -> RequestFacts:
    """The facts of one request; raises nothing, whatever the bytes. One that is beyond the `bounds` is taken as it is.

    >>> request_facts(b"", b'{"id": 1, "x": 2}', ["/id"]) == request_facts(b"", b'{"x":2, "id":7}', ["/id"])
    True
    """
    try:
        body = decoded(head, body, bounds.inflated) if not rest else body[:OF_CUT] + rest
    except Unreadable:
        ignore = ()  # the server will refuse it, or knows a coding that is not known here; its bytes still identify it
    cluster = _named(header_text(head_value(head, cluster_by))) if cluster_by else ""
    segment = ""
    if segments is not None and segments.header:
        segment = _named(header_text(head_value(head, segments.header)))
    field = segments.request_field if segments is not None and not segments.header else ""
    if ignore and is_grpc(head):
        return RequestFacts(_hash(without_fields(head, body, ignore, bounds) or _target(head)), segment, cluster)
    if not (ignore or field):
        return RequestFacts(_hash(body or _target(head)), segment, cluster)
    text, tail = split_binary(head, body)
    try:
        document = parse_json(text, bounds=bounds)
    except Unreadable:
        return RequestFacts(_hash(body or _target(head)), segment, cluster)
    if field:
        segment = _field(document, field)
    if ignore:
        for pointer in ignore:
            remove(document, parse_pointer(pointer))
        with suppress(orjson.JSONEncodeError):  # it reads 1,024 levels and writes 254
            body = orjson.dumps(document, option=orjson.OPT_SORT_KEYS) + tail
    return RequestFacts(_hash(body), segment, cluster)


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _target(head: bytes) -> bytes:
    return head.split(b"\r\n", 1)[0]


def split_binary(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """JSON and raw tensors of a V2 request in the binary extension; anything else is all JSON.

    >>> split_binary(b"POST / HTTP/1.1\\r\\nInference-Header-Content-Length: 2\\r\\n\\r\\n", b"{}raw")
    (b'{}', b'raw')
    """
    length = head_value(head, "inference-header-content-length")
    if length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= len(body):
        return body[: int(length)], body[int(length) :]
    return body, b""


def _field(document: Any, pointer: str) -> str:
    try:
        value = value_at(document, parse_pointer(pointer))
    except Unreadable:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _named(str(value)) if isinstance(value, str | int | float) else ""


def header_text(value: str) -> str:
    """A header's value as people meant it: UTF-8 where it is that (RFC 9110, 5.5 leaves it open), else Latin-1.

    >>> header_text("ZÃ¼rich"), header_text("Zürich")
    ('Zürich', 'Zürich')
    """
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def _named(value: str) -> str:
    return value if len(value) <= MAX_NAME else value[:MAX_NAME]
