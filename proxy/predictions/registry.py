"""The protocols by name.

A protocol is one function from a spec and an answer to a `Tensor`, and one that recognises it, for `protocol: auto`.
Some have a short cut for the commonest answer of all, JSON with one value. It changes nothing but the time: what it
does not know it leaves to `extract`, and a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.model import PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import json_pointer, mlflow, openai, sagemaker, tf_serving, torchserve, v2
from proxy.predictions.message import Message
from proxy.predictions.shapes import Tensor
from proxy.predictions.unreadable import Unreadable

AUTO = "auto"
NONE = "none"
"""The name for a route whose answers are not to be read: latency and errors are judged, values are not."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to write an answer. `extract` raises `Unreadable`; `recognise(target, answer)` never raises.
    `single(spec, document)` is the one value that a JSON document holds, or `None` if it is any other document."""

    name: str
    extract: Callable[[PredictionSpec, Message], Tensor]
    recognise: Callable[[str, Message], bool]
    single: Callable[[PredictionSpec, Any], Any] | None = None


def _never(_target: str, _answer: Message) -> bool:
    return False


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("v2", v2.extract, v2.recognise, v2.single),
        Protocol("tensorflow", tf_serving.extract, tf_serving.recognise),
        Protocol("kserve-v1", tf_serving.extract, _never),
        Protocol("mlflow", mlflow.extract, mlflow.recognise),
        Protocol("sagemaker", sagemaker.extract, sagemaker.recognise),
        Protocol("torchserve", torchserve.extract, torchserve.recognise),
        Protocol("openai", openai.extract, openai.recognise),
        Protocol("json", json_pointer.extract, _never, json_pointer.single),
    )
}
"""Every protocol that can be read, in the order in which `auto` tries them."""


def recognised(target: str, answer: Message) -> Protocol:
    """The protocol of an answer to a request for `target`; raises `Unreadable` when none fits."""
    for protocol in PROTOCOLS.values():
        if protocol.recognise(target, answer):
            return protocol
    raise Unreadable(Reason.UNKNOWN_PROTOCOL, f"no known protocol fits this answer to {target[:80] or 'a request'}")
