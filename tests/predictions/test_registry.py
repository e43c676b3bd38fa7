"""Promise: every protocol that a file may name can be read, and `auto` finds each by the path of the request."""

from __future__ import annotations

from typing import get_args

import pytest

from proxy.config.route import Protocol
from proxy.model.reasons import Reason
from proxy.predictions.message import Message
from proxy.predictions.registry import PROTOCOLS, recognised
from proxy.predictions.unreadable import Unreadable


def test_the_configuration_knows_exactly_these() -> None:
    assert set(get_args(Protocol)) == {"auto", *PROTOCOLS}


@pytest.mark.parametrize(
    ("target", "body", "name"),
    [
        ("/v2/models/a/infer", b"", "v2"),
        ("/v1/models/a:predict", b"", "tensorflow"),
        ("/invocations", b'{"predictions": [1]}', "mlflow"),
        ("/invocations", b"0.5", "sagemaker"),
        ("/predictions/a", b"", "torchserve"),
        ("/v1/chat/completions", b"", "openai"),
    ],
)
def test_auto(target: str, body: bytes, name: str) -> None:
    assert recognised(target, Message(b"", body)).name == name


def test_auto_does_not_guess() -> None:
    with pytest.raises(Unreadable) as caught:
        recognised("/score", Message(b"", b'{"score": 1}'))
    assert caught.value.reason is Reason.UNKNOWN_PROTOCOL
    assert "/score" in caught.value.detail
