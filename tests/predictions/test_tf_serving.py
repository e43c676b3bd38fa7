"""Promise: TensorFlow Serving's and KServe V1's answers are read, in rows and columns, classes and regressions too."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Kind
from proxy.model.reasons import Reason
from proxy.predictions.message import Message
from proxy.predictions.protocols.tf_serving import recognise
from tests.predictions.pairs import refusal, said

CLASSES = {"results": [[["cat", 0.25], ["dog", 0.75]], [["cat", 0.5], ["dog", 0.5]]]}


@pytest.mark.parametrize(
    ("document", "spec", "rows"),
    [
        ({"predictions": [3, 1]}, {"kind": Kind.LABEL}, (3, 1)),
        ({"predictions": [[0.25, 0.75]]}, {"kind": Kind.PROBABILITIES}, ((0.25, 0.75),)),
        ({"predictions": [[0.5], [0.25]]}, {"kind": Kind.SCORE}, (0.5, 0.25)),
        ({"predictions": [{"p": [0.25, 0.75], "c": 1}]}, {"kind": Kind.PROBABILITIES, "output": "p"}, ((0.25, 0.75),)),
        ({"predictions": [{"p": [0.25, 0.75], "c": 1}]}, {"kind": Kind.LABEL, "output": "c"}, (1,)),
        ({"predictions": [{"c": 1}, {"c": 2}]}, {"kind": Kind.LABEL}, (1, 2)),
        ({"predictions": [{"b64": "Y2F0"}]}, {"kind": Kind.LABEL}, ("Y2F0",)),
        ({"outputs": [[0.25, 0.75]]}, {"kind": Kind.PROBABILITIES}, ((0.25, 0.75),)),
        ({"outputs": {"c": [1, 2], "p": [[0.5], [0.5]]}}, {"kind": Kind.LABEL, "output": "c"}, (1, 2)),
        ({"outputs": {"only": [1, 2]}}, {"kind": Kind.LABEL}, (1, 2)),
        ({"results": [0.5, 1.5]}, {"kind": Kind.NUMBER}, (0.5, 1.5)),
        ({"result": [0.5]}, {"kind": Kind.SCORE}, (0.5,)),
        (CLASSES, {"kind": Kind.LABEL}, ("dog", "cat")),
        (CLASSES, {"kind": Kind.RANKING}, (("dog", "cat"), ("cat", "dog"))),
        (CLASSES, {"kind": Kind.PROBABILITIES}, ((0.25, 0.75), (0.5, 0.5))),
        (CLASSES, {"kind": Kind.SCORE, "output": "cat"}, (0.25, 0.5)),
        ({"results": [[["", 0.25], ["", 0.75]]]}, {"kind": Kind.LABEL}, ("1",)),
    ],
)
@pytest.mark.parametrize("protocol", ["tensorflow", "kserve-v1"])
def test_answers(protocol: str, document: Any, spec: dict[str, Any], rows: tuple[Any, ...]) -> None:
    assert said(protocol, document, **spec).rows == rows


def test_classes_keep_their_names() -> None:
    assert said("tensorflow", CLASSES, kind=Kind.PROBABILITIES).names == ("cat", "dog")


@pytest.mark.parametrize(
    ("document", "spec", "reason", "words"),
    [
        ({"error": "x"}, {}, Reason.MISSING_OUTPUT, "`results` is missing; found `error`"),
        ([1], {}, Reason.MISSING_OUTPUT, "found an array"),
        (b'{"predictions": [1', {}, Reason.TRUNCATED, "breaks off"),
        (b"", {}, Reason.EMPTY, "empty"),
        ({"predictions": []}, {}, Reason.EMPTY, "no values"),
        ({"predictions": "x"}, {"kind": Kind.SCORE}, Reason.BAD_TYPE, "the text 'x'"),
        (b'{"predictions": [NaN]}', {"kind": Kind.SCORE}, Reason.NOT_FINITE, "value 0 is nan"),
        (
            {"predictions": [{"a": 1, "b": 2}]},
            {"kind": Kind.LABEL},
            Reason.MISSING_OUTPUT,
            "several outputs (`a`, `b`)",
        ),
        ({"predictions": [{"a": 1}]}, {"output": "b"}, Reason.MISSING_OUTPUT, "output `b` is missing; found `a`"),
        ({"predictions": [{"a": 1}, 2]}, {}, Reason.BAD_TYPE, "a row is a number where others are objects"),
        ({"predictions": [{"a": 1}, {"c": 1, "d": 2}]}, {}, Reason.MISSING_OUTPUT, "several outputs"),
        ({"outputs": {"a": [1], "b": [1]}}, {}, Reason.MISSING_OUTPUT, "several outputs (`a`, `b`)"),
        ({"results": [[["cat"]]]}, {}, Reason.BAD_SHAPE, "not a list of [label, score]"),
        ({"results": [[["cat", "high"]]]}, {}, Reason.BAD_TYPE, "the text 'high'"),
        ({"results": [[]]}, {}, Reason.EMPTY, "no labels"),
        (CLASSES, {"kind": Kind.SCORE}, Reason.MISSING_OUTPUT, "several labels (`cat`, `dog`)"),
        (CLASSES, {"kind": Kind.SCORE, "output": "cow"}, Reason.MISSING_OUTPUT, "output `cow` is missing"),
    ],
)
def test_refusals(document: Any, spec: dict[str, Any], reason: Reason, words: str) -> None:
    found, detail = refusal("tensorflow", document, **spec)
    assert found is reason
    assert words in detail


def test_recognised_by_the_path() -> None:
    nothing = Message(b"", b"")
    for verb in ("predict", "classify", "regress"):
        assert recognise(f"/v1/models/half_plus_two/versions/3:{verb}?x=1", nothing)
    assert not recognise("/v1/models/half_plus_two/metadata", nothing)
