"""Promise: SageMaker's answers are read as JSON, JSON lines and CSV, in the layouts of its own containers."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Kind
from proxy.model.reasons import Reason
from proxy.predictions.message import Message
from proxy.predictions.protocols.sagemaker import recognise
from proxy.predictions.shapes import MAX_ROWS
from tests.predictions.pairs import refusal, said

LINEAR = {"predictions": [{"score": 0.75, "predicted_label": 1}, {"score": 0.25, "predicted_label": 0}]}
LINES = b'{"score": 0.75, "predicted_label": 1}\n{"score": 0.25, "predicted_label": 0}\n'
PIPELINE = [[{"label": "NEGATIVE", "score": 0.25}, {"label": "POSITIVE", "score": 0.75}]]


@pytest.mark.parametrize(
    ("media_type", "body", "spec", "rows"),
    [
        ("application/json", LINEAR, {"kind": Kind.SCORE, "output": "score"}, (0.75, 0.25)),
        ("application/json", LINEAR, {"kind": Kind.LABEL, "output": "predicted_label"}, (1, 0)),
        ("application/json; charset=utf-8", [3, 1], {"kind": Kind.LABEL}, (3, 1)),
        ("application/json", [{"label": "A", "score": 0.9}], {"kind": Kind.LABEL, "output": "label"}, ("A",)),
        ("application/json", PIPELINE, {"kind": Kind.LABEL}, ("POSITIVE",)),
        ("application/json", PIPELINE, {"kind": Kind.PROBABILITIES}, ((0.25, 0.75),)),
        ("application/json", [{"generated_text": "hi"}], {"kind": Kind.TEXT}, ("hi",)),
        ("application/jsonlines", LINES, {"kind": Kind.SCORE, "output": "score"}, (0.75, 0.25)),
        ("application/x-ndjson", b"0.5\r\n\r\n1\r\n", {"kind": Kind.SCORE}, (0.5, 1.0)),
        ("text/csv", b"0.75\n0.25\n", {"kind": Kind.SCORE}, (0.75, 0.25)),
        ("text/csv", b"0.75,0.25", {"kind": Kind.SCORE}, (0.75, 0.25)),
        (
            "text/csv; charset=utf-8",
            b"0.75,0.25\r\n0.5,0.5\r\n",
            {"kind": Kind.PROBABILITIES},
            ((0.75, 0.25), (0.5, 0.5)),
        ),
        ("text/csv", b'"a, b"\nc\n', {"kind": Kind.LABEL}, ("a, b", "c")),
        ("text/csv", b"1\n0\n", {"kind": Kind.LABEL}, (1, 0)),
        ("text/csv", b"1_0\n", {"kind": Kind.LABEL}, ("1_0",)),
        ("text/csv", b"9" * 30, {"kind": Kind.NUMBER}, (1e30,)),
        ("text/csv", b"9" * 30, {"kind": Kind.LABEL}, ("9" * 30,)),
        ("text/csv", b"1790000000000000001\n-9", {"kind": Kind.LABEL}, (1790000000000000001, -9)),
    ],
)
def test_answers(media_type: str, body: Any, spec: dict[str, Any], rows: tuple[Any, ...]) -> None:
    assert said("sagemaker", body, media_type=media_type, **spec).rows == rows


@pytest.mark.parametrize(
    ("media_type", "body", "reason", "words"),
    [
        ("application/x-recordio-protobuf", b"\x00", Reason.BAD_ENCODING, "is not JSON, JSON lines or CSV"),
        ("application/json", b"[1", Reason.TRUNCATED, "breaks off"),
        ("application/jsonlines", b"0.5\n[1", Reason.TRUNCATED, "breaks off"),
        ("application/jsonlines", b"\n\n", Reason.EMPTY, "empty"),
        ("text/csv", b"", Reason.EMPTY, "empty"),
        ("text/csv", b"\xff\xfe", Reason.BAD_ENCODING, "not UTF-8"),
        ("text/csv", b"0.5,0.5\n1", Reason.BAD_SHAPE, "differ in length"),
        ("text/csv", b"high\nlow", Reason.BAD_TYPE, "the text 'high'"),
        ("text/csv", b"nan\n", Reason.NOT_FINITE, "value 0 is nan"),
        ("text/csv", b"9" * 5000, Reason.NOT_FINITE, "value 0 is inf"),
        ("text/csv", b'"' + b"x" * 200_000, Reason.BAD_ENCODING, "not CSV"),
        ("text/csv", b"1\n" * (MAX_ROWS + 1), Reason.TOO_MANY_ELEMENTS, "at most"),
        ("application/jsonlines", b"1\n" * (MAX_ROWS + 1), Reason.TOO_MANY_ELEMENTS, "at most"),
    ],
)
def test_refusals(media_type: str, body: bytes, reason: Reason, words: str) -> None:
    found, detail = refusal("sagemaker", body, media_type=media_type, kind=Kind.SCORE)
    assert found is reason
    assert words in detail


def test_recognised_by_the_path() -> None:
    assert recognise("/invocations", Message(b"", b"0.5"))
    assert not recognise("/ping", Message(b"", b"0.5"))
