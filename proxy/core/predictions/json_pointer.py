"""Any JSON answer, read at one place: `pointer: /scores/0` (RFC 6901). The empty pointer is the whole document.

One thing is added to the RFC: `*` stands for every element of an array, so `/results/*/score` reads a batch of objects.
A key that is really called `*` is still found. (JMESPath could do more, but would interpret a language per answer.)
"""

from __future__ import annotations

from typing import Any

from proxy.core.model import PredictionSpec
from proxy.core.predictions.json_tools import Pointer, follow, parse_pointer
from proxy.core.predictions.message import Message
from proxy.core.predictions.shapes import Tensor, tensor

_PLAIN = (float, int, str)


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The value at `spec.pointer`; raises `Unreadable`."""
    return tensor(_follow_all(answer.document, parse_pointer(spec.pointer)))


def single(spec: PredictionSpec, document: Any) -> Any:
    """The value at `spec.pointer` if it is one number or text, else `None`.

    >>> single(PredictionSpec(pointer="/score"), {"score": 0.5}), single(PredictionSpec(pointer="/a"), {"a": [0.5]})
    (0.5, None)
    """
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
