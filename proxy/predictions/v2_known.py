"""Answers of the V2 protocol over gRPC whose numbers stand at their end, known by the bytes before these.

A server writes one message again and again but for the numbers in it: raw, or in the packed field of a float type,
they are its last bytes. What stands before them is taken apart once, by Google's library; a message that begins with
the same bytes, its length among them, differs from that one in nothing but its numbers, since a protobuf message is
read from its beginning on. That this is so is not argued but tried: three other rows of numbers, put in the place of
the first, must be read as what they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from proxy.model import PredictionSpec
from proxy.predictions.message import Message
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.v2_binary import decode_tensor
from proxy.predictions.v2_grpc import document, typed

MOST, LONGEST, WIDEST = 64, 1024, 256
"""Beginnings that are remembered, bytes of one, and numbers after it."""
TRIES, DEAR = 64, 8
"""What may be spent on messages that are not known, and what one costs; each that is known, or passed over, earns 1."""

_LETTERS = {
    "FP32": "f", "FP64": "d", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
}  # fmt: skip


class _Known(NamedTuple):
    """What a beginning says of the numbers behind it: the name of their output, their type and how to read them."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    row: struct.Struct


class KnownMessages:
    """Bodies with one message, one output and one row of numbers.

    >>> KnownMessages("y").row(b"not a message") is None
    True
    """

    __slots__ = ("_credit", "_known", "_output", "_sizes")

    def __init__(self, output: str) -> None:
        self._output = output
        self._known: dict[bytes, _Known] = {}
        self._sizes: tuple[int, ...] = ()
        self._credit = TRIES

    def row(self, body: bytes) -> Any:
        """The number in a body, or the list of those of its only row; `None` leaves it to the protocol."""
        known = self._known
        for size in self._sizes:
            if (found := known.get(body[:-size])) is not None:
                self._credit += self._credit < TRIES
                numbers = found.row.unpack(body[-size:])
                return numbers[0] if len(numbers) == 1 else list(numbers)
        if self._credit < DEAR:
            self._credit += 1
        else:
            self._credit -= DEAR
            self._learn(body)
        return None

    def _learn(self, body: bytes) -> None:
        """Remember the beginning of a message, if the next one like it can be read by that."""
        found = _known(body)
        if found is None or self._output not in ("", found.name) or not _holds(found, body):
            return
        if len(self._known) >= MOST:
            self._known.clear()
            self._sizes = ()
        self._known[body[: -found.row.size]] = found
        if found.row.size not in self._sizes:
            self._sizes = (*self._sizes, found.row.size)


def message_row(spec: PredictionSpec) -> Callable[[bytes], Any]:
    """`Protocol.message_row`: what reads the only row of a gRPC body for a prediction.

    >>> from proxy.model import PredictionSpec
    >>> tensor = bytes.fromhex("0a0179") + b"\\x12\\x04FP32" + bytes.fromhex("1a0101")  # name, datatype, shape
    >>> numbers = struct.pack("<f", 0.5)
    >>> message = b"\\x2a%c%b\\x32%c%b" % (len(tensor), tensor, len(numbers), numbers)
    >>> body, read = b"\\0" + struct.pack(">I", len(message)) + message, message_row(PredictionSpec())
    >>> read(body), read(body)
    (None, 0.5)
    """
    return KnownMessages(spec.output).row


def _known(body: bytes) -> _Known | None:
    """What a message is, if it is of the usual form."""
    try:
        (output,) = document(Message(b"", body))["outputs"]
    except (Unreadable, ValueError):
        return None
    datatype, shape = output["datatype"], tuple(output["shape"])
    count, letter = shape[-1] if shape else 0, _LETTERS.get(datatype, "")
    if shape not in ((count,), (1, count)) or not 1 <= count <= WIDEST or not letter or body[0]:
        return None
    row = struct.Struct(f"<{count}{letter}")
    return _Known(output["name"], datatype, shape, row) if 0 < len(body) - row.size <= LONGEST else None


def _holds(known: _Known, body: bytes) -> bool:
    """Whether other numbers at the end of the message are read as such."""
    count, before = known.shape[-1], body[: -known.row.size]
    most = (1 << 8 * known.row.size // count) - 1 if known.datatype.startswith("U") else -1
    rows = [*([(n + by) % 100 for n in range(count)] for by in (1, 2)), [most] * count]  # that is no byte of a varint
    for row in rows:
        changed = before + known.row.pack(*row)
        found = _known(changed)
        if found is None or found[:3] != known[:3] or _numbers(changed) != row:
            return False
    return True


def _numbers(body: bytes) -> list[Any]:
    """The numbers of a message with one output, by the way of all messages."""
    try:
        (output,) = document(Message(b"", body))["outputs"]
        datatype, shape = output["datatype"], tuple(output["shape"])
        if output["raw"] is not None:
            return decode_tensor(datatype, shape, output["raw"]).data
        return typed(datatype, shape, output["contents"], shape[-1]).data
    except Unreadable:
        return []
