"""Values taken out of JSON bodies and of queries, before anything is written or shown.

What to take out is a list of entries: a JSON pointer (RFC 6901) names a field of bodies, `?name` a query parameter.
Query parameters that carry credentials are taken out without an entry.

Invariant: a body that cannot be read as JSON gives nothing at all, so that a field never slips through in a form that
was not understood.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import unquote_plus

import orjson

from proxy.http.credentials import PARAMETERS
from proxy.json_pointer import Pointer, index, parse_pointer
from proxy.predictions import exact_json
from proxy.predictions.bounds import Bounds, check_json
from proxy.predictions.unreadable import Unreadable

MASK = "[redacted]"


def pointers(entries: Sequence[str]) -> list[str]:
    """The entries that are about bodies.

    >>> pointers(["/a", "?b"])
    ['/a']
    """
    return [entry for entry in entries if not entry.startswith("?")]


def redact_query(target: str, entries: Sequence[str]) -> str:
    """A request's target with the values of the named query parameters masked, of all of them by `?*`, and always of
    those that carry credentials.

    Names are compared decoded and without regard to case. Some servers take `;` for `&`, so what follows one is masked.

    >>> redact_query("/x?a=1&User%5Fid=s3;cret&b&KEY=k", ["/y", "?user_id"])
    '/x?a=1&User%5Fid=[redacted]&b&KEY=[redacted]'
    """
    path, mark, query = target.partition("?")
    if not mark:
        return target
    names = PARAMETERS.union(entry[1:].casefold() for entry in entries if entry.startswith("?"))
    return path + mark + "&".join(_masked_parameter(part, names) for part in query.split("&"))


def _masked_parameter(part: str, names: Collection[str]) -> str:
    pieces = part.split(";")
    for at, piece in enumerate(pieces):
        name, equals, _ = piece.partition("=")
        if unquote_plus(name).casefold() in names:
            return ";".join([*pieces[:at], f"{name}={MASK}"])
        if "*" in names and piece:
            return ";".join([*pieces[:at], f"{name}={MASK}" if equals else MASK])
    return part


def redact(body: bytes, entries: Sequence[str]) -> bytes | None:
    """The body with the value at each pointer masked; `None` when it is not JSON, more of it than is read, or nested
    too deep to be written again. An empty body stays empty, and without a pointer every body stays as it is.

    A pointer that leads nowhere changes nothing; `*` as a step means every item.

    >>> redact(b'{"a": {"b": 1}, "c": [2, 3]}', ["/a/b", "/c/1"])
    b'{"a":{"b":"[redacted]"},"c":[2,"[redacted]"]}'
    >>> redact(b"a=1&b=2", ["/a"]) is None
    True
    """
    listed = pointers(entries)
    if not listed or not body:
        return body
    # What is written again must say what it said: no number rounded, no NaN made null.
    exact = exact_json.wants_it(body)
    try:
        check_json(body, Bounds.of(len(body)))
        document = exact_json.loads(body) if exact else orjson.loads(body)
    except (Unreadable, ValueError, RecursionError):
        return None
    for pointer in listed:
        document = _masked(document, parse_pointer(pointer))
    try:
        return exact_json.dumps(document) if exact else orjson.dumps(document)
    except (orjson.JSONEncodeError, RecursionError):  # orjson reads 1,024 levels and writes 254
        return None


def _masked(value: Any, steps: Pointer) -> Any:
    if not steps:
        return MASK
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict):
        keys = list(value) if step == "*" and "*" not in value else [step] if step in value else []
        return {**value, **{key: _masked(value[key], rest) for key in keys}}
    if isinstance(value, list):
        at = range(len(value)) if step == "*" else [index(step)]
        return [_masked(item, rest) if n in at else item for n, item in enumerate(value)]
    return value
