"""Triton's classification extension of the V2 protocol: classes as text, `score:index` or `score:index:label`.

A request asks for it, output by output: `parameters: {classification: 3}` (`class_count=3` in `tritonclient`). The
answer is BYTES of shape [rows, 3], or [3] from a model without batches, best class first. What is compared is the
class, not the score that stands before it: `0:cat`, or `0` where the model has no labels.

The request decides what an answer means, since a label may hold colons of its own. One that is no V2 request cannot say
(a gateway may have made one of it); then the exact form that Triton writes decides, a score of six decimals or more.

Source: triton-inference-server/server, `docs/protocol/extension_classification.md` and `src/classification.cc`.
"""

from __future__ import annotations

import re
from typing import Any

from proxy.model import Kind, Pair, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.json_tools import parse_json
from proxy.predictions.message import decoded, head_value
from proxy.predictions.shapes import Tensor
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.v2_grpc import is_grpc, one_message
from proxy.predictions.v2_messages import check_fields, read_message

_CLASS = re.compile(r"(-?(?:[0-9.]+|nan|inf)):([0-9]{1,18})(?::(.*))?", re.DOTALL)
_AS_TRITON_WRITES = re.compile(r"-?[0-9]+\.[0-9]{6,}:[0-9]+(?::.*)?", re.DOTALL)
_PARAMETER = b"classification"
_WIDE = (Kind.PROBABILITIES, Kind.VECTOR)


def is_meant(pair: Pair | None, output: str, data: list[Any], bounds: Bounds = DEFAULT) -> bool:
    """Whether the texts of an output are classes with their scores; never raises.

    >>> is_meant(None, "y", ["0.600000:0:cat"]), is_meant(None, "y", ["12:30:45"]), is_meant(None, "y", ["cat"])
    (True, False, False)
    """
    if not data or ":" not in data[0]:
        return False
    if not all(type(text) is str and _CLASS.fullmatch(text) for text in data):
        return False
    said = _asked_for(pair, output, bounds) if pair is not None else None
    return all(map(_AS_TRITON_WRITES.fullmatch, data)) if said is None else said


def classes(spec: PredictionSpec, values: Tensor) -> Tensor:
    """The classes or scores of an output, as the kind asks; raises `Unreadable`.

    >>> found = Tensor(["0.6:0:cat", "0.4:1:dog"], (1, 2))
    >>> classes(PredictionSpec(), found).data, classes(PredictionSpec(kind=Kind.SCORE), found).data
    (['0:cat'], [0.6])
    """
    width = values.shape[-1] if values.shape else 1
    rows = [values.data[at : at + width] for at in range(0, len(values.data), width)] if width else []
    parsed = [[_parts(text) for text in row] for row in rows]
    if spec.kind in (Kind.SCORE, Kind.NUMBER):
        return Tensor([row[0][0] for row in parsed], (len(rows),))
    if spec.kind in _WIDE:
        return Tensor([score for row in parsed for score in _by_index(row)], (len(rows), width))
    if spec.kind is Kind.RANKING:
        return Tensor([name for row in parsed for _, _, name in row], (len(rows), width))
    return Tensor([row[0][2] for row in parsed], (len(rows),))


def _parts(text: str) -> tuple[float, int, str]:
    """Score, index, and the name of a class."""
    match = _CLASS.fullmatch(text)
    assert match is not None
    score, index, label = match.groups()
    try:
        return float(score), int(index), index if label is None else f"{index}:{label}"
    except ValueError:
        raise Unreadable(Reason.BAD_TYPE, f"a class has the score {score[:40]!r}") from None


def _by_index(row: list[tuple[float, int, str]]) -> list[float]:
    by_index = sorted(row, key=lambda part: part[1])
    if [index for _, index, _ in by_index] != list(range(len(row))):
        raise Unreadable(Reason.BAD_SHAPE, f"scores of {len(row)} classes, not of all: ask for as many as there are")
    return [score for score, _, _ in by_index]


# --- what the request asked for --------------------------------------------------------------------------------------


def _asked_for(pair: Pair, output: str, bounds: Bounds) -> bool | None:
    """Whether a V2 request wants classes of this output; `None` when it is no V2 request."""
    try:
        head = pair.request_head
        body = decoded(head, pair.request_body, bounds.inflated)
        if is_grpc(head):
            message = one_message(head, body, bounds.inflated)
            return _wanted_over_grpc(message, output, bounds.parts)
        text = _json_part(head, body)
        if _PARAMETER not in text and b'"inputs"' in text:
            return False
        document = parse_json(text, bounds=bounds)
    except Unreadable:
        return None
    if type(document) is not dict or type(document.get("inputs")) is not list:
        return None
    outputs = document.get("outputs")
    return any(_wants(entry, output) for entry in outputs) if type(outputs) is list else False


def _wants(entry: Any, output: str) -> bool:
    if type(entry) is not dict or entry.get("name") != output or type(entry.get("parameters")) is not dict:
        return False
    count = entry["parameters"].get("classification")
    return type(count) is int and count > 0


def _json_part(head: bytes, body: bytes) -> bytes:
    """The JSON of a request, without binary tensors."""
    length = head_value(head, "inference-header-content-length")
    return body[: int(length)] if length.isascii() and length.isdigit() and len(length) < 12 else body


def _wanted_over_grpc(message: bytes, output: str, most: int) -> bool:
    """Whether a ModelInferRequest asks for the classes of this output; raises `Unreadable`."""
    requested = read_message("Request", message).outputs
    check_fields(len(requested), most)
    for asked in (read_message("Requested", data) for data in requested):
        check_fields(len(asked.parameters), most)
        if asked.name == output and any(
            entry.key == _PARAMETER.decode() and entry.value.int64_param > 0 for entry in asked.parameters
        ):
            return True
    return False
