"""What an upstream is asked instead: its `set_json` applied to one request, head and body.

Only the bytes of the value that is set change; everything else, spaces, the order of members and how numbers are
written, stays as the client wrote it. So the value's place is looked up in the bytes, after orjson has found them to be
JSON; writing the parsed document again would turn `1E5` into `100000.0` and 20-digit integers into floats.

A member that is not there is added at the end of its object; the object (or array element) that should hold it must be
there. Pointers are taken in the order of the file, each on what the one before it made. Source: RFC 6901.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.http.headers import original, without
from proxy.json_pointer import NOWHERE, Pointer, index, parse

Rules = tuple[tuple[Pointer, bytes], ...]
"""Each pointer's tokens, and the JSON to put there."""

_BINARY = b"inference-header-content-length"
_STALE = frozenset(
    {b"content-length", b"transfer-encoding", b"trailer", _BINARY}
    | {b"content-md5", b"content-digest", b"repr-digest", b"digest"}  # of the body as it was
)

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\r\n,\]}]++")
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL)
_OPEN, _QUOTE, _OBJECT, _ARRAY = b"[{", ord('"'), ord("{"), ord("[")


def rules(set_json: Mapping[str, Any]) -> Rules:
    """Rules as they are written in the file, compiled; raises `ValueError` for what is not to be set.

    >>> rules({"/model": "x"})
    ((('model',), b'"x"'),)
    """
    found = []
    for pointer, value in set_json.items():
        if not pointer:
            raise ValueError("the empty pointer is the whole body, which cannot be set")
        tokens = parse(pointer)
        try:
            json.dumps(value, allow_nan=False)  # orjson would write null for what is no number
            found.append((tokens, orjson.dumps(value)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a JSON value: {error}") from None
    return tuple(found)


def rewritten(head: bytes, body: bytes, asked: Rules) -> tuple[bytes, bytes] | None:
    """A request with the rules applied, or `None` when they cannot be: not JSON, compressed, or no such parent.

    `head` is the lines to the last CRLF before the blank line, `body` is without transfer framing; what is given back
    has a `content-length`, and the JSON's own length where tensors follow it. Without a body nothing is changed.

    >>> rewritten(b"POST / HTTP/1.1\\r\\ncontent-length: 12\\r\\n", b'{"model":"a"}', rules({"/model": "bb"}))
    (b'POST / HTTP/1.1\\r\\ncontent-length: 14\\r\\n', b'{"model":"bb"}')
    """
    if not body:
        return head, body
    low = head.lower()
    if original(head, low, b"content-encoding").lower() not in (b"", b"identity"):
        return None
    size = json_size(head, low, body)
    if size < 0:
        return None
    text, tail = body[:size], body[size:]
    changed = set_values(text, asked)
    if changed is None:
        return None
    lines = without(head, _STALE) + b"content-length: %d\r\n" % (len(changed) + len(tail))
    if original(head, low, _BINARY):
        lines += b"%b: %d\r\n" % (_BINARY, len(changed))
    return lines, changed + tail


def why_not(head: bytes, body: bytes) -> str:
    """Why a body's rules cannot be applied: it is `compressed`, `not_json`, or there is `no_place` for what is set.

    >>> why_not(b"\\r\\nContent-Encoding: br\\r\\n", b"x"), why_not(b"", b"x"), why_not(b"", b"[]")
    ('compressed', 'not_json', 'no_place')
    """
    low = head.lower()
    if original(head, low, b"content-encoding").lower() not in (b"", b"identity"):
        return "compressed"
    size = json_size(head, low, body)
    try:
        orjson.loads(body[: max(0, size)])
    except orjson.JSONDecodeError:
        return "not_json"
    return "no_place"


def json_size(head: bytes, low: bytes, body: bytes) -> int:
    """Bytes of a body that are JSON, all of them unless binary tensors follow; -1 where the head cannot be right.

    >>> json_size(b"", b"", b"{}")
    2
    """
    size = original(head, low, _BINARY)
    if not size:
        return len(body)
    return int(size) if size.isdigit() and len(size) < 20 and int(size) <= len(body) else -1


def set_values(text: bytes, asked: Rules) -> bytes | None:
    """JSON with every rule applied; `None` when it is not JSON or a rule's parent is not there.

    >>> set_values(b'{ "a": [1E5, {}], "model" : null }', rules({"/model": "x", "/a/1/n": 2}))
    b'{ "a": [1E5, {"n":2}], "model" : "x" }'
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    changed: bytes | None = text
    for tokens, value in asked:
        if changed is not None:
            changed = _set(changed, tokens, value)
    return changed


def _set(text: bytes, tokens: Pointer, value: bytes) -> bytes | None:
    at = _space(text, 0)
    for depth, token in enumerate(tokens):
        last = depth == len(tokens) - 1
        if text[at] == _OBJECT:
            start, end = _member(text, at, token)
            if start < 0 and last:  # `end` is where a further member goes
                comma = b"" if text[end - 1] == _OBJECT and end == at + 1 else b","
                return b"".join((text[:end], comma, orjson.dumps(token), b":", value, text[end:]))
        elif text[at] == _ARRAY and (wanted := index(token)) != NOWHERE:
            start, end = _element(text, at, wanted)
        else:
            return None
        if start < 0:
            return None
        if last:
            return text[:start] + value + text[end:]
        at = start
    return None


def _member(text: bytes, at: int, name: str) -> tuple[int, int]:
    """Where the value of a member stands in the object at `at` (of several the last, as parsers have it), else -1 and
    the end of the last member.

    A name that stands in the text once, or not at all, need not be looked for any further: a body is long for the sake
    of its data, and what is set is a short member before or behind it.
    """
    times = 2 if b"\\" in text else text.count(orjson.dumps(name))  # an escape may write it in another way
    if times == 0 and _space(text, 0) == at:
        return -1, len(text[: text.rindex(b"}")].rstrip())
    found, end = (-1, -1), at + 1
    at = _space(text, end)
    while text[at] == _QUOTE and not (times == 1 and found[0] >= 0):
        key = _end(text, at)
        start = _space(text, _space(text, key) + 1)
        end = _end(text, start)
        if orjson.loads(text[at:key]) == name:
            found = start, end
        at = _space(text, end)
        if text[at : at + 1] == b",":
            at = _space(text, at + 1)
    return found if found[0] >= 0 else (-1, end)


def _element(text: bytes, at: int, wanted: int) -> tuple[int, int]:
    """Where an element stands in the array at `at`, else -1."""
    at = _space(text, at + 1)
    while text[at : at + 1] != b"]":
        end = _end(text, at)
        if wanted == 0:
            return at, end
        wanted -= 1
        at = _space(text, end)
        if text[at : at + 1] == b",":
            at = _space(text, at + 1)
    return -1, -1


def _space(text: bytes, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _end(text: bytes, at: int) -> int:
    """Offset just after the value that begins at `at`; `text` is JSON."""
    if text[at] not in _OPEN:
        match = (_STRING if text[at] == _QUOTE else _SCALAR).match(text, at)
        assert match is not None
        return match.end()
    depth = 0
    while True:
        match = _TO_BRACKET.match(text, at)
        assert match is not None
        at = match.end()
        depth += 1 if text[at] in _OPEN else -1
        at += 1
        if depth == 0:
            return at
