"""The Open Inference Protocol (KServe v2): `outputs`, each with a name, a shape, a datatype and data.

Over REST data is JSON, or raw bytes after the JSON (`v2_binary`), as Triton sends it to `tritonclient`; over gRPC it is
a protobuf message (`v2_grpc`). Triton writes classes as text with their scores where it was asked to
(`classification`).

`id`, `model_name`, `model_version` and `parameters` are not looked at: they differ between two servers by design.
Source: kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
"""

from __future__ import annotations

from math import prod
from typing import Any

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds, too_many
from proxy.predictions.classification import classes, is_meant
from proxy.predictions.json_tools import word_for
from proxy.predictions.message import Message, mark_of
from proxy.predictions.protocol import Protocol
from proxy.predictions.shapes import MAX_RANK, Tensor, tensor
from proxy.predictions.unreadable import Unreadable, names
from proxy.predictions.v2_binary import binary_size, decode_tensor, raw_of, split
from proxy.predictions.v2_grpc import GRPC, METHOD, typed
from proxy.predictions.v2_grpc import document as document_of
from proxy.predictions.v2_known import message_row

_AUTO = Kind.AUTO

NUMBERS = frozenset(
    ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "BF16", "FP32", "FP64")
)
DATATYPES = NUMBERS | {"BOOL", "BYTES"}

_JSON_TYPES: dict[str, frozenset[type]] = {
    # null is how JSON libraries write NaN; whether it matters is for the kind to say.
    **dict.fromkeys(NUMBERS, frozenset((int, float, bool, type(None)))),
    "BOOL": frozenset((bool, int)),
    "BYTES": frozenset((str,)),
}
"""What JSON values may stand for each datatype."""

_SINGLES = {**dict.fromkeys(NUMBERS, (float, int)), "BYTES": (str,)}


