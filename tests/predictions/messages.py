"""Messages of the V2 protocol over gRPC, written by Google's own library: what we read is checked against it.

The schema is the part of `open_inference_grpc.proto` that carries values, given in code so that no compiler is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_NUMBER = {
    "string": 9, "bool": 8, "int32": 5, "int64": 3, "uint32": 13, "uint64": 4, "float": 2, "double": 1, "bytes": 12,
}  # fmt: skip
_CONTENTS = ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "bytes")
_NAMES = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
FIELD = {
    "BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "UINT8": "uint", "UINT16": "uint",
    "UINT32": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes",
}  # fmt: skip


def _field(message: Any, name: str, number: int, kind: str, repeated: bool = False) -> None:
    field = message.field.add(name=name, number=number, label=3 if repeated else 1)
    if kind.startswith("."):
        field.type, field.type_name = 11, kind
    else:
        field.type = _NUMBER[kind]


def _schema() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="v2.proto", package="inference", syntax="proto3")
    contents = file.message_type.add(name="InferTensorContents")
    for number, (name, kind) in enumerate(zip(_NAMES, _CONTENTS, strict=True), 1):
        _field(contents, f"{name}_contents", number, kind, repeated=True)
    tensor = file.message_type.add(name="Tensor")
    for number, name in ((1, "name"), (2, "datatype")):
        _field(tensor, name, number, "string")
    _field(tensor, "shape", 3, "int64", repeated=True)
    _field(tensor, "contents", 5, ".inference.InferTensorContents")
    answer = file.message_type.add(name="ModelInferResponse")
    for number, name in ((1, "model_name"), (2, "model_version"), (3, "id")):
        _field(answer, name, number, "string")
    _field(answer, "outputs", 5, ".inference.Tensor", repeated=True)
    _field(answer, "raw_output_contents", 6, "bytes", repeated=True)
    request = file.message_type.add(name="ModelInferRequest")
    for number, name in ((1, "model_name"), (2, "model_version"), (3, "id")):
        _field(request, name, number, "string")
    _field(request, "inputs", 5, ".inference.Tensor", repeated=True)
    parameter = file.message_type.add(name="Parameter")
    for number, kind in enumerate(("bool", "int64", "string", "double", "uint64"), 1):
        _field(parameter, f"{kind}_param", number, kind)
    asked = request.nested_type.add(name="ParametersEntry")
    asked.options.map_entry = True
    _field(asked, "key", 1, "string")
    _field(asked, "value", 2, ".inference.Parameter")
    _field(request, "parameters", 4, ".inference.ModelInferRequest.ParametersEntry", repeated=True)
    wanted = file.message_type.add(name="Wanted")
    _field(wanted, "name", 1, "string")
    entry = wanted.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, "string")
    _field(entry, "value", 2, ".inference.Parameter")
    _field(wanted, "parameters", 2, ".inference.Wanted.ParametersEntry", repeated=True)
    _field(request, "outputs", 6, ".inference.Wanted", repeated=True)
    _field(request, "raw_input_contents", 7, "bytes", repeated=True)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _schema()
ModelInferResponse, ModelInferRequest = (
    message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))
    for name in ("ModelInferResponse", "ModelInferRequest")
)


def typed_answer(name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> bytes:
    """A ModelInferResponse with one output, its values in the field of its datatype."""
    answer = ModelInferResponse(model_name="m", model_version="1", id="7")
    output = answer.outputs.add(name=name, datatype=datatype, shape=shape)
    getattr(output.contents, f"{FIELD[datatype]}_contents").extend(values)
    encoded: bytes = answer.SerializeToString()
    return encoded


def raw_answer(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> bytes:
    """A ModelInferResponse with one output, its values raw."""
    answer = ModelInferResponse(model_name="m", model_version="1", id="7", raw_output_contents=[raw])
    answer.outputs.add(name=name, datatype=datatype, shape=shape)
    encoded: bytes = answer.SerializeToString()
    return encoded


def framed(message: bytes, compressed: bool = False) -> bytes:
    """A message with its prefix."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message
