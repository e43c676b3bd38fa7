"""Any JSON answer, read at one place: `pointer: /scores/0` (RFC 6901). The empty pointer is the whole document.

One thing is added to the RFC: `*` stands for every element of an array, so `/results/*/score` reads a batch of objects.
A key that is really called `*` is still found. What needs more than that is said in JMESPath (`jmespath: …`).
"""

from __future__ import annotations

from typing import Any

from proxy.core.expressions import ExpressionError, search
from proxy.core.model import PredictionSpec
from proxy.core.predictions.json_tools import Pointer, follow, parse_pointer, word_for
from proxy.core.predictions.message import Message
from proxy.core.predictions.shapes import Tensor, tensor
from proxy.core.predictions.unreadable import Unreadable
from proxy.core.reasons import Reason

_PLAIN = (float, int, str)


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The value at `spec.pointer`, or what `spec.jmespath` finds; raises `Unreadable`."""
    if spec.jmespath:
        return tensor(_search(spec.jmespath, answer.document))
    return tensor(_follow_all(answer.document, parse_pointer(spec.pointer)))


def single(spec: PredictionSpec, document: Any) -> Any:
    """The value at `spec.pointer` if it is one number or text, else `None`.

    >>> single(PredictionSpec(pointer="/score"), {"score": 0.5}), single(PredictionSpec(pointer="/a"), {"a": [0.5]})
    (0.5, None)
    """
    if spec.jmespath:
        return None
    value = document
    for token in parse_pointer(spec.pointer):
        if type(value) is not dict:
            return None
        value = value.get(token)
    return value if type(value) in _PLAIN else None


def _follow_all(document: Any, pointer: Pointer) -> Any:
    if "*" not in pointer:
        return follow(document, pointer)
    at = pointer.index("*")
    entries = follow(document, pointer[:at])
    if type(entries) is not list:
        return follow(entries, pointer[at:])
    return [_follow_all(entry, pointer[at + 1 :]) for entry in entries]


def _search(expression: str, document: Any) -> Any:
    try:
        found = search(expression, document)
    except ExpressionError as error:
        raise Unreadable(Reason.BAD_TYPE, f"`{expression[:60]}` cannot be applied: {error}") from None
    if found is None:
        raise Unreadable(Reason.MISSING_OUTPUT, f"`{expression[:60]}` finds nothing; found {word_for(document)}")
    return found
