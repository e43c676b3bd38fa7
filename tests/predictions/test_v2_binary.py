"""Promise: binary tensors of every datatype are read as the values they stand for, and no length is trusted."""

from __future__ import annotations

import struct
from math import inf
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Kind, Outcome, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.predictions.message import Message
from proxy.predictions.protocols.v2 import extract
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.v2_binary import decode_tensor
from tests.predictions.messages import framed, typed_answer
from tests.predictions.pairs import pair


def body(*outputs: tuple[str, str, list[int], bytes | list[Any]]) -> tuple[bytes, bytes]:
    """Head and body of a binary answer; outputs given as a list are written as JSON."""
    head, tail = [], b""
    for name, datatype, shape, data in outputs:
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if isinstance(data, bytes):
            entry["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            entry["data"] = data
        head.append(entry)
    text = orjson.dumps({"model_name": "m", "outputs": head})
    top = f"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: {len(text)}\r\n"
    return f"{top}Content-Type: application/octet-stream\r\n\r\n".encode(), text + tail


def values(name: str, answer: tuple[bytes, bytes]) -> list[Any]:
    return extract(PredictionSpec("v2", output=name), Message(*answer)).data


def refusal(name: str, head: bytes, text: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        values(name, (head, text))
    return caught.value


# Packed by `struct`, which knows nothing of numpy; BF16 by hand: the upper two bytes of the FP32.
DATATYPES = [
    ("BOOL", "<2?", [True, False]),
    ("INT8", "<2b", [-128, 127]),
    ("INT16", "<2h", [-(2**15), 2**15 - 1]),
    ("INT32", "<2i", [-(2**31), 2**31 - 1]),
    ("INT64", "<2q", [-(2**63), 2**63 - 1]),
    ("UINT8", "<2B", [0, 255]),
    ("UINT16", "<2H", [0, 2**16 - 1]),
    ("UINT32", "<2I", [0, 2**32 - 1]),
    ("UINT64", "<2Q", [0, 2**64 - 1]),
    ("FP16", "<2e", [0.5, -65504.0]),
    ("FP32", "<2f", [0.25, -1.5]),
    ("FP64", "<2d", [0.1, -1e300]),
]


@pytest.mark.parametrize(("datatype", "layout", "data"), DATATYPES)
def test_every_datatype(datatype: str, layout: str, data: list[Any]) -> None:
    found = values("x", body(("x", datatype, [2], struct.pack(layout, *data))))
    assert found == data
    assert [type(value) for value in found] == [type(value) for value in data]


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=5))
def test_bf16_is_the_upper_half_of_fp32(data: list[float]) -> None:
    halves = b"".join(struct.pack("<f", value)[2:] for value in data)
    whole = [struct.unpack("<f", b"\0\0" + struct.pack("<f", value)[2:])[0] for value in data]
    assert decode_tensor("BF16", (len(data),), halves).data == whole


@given(st.lists(st.text(max_size=5), max_size=5))
def test_bytes_are_lengths_and_text(data: list[str]) -> None:
    raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data)
    assert decode_tensor("BYTES", (len(data),), raw).data == data


@given(st.binary(max_size=40) | st.binary(min_size=300, max_size=310), st.binary(max_size=40))
def test_bytes_that_are_no_text_are_equal_when_they_are(one: bytes, other: bytes) -> None:
    found = [decode_tensor("BYTES", (1,), struct.pack("<I", len(raw)) + raw).data for raw in (one, one, other)]
    assert (found[0] == found[1], found[0] == found[2]) == (True, one == other)
    orjson.dumps(found)


