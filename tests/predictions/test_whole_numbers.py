"""Promise: labels that are whole numbers are compared digit by digit, in every protocol and form of answer: the two
arms agree if and only if they wrote the same number, whatever stands beside it and however many bits it has."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Kind, Outcome, PredictionSpec, Reading
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.predictions.registry import PROTOCOLS
from tests.predictions.messages import framed, raw_answer, typed_answer
from tests.predictions.pairs import answer, head_of, pair

GRPC = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\n\r\n"
ANY = [0, 7, 2**53, 2**53 + 1, 1790000000000000001, -(2**62) - 1, 2**63 - 1, -(2**63)]
WIDE = [2**63, 2**64 - 1, 2**64, 2**64 + 1, -(2**63) - 1, 10**30, 10**30 + 1]
NUMBERS = st.sampled_from(ANY) | st.integers(-(2**63), 2**63 - 1)
BIG = st.sampled_from([*ANY, *WIDE]) | st.integers(-(2**80), 2**80)


def v2(number: int, beside: str) -> Outcome:
    y = f'{{"name": "y", "shape": [1], "datatype": "INT64", "data": [{number}]}}'
    z = f'{{"name": "z", "shape": [1], "datatype": "FP64", "data": [{beside}]}}'
    return answer(f'{{"outputs": [{y}, {z}]}}'.encode())


def binary_beside_json(number: int, beside: str) -> Outcome:
    z = {"name": "z", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
    y = f'{{"name": "y", "shape": [1], "datatype": "INT64", "data": [{number}], "parameters": {{"x": {beside}}}}}'
    head = f'{{"outputs": [{json.dumps(z)}, {y}]}}'.encode()
    lines = f"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: {len(head)}\r\n\r\n".encode()
    return answer(head + struct.pack("<f", 0.5), head=lines)


def form(text: str, media_type: str = "application/json") -> Any:
    return lambda number, beside: answer(
        (text.replace("N", str(number)).replace("X", beside)).encode(), head=head_of(media_type)
    )


JSON_FORMS: dict[str, tuple[PredictionSpec, Any]] = {
    "v2": (PredictionSpec("v2", Kind.LABEL, "y"), v2),
    "v2 binary": (PredictionSpec("v2", Kind.LABEL, "y"), binary_beside_json),
    "json": (PredictionSpec("json", Kind.LABEL, pointer="/item"), form('{"item": N, "score": X}')),
    "jmespath": (PredictionSpec("json", Kind.LABEL, jmespath="items[0].id"), form('{"items": [{"id": N, "s": X}]}')),
    "ranking": (PredictionSpec("json", Kind.RANKING, pointer="/ids"), form('{"ids": [1, N], "s": [X]}')),
    "tensorflow": (PredictionSpec("tensorflow", Kind.LABEL, "k"), form('{"predictions": [{"k": N, "s": X}]}')),
    "kserve": (PredictionSpec("kserve-v1", Kind.LABEL, "k"), form('{"predictions": [{"k": N, "s": X}]}')),
    "classify": (PredictionSpec("tensorflow", Kind.LABEL), form('{"results": [[[N, 0.5], [3, 0.1]]], "s": X}')),
    "mlflow": (PredictionSpec("mlflow", Kind.LABEL), form('{"predictions": [N], "s": X}')),
    "records": (PredictionSpec("sagemaker", Kind.LABEL, "k"), form('{"predictions": [{"k": N, "s": X}]}')),
    "lines": (PredictionSpec("sagemaker", Kind.LABEL, "k"), form('{"k": N, "s": X}\n', "application/jsonlines")),
    "torchserve": (PredictionSpec("torchserve", Kind.LABEL, "k"), form('[{"k": N, "s": [X]}]')),
    "tool call": (
        PredictionSpec("openai", Kind.TEXT, "tool_calls"),
        lambda number, beside: answer({"choices": [{"message": {"tool_calls": [{"function": {
            "name": "f", "arguments": f'{{"id": {number}, "x": {beside}}}'}}]}}]}),
    ),
    "tool use": (
        PredictionSpec("anthropic", Kind.TEXT, "tool_calls"),
        form('{"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"id": N, "x": X}}]}'),
    ),
}  # fmt: skip


def compared(spec: PredictionSpec, live: Outcome, candidate: Outcome) -> bool:
    """Whether the two arms said the same; both must have been read."""
    reading: Reading = read_pair(spec, pair(live, candidate))
    assert (reading.live_fault, reading.fault) == (Reason.NONE, Reason.NONE), reading.detail
    assert reading.live is not None
    assert reading.candidate is not None
    json.dumps(reading.live.rows)
    return reading.live.rows == reading.candidate.rows


@pytest.mark.parametrize("name", JSON_FORMS)
@given(one=BIG, other=BIG, beside=st.sampled_from(["0.5", "NaN", "Infinity", "123456789012345678901"]))
def test_two_arms_agree_when_they_wrote_the_same_number(name: str, one: int, other: int, beside: str) -> None:
    spec, write = JSON_FORMS[name]
    called = name.startswith("tool ")  # what stands beside the number is compared too
    assert compared(spec, write(one, beside), write(other, beside if called else "0.5")) == (one == other)
    assert compared(spec, write(one, beside), write(one, beside if called else "0.25"))


def test_every_protocol_writes_whole_numbers() -> None:
    assert {spec.protocol for spec, _ in JSON_FORMS.values()} == set(PROTOCOLS)


@given(one=BIG, other=BIG)
def test_csv(one: int, other: int) -> None:
    spec, head = PredictionSpec("sagemaker", Kind.LABEL), head_of("text/csv")
    assert compared(spec, answer(b"%d\n3" % one, head=head), answer(b"%d\n3" % other, head=head)) == (one == other)


@given(one=NUMBERS, other=NUMBERS)
def test_tensors_of_64_bits(one: int, other: int) -> None:
    spec = PredictionSpec("v2", Kind.LABEL, "y")

    def messages(number: int) -> list[Outcome]:
        raw = struct.pack("<q", number)
        typed = [typed_answer("y", "INT64", [1], [number]), raw_answer("y", "INT64", [1], raw)]
        parameters = {"binary_data_size": 8}
        y = {"name": "y", "shape": [1], "datatype": "INT64", "parameters": parameters}
        head = json.dumps({"outputs": [y]}).encode()
        lines = f"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: {len(head)}\r\n\r\n".encode()
        return [*(answer(framed(message), head=GRPC) for message in typed), answer(head + raw, head=lines)]

    for ours in messages(one):
        for theirs in (*messages(other), v2(other, "NaN")):
            assert compared(spec, ours, theirs) == (one == other)


@pytest.mark.parametrize("kind", [Kind.SCORE, Kind.NUMBER])
def test_as_a_number_one_of_any_size_is_read(kind: Kind) -> None:
    spec = PredictionSpec("json", kind, pointer="/a", high=1e300)
    for text in (b'{"a": 123456789012345678901234567890}', b'{"a": 123456789012345678901234567890, "b": NaN}'):
        reading = read_pair(spec, pair(answer(text), answer(text)))
        assert reading.live is not None, reading.detail
        assert reading.live.rows == (123456789012345678901234567890.0,)


@pytest.mark.parametrize("raw", [struct.pack("<d", 1e30), struct.pack("<d", -(2.0**70))])
def test_a_whole_float_of_a_tensor_is_a_label_too(raw: bytes) -> None:
    message = answer(framed(raw_answer("y", "FP64", [1], raw)), head=GRPC)
    reading = read_pair(PredictionSpec("v2", Kind.LABEL, "y"), pair(message, message))
    assert reading.live is not None, reading.detail
    assert reading.live.rows == (str(int(struct.unpack("<d", raw)[0])),)


def test_an_infinite_label_is_none() -> None:
    spec = PredictionSpec("json", Kind.LABEL, pointer="/a")
    for text in (b'{"a": Infinity}', b'{"a": NaN}', b'{"a": %s, "b": NaN}' % (b"9" * 400)):
        reading = read_pair(spec, pair(answer(text), answer({"a": 1})))
        assert reading.live_fault is Reason.BAD_TYPE, text
        assert "is not a label" in reading.detail
