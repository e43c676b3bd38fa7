"""The Open Inference Protocol (KServe v2) over gRPC: a `ModelInferResponse`, its values typed or raw.

Values stand in `contents` of each output, in the field of its datatype, or, for all outputs alike, as bytes in
`raw_output_contents`, in the layout of the REST binary extension (`v2_binary`). FP16 and BF16 have no typed field.

Source: kserve/open-inference-protocol, `specification/protocol/open_inference_grpc.proto`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, MAX_BODY, Bounds, too_many
from proxy.predictions.codings import CODINGS
from proxy.predictions.message import Message, header, mark_of
from proxy.predictions.protobuf import BYTES, FIXED32, FIXED64, VARINT, Room, fields, number_of, numbers, text, varints
from proxy.predictions.shapes import Tensor
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.v2_binary import element

METHOD = "/inference.GRPCInferenceService/ModelInfer"
GRPC = mark_of("content-type") + b" application/grpc"
"""What every head of gRPC has."""

REQUEST = {
    "model_name": 1, "model_version": 2, "id": 3, "parameters": 4, "inputs": 5, "outputs": 6, "raw_input_contents": 7,
}  # fmt: skip
"""Fields of a ModelInferRequest."""

_CONTENTS = {
    1: "bool_contents", 2: "int_contents", 3: "int64_contents", 4: "uint_contents", 5: "uint64_contents",
    6: "fp32_contents", 7: "fp64_contents", 8: "bytes_contents",
}  # fmt: skip
_FIELD = {
    "BOOL": 1, "INT8": 2, "INT16": 2, "INT32": 2, "INT64": 3, "UINT8": 4, "UINT16": 4, "UINT32": 4, "UINT64": 5,
    "FP32": 6, "FP64": 7, "BYTES": 8,
}  # fmt: skip
"""Field of `InferTensorContents` that holds each datatype."""
_WIRE = {6: (FIXED32, "<f4"), 7: (FIXED64, "<f8")}


def is_grpc(head: bytes) -> bool:
    """Whether a request's head is that of a gRPC call.

    >>> is_grpc(b"POST /a.B/C HTTP/1.1\\r\\ncontent-type: application/grpc\\r\\n\\r\\n")
    True
    """
    return GRPC in head


def one_message(head: bytes, body: bytes, most: int = MAX_BODY) -> bytes:
    """The one message of a body, its prefix and compression undone (at most `most` bytes); raises `Unreadable`."""
    if not body:
        raise Unreadable(Reason.EMPTY, "no message")
    length = int.from_bytes(body[1:5], "big")
    if len(body) < 5 + length or len(body) < 5:
        raise Unreadable(Reason.TRUNCATED, f"a message of {length} bytes, found {max(0, len(body) - 5)}")
    if len(body) > 5 + length:
        raise Unreadable(Reason.BAD_SHAPE, "more than one message, expected one")
    if body[0] > 1:
        raise Unreadable(Reason.BAD_ENCODING, f"a message flagged {body[0]}, expected 0 or 1")
    if body[0] == 0:
        return body[5:]
    coding = header(head, "grpc-encoding").lower()
    if coding not in CODINGS or coding == "identity":
        raise Unreadable(Reason.BAD_ENCODING, f"a message compressed by `{coding[:40] or 'nobody says what'}`")
    return CODINGS[coding](body[5:], most)


def document(answer: Message) -> dict[str, Any]:
    """A ModelInferResponse as the REST protocol would write it, values left as bytes; raises `Unreadable`."""
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    room = Room(answer.bounds.parts)
    for number, kind, value, _ in fields(one_message(answer.head, answer.body, answer.bounds.inflated), room):
        if number == 5 and kind == BYTES:
            outputs.append(_output(value, room))
        elif number == 6 and kind == BYTES:
            raw.append(value)
    if raw:
        if len(raw) != len(outputs):
            raise Unreadable(Reason.BAD_SHAPE, f"{len(raw)} `raw_output_contents` for {len(outputs)} outputs")
        for output, data in zip(outputs, raw, strict=True):
            output["raw"] = data
    return {"outputs": outputs}


def _output(data: bytes, room: Room) -> dict[str, Any]:
    output: dict[str, Any] = {"name": "", "datatype": "", "shape": [], "contents": b"", "raw": None}
    contents = []
    for number, kind, value, _ in fields(data, room):
        if number in (1, 2) and kind == BYTES:
            output["name" if number == 1 else "datatype"] = text(value, "name of an output")
        elif number == 3 and kind in (BYTES, VARINT):
            output["shape"] += varints(value, True) if kind == BYTES else [number_of(value, True)]
        elif number == 5 and kind == BYTES:
            contents.append(value)  # a message field given twice is merged, and that is concatenation
    output["contents"] = b"".join(contents)
    return output


def typed(datatype: str, shape: tuple[int, ...], contents: bytes, count: int, bounds: Bounds = DEFAULT) -> Tensor:
    """The values in an `InferTensorContents`; raises `Unreadable` unless there are `count` of the datatype's field."""
    wanted = _FIELD.get(datatype)
    if wanted is None:
        raise Unreadable(Reason.BAD_TYPE, f"{datatype} has no typed contents, only `raw_output_contents`")
    values: list[Any] = []
    for number, kind, value, _ in fields(contents, Room(bounds.parts)):
        if number not in _CONTENTS:
            continue
        if number != wanted:
            raise Unreadable(Reason.BAD_TYPE, f"datatype {datatype}, but the values are in `{_CONTENTS[number]}`")
        values += _values(number, kind, value, bounds.values)
        if len(values) > bounds.values:
            raise too_many(len(values), bounds.values, "values")
    if len(values) != count:
        raise Unreadable(Reason.BAD_SHAPE, f"shape {list(shape)} wants {count} values, found {len(values)}")
    return Tensor([bool(value) for value in values] if datatype == "BOOL" else values, shape, exact=wanted in _WIRE)


def _values(number: int, kind: int, value: bytes, most: int) -> list[Any]:
    """The values of one field, packed or single; the wire type says which, and must fit the field."""
    if number == 8 and kind == BYTES:
        return [element(value)]
    if number in _WIRE and kind in (BYTES, _WIRE[number][0]):
        return numbers(value, _WIRE[number][1], most)
    if number not in _WIRE and number != 8 and kind in (BYTES, VARINT):
        signed = number in (2, 3)
        return varints(value, signed, most) if kind == BYTES else [number_of(value, signed)]
    raise Unreadable(Reason.BAD_ENCODING, f"not a protobuf message: wire type {kind} in `{_CONTENTS[number]}`")


def without_fields(head: bytes, body: bytes, pointers: Sequence[str], bounds: Bounds = DEFAULT) -> bytes:
    """A ModelInferRequest without some fields (`/id`), for telling repeats; a body that is none stays as it is.

    >>> without_fields(b"", bytes([0, 0, 0, 0, 6]) + b"\\x0a\\x01m\\x1a\\x01x", ["/id"])
    b'\\n\\x01m'
    """
    unwanted = {REQUEST.get(pointer[1:]) for pointer in pointers}
    kept: list[bytes] = []
    try:
        message = one_message(head, body, bounds.inflated)
        start = 0
        for number, _, _, end in fields(message, Room(bounds.parts)):
            if number not in unwanted:
                kept.append(message[start:end])
            start = end
    except Unreadable:
        return body
    return b"".join(kept)
