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


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The value at `spec.pointer`; raises `Unreadable`."""
    return tensor(_follow_all(answer.document, parse_pointer(spec.pointer)))


def _follow_all(document: Any, pointer: Pointer) -> Any:
    if "*" not in pointer:
        return follow(document, pointer)
    at = pointer.index("*")
    entries = follow(document, pointer[:at])
    if type(entries) is not list:
        return follow(entries, pointer[at:])
    return [_follow_all(entry, pointer[at + 1 :]) for entry in entries]
