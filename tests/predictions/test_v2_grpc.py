"""Promise: a ModelInferResponse is read with the values that Google's library wrote, and nothing else is ever raised
but a reason word with a sentence."""

from __future__ import annotations

import gzip
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.grpc import FIELDS
from proxy.model import Kind, Outcome, Prediction, PredictionSpec
from proxy.model.reasons import PREDICTION_WORDS
from proxy.predictions import Unreadable, protocol_of, read_pair
from proxy.predictions.bounds import PARTS, VALUES
from proxy.predictions.message import Message
from proxy.predictions.protocols import v2
from proxy.predictions.request import request_facts
from proxy.predictions.v2_grpc import METHOD
from proxy.predictions.v2_messages import REQUEST
from tests.predictions.messages import ModelInferRequest, ModelInferResponse, framed, raw_answer, typed_answer
from tests.predictions.pairs import pair

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-encoding: gzip\r\ngrpc-status: 0\r\n\r\n"
CALL = f"POST {METHOD} HTTP/1.1\r\nhost: m\r\ncontent-type: application/grpc\r\n\r\n".encode()
SPEC = PredictionSpec("v2", Kind.AUTO, "y")


def values(message: bytes, spec: PredictionSpec = SPEC) -> list[Any]:
    return v2.extract(spec, Message(HEAD, framed(message))).data


def why(body: bytes, spec: PredictionSpec = SPEC) -> tuple[str, str]:
    with pytest.raises(Unreadable) as found:
        v2.extract(spec, Message(HEAD, body))
    return found.value.reason.value, found.value.detail


INTS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
UINTS = {"UINT8": 8, "UINT16": 16, "UINT32": 32, "UINT64": 64}
WIDTH = {8: "b", 16: "h", 32: "i", 64: "q"}


@pytest.mark.parametrize("datatype", [*INTS, *UINTS])
@given(data=st.data())
def test_whole_numbers(datatype: str, data: st.DataObject) -> None:
    bits = {**INTS, **UINTS}[datatype]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if datatype in INTS else (0, 2**bits - 1)
    given_values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=20))
    shape = [len(given_values)]
    assert values(typed_answer("y", datatype, shape, given_values)) == given_values
    letter = WIDTH[bits] if datatype in INTS else WIDTH[bits].upper()
    raw = struct.pack(f"<{len(given_values)}{letter}", *given_values)
    assert values(raw_answer("y", datatype, shape, raw)) == given_values


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_floats(given_values: list[float]) -> None:
    shape = [1, len(given_values)]
    assert values(typed_answer("y", "FP32", shape, given_values)) == given_values
    assert values(typed_answer("y", "FP64", shape, given_values)) == given_values
    assert values(raw_answer("y", "FP32", shape, struct.pack(f"<{len(given_values)}f", *given_values))) == given_values
    assert values(raw_answer("y", "FP64", shape, struct.pack(f"<{len(given_values)}d", *given_values))) == given_values


def test_the_other_datatypes() -> None:
    assert values(typed_answer("y", "BOOL", [3], [True, False, True])) == [True, False, True]
    assert values(raw_answer("y", "BOOL", [2], b"\1\0")) == [True, False]
    assert values(typed_answer("y", "BYTES", [2], ["größer".encode(), b""])) == ["größer", ""]
    assert values(raw_answer("y", "BYTES", [2], b"\2\0\0\0ab\0\0\0\0")) == ["ab", ""]
    assert values(raw_answer("y", "FP16", [2], b"\x00\x3c\x00\xc0")) == [1.0, -2.0]
    assert values(raw_answer("y", "BF16", [1], b"\x80\x3f")) == [1.0]
    assert math.isnan(values(typed_answer("y", "FP32", [1], [math.nan]))[0])


def test_several_outputs_typed_and_raw() -> None:
    answer = ModelInferResponse()
    for name, datatype in (("x", "INT32"), ("y", "FP32")):
        answer.outputs.add(name=name, datatype=datatype, shape=[1])
    answer.raw_output_contents.extend([struct.pack("<i", 7), struct.pack("<f", 0.5)])
    assert values(answer.SerializeToString()) == [0.5]
    del answer.raw_output_contents[:]
    answer.outputs[1].contents.fp32_contents.append(0.25)
    assert values(answer.SerializeToString()) == [0.25]


def test_a_compressed_message() -> None:
    body = framed(gzip.compress(typed_answer("y", "INT64", [1], [9])), compressed=True)
    assert v2.extract(SPEC, Message(HEAD, body)).data == [9]
    assert why(body[:5] + b"x" * (len(body) - 5))[0] == "bad_encoding"
    with pytest.raises(Unreadable, match="compressed by `an unnamed coding`"):
        v2.extract(SPEC, Message(HEAD.replace(b"gzip", b""), framed(b"x", compressed=True)))


