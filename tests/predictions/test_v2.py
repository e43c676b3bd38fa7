"""Promise: a V2 answer's output is read by name whatever else the server adds, and what is wrong is said in words."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.message import Message
from proxy.predictions.protocols.v2 import extract, recognise
from proxy.predictions.shapes import predict
from proxy.predictions.unreadable import Unreadable
from tests.predictions.pairs import answer, output, v2


def read(document: Any, name: str = "", kind: Kind = Kind.AUTO) -> Any:
    spec = PredictionSpec("v2", kind, name)
    outcome = answer(document)
    return predict(spec, extract(spec, Message(outcome.head, outcome.body)))


def refusal(document: Any, name: str = "", kind: Kind = Kind.AUTO) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(document, name, kind)
    return caught.value


LABEL = output("predict", "INT64", [2, 1], [3, 1])
PROBABILITIES = output("predict_proba", "FP64", [2, 2], [0.25, 0.75, 1.0, 0.0])


def test_outputs_are_found_by_name() -> None:
    assert read(v2(LABEL, PROBABILITIES), "predict").rows == (3, 1)
    assert read(v2(LABEL, PROBABILITIES), "predict_proba").rows == ((0.25, 0.75), (1.0, 0.0))


def test_id_version_and_parameters_do_not_matter() -> None:
    plain = read(v2(LABEL))
    noisy = {**v2({**LABEL, "parameters": {"content_type": "np"}}), "id": "7f", "model_version": "v9", "parameters": {}}
    assert read(noisy) == plain


def test_nested_data_is_read_like_flat() -> None:
    nested = output("p", "FP32", [2, 2], [[0.25, 0.75], [1.0, 0.0]])
    assert read(v2(nested)).rows == ((0.25, 0.75), (1.0, 0.0))


@pytest.mark.parametrize(
    ("entry", "kind", "rows"),
    [
        (output("x", "BYTES", [2], ["cat", "dog"]), Kind.LABEL, ("cat", "dog")),
        (output("x", "BOOL", [2], [True, False]), Kind.LABEL, (True, False)),
        (output("x", "FP32", [1], [7.5]), Kind.NUMBER, (7.5,)),
        (output("x", "FP32", [1, 3], [7.5, 1, 2]), Kind.VECTOR, ((7.5, 1.0, 2.0),)),
        (output("x", "UINT8", [3], [1, 2, 3]), Kind.LABEL, (1, 2, 3)),
    ],
)
def test_auto_follows_the_datatype(entry: dict[str, Any], kind: Kind, rows: tuple[Any, ...]) -> None:
    prediction = read(v2(entry))
    assert (prediction.kind, prediction.rows) == (kind, rows)


@pytest.mark.parametrize(
    ("document", "name", "reason", "words"),
    [
        (v2(LABEL), "predict_proba", Reason.MISSING_OUTPUT, "output `predict_proba` is missing; found `predict`"),
        (v2(LABEL, PROBABILITIES), "", Reason.MISSING_OUTPUT, "several outputs (`predict`, `predict_proba`)"),
        ({"predictions": [1]}, "", Reason.MISSING_OUTPUT, "`outputs` is missing; found `predictions`"),
        ([], "", Reason.MISSING_OUTPUT, "`outputs` is missing; found an array"),
        ({"error": "x"}, "p", Reason.MISSING_OUTPUT, "found `error`"),
        (v2(), "", Reason.EMPTY, "`outputs` is empty"),
        (v2(), "p", Reason.MISSING_OUTPUT, "found nothing"),
        ({"outputs": [1]}, "", Reason.BAD_TYPE, "an entry of `outputs` is a number"),
        (v2(output("p", "FP99", [1], [1])), "", Reason.BAD_TYPE, "'FP99'"),
        (v2({"name": "p", "shape": [1], "data": [1]}), "", Reason.BAD_TYPE, "'None'"),
        (v2(output("p", "FP32", [2, 2], [1, 2, 3])), "", Reason.BAD_SHAPE, "shape [2, 2] wants 4 values, found 3"),
        (v2(output("p", "FP32", [-1, -1], [1])), "", Reason.BAD_SHAPE, "whole numbers"),
        (v2(output("p", "FP32", [1.5], [1])), "", Reason.BAD_SHAPE, "whole numbers"),
        (v2({"name": "p", "datatype": "FP32", "shape": 3, "data": [1]}), "", Reason.BAD_SHAPE, "`shape` is a number"),
        (v2(output("p", "FP32", [1] * 9, [1])), "", Reason.TOO_DEEP, "9 dimensions"),
        (v2(output("p", "FP32", [10**9, 10**9], [1])), "", Reason.BAD_SHAPE, "found 1"),
        (v2(output("p", "FP32", [1], "x")), "", Reason.BAD_TYPE, "`data` is text"),
        (v2(output("p", "FP32", [1], None)), "", Reason.BAD_TYPE, "`data` is null"),
        (v2(output("p", "INT64", [1], ["3"])), "", Reason.BAD_TYPE, "datatype INT64, but `data` holds text"),
        (v2(output("p", "BYTES", [1], [3])), "", Reason.BAD_TYPE, "datatype BYTES, but `data` holds a number"),
        (v2(output("p", "FP32", [1], [{}])), "", Reason.BAD_TYPE, "holds an object"),
        (v2(output("p", "FP32", [1], [None])), "", Reason.NOT_FINITE, "value 0 is null"),
        (v2(output("p", "FP32", [0], [])), "", Reason.EMPTY, "no values"),
    ],
)
def test_refusals(document: Any, name: str, reason: Reason, words: str) -> None:
    why = refusal(document, name)
    assert why.reason is reason
    assert words in why.detail


def test_a_hostile_name_cannot_flood_the_detail() -> None:
    assert len(refusal(v2(*[output("x" * 10_000, "FP32", [1], [1])] * 50), "p").detail) <= 240


def test_recognised_by_the_path() -> None:
    for target in ("/v2/models/a/infer", "/v2/models/a/versions/2/infer?x=1"):
        assert recognise(target, Message(b"", b""))
    for target in ("/v2/models/a/ready", "/v1/models/a:predict", "", "/infer"):
        assert not recognise(target, Message(b"", b""))
