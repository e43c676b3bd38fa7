"""The sticky key in a request's body: `sticky: {json: /parameters/sequence_id}`.

A server that keeps state between requests (a sequence, a session) must get all of them, and some protocols name the
sequence in the body only. The key is the text or the number at that place. Zero and the empty text are none: the Open
Inference Protocol's servers read them as "no sequence", and every request without one would get the same arm.

Nothing here raises for what a body holds: one that cannot be read has no key. Protocol Buffers are walked
here and not by `predictions.v2_messages`: a worker loads neither numpy nor protobuf for one text at a known place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from proxy.json_pointer import Pointer

if TYPE_CHECKING:
    from proxy.fields.document import JsonDocument

CALLS = frozenset(f"/inference.GRPCInferenceService/{name}".encode() for name in ("ModelInfer", "ModelStreamInfer"))
"""The gRPC methods whose messages are read: both take a ModelInferRequest."""
FIELDS = {"model_name": 1, "model_version": 2, "id": 3}
"""Texts of a ModelInferRequest, by number."""
_PARAMETERS, _INT64 = 4, 2
_WIDTHS = {1: 8, 5: 4}


def in_message(path: Pointer) -> bool:
    """Whether these steps lead to what is read of a ModelInferRequest: a parameter, or one of `FIELDS`.

    >>> in_message(("parameters", "sequence_id")), in_message(("id",)), in_message(("inputs", "0"))
    (True, True, False)
    """
    return (len(path) == 2 and path[0] == "parameters") or (len(path) == 1 and path[0] in FIELDS)


def json_key(document: JsonDocument | None, path: Pointer) -> bytes:
    """The key in a JSON body; empty when there is none.

    >>> from proxy.fields.document import JsonReader
    >>> json_key(JsonReader().read(b'{"parameters": {"sequence_id": 7}}'), ("parameters", "sequence_id"))
    b'7'
    """
    try:
        return _key(document.value(path)) if document is not None else b""
    except LookupError:
        return b""


def message_key(body: bytes, path: Pointer) -> bytes:
    """The key in the first message of a gRPC body, a ModelInferRequest; empty when there is none, or it is compressed.

    >>> message_key(bytes([0, 0, 0, 0, 3]) + b"\\x1a\\x01x", ("id",))
    b'x'
    """
    size = int.from_bytes(body[1:5], "big")
    if len(body) < 5 + size or body[0] != 0:
        return b""
    found: Any = None
    try:
        for number, value in _fields(body[5 : 5 + size]):
            if len(path) == 1 and number == FIELDS.get(path[0]) and isinstance(value, bytes):
                found = value.decode()
            elif len(path) == 2 and number == _PARAMETERS and isinstance(value, bytes):
                entry = dict(_fields(value))
                if entry.get(1, b"") == path[1].encode():
                    found = _parameter(entry.get(2))
    except (IndexError, UnicodeDecodeError):
        return b""
    return _key(found)


def _parameter(value: bytes | int | None) -> str | int | None:
    """An InferParameter, one of: bool 1, int64 2, string 3, double 4, uint64 5. Texts and whole numbers are keys."""
    for number, one in _fields(value) if isinstance(value, bytes) else ():
        if number == 3 and isinstance(one, bytes):
            return one.decode()
        if number in (_INT64, 5) and isinstance(one, int):
            return one - (1 << 64) if number == _INT64 and one >= 1 << 63 else one
    return None


def _key(value: Any) -> bytes:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not value:
        return b""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Numbers and values of a protobuf message (protobuf.dev, "Encoding"); `IndexError` where it ends too early."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in _WIDTHS:
            size = _WIDTHS[kind]
        else:
            raise IndexError
        if at + size > end:
            raise IndexError
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise IndexError
