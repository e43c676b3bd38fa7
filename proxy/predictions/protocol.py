"""What a protocol is: a name, and how an answer is recognised and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.model import Kind, PredictionSpec
from proxy.predictions.language import Answered
from proxy.predictions.message import Message
from proxy.predictions.shapes import Tensor

VALUES = frozenset(Kind) - {Kind.AUTO, Kind.CALLS}
"""Kinds of prediction that plain values may be; calls of tools are only in what a language model says."""


def unasked(_target: str, _answer: Message) -> bool:
    """Never recognised: read only where the owner names the protocol."""
    return False


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to write an answer. `extract` raises `Unreadable`; `recognise(target, answer)` never raises, and `auto`
    asks in the order of `place` (10, 20, …). `servers` says who speaks it.

    `single(spec, document)` is the only row that a JSON document holds, a value or a list of them, else `None` (or
    whatever `one_row` refuses): a short cut for the commonest answers of all. It changes nothing but the time, and a
    property test holds the two together. `message_row(spec)` makes what gives the same of the body of a gRPC call.
    `pointed`: the value is named by `pointer` or `jmespath`, not by `output`. `grpc`: calls are read as well.
    `outputs` is all that `output` may choose, where the protocol and not the model decides that; `kinds` are those that
    an answer can be read as: a file that asks for another is refused, as no pair of it could ever be compared.
    `spoken` is what a language model said in an answer, in all its parts, for a person to see; it raises `Unreadable`.
    """

    name: str
    place: int
    servers: str
    extract: Callable[[PredictionSpec, Message], Tensor]
    recognise: Callable[[str, Message], bool] = unasked
    single: Callable[[PredictionSpec, Any], Any] | None = None
    pointed: bool = False
    grpc: bool = False
    outputs: tuple[str, ...] = ()
    kinds: frozenset[Kind] = VALUES
    spoken: Callable[[Message], Answered] | None = None
    message_row: Callable[[PredictionSpec], Callable[[bytes], Any]] | None = None
