"""Promise: a protocol is one file; every one that a file may name can be read, and `auto` finds each by the path of the
request."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.model import Kind, Outcome, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import read_pair, registry
from proxy.predictions.message import Message
from proxy.predictions.protocol import Protocol, unasked
from proxy.predictions.protocols import tf_serving
from proxy.predictions.registry import PROTOCOLS, recognised
from proxy.predictions.unreadable import Unreadable
from tests.fixtures import package_with
from tests.predictions.pairs import pair


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
    assert "`protocol: scorer` has no predictions of kind `ranking` (it has score, number)" in said["kind"]
    assert said["hinted"] == "score"
    assert "`scorer` is not read from gRPC" in said["grpc"]


def test_two_protocols_with_one_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = SimpleNamespace(PROTOCOLS=(Protocol("twin", PROTOCOLS["v2"].place, "", extract=tf_serving.extract),))

    def imported(name: str) -> Any:
        return twin if name.endswith(".mlflow") else import_module(name)

    monkeypatch.setattr(registry, "import_module", imported)
    with pytest.raises(RuntimeError, match=r"two protocols have one place: .*\(10, 'twin'\)"):
        registry._found()


RECOGNISED = {
    "v2": ("/v2/models/a/infer", b""),
    "tensorflow": ("/v1/models/a:predict", b""),
    "mlflow": ("/invocations", b'{"predictions": [1]}'),
    "sagemaker": ("/invocations", b"0.5"),
    "torchserve": ("/predictions/a", b""),
    "openai": ("/v1/chat/completions", b""),
    "anthropic": ("/v1/messages", b""),
}


@pytest.mark.parametrize("name", [one.name for one in PROTOCOLS.values() if one.recognise is not unasked])
def test_auto(name: str) -> None:
    target, body = RECOGNISED[name]
    assert recognised(target, Message(b"", body)).name == name


VALUE: dict[Kind, Any] = {
    Kind.LABEL: "a", Kind.SCORE: 0.5, Kind.NUMBER: 7.5, Kind.PROBABILITIES: [0.25, 0.75], Kind.VECTOR: [1.5, 2.5],
    Kind.RANKING: ["a", "b"], Kind.TEXT: "a b", Kind.JSON: '{"a": 1}', Kind.CALLS: "a({})",
}  # fmt: skip
"""A row of each kind, as plain JSON; there is none of calls."""


def v2(value: Any) -> Any:
    flat = value if type(value) is list else [value]
    datatype = "BYTES" if type(flat[0]) is str else "FP64"
    shape = [1, len(flat)] if type(value) is list else [1]
    return {"outputs": [{"name": "y", "shape": shape, "datatype": datatype, "data": flat}]}


WRITTEN: dict[str, Callable[[Any], Any]] = {
    "v2": v2,
    "tensorflow": lambda value: {"predictions": [value]},
    "kserve-v1": lambda value: {"predictions": [value]},
    "mlflow": lambda value: {"predictions": [value]},
    "sagemaker": lambda value: {"predictions": [value]},
    "torchserve": lambda value: [value],
    "json": lambda value: {"y": [value]},
}
"""How each protocol of values writes a row."""


def chat(text: str) -> Any:
    call = {"function": {"name": "f", "arguments": "{}"}}
    choice = {"index": 0, "message": {"content": text, "tool_calls": [call]}, "finish_reason": "stop",
              "logprobs": {"content": [{"logprob": 0.5}]}}  # fmt: skip
    return {"choices": [choice], "usage": {"completion_tokens": 1}}


def messages(text: str) -> Any:
    content = [{"type": "text", "text": text}, {"type": "tool_use", "id": "i", "name": "f", "input": {}}]
    return {"content": content, "stop_reason": "end_turn", "usage": {"output_tokens": 1}}


OUTPUT = {Kind.CALLS: "tool_calls", Kind.LABEL: "refusal", Kind.NUMBER: "tokens", Kind.SCORE: "tokens"}
"""What of an answer of a language model is of a kind; its text where nothing is said."""
SAID: dict[str, Callable[[str], Any]] = {"openai": chat, "anthropic": messages}


def asked(name: str, kind: Kind) -> tuple[PredictionSpec, Any]:
    """What to read of which answer, to have a prediction of this kind."""
    if name in SAID and kind is Kind.VECTOR:
        return PredictionSpec(name, kind), {"data": [{"index": 0, "embedding": [1.5, 2.5]}]}
    if name in SAID:
        return PredictionSpec(name, kind, OUTPUT.get(kind, "text")), SAID[name]('{"a": 1}')
    return PredictionSpec(name, kind, pointer="/y" if name == "json" else ""), WRITTEN[name](VALUE[kind])


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.AUTO])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_has_the_kinds_that_it_says(name: str, kind: Kind) -> None:
    spec, document = asked(name, kind)
    outcome = Outcome(200, head=b"HTTP/1.1 200 OK\r\n\r\n", body=json.dumps(document).encode())
    reading = read_pair(spec, pair(outcome, outcome))
    assert (reading.live is not None) == (kind in PROTOCOLS[name].kinds), reading.detail


def test_auto_does_not_guess() -> None:
    with pytest.raises(Unreadable) as caught:
        recognised("/score", Message(b"", b'{"score": 1}'))
    assert caught.value.reason is Reason.UNKNOWN_PROTOCOL
    assert "/score" in caught.value.detail