GOOD = typed_answer("y", "INT64", [2], [3, 300])


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        (b"", "empty", "no message"),
        (framed(GOOD)[:-1], "truncated", "a message of"),
        (framed(GOOD[:-1]), "bad_encoding", "not a protobuf message"),
        (framed(GOOD) * 2, "bad_shape", "more than one message"),
        (b"\2" + framed(GOOD)[1:], "bad_encoding", "flagged 2"),
        (framed(b"\xff" * 11), "bad_encoding", "not a protobuf message"),
        (framed(b"\x0f"), "bad_encoding", "not a protobuf message"),
        (framed(b"\x00\x00"), "bad_encoding", "not a protobuf message"),
        (framed(b""), "missing_output", "found nothing"),
        (framed(typed_answer("z", "INT64", [1], [3])), "missing_output", "`y` is missing; found `z`"),
        (framed(typed_answer("y", "INT64", [3], [3, 4])), "bad_shape", "wants 3 values, found 2"),
        (framed(typed_answer("y", "INT64", [-1], [3])), "bad_shape", "whole numbers"),
        (framed(typed_answer("y", "INT64", [1] * 9, [3])), "too_deep", "9 dimensions"),
        (framed(raw_answer("y", "FP99", [1], b"")), "bad_type", "'FP99' is not one of"),
        (framed(raw_answer("y", "FP32", [2], bytes(4))), "bad_shape", "wants 8 bytes, found 4"),
        (framed(typed_answer("y", "FP32", [1], [1.0]).replace(b"FP32", b"FP64")), "bad_type", "in `fp32_contents`"),
        (framed(typed_answer("y", "FP32", [1], [1.0]).replace(b"FP32", b"FP16")), "bad_type", "no typed contents"),
        (framed(GOOD + b"\x32\x00\x32\x00"), "bad_shape", "2 `raw_output_contents` for 1 outputs"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_has_a_reason(body: bytes, reason: str, said: str) -> None:
    assert why(body)[0] == reason
    assert said in why(body)[1]


@pytest.mark.parametrize(
    "message",
    [
        b"\x2a\x00" * (PARTS + 1),
        b"\x2a\x00" * (PARTS // 2 + 1) + b"\x32\x00" * (PARTS // 2 + 1),
        typed_answer("y", "INT64", [1] * (PARTS + 1), [3]),
        typed_answer("y", "BYTES", [PARTS + 1], [b""] * (PARTS + 1)),
        typed_answer("y", "BOOL", [VALUES + 1], [True] * (VALUES + 1)),
    ],
    ids=["outputs", "outputs and raw", "shape", "texts", "values"],
)
def test_more_than_is_looked_at_one_by_one_is_refused(message: bytes) -> None:
    assert why(framed(message))[0] == "too_many_elements"


def test_fields_of_another_wire_type_or_number_are_passed_over() -> None:
    as_a_number, unknown = b"\x28\x01", b"\x78\x01\x7a\x02ab"
    assert values(unknown + GOOD + as_a_number) == [3, 300]


@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, 255))
def test_no_bytes_raise_anything_else(noise: bytes, at: int, byte: int) -> None:
    bent = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    for body in (noise, framed(noise), framed(bent), framed(GOOD[:at] + noise)):
        outcome = Outcome(200, head=HEAD, body=body)
        reading = read_pair(SPEC, pair(outcome, outcome, head=CALL))
        assert not reading.live_fault or (reading.live_fault in PREDICTION_WORDS and "bug" not in reading.detail)


def test_auto_knows_the_method() -> None:
    outcome = Outcome(200, head=HEAD, body=framed(GOOD))
    spec = PredictionSpec("auto", Kind.AUTO, "y")
    one = pair(outcome, outcome, head=CALL)
    assert protocol_of(spec, one) == "v2"
    assert read_pair(spec, one).live == Prediction(Kind.LABEL, (3, 300))


def test_rest_through_a_gateway_is_still_rest() -> None:
    """Envoy's transcoder leaves `grpc-status` in the head of a JSON answer."""
    body = b'{"outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "data": [4]}]}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ngrpc-status: 0\r\n\r\n"
    assert v2.extract(SPEC, Message(head, body)).data == [4]


def test_a_candidate_with_another_output_is_told_in_words() -> None:
    live, other = (Outcome(200, head=HEAD, body=framed(typed_answer(n, "INT64", [1], [3]))) for n in ("y", "predict"))
    reading = read_pair(SPEC, pair(live, other, head=CALL))
    assert reading.fault == "missing_output"
    assert reading.detail == "candidate: output `y` is missing; found `predict`"


def test_requests_that_differ_in_their_id_alone_are_repeats() -> None:
    def facts(ignore: list[str], **fields: str) -> int:
        request = ModelInferRequest(**fields)
        request.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.5)
        return request_facts(CALL, framed(request.SerializeToString()), ignore).hash

    assert facts(["/id"], model_name="m", id="1") == facts(["/id"], model_name="m", id="2")
    assert facts([], model_name="m", id="1") != facts([], model_name="m", id="2")
    assert facts(["/id"], model_name="m", id="1") != facts(["/id"], model_name="n", id="1")


def test_the_configuration_knows_the_same_fields() -> None:
    assert tuple(f"/{name}" for name in REQUEST) == FIELDS
