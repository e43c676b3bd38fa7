"""Promise: what TorchServe's handlers answer is read: scores by label, values, and plain text."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.predictions.message import Message
from proxy.predictions.protocols.torchserve import recognise
from tests.predictions.pairs import answer, pair, refusal, said

TOP = {"tabby": 0.5, "tiger_cat": 0.375, "lynx": 0.125}


@pytest.mark.parametrize(
    ("body", "spec", "rows"),
    [
        (TOP, {}, ("tabby",)),
        (TOP, {"kind": Kind.LABEL}, ("tabby",)),
        (TOP, {"kind": Kind.RANKING}, (("tabby", "tiger_cat", "lynx"),)),
        (TOP, {"kind": Kind.PROBABILITIES}, ((0.125, 0.5, 0.375),)),
        (TOP, {"kind": Kind.SCORE, "output": "lynx"}, (0.125,)),
        ([TOP, {"dog": 1, "cat": 0}], {"kind": Kind.LABEL}, ("tabby", "dog")),
        ({"b": 0.5, "a": 0.5}, {"kind": Kind.LABEL}, ("a",)),
        (3, {"kind": Kind.LABEL}, (3,)),
        ([[0.25, 0.75]], {"kind": Kind.PROBABILITIES}, ((0.25, 0.75),)),
        ({"embedding": [1, 2]}, {"kind": Kind.VECTOR}, ((1.0, 2.0),)),
    ],
)
def test_answers(body: Any, spec: dict[str, Any], rows: tuple[Any, ...]) -> None:
    assert said("torchserve", body, **spec).rows == rows


def test_plain_text_is_one_value() -> None:
    assert said("torchserve", b"tabby\n", media_type="text/plain", kind=Kind.LABEL).rows == ("tabby",)


def test_another_set_of_classes_is_the_candidates_fault() -> None:
    head = b"POST /predictions/net HTTP/1.1\r\n\r\n"
    other = {"tabby": 0.5, "tiger_cat": 0.375, "dog": 0.125}
    reading = read_pair(PredictionSpec("torchserve", Kind.PROBABILITIES), pair(answer(TOP), answer(other), head=head))
    assert reading.fault is Reason.BAD_SHAPE
    assert reading.detail == "candidate: the names differ: only here `dog`, only in live's answer `lynx`"


@pytest.mark.parametrize(
    ("body", "media_type", "spec", "reason", "words"),
    [
        (b"", "text/plain", {}, Reason.EMPTY, "empty"),
        (b"\xff", "text/plain", {}, Reason.BAD_ENCODING, "neither JSON nor UTF-8"),
        (b'{"tabby": 0.5', "application/json", {}, Reason.TRUNCATED, "breaks off"),
        (TOP, "application/json", {"kind": Kind.SCORE}, Reason.MISSING_OUTPUT, "several labels"),
        ({"a": 1, "b": "x"}, "application/json", {}, Reason.MISSING_OUTPUT, "several outputs"),
        ([], "application/json", {}, Reason.EMPTY, "no values"),
        (b'{"a": NaN, "b": 1}', "application/json", {}, Reason.NOT_FINITE, "nan"),
    ],
)
def test_refusals(body: Any, media_type: str, spec: dict[str, Any], reason: Reason, words: str) -> None:
    found, detail = refusal("torchserve", body, media_type=media_type, **spec)
    assert found is reason
    assert words in detail


def test_recognised_by_the_path() -> None:
    assert recognise("/predictions/resnet/2.0", Message(b"", b""))
    assert not recognise("/ping", Message(b"", b""))
