"""What an upstream is asked instead: its `set_json` applied to one request, head and body.

Only the bytes of the value that is set change; everything else, spaces, the order of members and how numbers are
written, stays as the client wrote it. So the value's place is looked up in the bytes of a document that was read
(`document`); writing the parsed document again would turn `1E5` into `100000.0` and 20-digit integers into floats.

A member that is not there is added at the end of its object; the object (or array element) that should hold it must be
there. Pointers are taken in the order of the file, each on what the one before it made. Source: RFC 6901.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.fields.document import ABSENT, PRESENT, UNKNOWN, JsonDocument, JsonReader, json_size
from proxy.fields.skimming import SkimmedFields
from proxy.http.headers import original, without
from proxy.http.request_head import JSON_SIZE, OF_BODY
from proxy.json_pointer import NOWHERE, Pointer, index, parse_pointer

Rules = tuple[tuple[Pointer, bytes], ...]
"""Each pointer's tokens, and the JSON to put there."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\r\n,\]}]++")
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL)
_SIMPLE = re.compile(r"[A-Za-z0-9_.-]+")
"""Names whose letters could be escaped in one way only."""
_ESCAPED = re.compile(rb"\\u00[2-7]")
"""One of their letters, or another visible character, as an escape."""
_READER = JsonReader()
_READERS: Final[dict[Rules, JsonReader]] = {}
MAX_READERS: Final = 16
_OPEN: Final = b"[{"
_QUOTE: Final = ord('"')
_OBJECT: Final = ord("{")
_CLOSE: Final = ord("}")
_ARRAY: Final = ord("[")
_BLANK: Final = ord(" ")
_COLON: Final = ord(":")
_BACKSLASH: Final = ord("\\")
MAX_QUOTED: Final = 256
MAX_LENGTHS: Final = 4096
_QUOTED: Final[dict[str, bytes]] = {}
"""Names as they were quoted before. A `lru_cache` cannot be compiled, and is asked at the cost of all else here."""
_LENGTHS: Final[dict[int, bytes]] = {}
"""Lines of heads that were made before, by the length that they say."""


def rules(set_json: Mapping[str, Any]) -> Rules:
    """Rules as they are written in the file, compiled; raises `ValueError` for what is not to be set.

    >>> rules({"/model": "x"})
    ((('model',), b'"x"'),)
    """
    found = []
    for pointer, value in set_json.items():
        if not pointer:
            raise ValueError("the empty pointer is the whole body, which cannot be set")
        tokens = parse_pointer(pointer)
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
    stated = original(head, low, JSON_SIZE)
    size = json_size(stated, body)
    document = _reader_for(asked).read(body[:size], body[size:]) if size >= 0 else None
    changed = set_values(document, asked) if document is not None else None
    if document is None or changed is None:
        return None
    return without(head, OF_BODY) + lengths(changed, document.tail, bool(stated)), changed + document.tail


def _reader_for(asked: Rules) -> JsonReader:
    """One that reads bodies for these rules as a worker does."""
    reader = _READERS.get(asked)
    if reader is None:
        if len(_READERS) >= MAX_READERS:
            _READERS.clear()
        whole = not stands_alone(asked)
        _READERS[asked] = reader = JsonReader([tokens[:1] for tokens, _ in asked], whole)
    return reader


def lengths(text: bytes, tail: bytes, tensors: bool) -> bytes:
    """The lines of a head that say how long a changed body is.

    >>> lengths(b"{}", b"", False)
    b'content-length: 2\\r\\n'
    """
    size = len(text) + len(tail)
    line = _LENGTHS.get(size) or _remembered(size)
    return line + b"%b: %d\r\n" % (JSON_SIZE, len(text)) if tensors else line


def _remembered(size: int) -> bytes:
    if len(_LENGTHS) >= MAX_LENGTHS:
        _LENGTHS.clear()
    _LENGTHS[size] = line = b"content-length: %d\r\n" % size
    return line


def set_values(document: JsonDocument, asked: Rules) -> bytes | None:
    """JSON with every rule applied; `None` when a rule's parent is not there.

    >>> set_values(JsonReader().read(b'{ "a": [1E5, {}], "model" : null }'), rules({"/model": "x", "/a/1/n": 2}))
    b'{ "a": [1E5, {"n":2}], "model" : "x" }'
    """
    if document.fields is not None:
        made = _put(document.text, asked, document.fields)
        whole = _READER.read(document.text) if made is None else None  # set since it was read, by a reload
        return made if whole is None else set_values(whole, asked)
    if len(asked) == 1:
        tokens, value = asked[0]
        return _set(document.text, tokens, value, document.has_member(tokens[0]))
    changed: bytes | None = document.text
    touched: list[str] = []
    for tokens, value in asked:
        if changed is not None:
            known = UNKNOWN if tokens[0] in touched else document.has_member(tokens[0])
            changed = _set(changed, tokens, value, known)
            touched.append(tokens[0])
    return changed


