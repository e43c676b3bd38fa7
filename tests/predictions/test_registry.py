"""Promise: a protocol is one file; every one that a file may name can be read, and `auto` finds each by the path of the
request."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model.reasons import Reason
from proxy.predictions.message import Message
from proxy.predictions.registry import PROTOCOLS, recognised
from proxy.predictions.unreadable import Unreadable
from tests.fixtures import package_with


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package says, in whose `predictions/protocols/` one file was put."""
    return package_with("predictions/protocols", "scorer.py", "with_scorer.py", tmp_path_factory.mktemp("copy"))


def test_a_protocol_is_one_file(said: dict[str, Any]) -> None:
    assert said["read"] == [0.25]
    assert said["auto"] == "scorer"
    assert said["unreadable"] == "the candidate's score is no number: text `?`"
    assert said["config"] == ["scorer", ""]
    assert "found `scorers`" in said["misspelt"] or "did you mean `scorer`?" in said["misspelt"]
    assert "scorer" in said["schema"]
    assert "has no meaning with `protocol: scorer`" in said["pointer"]
    assert "`scorer` is not read from gRPC" in said["grpc"]


def test_two_protocols_have_no_place_in_common() -> None:
    assert len({protocol.place for protocol in PROTOCOLS.values()}) == len(PROTOCOLS)


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
