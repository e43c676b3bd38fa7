"""Any JSON answer, read at one place: `pointer: /scores/0` (RFC 6901). The empty pointer is the whole document.

One thing is added to the RFC: `*` stands for every element of an array, so `/results/*/score` reads a batch of objects.
A key that is really called `*` is still found. What needs more than that is said in JMESPath (`jmespath: …`). Of a
stream the place is looked up in every event (`json_events`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from proxy.json_pointer import Pointer, parse_pointer
from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import elements, too_many
from proxy.predictions.expressions import ExpressionError, search
from proxy.predictions.json_events import Find, found_in, pieces_of, unnamed_lines, values_of_stream
from proxy.predictions.json_tools import value_at, word_for
from proxy.predictions.message import Message
from proxy.predictions.protocol import Protocol
from proxy.predictions.shapes import Tensor, only_row, tensor
from proxy.predictions.unreadable import Unreadable

_ROW = (float, int, str, list)


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The value at `spec.pointer`, or what `spec.jmespath` finds; raises `Unreadable`."""
    try:
        document = answer.document
    except Unreadable as why:  # a stream is no JSON, so what is JSON is not asked whether it is one
        return _of_stream(spec, answer, why)
    if spec.jmespath:
        _check_size(answer)
    value = _finder(spec)(document)
    return Tensor([value], ()) if spec.kind is Kind.JSON else tensor(value)  # a document is one thing, array or not


def _of_stream(spec: PredictionSpec, answer: Message, why: Unreadable) -> Tensor:
    """The values of a stream of events; raises `Unreadable`, `why` where the answer is none."""
    pieces = pieces_of(answer)
    if pieces is None:
        documents = unnamed_lines(answer)
        if documents is None:
            raise why
        return found_in(spec, documents, _finder(spec), _first(spec))
    if spec.jmespath:
        _check_size(answer)
    if not (spec.pointer or spec.jmespath):
        return values_of_stream(spec, answer, pieces)
    return found_in(spec, [answer.parse(piece) for piece in pieces], _finder(spec), _first(spec))


def _check_size(answer: Message) -> None:
    """An expression looks at elements one by one, in Python: it may be shown fewer of them."""
    most = answer.bounds.nodes // 4
    if len(answer.body) > most and (found := elements(answer.body)) > most:
        raise too_many(found, most, "JSON elements for `jmespath`")


def _first(spec: PredictionSpec) -> str:
    """The member that a document must have at its top to be worth looking into; empty when it is not known."""
    pointer = parse_pointer(spec.pointer)
    return pointer[0] if pointer and pointer[0] != "*" else ""


def _finder(spec: PredictionSpec) -> Find:
    if spec.jmespath:
        return partial(_search, spec.jmespath)
    pointer = parse_pointer(spec.pointer)
    return lambda document: _follow_all(document, pointer)


def single(spec: PredictionSpec, document: Any) -> Any:
    """The value at `spec.pointer` if it is one number or text, or an array of one row; else `None`.

    >>> single(PredictionSpec(pointer="/score"), {"score": 0.5}), single(PredictionSpec(pointer="/a"), {"a": [0.5]})
    (0.5, [0.5])
    """
    if spec.jmespath:
        return None
    value = document
    for token in parse_pointer(spec.pointer):
        if type(value) is not dict:
            return None
        value = value.get(token)
    return only_row(value) if type(value) in _ROW else None


def _follow_all(document: Any, pointer: Pointer) -> Any:
    if "*" not in pointer:
        return value_at(document, pointer)
    at = pointer.index("*")
    entries = value_at(document, pointer[:at])
    if type(entries) is not list:
        return value_at(entries, pointer[at:])
    return [_follow_all(entry, pointer[at + 1 :]) for entry in entries]


def _search(expression: str, document: Any) -> Any:
    try:
        found = search(expression, document)
    except ExpressionError as error:
        raise Unreadable(Reason.BAD_TYPE, f"`{expression[:60]}` cannot be applied: {error}") from None
    if found is None:
        raise Unreadable(Reason.MISSING_OUTPUT, f"`{expression[:60]}` finds nothing; found {word_for(document)}")
    return found


PROTOCOLS = (Protocol("json", 80, "any other server that answers in JSON", extract, single=single, pointed=True),)
