"""Texts of protobuf messages without their schema, to find what is in pieces over the messages of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.predictions.bounds import Bounds, too_many

_DEEP: Final = 8
_WIDTHS: Final = {1: 8, 5: 4}
Place = tuple[tuple[int, ...], int, int]
"""The numbers of the fields that lead to a text, and where it begins and ends."""


class _NoMessageError(Exception):
    pass


class MessageTexts:
    """Finds the fields of messages that may be texts: all that have a length, and those in them if it may be a message.

    Raises `Unreadable` beyond eight fields for each part that the bounds allow.
    """

    def __init__(self, data: bytes, bounds: Bounds) -> None:
        self._data, self._most = data, 8 * bounds.parts
        self._left = self._most

    def places(self) -> dict[tuple[int, ...], list[tuple[int, int]]]:
        """Where the texts stand in messages with five bytes before each (gRPC), in their order, by their fields."""
        found: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        at = 0
        while at + 5 <= len(self._data):
            end = min(at + 5 + int.from_bytes(self._data[at + 1 : at + 5], "big"), len(self._data))
            try:
                for path, start, stop in self._fields(at + 5, end, ()):
                    found.setdefault(path, []).append((start, stop))
            except _NoMessageError:
                pass  # what was found of it before it turned out to be none stays: it is only looked through
            at = end
        return found

    def _fields(self, at: int, end: int, path: tuple[int, ...]) -> Iterator[Place]:
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise too_many(self._most + 1, self._most, "fields")
            tag, at = self._varint(at, end)
            kind, number = tag & 7, tag >> 3
            if number == 0:
                raise _NoMessageError
            if kind == 0:
                _, at = self._varint(at, end)
                continue
            size = _WIDTHS.get(kind, 0)
            if kind == 2:
                size, at = self._varint(at, end)
            if (size == 0 and kind != 2) or at + size > end:
                raise _NoMessageError
            if kind == 2:
                yield (*path, number), at, at + size
                yield from self._inner(at, at + size, (*path, number))
            at += size

    def _inner(self, at: int, end: int, path: tuple[int, ...]) -> list[Place]:
        if len(path) >= _DEEP:
            return []
        try:
            return list(self._fields(at, end, path))
        except _NoMessageError:
            return []

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at
        raise _NoMessageError


def mask_messages(body: bytes, keys: list[bytes], bounds: Bounds) -> bytes:
    r"""The messages of a gRPC call, with stars for the keys that are in pieces over their texts; raises `Unreadable`.

    >>> body = b"\0\0\0\0\x05\x0a\x03a-b\0\0\0\0\x05\x0a\x03c-d"
    >>> mask_messages(body, [b"-bc-"], Bounds())
    b'\x00\x00\x00\x00\x05\n\x03a**\x00\x00\x00\x00\x05\n\x03**d'
    """
    masked = bytearray(body)
    for places in MessageTexts(body, bounds).places().values():
        whole = b"".join(body[start:end] for start, end in places) if len(places) > 1 else b""
        hidden = whole
        for key in keys:
            hidden = hidden.replace(key, b"*" * len(key))
        at = 0
        for start, end in places if hidden != whole else ():
            piece, old = hidden[at : at + end - start], whole[at : at + end - start]
            at += end - start
            if piece != old:
                masked[start:end] = piece
    return bytes(masked) if masked != body else body
