"""The binary tensor data extension of the V2 protocol: a JSON head, then the raw tensors in the order of the outputs.

The HTTP header `Inference-Header-Content-Length` says how long the JSON is, `parameters.binary_data_size` of an output
how long its tensor is. Numbers are little-endian and row-major; a BYTES element is a 4-byte length and that many bytes;
BF16 is the upper half of an FP32. Source: kserve/open-inference-protocol, `extension_binary_tensor_data.md`.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from math import prod
from typing import Any

import numpy as np

from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds, too_many
from proxy.predictions.json_tools import word_for
from proxy.predictions.message import Message, head_value
from proxy.predictions.shapes import Tensor
from proxy.predictions.unreadable import Unreadable

HEADER = "inference-header-content-length"

DTYPES = {
    "BOOL": "?",
    "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "FP16": "<f2", "BF16": "<u2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
"""numpy's type for each datatype of fixed width; BF16 is read as its bits."""

FLOATS = frozenset(("FP16", "BF16", "FP32", "FP64"))

MOST_SHOWN = 256
"""Bytes of an element that is no text which are kept."""

_LENGTH = struct.Struct("<I")


def split(answer: Message) -> tuple[Any, bytes]:
    """The JSON head as a value, and the bytes after it; raises `Unreadable`."""
    text = head_value(answer.head, HEADER)
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise Unreadable(Reason.BAD_ENCODING, f"`{HEADER}` is {text[:40]!r}, expected a number of bytes")
    length = int(text)
    if length > len(answer.body):
        raise Unreadable(Reason.TRUNCATED, f"the JSON should be {length} bytes, the body has {len(answer.body)}")
    return answer.parse(answer.body[:length]), answer.body[length:]


def binary_size(output: Any) -> int | None:
    """Bytes of an output's raw tensor, `None` when its data is JSON; raises `Unreadable`."""
    parameters = output.get("parameters") if type(output) is dict else None
    size = parameters.get("binary_data_size") if type(parameters) is dict else None
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise Unreadable(Reason.BAD_TYPE, f"`binary_data_size` is {word_for(size)}, expected a number of bytes")
    return size


def raw_of(head: dict[str, Any], wanted: dict[str, Any], tail: bytes) -> bytes:
    """The bytes of one output: those after all outputs before it; raises `Unreadable`."""
    start = 0
    found = b""
    for output in head["outputs"]:
        size = binary_size(output) or 0
        if output is wanted:
            found = tail[start : start + size]
        start += size
    if start > len(tail):
        raise Unreadable(Reason.TRUNCATED, f"the tensors should be {start} bytes, found {len(tail)}")
    if start < len(tail):
        raise Unreadable(Reason.BAD_SHAPE, f"{len(tail) - start} bytes left over after the last tensor")
    return found


def decode_tensor(datatype: str, shape: tuple[int, ...], raw: bytes, bounds: Bounds = DEFAULT) -> Tensor:
    """A raw tensor as values; raises `Unreadable` when its length does not fit its shape, or it holds too many.

    >>> decode_tensor("FP16", (2,), b"\\x00\\x3c\\x00\\xc0").data, decode_tensor("BF16", (1,), b"\\x80\\x3f").data
    ([1.0, -2.0], [1.0])
    """
    count = prod(shape)
    if datatype == "BYTES":
        return Tensor(_strings(raw, count, bounds.parts), shape)
    dtype = np.dtype(DTYPES[datatype])
    if len(raw) != count * dtype.itemsize:
        wanted = f"shape {list(shape)} of {datatype} wants {count * dtype.itemsize} bytes"
        raise Unreadable(Reason.BAD_SHAPE, f"{wanted}, found {len(raw)}")
    if count > bounds.values:
        raise too_many(count, bounds.values, "values")
    values = np.frombuffer(raw, dtype)
    if datatype == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    return Tensor(values.tolist(), shape, exact=datatype in FLOATS)


def element(raw: bytes) -> str:
    """An element of a BYTES tensor. What is no text (a hash, an image) is compared byte for byte, so it becomes a text
    that is equal when the bytes are: their base64, or their SHA-256 when they are many.

    >>> element(b"cat"), element(bytes([255, 0]))
    ('cat', 'base64:/wA=')
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if len(raw) > MOST_SHOWN:
            return f"sha256:{hashlib.sha256(raw).hexdigest()}"
        return f"base64:{base64.b64encode(raw).decode()}"


def _strings(raw: bytes, count: int, most: int) -> list[str]:
    found: list[str] = []
    at, end = 0, len(raw)
    while at < end:
        if end - at < _LENGTH.size or at + _LENGTH.size + (length := _LENGTH.unpack_from(raw, at)[0]) > end:
            raise Unreadable(Reason.TRUNCATED, f"element {len(found)} of a BYTES tensor breaks off")
        at += _LENGTH.size
        if len(found) == most:
            raise too_many(max(count, most + 1), most, "elements of a BYTES tensor")
        found.append(element(raw[at : at + length]))
        at += length
    if len(found) != count:
        raise Unreadable(Reason.BAD_SHAPE, f"a BYTES tensor should have {count} elements, found {len(found)}")
    return found
