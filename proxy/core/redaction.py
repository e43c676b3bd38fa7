"""Values taken out of JSON bodies by pointer (RFC 6901), before anything is written or shown.

Invariant: a body that cannot be read as JSON gives nothing at all, so that a field never slips through in a form that
was not understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

MASK = "[redacted]"


def redact(body: bytes, pointers: Sequence[str]) -> bytes | None:
    """The body with the value at each pointer masked; `None` when it is not JSON, or nested too deep
    to be written again. An empty body stays empty.

    A pointer that leads nowhere changes nothing; `*` as a step means every item.

    >>> redact(b'{"a": {"b": 1}, "c": [2, 3]}', ["/a/b", "/c/1"])
    b'{"a":{"b":"[redacted]"},"c":[2,"[redacted]"]}'
    >>> redact(b"a=1&b=2", ["/a"]) is None
    True
    """
    if not pointers or not body:
        return body
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    for pointer in pointers:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        document = _masked(document, steps)
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:  # it reads 1,024 levels and writes 254
        return None


def _masked(value: Any, steps: list[str]) -> Any:
    if not steps:
        return MASK
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict):
        keys = list(value) if step == "*" and "*" not in value else [step] if step in value else []
        return {**value, **{key: _masked(value[key], rest) for key in keys}}
    if isinstance(value, list):
        at = range(len(value)) if step == "*" else [int(step)] if step.isascii() and step.isdigit() else []
        return [_masked(item, rest) if n in at else item for n, item in enumerate(value)]
    return value
