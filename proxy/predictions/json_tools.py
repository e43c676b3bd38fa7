"""JSON from strangers: parse within bounds, follow pointers and say what was found instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from proxy.json_pointer import NOWHERE, Pointer, child, index
from proxy.model.reasons import Reason
from proxy.predictions import exact_json
from proxy.predictions.bounds import DEFAULT, Bounds, check_json
from proxy.predictions.unreadable import Unreadable, names


def parse_json(body: bytes, *, exact: bool = False, bounds: Bounds = DEFAULT) -> Any:
    """The JSON value of a body; raises `Unreadable` with `empty`, `not_json`, `truncated`, `bad_encoding`, `too_deep`,
    `too_many_elements`.

    Whole numbers are exact within 64 bits and floats beyond; with `exact`, which takes several times as long, all are.
    orjson refuses more than 1,024 levels by itself. `NaN` and `Infinity` are no JSON, yet TensorFlow Serving and Python
    servers write them, so a body that holds them is read by the slower parser of the standard library: whether they
    matter is decided where they stand, not here. A byte order mark is passed over (RFC 8259, 8.1), and half a surrogate
    pair, which is no character, is read as U+FFFD.
    """
    if len(body) > bounds.nodes:
        check_json(body, bounds)
    try:
        return _parse(body, bounds, exact=exact)
    except Unreadable as why:
        mended = _mended(body, bounds) if why.reason in _MENDED else body
        if mended == body:
            raise
    return _parse(mended, bounds, exact=exact)


_MENDED = frozenset((Reason.BAD_ENCODING, Reason.NOT_JSON))
_BOM = b"\xef\xbb\xbf"
_HALF = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPED = re.compile(rb"\\\\|" + _HALF[0] + rb"(?:" + _HALF[1] + rb")?|" + _HALF[1])


def _mended(body: bytes, bounds: Bounds) -> bytes:
    """A text without byte order mark and halves of surrogate pairs.

    >>> _mended(b'\\xef\\xbb\\xbf["\\\\ud800", "\\\\ud83d\\\\ude00"]', DEFAULT)
    b'["\\\\ufffd", "\\\\ud83d\\\\ude00"]'
    """
    text = body.removeprefix(_BOM)
    if b"\\u" not in text or text.count(b"\\") > bounds.nodes:
        return text
    return _ESCAPED.sub(lambda found: b"\\ufffd" if len(found[0]) == len(b"\\ufffd") else found[0], text)


def _parse(body: bytes, bounds: Bounds, *, exact: bool) -> Any:
    if exact:
        return _parse_slowly(body, bounds, exact_json.exact_whole, exact_json.whole_from_63_bits)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body.strip():
            raise Unreadable(Reason.EMPTY, "the body is empty") from None
        if b"NaN" in body or b"Infinity" in body:
            return _parse_slowly(body, bounds, exact_json.as_orjson if exact_json.has_wide(body) else int)
        raise _why(body, str(error)) from None


def _parse_slowly(
    body: bytes,
    bounds: Bounds,
    parse_int: Callable[[str], int | float],
    parse_float: Callable[[str], int | float] = float,
) -> Any:
    if len(body) > bounds.nodes:
        check_json(body, replace(bounds, values=bounds.values // 2))  # it takes twice as long
    try:
        return exact_json.loads(body, parse_int, parse_float)
    except RecursionError:
        raise Unreadable(Reason.TOO_DEEP, "JSON nested more than 1,000 levels deep") from None
    except UnicodeError:
        raise Unreadable(Reason.BAD_ENCODING, "the JSON is not valid UTF-8") from None
    except ValueError as error:
        raise _why(body, str(error)) from None


def _why(body: bytes, message: str) -> Unreadable:
    if "depth" in message or "recurs" in message.lower():
        return Unreadable(Reason.TOO_DEEP, "JSON nested more than 1,024 levels deep")
    if "infinity" in message:
        return Unreadable(Reason.NOT_FINITE, "a number in the JSON is too large for a double")
    if "UTF-8" in message or "surrogate" in message:
        return Unreadable(Reason.BAD_ENCODING, "the JSON is not valid UTF-8")
    if "unexpected end" in message:
        return Unreadable(Reason.TRUNCATED, f"the JSON breaks off after {len(body)} bytes")
    return Unreadable(Reason.NOT_JSON, f"not JSON: {message}")


def value_at(document: Any, pointer: Pointer) -> Any:
    """The value a pointer leads to; raises `Unreadable` with `missing_output`, saying what was found instead.

    >>> value_at({"a": [1, 2]}, ("a", "1"))
    2
    """
    value = document
    for depth, token in enumerate(pointer):
        try:
            value = child(value, token)
        except LookupError:
            raise Unreadable(Reason.MISSING_OUTPUT, _missing(value, pointer, depth)) from None
    return value


def _missing(value: Any, pointer: Pointer, depth: int) -> str:
    at = "/" + "/".join(pointer[:depth]) if depth else "the top"
    if isinstance(value, dict):
        found = names(value)
    elif isinstance(value, list):
        found = f"an array of {len(value)}"
    else:
        found = word_for(value)
    return f"`{pointer[depth]}` is missing at {at}; found {found}"


def word_for(value: Any) -> str:
    """What sort of JSON value this is, in words.

    >>> word_for(None), word_for([1]), word_for(True), word_for(1.5)
    ('null', 'an array', 'a boolean', 'a number')
    """
    if value is None:
        return "null"
    words = {dict: "an object", list: "an array", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return words.get(type(value), type(value).__name__)


def remove(document: Any, pointer: Pointer) -> None:
    """Remove what a pointer leads to, in place; nothing happens when it leads nowhere.

    An array element becomes null rather than disappear, so that the pointers after it still mean what they say.
    """
    if not pointer:
        return
    try:
        parent = value_at(document, pointer[:-1])
        if isinstance(parent, dict):
            parent.pop(pointer[-1], None)
        elif isinstance(parent, list) and (at := index(pointer[-1])) != NOWHERE:
            parent[at] = None
    except (Unreadable, IndexError):
        return
