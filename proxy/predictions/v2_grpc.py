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
from proxy.predictions.message import Message, head_value, mark_of
from proxy.predictions.shapes import Tensor
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.v2_binary import element
from proxy.predictions.v2_messages import REQUEST, check_fields, read_message

METHOD = "/inference.GRPCInferenceService/ModelInfer"
GRPC = mark_of("content-type") + b" application/grpc"
"""What every head of gRPC has."""

_FIELD = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Field of `InferTensorContents` that holds each datatype."""


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
    coding = head_value(head, "grpc-encoding").lower()
    if coding not in CODINGS or coding == "identity":
        raise Unreadable(Reason.BAD_ENCODING, f"a message compressed by `{coding[:40] or 'an unnamed coding'}`")
    return CODINGS[coding](body[5:], most)


def document(answer: Message) -> dict[str, Any]:
    """A ModelInferResponse as the REST protocol would write it, its values as they came: `raw` bytes, or typed
    `contents`; raises `Unreadable`."""
    most = answer.bounds.parts
    response = read_message("Response", one_message(answer.head, answer.body, answer.bounds.inflated))
    tensors, raw = response.outputs, response.raw_output_contents
    check_fields(len(tensors) + len(raw), most)
    if raw and len(raw) != len(tensors):
        raise Unreadable(Reason.BAD_SHAPE, f"{len(raw)} `raw_output_contents` for {len(tensors)} outputs")
    return {"outputs": [_output(data, raw[at] if raw else None, most) for at, data in enumerate(tensors)]}


def _output(data: bytes, raw: bytes | None, most: int) -> dict[str, Any]:
    output = read_message("Output", data)
    check_fields(len(output.shape), most)
    shape, contents = list(output.shape), output.contents
    return {"name": output.name, "datatype": output.datatype, "shape": shape, "contents": contents, "raw": raw}


def typed(datatype: str, shape: tuple[int, ...], contents: Any, count: int, bounds: Bounds = DEFAULT) -> Tensor:
    """The values in an `InferTensorContents`; raises `Unreadable` unless there are `count` of the datatype's field."""
    wanted = _FIELD.get(datatype)
    if wanted is None:
        raise Unreadable(Reason.BAD_TYPE, f"{datatype} has no typed contents, only `raw_output_contents`")
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise Unreadable(Reason.BAD_TYPE, f"datatype {datatype}, but the values are in `{field.name}`")
    found = getattr(contents, wanted)
    if len(found) != count:
        raise Unreadable(Reason.BAD_SHAPE, f"shape {list(shape)} wants {count} values, found {len(found)}")
    if datatype == "BYTES":
        check_fields(len(found), bounds.parts)
        return Tensor([element(value) for value in found], shape)
    if len(found) > bounds.values:
        raise too_many(len(found), bounds.values, "values")
    return Tensor(list(found), shape, exact=datatype in ("FP32", "FP64"))


def without_fields(head: bytes, body: bytes, pointers: Sequence[str], bounds: Bounds = DEFAULT) -> bytes:
    """A ModelInferRequest without some fields (`/id`), for telling repeats; a body that is none stays as it is.

    >>> without_fields(b"", bytes([0, 0, 0, 0, 6]) + b"\\x0a\\x01m\\x1a\\x01x", ["/id"])
    b'\\n\\x01m'
    """
    try:
        request = read_message("Request", one_message(head, body, bounds.inflated))
    except Unreadable:
        return body
    for pointer in pointers:
        if pointer[1:] in REQUEST:
            request.ClearField(pointer[1:])
    found: bytes = request.SerializeToString()
    return found