def stands_alone(asked: Rules) -> bool:
    """Whether each rule sets a member of the outermost object that no other does, so that nothing else need be known of
    a body.

    >>> [stands_alone(rules(asked)) for asked in ({"/a": 1, "/b": 2}, {"/a/b": 1}, {"/a": {}, "/a/b": 1})]
    [True, False, False]
    """
    return all(len(tokens) == 1 for tokens, _ in asked) and len({tokens for tokens, _ in asked}) == len(asked)


def _put(text: bytes, asked: Rules, fields: SkimmedFields) -> bytes | None:
    """The same where nothing but the places of some members is known; `None` where these are others."""
    known: list[tuple[int, int, bytes]] | None = None
    for tokens, value in asked:
        name = tokens[0]
        place = fields.places.get(name)
        if len(tokens) > 1 or (place is None and name not in fields.names):
            return None
        if place is None:
            text = _added(text, name, value)  # behind all that is known
        elif known is None:
            known = [(place[0], place[1], value)]
        else:
            known.append((place[0], place[1], value))
    if known is not None:
        for start, end, value in sorted(known, reverse=True):
            text = b"%b%b%b" % (text[:start], value, text[end:])
    return text


def _set(text: bytes, tokens: Pointer, value: bytes, known: int) -> bytes | None:
    """`known` says whether there is a member of the first token's name."""
    last = len(tokens) - 1
    if known == ABSENT:
        return _added(text, tokens[0], value) if last == 0 else None
    at = _only(text, tokens[0]) if known == PRESENT else -1
    first = 1 if at >= 0 else 0
    if first and last == 0:
        return text[:at] + value + text[_end(text, at) :]
    at = at if first else _space(text, 0)
    for depth in range(first, len(tokens)):
        token = tokens[depth]
        if text[at] == _OBJECT:
            start, end = _member(text, at, token)
            if start < 0 and depth == last:  # `end` is where a further member goes
                comma = b"" if text[end - 1] == _OBJECT and end == at + 1 else b","
                return b"".join((text[:end], comma, orjson.dumps(token), b":", value, text[end:]))
        elif text[at] == _ARRAY and (wanted := index(token)) != NOWHERE:
            start, end = _element(text, at, wanted)
        else:
            return None
        if start < 0:
            return None
        if depth == last:
            return text[:start] + value + text[end:]
        at = start
    return None


def _added(text: bytes, name: str, value: bytes) -> bytes:
    """The object with one more member, at its end."""
    end = len(text) - 1
    if text[end] != _CLOSE:
        end = text.rindex(b"}")
    while text[end - 1] <= _BLANK:
        end -= 1
    comma = b"" if text[end - 1] == _OBJECT else b","
    quoted: bytes = _quoted(name) or orjson.dumps(name)
    return b"%b%b%b:%b%b" % (text[:end], comma, quoted, value, text[end:])


def _only(text: bytes, name: str) -> int:
    """Where the value of a member of the outermost object stands, if its name stands nowhere else, else -1.

    A quote without a backslash before it begins or ends a text, and a name between two of them is one. So a name that
    is there in quotes once is that of the member, unless the member's own is written with escapes.
    """
    quoted = _quoted(name)
    at = text.find(quoted) if quoted else -1
    if at < 0 or text[at - 1] == _BACKSLASH or text.find(quoted, at + 1) >= 0:
        return -1
    if b"\\u00" in text and _ESCAPED.search(text) is not None:
        return -1
    at = _space(text, at + len(quoted))
    return _space(text, at + 1) if text[at] == _COLON else -1


def _quoted(name: str) -> bytes:
    """A name as it is written in JSON, if its letters need no escapes and can have one kind only; else nothing."""
    quoted = _QUOTED.get(name)
    if quoted is None:
        if len(_QUOTED) >= MAX_QUOTED:
            _QUOTED.clear()
        _QUOTED[name] = quoted = b'"%b"' % name.encode() if _SIMPLE.fullmatch(name) else b""
    return quoted


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
    if at < len(text) and text[at] > _BLANK:
        return at
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
