"""A JSON body, read once: the fields that a configuration names, and as little of the rest as they need.

Most of a body is data that nobody here looks at, and is not read where the fields can be told without it (`skimming`).
Otherwise msgspec checks the grammar of all of it while it skips it, which takes a quarter of the time that orjson needs
to make values of it, and gives what was asked for as the bytes that were written. Of a name that stands twice in an
object the last one counts, as in every parser in use, and escapes in names are read.

JSON is what RFC 8259 says, in UTF-8 and nested at most 1,024 deep. Both ways say the same of it. Of what is no JSON the
first may find fields, and the second finds none: all that is asked of one body is told by one of them. A number is not
converted unless it is asked for, so one that is too large for a float does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import GenericAlias
from typing import Any, Final

import msgspec
import orjson

from proxy.fields.skimming import NOTHING, FieldSkimmer, SkimmedFields
from proxy.http.chunks import joined_chunks
from proxy.http.headers import CHUNKED, original
from proxy.http.request_head import CODED, JSON_SIZE, TENSORS, Request
from proxy.json_pointer import NOWHERE, Pointer, child, index

ABSENT: Final = 0
PRESENT: Final = 1
UNKNOWN: Final = -1
_UNSET: Final = msgspec.UNSET
_Wanted = tuple[Pointer, int, tuple[str | int, ...]]
"""A pointer, how many of its tokens were followed, and the steps that follow them."""


class JsonReader:
    """Reads bodies for these pointers. Other pointers can be asked too, at the cost of a parser. `whole`: all of a
    body is read in any case."""

    def __init__(self, pointers: Iterable[Pointer] = (), whole: bool = False) -> None:
        self._places: dict[Pointer, tuple[tuple[str | int, ...], Pointer]] = {}
        self._top: dict[str, str] = {}
        once = tuple(dict.fromkeys(pointers))
        kind = self._kind([(pointer, 0, ()) for pointer in once])
        self._decode = msgspec.json.Decoder(kind).decode
        skimmer = FieldSkimmer(once)
        self._skimmer: FieldSkimmer | None = skimmer if skimmer.usable and not whole else None

    def _kind(self, wanted: list[_Wanted]) -> Any:
        """The type of a value of which these parts are wanted: itself, a list, or an object with those members."""
        indices = [index(pointer[depth]) if depth < len(pointer) else NOWHERE for pointer, depth, _ in wanted]
        if wanted and NOWHERE not in indices:
            element = self._kind([(one[0], one[1] + 1, (*one[2], n)) for one, n in zip(wanted, indices, strict=True)])
            return self._itself(wanted) if element is msgspec.Raw else GenericAlias(list, (element,))
        names: dict[str, list[_Wanted]] = {}
        for (pointer, depth, at), n in zip(wanted, indices, strict=True):
            if n != NOWHERE or depth == len(pointer) or not _is_plain(pointer[depth]):
                return self._itself(wanted)
            alike = names.setdefault(pointer[depth], [])
            alike.append((pointer, depth + 1, (*at, f"f{list(names).index(pointer[depth])}")))
        fields = {f"f{n}": name for n, name in enumerate(names)}
        if not wanted or wanted[0][1] == 0:
            self._top = {name: field for field, name in fields.items()}
        kinds = [(field, self._kind(names[name]) | msgspec.UnsetType, msgspec.UNSET) for field, name in fields.items()]
        return msgspec.defstruct("Object", kinds, rename=fields, gc=False)

    def _itself(self, wanted: list[_Wanted]) -> Any:
        for pointer, depth, at in wanted:
            self._places[pointer] = at, pointer[depth:]
        return msgspec.Raw

    def read(self, text: bytes, tail: bytes = b"") -> JsonDocument | None:
        """The document in a body without transfer framing, `tail` behind it; `None` when it is no JSON, as far as it is
        read.

        >>> found = JsonReader([("model",)]).read(b'{"data": [1E5], "model": "x"}')
        >>> found.value(("model",)), found.value(("data", "0")), JsonReader().read(b'{"model": 1') is None
        ('x', 100000.0, True)
        """
        if self._skimmer is not None:
            fields = self._skimmer.skim(text, False)
            if fields is not None:
                return JsonDocument(None, None, text, tail, fields)
        document = self._whole(text, tail)
        if document is None and self._skimmer is not None:  # of what is no JSON the same is said when it comes again
            fields = self._skimmer.skim(text)
            return JsonDocument(None, None, text, tail, fields) if fields is not None else None
        return document

    def _whole(self, text: bytes, tail: bytes) -> JsonDocument | None:
        if not text.isascii():
            try:
                text.decode()
            except UnicodeDecodeError:
                return None
        try:
            return JsonDocument(self, self._decode(text), text, tail)
        except (msgspec.ValidationError, RecursionError):  # of another shape, or nested deeper than the stack allows
            try:
                return JsonDocument(None, orjson.loads(text), text, tail)
            except orjson.JSONDecodeError:
                return None
        except msgspec.DecodeError:
            return None

    def read_body(self, request: Request, body: bytes) -> JsonDocument | None:
        """The document in the whole body of a request, as it came; `None` too where it is compressed, or its head
        cannot be right about binary tensors behind the JSON."""
        if request.length == CHUNKED:
            body = joined_chunks(body)
        form = request.body_form()
        if form == CODED:
            return None
        if form != TENSORS:
            return self.read(body)
        size = json_size(original(request.head, request.low, JSON_SIZE), body)
        return self.read(body[:size], body[size:]) if size >= 0 else None

    def raw(self, top: Any, pointer: Pointer) -> tuple[bytes, Pointer] | None:
        """What was read at a pointer, as it is written, and the tokens that lead on from there; `None` where that was
        not looked for. Raises `LookupError` when there is nothing."""
        place = self._places.get(pointer)
        return None if place is None else (bytes(_found(top, place[0])), place[1])

    def stands(self, top: Any, pointer: Pointer, written: msgspec.Raw) -> bool:
        """Whether what stands at a pointer is written so, byte for byte. Raises `LookupError` when nothing does."""
        place = self._places.get(pointer)
        return place is not None and not place[1] and bool(_found(top, place[0]) == written)

    def has_member(self, top: Any, name: str) -> int:
        """Whether the object that was read has this member: `PRESENT`, `ABSENT`, or `UNKNOWN`."""
        field = self._top.get(name)
        if field is None:
            return UNKNOWN
        return ABSENT if getattr(top, field) is _UNSET else PRESENT


class JsonDocument:
    """One body that was read: `text` is the JSON, `tail` the binary tensors behind it."""

    __slots__ = ("_reader", "_top", "fields", "tail", "text")

    def __init__(
        self, reader: JsonReader | None, top: Any, text: bytes, tail: bytes, fields: SkimmedFields | None = None
    ) -> None:
        self._reader, self._top, self.text, self.tail = reader, top, text, tail
        self.fields = fields
        """What was found without reading all of it; `None` where all was read, and is JSON."""

    def value(self, pointer: Pointer) -> Any:
        """What stands at a pointer; raises `LookupError` when nothing does, or a number beyond all floats."""
        if self.fields is not None:
            written = self.fields.written(pointer)
            if written is NOTHING:
                raise LookupError(pointer)
            if written is not None:
                return _loaded(bytes(written))
            self.fields, self._top = None, _loaded(self.text)
        found = self._reader.raw(self._top, pointer) if self._reader is not None else (b"", pointer)
        if found is None:  # not looked for
            self._reader, self._top, found = None, _loaded(self.text), (b"", pointer)
        value = _loaded(found[0]) if found[0] else self._top
        for token in found[1]:
            value = child(value, token)
        return value

    def has(self, pointer: Pointer, value: object, written: msgspec.Raw) -> bool:
        """Whether this value stands there, `written` being how it is mostly written (`as_written`); `true` is no 1.

        >>> document = JsonReader([("a",)]).read(b'{"a": 1.0, "b": [true]}')
        >>> one = as_written(1)
        >>> document.has(("a",), 1, one), document.has(("b", "0"), 1, one), document.has(("c",), 1, one)
        (True, False, False)
        """
        try:
            if self.fields is not None:
                if self.fields.values.get(pointer) == written:
                    return True
            elif self._reader is not None and self._reader.stands(self._top, pointer, written):
                return True
            there = self.value(pointer)
        except LookupError:
            return False
        return bool(there == value) and isinstance(there, bool) is isinstance(value, bool)

    def has_member(self, name: str) -> int:
        """Whether it is an object with this member: `PRESENT`, `ABSENT`, or `UNKNOWN` where that was not looked for."""
        if self.fields is not None:
            return PRESENT if name in self.fields.places else ABSENT if name in self.fields.names else UNKNOWN
        return self._reader.has_member(self._top, name) if self._reader is not None else UNKNOWN


def json_size(stated: bytes, body: bytes) -> int:
    """Bytes of a body that are JSON, all of them unless its head has stated a number; -1 where that cannot be right.

    >>> json_size(b"", b"{}"), json_size(b"2", b"{}\\0"), json_size(b"3", b"{}")
    (2, 2, -1)
    """
    if not stated:
        return len(body)
    return int(stated) if stated.isdigit() and len(stated) < 20 and int(stated) <= len(body) else -1


def as_written(value: object) -> msgspec.Raw:
    """A value as most clients write it.

    >>> bytes(as_written("x")), bytes(as_written(True))
    (b'"x"', b'true')
    """
    return msgspec.Raw(json.dumps(value).encode())


def _found(top: Any, steps: tuple[str | int, ...]) -> Any:
    """What stands where these steps lead; raises `LookupError` when nothing does."""
    for at in steps:
        top = getattr(top, at) if isinstance(at, str) else top[at]
        if top is _UNSET:
            raise LookupError(at)
    return top


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise LookupError("a number that no float holds") from None


def _is_plain(name: str) -> bool:
    """Whether msgspec takes it for the name of a member."""
    return name.isprintable() and '"' not in name and "\\" not in name
