"""Promise: what `mlflow models serve` answers is read, whatever sort of value the model's flavor made."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Kind
from proxy.model.reasons import Reason
from proxy.predictions.message import Message
from proxy.predictions.protocols.mlflow import recognise
from tests.predictions.pairs import refusal, said

TABLE = {"predictions": [{"setosa": 0.25, "virginica": 0.75}, {"virginica": 0.5, "setosa": 0.5}]}


@pytest.mark.parametrize(
    ("document", "spec", "rows"),
    [
        ({"predictions": [3, 1]}, {"kind": Kind.LABEL}, (3, 1)),
        ({"predictions": ["a", "b"]}, {"kind": Kind.TEXT}, ("a", "b")),
        ({"predictions": 0.5}, {"kind": Kind.SCORE}, (0.5,)),
        ({"predictions": [[0.25, 0.75]]}, {"kind": Kind.PROBABILITIES}, ((0.25, 0.75),)),
        (TABLE, {"kind": Kind.PROBABILITIES}, ((0.25, 0.75), (0.5, 0.5))),
        (TABLE, {"kind": Kind.SCORE, "output": "virginica"}, (0.75, 0.5)),
        ({"predictions": [{"0": 7}]}, {"kind": Kind.NUMBER}, (7.0,)),
        ({"predictions": {"label": ["a"], "score": [0.5]}}, {"kind": Kind.LABEL, "output": "label"}, ("a",)),
        ({"predictions": {"score": 0.5, "label": "a"}}, {"kind": Kind.SCORE, "output": "score"}, (0.5,)),
    ],
)
def test_answers(document: Any, spec: dict[str, Any], rows: tuple[Any, ...]) -> None:
    assert said("mlflow", document, **spec).rows == rows


def test_columns_keep_their_names() -> None:
    assert said("mlflow", TABLE, kind=Kind.PROBABILITIES).names == ("setosa", "virginica")


@pytest.mark.parametrize(
    ("document", "spec", "reason", "words"),
    [
        ({"error_code": "BAD_REQUEST"}, {}, Reason.MISSING_OUTPUT, "`predictions` is missing; found `error_code`"),
        ([1], {}, Reason.MISSING_OUTPUT, "found an array"),
        (b'{"predictions": [0.5, ', {}, Reason.TRUNCATED, "breaks off"),
        (b"<html>", {}, Reason.NOT_JSON, "not JSON"),
        ({"predictions": [0.5, None]}, {"kind": Kind.SCORE}, Reason.NOT_FINITE, "value 1 is null"),
        ({"predictions": {}}, {}, Reason.MISSING_OUTPUT, "none chosen"),
        ({"predictions": [{"a": 1, "b": 0}, {"a": 1, "c": 0}]}, {"kind": Kind.VECTOR}, Reason.BAD_SHAPE, "names"),
        ({"predictions": [{"a": 1, "b": "x"}]}, {"kind": Kind.VECTOR}, Reason.BAD_TYPE, "the text 'x'"),
    ],
)
def test_refusals(document: Any, spec: dict[str, Any], reason: Reason, words: str) -> None:
    found, detail = refusal("mlflow", document, **spec)
    assert found is reason
    assert words in detail


def test_recognised_by_path_and_body() -> None:
    assert recognise("/invocations", Message(b"", b'{"predictions": [1]}'))
    for target, body in (("/invocations", b"[1]"), ("/invocations", b"0.5,0.5"), ("/x", b'{"predictions": [1]}')):
        assert not recognise(target, Message(b"", body))
