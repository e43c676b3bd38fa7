"""Protocol Buffers' wire format, as much as reading needs: fields by number, packed numbers, nothing of schemas.

Source: protobuf.dev, "Encoding". Field numbers and types come from whoever reads; unknown fields are passed over, as
the format asks. Every failure is `Unreadable`: `truncated` when the bytes end too early, else `bad_encoding`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxy.model.reasons import Reason
from proxy.predictions.bounds import PARTS, VALUES, too_many
from proxy.predictions.unreadable import Unreadable

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FEW = 32
"""Bytes of packed numbers up to which a loop takes less time than numpy's arrays."""
_WIDTHS = {FIXED64: 8, FIXED32: 4}


def _bad(what: str) -> Unreadable:
    return Unreadable(Reason.BAD_ENCODING, f"not a protobuf message: {what}")


def _short(what: str) -> Unreadable:
    return Unreadable(Reason.TRUNCATED, f"the protobuf message breaks off in {what}")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `data[at:]`, and the offset after it; raises `Unreadable`.

    >>> varint(b"\\x96\\x01", 0)
    (150, 2)
    """
    value = shift = 0
    end = len(data)
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift >= 70:
            raise _bad("a number of more than ten bytes")
    raise _short("a number")


@dataclass(slots=True)
class Room:
    """How many more fields may be read of one message and of those inside it, of `most`."""

    most: int = PARTS
    taken: int = 0

    def take(self) -> None:
        """One more field; raises `Unreadable` when there is no room for it."""
        self.taken += 1
        if self.taken > self.most:
            raise too_many(self.taken, self.most, "fields of a protobuf message")


def fields(data: bytes, room: Room | None = None) -> Iterator[tuple[int, int, bytes, int]]:
    """Each field of a message: its number, wire type, the bytes of its value, and where it ends; raises `Unreadable`.

    Give the messages inside one another the same `room`.

    >>> [(number, kind, bytes(value)) for number, kind, value, _ in fields(b"\\x08\\x96\\x01\\x12\\x02ab")]
    [(1, 0, b'\\x96\\x01'), (2, 2, b'ab')]
    """
    room = room or Room()
    at, end = 0, len(data)
    while at < end:
        room.take()
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise _bad(f"field number {number}")
        if kind == BYTES:
            length, at = varint(data, at)
            stop = at + length
        elif kind == VARINT:
            _, stop = varint(data, at)
        elif kind in _WIDTHS:
            stop = at + _WIDTHS[kind]
        else:
            raise _bad(f"wire type {kind}")
        if stop > end:
            raise _short(f"field {number}")
        yield number, kind, data[at:stop], stop
        at = stop


def text(value: bytes, what: str) -> str:
    """A string field; raises `Unreadable`.

    >>> text(b"y", "name")
    'y'
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Unreadable(Reason.BAD_ENCODING, f"the {what} is not UTF-8") from None


def number_of(value: bytes, signed: bool) -> int:
    """The value of a single number's field, 64 bits; raises `Unreadable`.

    >>> number_of(b"\\x96\\x01", True), number_of(b"\\xff" * 9 + b"\\x01", True)
    (150, -1)
    """
    number = varint(value, 0)[0]
    return number - (1 << 64) if signed and number >> 63 else number


def varints(data: bytes, signed: bool, most: int = VALUES) -> list[int]:
    """Packed numbers, 64 bits each and at most `most`; raises `Unreadable`.

    >>> varints(b"\\x01\\x96\\x01", True), varints(b"\\xff" * 9 + b"\\x01", True)
    ([1, 150], [-1])
    """
    if len(data) < _FEW:
        found, at = [], 0
        while at < len(data):
            number, at = varint(data, at)
            found.append(number - (1 << 64) if signed and number >> 63 else number)
        return found
    raw = np.frombuffer(data, np.uint8)
    last = raw < 0x80
    count = int(np.count_nonzero(last))
    if count > most:
        raise too_many(count, most, "values")
    if count == len(data):
        return list(data)
    if not last[-1]:
        raise _short("a packed number")
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    lengths = np.diff(np.append(starts, len(raw)))
    if lengths.max() > 10:
        raise _bad("a number of more than ten bytes")
    shifts = 7 * (np.arange(len(raw)) - np.repeat(starts, lengths))
    parts = (raw & 0x7F).astype(np.uint64) << shifts.astype(np.uint64)
    values = np.bitwise_or.reduceat(parts, starts)
    every: list[int] = (values.view(np.int64) if signed else values).tolist()
    return every


def numbers(data: bytes, dtype: str, most: int = VALUES) -> list[Any]:
    """Packed fixed-width numbers of a numpy type, little-endian and at most `most`; raises `Unreadable`.

    >>> numbers(b"\\x00\\x00\\x80\\x3f", "<f4")
    [1.0]
    """
    count, rest = divmod(len(data), np.dtype(dtype).itemsize)
    if rest:
        raise _bad(f"{len(data)} bytes of packed {dtype}")
    if count > most:
        raise too_many(count, most, "values")
    found: list[Any] = np.frombuffer(data, dtype).tolist()
    return found
