"""Promise: the key in a body is found where the owner says, and no body whatever raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fields.document import JsonReader
from proxy.fields.sticky import FIELDS, json_key, message_key
from proxy.http.request_head import read_request
from tests.predictions.messages import ModelInferRequest, framed

SEQUENCE = ("parameters", "sequence_id")


def key_of(body: bytes, path: tuple[str, ...], *lines: bytes) -> bytes:
    head = b"".join(line + b"\r\n" for line in (b"POST / HTTP/1.1", b"Host: m", *lines, b""))
    return json_key(JsonReader([path]).read_body(read_request(head), body), path)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"parameters": {"sequence_id": 12}}', b"12"),
        (b'{"parameters": {"sequence_id": 18446744073709551615}}', b"18446744073709551615"),
        (b'{"parameters": {"sequence_id": "A-\xc3\xa9"}}', b"A-\xc3\xa9"),
        (b'{"parameters": {"sequence_id": 0}}', b""),
        (b'{"parameters": {"sequence_id": ""}}', b""),
        (b'{"parameters": {"sequence_id": true}}', b""),
        (b'{"parameters": {"sequence_id": null}}', b""),
        (b'{"parameters": {"sequence_id": [7]}}', b""),
        (b'{"parameters": [7]}', b""),
        (b"[]", b""),
        (b"a=b", b""),
        (b"", b""),
    ],
)
def test_a_text_or_a_number_is_a_key_and_what_says_no_sequence_is_none(body: bytes, key: bytes) -> None:
    assert key_of(body, SEQUENCE) == key


def test_the_json_before_binary_tensors_is_read() -> None:
    text = b'{"parameters": {"sequence_id": 7}}'
    line = b"Inference-Header-Content-Length: %d"
    assert key_of(text + b"\x00\xff", SEQUENCE, line % len(text)) == b"7"
    for wrong in (len(text) + 9, 10**30):
        assert key_of(text + b"\x00\xff", SEQUENCE, line % wrong) == b""


@pytest.mark.parametrize(
    ("path", "key"), [(("0", "user"), b"ann"), (("1", "user"), b""), (("x",), b""), (("9" * 30,), b"")]
)
def test_arrays_are_counted_from_0(path: tuple[str, ...], key: bytes) -> None:
    assert key_of(b'[{"user": "ann"}]', path) == key


@pytest.mark.parametrize(
    ("kind", "value", "key"),
    [
        ("int64", 12, b"12"), ("int64", -3, b"-3"), ("int64", 0, b""), ("uint64", 2**64 - 1, b"18446744073709551615"),
        ("string", "s-1", b"s-1"), ("string", "", b""), ("bool", True, b""), ("double", 1.5, b""),
    ],
)  # fmt: skip
def test_a_parameter_of_a_model_infer_request_is_read(kind: str, value: Any, key: bytes) -> None:
    request = ModelInferRequest(model_name="m", id="7", raw_input_contents=[b"\xff" * 300])
    request.parameters["other"].string_param = "no"
    setattr(request.parameters["sequence_id"], f"{kind}_param", value)
    body = framed(request.SerializeToString())
    assert message_key(body, SEQUENCE) == key
    assert message_key(body + framed(b"next"), SEQUENCE) == key, "of a stream the first message counts"
    assert message_key(body, ("id",)) == b"7"
    assert message_key(body[:-1], SEQUENCE) == b"", "it is not whole"
    assert message_key(framed(request.SerializeToString(), compressed=True), SEQUENCE) == b""


@given(st.binary(max_size=80), st.sampled_from([SEQUENCE, *((name,) for name in FIELDS), ("a", "0")]))
def test_no_bytes_raise(data: bytes, path: tuple[str, ...]) -> None:
    key_of(data, path)
    message_key(data, path)
    message_key(framed(data), path)
    message_key(framed(b"\x22%c%b" % (min(len(data), 127), data)), path)