def test_an_image_is_kept_as_its_hash_and_compared_in_both_forms_of_v2() -> None:
    spec, images = PredictionSpec("v2", Kind.LABEL, "x"), (b"\x89PNG" + bytes(5000), b"\x89PNG" + bytes(4999) + b"\1")
    for again, differs in ((images[0], False), (images[1], True)):
        head, text = body(("x", "BYTES", [1], struct.pack("<I", len(images[0])) + images[0]))
        grpc = framed(typed_answer("x", "BYTES", [1], [again]))
        other = Outcome(200, head=b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\r\n", body=grpc)
        reading = read_pair(spec, pair(Outcome(200, head=head, body=text), other))
        assert (reading.live_fault, reading.fault) == ("", ""), reading.detail
        assert (reading.live != reading.candidate) == differs
        assert len(str(reading.live)) < 200


def test_an_output_is_found_among_others_binary_and_not() -> None:
    answer = body(
        ("a", "FP32", [1], struct.pack("<f", 0.5)),
        ("b", "INT64", [2], [7, 8]),
        ("c", "INT64", [2, 1], struct.pack("<2q", 3, 4)),
        ("d", "BYTES", [1], struct.pack("<I", 3) + b"cat"),
    )
    assert [values(name, answer) for name in "abcd"] == [[0.5], [7, 8], [3, 4], ["cat"]]


def test_binary_and_json_answers_can_be_compared() -> None:
    spec = PredictionSpec("v2", Kind.PROBABILITIES, "p")
    head, text = body(("p", "FP32", [1, 2], struct.pack("<2f", 0.25, 0.75)))
    plain = {"outputs": [{"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}]}
    reading = read_pair(spec, pair(Outcome(200, head=head, body=text), Outcome(200, body=orjson.dumps(plain))))
    assert reading.detail == ""
    assert reading.live == reading.candidate


GOOD_HEAD, GOOD = body(("x", "FP32", [2], struct.pack("<2f", 0.5, 1.5)))


def with_length(length: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: " + length.encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        ((GOOD_HEAD, GOOD[:-1]), Reason.TRUNCATED, "the tensors should be 8 bytes, found 7"),
        ((GOOD_HEAD, GOOD + b"x"), Reason.BAD_SHAPE, "1 bytes left over"),
        ((GOOD_HEAD, GOOD[:20]), Reason.TRUNCATED, "the body has 20"),
        ((with_length("-1"), GOOD), Reason.BAD_ENCODING, "'-1', expected a number"),
        ((with_length("9" * 30), GOOD), Reason.BAD_ENCODING, "expected a number"),
        ((with_length("5"), GOOD), Reason.TRUNCATED, "breaks off"),
        (body(("x", "FP32", [3], struct.pack("<2f", 1, 2))), Reason.BAD_SHAPE, "of FP32 wants 12 bytes, found 8"),
        (body(("x", "FP32", [10**18] * 8, b"1234")), Reason.BAD_SHAPE, "shape [1000"),
        (body(("x", "FP99", [1], b"1234")), Reason.BAD_TYPE, "'FP99'"),
        (body(("x", "BYTES", [1], b"\x05\0\0\0cat")), Reason.TRUNCATED, "element 0 of a BYTES tensor breaks off"),
        (body(("x", "BYTES", [1], b"\x05\0")), Reason.TRUNCATED, "element 0"),
        (body(("x", "BYTES", [2], b"\x01\0\0\0a")), Reason.BAD_SHAPE, "should have 2 elements, found 1"),
    ],
)
def test_refusals(answer: tuple[bytes, bytes], reason: Reason, words: str) -> None:
    why = refusal("x", *answer)
    assert why.reason is reason
    assert words in why.detail


@pytest.mark.parametrize("size", [-4, "4", 1.5, True])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    entry = {"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": size}}
    text = orjson.dumps({"outputs": [entry]})
    assert refusal("x", with_length(str(len(text))), text + b"1234").reason is Reason.BAD_TYPE


@given(st.binary(max_size=40), st.integers(0, 200), st.sampled_from(["", "x"]))
def test_no_bytes_raise_anything_else(junk: bytes, length: int, name: str) -> None:
    for answer in ((with_length(str(length)), GOOD + junk), (GOOD_HEAD, GOOD[: length % len(GOOD)] + junk)):
        try:
            values(name, answer)
        except Unreadable:
            continue


def test_infinity_is_read_and_then_refused() -> None:
    answer = body(("x", "FP32", [1], struct.pack("<f", inf)))
    assert values("x", answer) == [inf]
    reading = read_pair(PredictionSpec("v2", Kind.NUMBER), pair(*[Outcome(200, head=answer[0], body=answer[1])] * 2))
    assert reading.live_fault is Reason.NOT_FINITE
