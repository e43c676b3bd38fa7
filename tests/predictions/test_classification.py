"""Promise: where a request asked Triton for classes, the class is compared and not the score before it, in JSON, binary
and gRPC; where it did not, a label that looks like one stays as it is."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Kind, Outcome, PredictionSpec, Reading
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from tests.predictions.messages import ModelInferRequest, framed, raw_answer, typed_answer
from tests.predictions.pairs import answer, output, pair, v2

ASKED = {
    "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}],
    "outputs": [{"name": "other"}, {"name": "y", "parameters": {"classification": 3}}],
}
NOT_ASKED = {**ASKED, "outputs": [{"name": "other", "parameters": {"classification": 3}}, {"name": "y"}]}
TOP = ["0.600000:2:cat", "0.300000:0:dog", "0.100000:1:a:b"]
CLOSE = ["0.600006:2:cat", "0.299995:0:dog", "0.099999:1:a:b"]
JSON_HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\ncontent-type: application/json\r\n\r\n"
GRPC_HEAD = b"POST /inference.GRPCInferenceService/ModelInfer HTTP/1.1\r\ncontent-type: application/grpc\r\n\r\n"
GRPC = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\n\r\n"


def compared(
    one: Any, other: Any, shape: list[int], request: Any = ASKED, head: bytes = JSON_HEAD, **spec: Any
) -> Reading:
    answers = [answer(v2(output("y", "BYTES", shape, data))) for data in (one, other)]
    return read_pair(PredictionSpec("v2", **spec), pair(*answers, request=request, head=head))


def rows(reading: Reading) -> Any:
    assert reading.live is not None, reading.detail
    assert reading.candidate is not None, reading.detail
    return reading.live.rows, reading.candidate.rows


@pytest.mark.parametrize("shape", [[3], [1, 3]])
@pytest.mark.parametrize("kind", [Kind.LABEL, Kind.AUTO, Kind.TEXT])
def test_the_best_class_is_the_label(kind: Kind, shape: list[int]) -> None:
    assert rows(compared(TOP, CLOSE, shape, kind=kind)) == (("2:cat",), ("2:cat",))
    assert rows(compared(TOP, [TOP[1], TOP[0], TOP[2]], shape, kind=kind)) == (("2:cat",), ("0:dog",))


def test_a_batch_has_a_row_each_and_a_class_without_a_label_its_index() -> None:
    assert rows(compared(["1.5:7", "2.5:3"], ["1.4:7", "2.4:9"], [2, 1], kind=Kind.LABEL)) == (("7", "3"), ("7", "9"))
    assert rows(compared([*TOP, *CLOSE], [*CLOSE, *TOP], [2, 3], kind=Kind.SCORE)) == ((0.6, 0.600006), (0.600006, 0.6))


def test_the_other_kinds() -> None:
    assert rows(compared(TOP, CLOSE, [1, 3], kind=Kind.NUMBER)) == ((0.6,), (0.600006,))
    assert rows(compared(TOP, CLOSE, [1, 3], kind=Kind.RANKING))[0] == (("2:cat", "0:dog", "1:a:b"),)
    assert rows(compared(TOP, CLOSE, [1, 3], kind=Kind.PROBABILITIES))[0] == ((0.3, 0.1, 0.6),)
    partial = compared(["0.9:2:cat"], ["0.9:2:cat"], [1, 1], kind=Kind.PROBABILITIES)
    assert (partial.live_fault, "not of all" in partial.detail) == (Reason.BAD_SHAPE, True)
    assert compared(["nan:2:cat"], ["nan:2:cat"], [1, 1], kind=Kind.SCORE).live_fault is Reason.NOT_FINITE
    assert compared(["1.2.3:2:cat"], TOP[:1], [1, 1], kind=Kind.LABEL).live_fault is Reason.BAD_TYPE


def test_a_label_with_colons_stays_as_it_is_where_the_request_did_not_ask() -> None:
    for request in (NOT_ASKED, {"inputs": [], "outputs": []}, {"inputs": []}):
        found = compared(["0.600000:2:cat"], ["0.600001:2:cat"], [1, 1], request=request, kind=Kind.LABEL)
        assert rows(found) == (("0.600000:2:cat",), ("0.600001:2:cat",))
    for label in ("12:30:45", "a:1", "1:b", "::", "0.6:cat", ":", "1:2"):
        assert rows(compared([label], [label], [1], request={"i": 1}, kind=Kind.LABEL)) == ((label,), (label,))


@pytest.mark.parametrize("request_body", [{"i": 1}, b"", b"junk", b"[1]"])
def test_tritons_own_form_is_known_where_the_request_is_not_v2(request_body: Any) -> None:
    found = compared(TOP[:1], CLOSE[:1], [1, 1], request=request_body, kind=Kind.LABEL)
    assert rows(found) == (("2:cat",), ("2:cat",))


def test_a_compressed_and_a_binary_request_are_read() -> None:
    packed = gzip.compress(orjson.dumps(ASKED))
    head = JSON_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    assert rows(compared(TOP, CLOSE, [1, 3], request=packed, head=head, kind=Kind.LABEL))[1] == ("2:cat",)
    text = orjson.dumps(ASKED)
    head = JSON_HEAD.replace(b"\r\n\r\n", b"\r\ninference-header-content-length: %d\r\n\r\n" % len(text))
    assert rows(compared(TOP, CLOSE, [1, 3], request=text + b"\xff\0", head=head, kind=Kind.LABEL))[1] == ("2:cat",)


@pytest.mark.parametrize("asked", [True, False])
def test_over_grpc(asked: bool) -> None:
    request = ModelInferRequest(model_name="m")
    wanted = request.outputs.add(name="y")
    if asked:
        wanted.parameters["classification"].int64_param = 3
    wanted.parameters["other"].string_param = "x"
    packed = b"".join(struct.pack("<I", len(text)) + text.encode() for text in CLOSE)
    messages = (
        typed_answer("y", "BYTES", [1, 3], [text.encode() for text in TOP]),
        raw_answer("y", "BYTES", [1, 3], packed),
    )
    outcomes = [answer(framed(message), head=GRPC) for message in messages]
    body = framed(request.SerializeToString())
    reading = read_pair(PredictionSpec("v2", Kind.LABEL), pair(*outcomes, request=body, head=GRPC_HEAD))
    if asked:
        assert rows(reading) == (("2:cat",), ("2:cat",))
    else:
        assert reading.live_fault is Reason.BAD_SHAPE


@given(st.binary(max_size=60), st.sampled_from([JSON_HEAD, GRPC_HEAD, b""]), st.lists(st.text(":.019-na", max_size=9)))
def test_no_request_and_no_label_breaks_it(junk: bytes, head: bytes, data: list[str]) -> None:
    outcome: Outcome = answer(v2(output("y", "BYTES", [len(data)], data)))
    for kind in (Kind.LABEL, Kind.SCORE, Kind.PROBABILITIES, Kind.RANKING):
        for body in (junk, orjson.dumps(ASKED)):
            reading = read_pair(PredictionSpec("v2", kind), pair(outcome, outcome, request=body, head=head))
            assert reading.live_fault is not Reason.INTERNAL, reading.detail
