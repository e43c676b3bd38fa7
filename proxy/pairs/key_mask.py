"""Keys that upstreams are given, taken out of what models answered, in whatever form it repeats them.

Workers replace what stands in an answer byte for byte (`worker.context`): that is cheap. What is left for here, where
nobody waits: answers that are compressed, which are kept as they read without that from then on; keys written with
escapes (`\\u002b`, `%2B`) or in base64, alone or within another text; and keys in pieces, over the events or messages
of a stream or the items of a list, which whoever reads the answer puts together again.

Invariant: what cannot be looked into is judged, and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

import orjson

from proxy.http.headers import without
from proxy.model import Outcome, Pair
from proxy.model.reasons import Reason
from proxy.pairs.key_forms import base64_forms, known_keys
from proxy.pairs.message_texts import mask_messages
from proxy.pairs.redaction import MASK
from proxy.predictions import exact_json
from proxy.predictions.bounds import DEFAULT, Bounds, check_json, too_many
from proxy.predictions.codings import CODINGS
from proxy.predictions.message import decoded, head_value, mark_of
from proxy.predictions.unreadable import Unreadable

_Leaf: TypeAlias = "tuple[_Line, Any, Any, str]"
"""A text: its line, the object or list that it stands in, under which name or number, and what it says."""
_Groups: TypeAlias = dict[tuple[Any, ...], list[_Leaf]]

_GRPC: Final = "application/grpc"
_CODED: Final = frozenset({b"content-encoding", b"content-length"})
_ENCODING, _CALL = mark_of("content-encoding"), mark_of("grpc-encoding")
_ESCAPED: Final = re.compile(rb"\\(?:u00([0-9a-fA-F]{2})|([\"\\/]))")
_PREFIX: Final = re.compile(rb"(?:data:[ ]?)?")


class KeyMask:
    """Takes these keys out of pairs.

    >>> mask = KeyMask([b"sk-12+34"])
    >>> mask.body(b'{"you": "sk-12\\\\u002b34"}')
    b'{"you": "*************"}'
    >>> mask.body(b'data: {"say": "sk-1"}\\n\\ndata: {"say": "2+34!"}\\n\\n')
    b'data: {"say":"****"}\\n\\ndata: {"say":"****!"}\\n\\n'
    """

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self.keys = tuple(dict.fromkeys(keys))
        texts = {form.decode("latin-1") for key in self.keys for form in (key, *base64_forms(key))}
        self._texts = sorted(texts, key=len, reverse=True)
        self._raw = sorted({*self.keys, *(text.encode() for text in texts)}, key=len, reverse=True)
        self._escaped = re.compile(b"|".join(map(_any_form, self._raw)) or b"(?!)")

    def more(self, keys: Iterable[bytes]) -> tuple[KeyMask, int]:
        """These keys too, and how many of those that were given before are looked for no more (`known_keys`)."""
        wanted, forgotten = known_keys(keys, self.keys)
        return (self, 0) if set(wanted) == set(self.keys) else (KeyMask(wanted), forgotten)

    def pair(self, pair: Pair, bounds: Bounds = DEFAULT) -> tuple[Pair, Pair]:
        """A pair as it is read, and as it may be kept and shown: the same one, but for what cannot be looked into."""
        if not self.keys:
            return pair, pair
        live, candidate = self._both(pair.live, bounds), self._both(pair.candidate, bounds)
        again = self._both(pair.again, bounds) if pair.again is not None else (None, None)
        arms = zip(live, candidate, again, strict=True)
        read, kept = (pair._replace(live=one, candidate=two, again=three) for one, two, three in arms)
        return read, kept

    def _both(self, outcome: Outcome, bounds: Bounds) -> tuple[Outcome, Outcome]:
        try:
            masked = self._outcome(outcome, bounds)
        except (Unreadable, RecursionError):
            return outcome, outcome._replace(body=MASK.encode())
        return masked, masked

    def _outcome(self, outcome: Outcome, bounds: Bounds) -> Outcome:
        head, body = outcome.head, outcome.body
        lower = head.lower()
        if body and lower.find(_ENCODING) >= 0:
            body = decoded(head, body, bounds.inflated)
            head = without(head, _CODED) + b"\r\n"
        elif body and lower.find(_CALL) >= 0:
            body = _messages(head_value(head, "grpc-encoding").lower(), body, bounds)
        head, body = self._bytes(head), self.body(body, bounds)
        if head_value(head, "content-type").startswith(_GRPC):
            body = mask_messages(body, self._raw, bounds)
        return outcome if body is outcome.body and head == outcome.head else outcome._replace(head=head, body=body)

    def body(self, body: bytes, bounds: Bounds = DEFAULT) -> bytes:
        """A body without coding, masked; raises `Unreadable` where it holds more than is read, or is too deep."""
        body = self._bytes(body)
        return self._pieces(body, bounds) if b'"' in body or b"data:" in body else body

    # --- in one piece ------------------------------------------------------------------------------------------------

    def _bytes(self, text: bytes) -> bytes:
        for key in self._raw:
            if key in text:
                text = text.replace(key, b"*" * len(key))
        if b"\\" not in text and b"%" not in text:
            return text
        plain = _ESCAPED.sub(_unescaped, text)
        plain = unquote_to_bytes(plain) if b"%" in plain else plain
        if any(key in plain for key in self._raw):
            text = self._escaped.sub(lambda found: b"*" * len(found[0]), text)
        return text

    # --- in several --------------------------------------------------------------------------------------------------

    def _pieces(self, body: bytes, bounds: Bounds) -> bytes:
        lines = _lines(body, bounds)
        groups: _Groups = {}
        for line in lines:
            _gather(line, line.holder, 0, (), groups)
        changed = {id(line) for leaves in groups.values() if len(leaves) > 1 for line in self._hide(leaves)}
        if not changed:
            return body
        return b"".join(line.written() if id(line) in changed else line.text for line in lines)

    def _hide(self, leaves: list[_Leaf]) -> Iterator[_Line]:
        """Put stars for what of these texts, one behind the other, is part of a key; gives the lines they stand in."""
        whole = "".join(text for _, _, _, text in leaves)
        hidden = whole
        for key in self._texts:
            hidden = hidden.replace(key, "*" * len(key))
        if hidden == whole:
            return
        at = 0
        for line, holder, place, text in leaves:
            now = hidden[at : at + len(text)]
            at += len(text)
            if now != text:
                holder[place] = now
                yield line


class _Line:
    """A part of a body: what is a document of its own in it, and the bytes before and behind that."""

    __slots__ = ("before", "behind", "holder", "is_json", "text")

    def __init__(self, text: bytes, before: bytes, behind: bytes, document: Any, is_json: bool) -> None:
        self.text, self.before, self.behind, self.is_json = text, before, behind, is_json
        self.holder = [document]

    def written(self) -> bytes:
        """As it is after its document has changed."""
        (document,) = self.holder
        said = _dumped(document) if self.is_json else document.encode("utf-8", "surrogateescape")
        return b"".join((self.before, said, self.behind))


def _any_form(key: bytes) -> bytes:
    """A pattern of a key, each of its characters as it is or with an escape."""
    return b"".join(_any_character(byte) for byte in key)


def _any_character(byte: int) -> bytes:
    plain, code = re.escape(bytes([byte])), b"%02x" % byte
    digits = b"".join(b"[%b%b]" % (digit, digit.upper()) if digit > b"9" else digit for digit in (code[:1], code[1:]))
    return b"(?:%b|\\\\u00%b|%%%b|\\\\%b)" % (plain, digits, digits, plain)


def _unescaped(found: re.Match[bytes]) -> bytes:
    code, character = found.groups()
    return bytes([int(code, 16)]) if code else bytes(character)


def _lines(body: bytes, bounds: Bounds) -> list[_Line]:
    """What of a body is JSON: all of it, or line by line, as it is and as the data of an event."""
    check_json(body, bounds)
    document = _loaded(body) if body.lstrip()[:1] in (b"{", b"[") else None
    if document is not None:
        return [_Line(body, b"", b"", document, True)]
    texts = body.splitlines(keepends=True)
    if len(texts) > 8 * bounds.parts:
        raise too_many(len(texts), 8 * bounds.parts, "lines")
    return [_line(text) for text in texts]


def _line(text: bytes) -> _Line:
    prefix = _PREFIX.match(text)
    start = prefix.end() if prefix is not None else 0
    said = text[start:].rstrip(b"\r\n")
    document = _loaded(said) if said[:1] in (b"{", b"[", b'"') else None
    before, behind = text[:start], text[start + len(said) :]
    if document is not None:
        return _Line(text, before, behind, document, True)
    return _Line(text, before, behind, said.decode("utf-8", "surrogateescape") if start else None, False)


def _loaded(text: bytes) -> Any:
    try:
        return exact_json.loads(text) if exact_json.wants_it(text) else orjson.loads(text)
    except ValueError:
        return None


def _dumped(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:  # whole numbers beyond 64 bits, half a surrogate pair
        return exact_json.dumps(document)


def _gather(line: _Line, holder: Any, place: Any, path: tuple[Any, ...], groups: _Groups) -> None:
    """Sort the texts of a document by where they stand: those of one name, of one `index` where items have one, are
    pieces of one text."""
    value = holder[place]
    if isinstance(value, str):
        groups.setdefault(path, []).append((line, holder, place, value))
    elif isinstance(value, dict):
        for name in value:
            _gather(line, value, name, (*path, name), groups)
    elif isinstance(value, list) and not {str, dict, list}.isdisjoint(map(type, value)):
        for at, item in enumerate(value):
            number = item.get("index", "") if isinstance(item, dict) else ""
            _gather(line, value, at, (*path, number if isinstance(number, int) else ""), groups)


def _messages(coding: str, body: bytes, bounds: Bounds) -> bytes:
    """The messages of a gRPC call, not compressed any more; raises `Unreadable`."""
    parts: list[bytes] = []
    room, at = bounds.inflated, 0
    while at < len(body):
        end = at + 5 + int.from_bytes(body[at + 1 : at + 5], "big")
        message = body[at + 5 : end]
        if body[at]:
            undo = CODINGS.get(coding)
            if undo is None or coding == "identity":
                raise Unreadable(Reason.BAD_ENCODING, f"a message compressed by `{coding[:40] or 'nobody says what'}`")
            message = undo(message, room)
        room -= len(message)
        if room < 0 or len(parts) >= bounds.parts:
            raise too_many(len(parts), bounds.parts, "messages")
        parts.append(b"\0%b%b" % (len(message).to_bytes(4, "big"), message))
        at = end
    return b"".join(parts)
