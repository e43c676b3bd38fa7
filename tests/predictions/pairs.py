"""Pairs for tests: the fields that matter by name, everything else harmless."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.model import Arm, Outcome, Pair, Prediction, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.message import Message
from proxy.predictions.registry import PROTOCOLS
from proxy.predictions.shapes import predict
from proxy.predictions.unreadable import Unreadable

REQUEST_HEAD = (
    b"POST /v2/models/credit/infer HTTP/1.1\r\nhost: model\r\nx-tenant: acme\r\nX-User-Id: 42\r\n"
    b"content-type: application/json\r\n\r\n"
)
ANSWER_HEAD = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\nContent-Type: application/json\r\n\r\n"


def answer(body: Any, status: int = 200, head: bytes = ANSWER_HEAD) -> Outcome:
    """A whole answer; anything but bytes is written as JSON."""
    return Outcome(status, head=head, body=body if isinstance(body, bytes) else orjson.dumps(body), seconds=0.01)


def pair(
    live: Outcome,
    candidate: Outcome,
    *,
    request: Any = b'{"x": 1}',
    head: bytes = REQUEST_HEAD,
    again: Outcome | None = None,
) -> Pair:
    """One pair of outcomes."""
    body = request if isinstance(request, bytes) else orjson.dumps(request)
    return Pair("trial", 3, "worker", 7, "id", 12.5, Arm.LIVE, head, body, live, candidate, again)


def v2(*outputs: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """A V2 answer."""
    return {"model_name": "credit", "id": "1", "outputs": list(outputs), **extra}


def output(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    """One output of a V2 answer."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def head_of(media_type: str) -> bytes:
    """The head of a good answer of that type."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n".encode()


def said(protocol: str, body: Any, *, media_type: str = "application/json", **spec: Any) -> Prediction:
    """The prediction in one answer; raises `Unreadable`."""
    wanted = PredictionSpec(protocol, **spec)
    outcome = answer(body, head=head_of(media_type))
    return predict(wanted, PROTOCOLS[protocol].extract(wanted, Message(outcome.head, outcome.body)))


def refusal(protocol: str, body: Any, **spec: Any) -> tuple[Reason, str]:
    """The reason word and the sentence why an answer cannot be read."""
    with pytest.raises(Unreadable) as caught:
        said(protocol, body, **spec)
    return caught.value.reason, caught.value.detail
