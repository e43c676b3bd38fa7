"""Promise: where a protocol and not a model decides what an answer holds, an `output` that no answer has is a mistake,
not a trial that never decides."""

from __future__ import annotations

import pytest

from proxy.config import parse
from proxy.predictions.registry import PROTOCOLS
from tests.config.files import PLAIN, mistakes


def _predicted(prediction: str) -> str:
    return (PLAIN % "shadow: 100%").replace("prediction: {protocol: v2, kind: label}", prediction)


@pytest.mark.parametrize(
    ("protocol", "output", "likely"),
    [
        ("openai", "txt", "did you mean `text`? "),
        ("openai", "tool_call", "did you mean `tool_calls`? "),
        ("anthropic", "stop_resaon", "did you mean `stop_reason`? "),
        ("anthropic", "logprob", ""),
        ("openai", "zzz", ""),
    ],
)
def test_an_output_that_no_answer_of_the_protocol_has_is_a_mistake(protocol: str, output: str, likely: str) -> None:
    text = _predicted(f"prediction: {{protocol: {protocol}, output: {output}}}")
    (said,) = mistakes(text).items()
    assert said[0] == "routes[0].prediction.output"
    assert said[1].startswith(
        f"`{output}` is no output of `protocol: {protocol}` ({likely}There are text, tool_calls, "
    )


def test_every_output_of_a_language_model_may_be_named_and_those_of_other_protocols_are_the_models_own() -> None:
    asked = [(protocol.name, output) for protocol in PROTOCOLS.values() for output in protocol.outputs]
    assert ("openai", "logprob") in asked
    assert ("anthropic", "tool_calls") in asked
    for protocol, output in [*asked, ("v2", "txt"), ("tensorflow", "tool_call"), ("auto", "txt")]:
        parse(_predicted(f"prediction: {{protocol: {protocol}, output: {output}}}"), "my.yaml")


@pytest.mark.parametrize(
    ("protocol", "kind"), [("openai", "probabilities"), ("anthropic", "vector"), ("v2", "calls"), ("json", "calls")]
)
def test_a_kind_that_no_answer_of_the_protocol_is_of_is_a_mistake(protocol: str, kind: str) -> None:
    text = _predicted(f"prediction: {{protocol: {protocol}, kind: {kind}}}")
    said = mistakes(text)["routes[0].prediction.kind"]
    assert said.startswith(f"`protocol: {protocol}` has no predictions of kind `{kind}` (it has label, score, number, ")


def test_every_kind_that_a_protocol_has_may_be_asked_for() -> None:
    for protocol in PROTOCOLS.values():
        for kind in protocol.kinds:
            rollout = "shadow: 100%\n        guards: {max_extra_errors: 1%}"
            text = (PLAIN % rollout).replace("protocol: v2, kind: label", f"protocol: {protocol.name}, kind: {kind}")
            parse(text, "my.yaml")