_BINARY = mark_of("inference-header-content-length")


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The values of the wanted output; raises `Unreadable`."""
    if answer.has(_BINARY):
        document, tail = split(answer)
        output = chosen_output(spec, document)
        raw = raw_of(document, output, tail)
        bounds = answer.bounds
        values = output_values(output, bounds) if binary_size(output) is None else _binary_values(output, raw, bounds)
    elif answer.has(GRPC):
        output = chosen_output(spec, document_of(answer))
        values = _message_values(output, answer.bounds)
    else:
        output = chosen_output(spec, answer.document)
        values = output_values(output, answer.bounds)
    if output["datatype"] == "BYTES" and is_meant(answer.pair, output.get("name", ""), values.data, answer.bounds):
        values = classes(spec, values)
    if spec.kind is _AUTO:
        values.hint = hint_for(output["datatype"], values.width)
    return values


def single(spec: PredictionSpec, document: Any) -> Any:
    """The value of the wanted output if it is JSON, whole and exactly one number or text, or the list of the numbers of
    its only row; else `None`.

    >>> single(PredictionSpec(), {"outputs": [{"name": "y", "shape": [1, 1], "datatype": "FP64", "data": [0.5]}]})
    0.5
    """
    try:
        outputs, wanted = document["outputs"], spec.output
        if type(outputs) is not list or (len(outputs) != 1 and not wanted):
            return None
        output = outputs[0]
        if wanted and output["name"] != wanted:
            output = next(one for one in outputs if one["name"] == wanted)
        shape, data, datatype = output["shape"], output["data"], output["datatype"]
        if type(data) is list and len(data) == 1 and type(data[0]) is list:
            data = data[0]
        count = len(data) if type(data) is list else 0
        # An equality of lists would take `true` and 1.0 for 1, which `extract` refuses.
        row = (shape == [count] or shape == [1, count]) and type(shape[0]) is type(shape[-1]) is int
        if not row or count < 1:
            return None
        if count > 1:
            return data if datatype in NUMBERS else None
        value = data[0]
        if type(value) not in _SINGLES[datatype]:
            return None
        return None if type(value) is str and ":" in value else value  # it may be a class with its score
    except (IndexError, KeyError, TypeError, StopIteration):
        return None


def chosen_output(spec: PredictionSpec, document: Any) -> dict[str, Any]:
    """The output called `spec.output`, or the only one when no name is given; raises `Unreadable`."""
    outputs = document.get("outputs") if type(document) is dict else None
    if type(outputs) is not list:
        found = names(document) if type(document) is dict else word_for(document)
        raise Unreadable(Reason.MISSING_OUTPUT, f"`outputs` is missing; found {found}")
    wanted = spec.output
    for output in outputs:
        if type(output) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an entry of `outputs` is {word_for(output)}, expected an object")
        if output.get("name") == wanted:
            return output
    if not spec.output and len(outputs) == 1:
        only: dict[str, Any] = outputs[0]
        return only
    found = names(output.get("name") for output in outputs)
    if spec.output:
        raise Unreadable(Reason.MISSING_OUTPUT, f"output `{spec.output}` is missing; found {found}")
    if not outputs:
        raise Unreadable(Reason.EMPTY, "`outputs` is empty")
    raise Unreadable(Reason.MISSING_OUTPUT, f"several outputs ({found}) and none chosen by `output:`")


def _message_values(output: dict[str, Any], bounds: Bounds) -> Tensor:
    datatype, shape = checked_datatype(output), checked_shape(output)
    if output["raw"] is not None:
        return decode_tensor(datatype, shape, output["raw"], bounds)
    return typed(datatype, shape, output["contents"], prod(shape), bounds)


def _binary_values(output: dict[str, Any], raw: bytes, bounds: Bounds) -> Tensor:
    return decode_tensor(checked_datatype(output), checked_shape(output), raw, bounds)


def output_values(output: dict[str, Any], bounds: Bounds = DEFAULT) -> Tensor:
    """The values of one output that carries its data as JSON; raises `Unreadable`."""
    allowed = _JSON_TYPES[checked_datatype(output)]
    shape = checked_shape(output)
    data = output.get("data")
    if type(data) is not list:
        raise Unreadable(Reason.BAD_TYPE, f"`data` is {word_for(data)}, expected an array")
    if data and type(data[0]) is list:  # the protocol allows both flat and nested data
        data = tensor(data).data
    if output["datatype"] == "BYTES" and len(data) > bounds.parts:
        raise too_many(len(data), bounds.parts, "elements of a BYTES tensor")
    if len(data) != prod(shape):
        raise Unreadable(Reason.BAD_SHAPE, f"shape {list(shape)} wants {prod(shape)} values, found {len(data)}")
    if not allowed.issuperset(map(type, data)):
        found = next(value for value in data if type(value) not in allowed)
        raise Unreadable(Reason.BAD_TYPE, f"datatype {output['datatype']}, but `data` holds {word_for(found)}")
    return Tensor(data, shape)


def checked_datatype(output: dict[str, Any]) -> str:
    """The datatype of an output, one of `DATATYPES`; raises `Unreadable`."""
    datatype = output.get("datatype")
    if type(datatype) is not str or datatype not in DATATYPES:
        raise Unreadable(Reason.BAD_TYPE, f"datatype {str(datatype)[:40]!r} is not one of the protocol's")
    return datatype


def checked_shape(output: dict[str, Any]) -> tuple[int, ...]:
    """The shape of an output; raises `Unreadable`."""
    shape = output.get("shape")
    if type(shape) is not list:
        raise Unreadable(Reason.BAD_SHAPE, f"`shape` is {word_for(shape)}, expected an array")
    if len(shape) > MAX_RANK:
        raise Unreadable(Reason.TOO_DEEP, f"a shape of {len(shape)} dimensions, at most {MAX_RANK} are read")
    for size in shape:
        if type(size) is not int or size < 0:
            raise Unreadable(Reason.BAD_SHAPE, "`shape` is not an array of whole numbers")
    return tuple(shape)


def hint_for(datatype: str, width: int) -> Kind:
    """The kind that a datatype suggests when the owner left it open; floats with several per row stay open.

    >>> hint_for("INT64", 1), hint_for("FP32", 1), hint_for("FP32", 10)
    (<Kind.LABEL: 'label'>, <Kind.NUMBER: 'number'>, <Kind.AUTO: 'auto'>)
    """
    if not datatype.startswith(("FP", "BF")):
        return Kind.LABEL
    return Kind.NUMBER if width == 1 else Kind.AUTO


def recognise(target: str, _answer: Message) -> bool:
    """Whether this answers a V2 inference request, by the path."""
    path = target.partition("?")[0]
    if path == METHOD:
        return True
    return path.startswith("/v2/") and path.endswith("/infer")


PROTOCOLS = (
    Protocol(
        "v2",
        10,
        "MLServer, Triton, KServe: any server of the Open Inference Protocol (V2)",
        extract,
        recognise,
        single,
        grpc=True,
        message_row=message_row,
    ),
)
