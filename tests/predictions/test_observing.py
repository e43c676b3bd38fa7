"""Promise: of whatever a client sends and live answers, named fields and predictions are read or said to be missing or
unreadable, and nothing raises."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Observation, Outcome, Prediction, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.inputs import InputField, input_field, read_inputs
from proxy.predictions.observing import ObservationReader
from proxy.predictions.said import FIELDS, said_values
from tests.predictions import language_examples as examples

FIELDS_OF_ALL = (
    input_field("amount", Kind.NUMBER, "/inputs/0/data/3"),
    input_field("country", Kind.LABEL, header="x-country"),
    input_field("fast", Kind.LABEL, "/fast"),
    input_field("embedding", Kind.VECTOR, "/v"),
)
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def observation(live: Outcome, body: bytes = b"{}", path: bytes = b"/x", served: Arm = Arm.LIVE) -> Observation:
    head = b"POST %b HTTP/1.1\r\nhost: a\r\nX-Country: DE\r\n\r\n" % path
    return Observation("r", "w", 5.0, served, head, body, live)


def test_fields_are_read_from_body_and_headers() -> None:
    body = orjson.dumps({"inputs": [{"data": [0, 0, 0, 12.5]}], "fast": True, "v": [1, 2.5]})
    found, reason = read_inputs(FIELDS_OF_ALL, observation(Outcome(200)).request_head, body)
    assert found == {"amount": 12.5, "country": "DE", "fast": "true", "embedding": (1.0, 2.5)}
    assert reason is Reason.NONE


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, Kind.NUMBER), ("12.5", Kind.NUMBER), (True, Kind.NUMBER), ([1], Kind.NUMBER), (1e999, Kind.NUMBER),
        (None, Kind.LABEL), ([], Kind.LABEL), ({}, Kind.LABEL), (1, Kind.VECTOR),
        ([], Kind.VECTOR), ([1, "2"], Kind.VECTOR), ([1, None], Kind.VECTOR), ([[1]], Kind.VECTOR),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_missing(value: object, kind: Kind) -> None:
    body = json.dumps({"x": value}).encode()
    assert read_inputs([input_field("x", kind, "/x")], b"POST / HTTP/1.1\r\n\r\n", body)[0] == {"x": None}


@given(
    body=st.binary(max_size=60)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists, max_leaves=9).map(orjson.dumps),
    head=st.binary(max_size=80),
    kind=st.sampled_from([Kind.NUMBER, Kind.LABEL, Kind.VECTOR]),
    pointer=st.sampled_from(["", "/0", "/a/b", "/-"]),
)
def test_nothing_raises_whatever_the_bytes(body: bytes, head: bytes, kind: Kind, pointer: str) -> None:
    fields = [InputField("a", kind, input_field("a", kind, pointer).pointer), input_field("b", kind, header="x-b")]
    found, reason = read_inputs(fields, head, body)
    assert set(found) == ({"a", "b"} if not reason else {"b"})
    reader = ObservationReader(fields, [PredictionSpec()])
    seen = reader.read(Observation("r", "w", 1.0, Arm.LIVE, head, body, Outcome(200, head=head, body=body)))
    assert set(seen.said) | set(seen.unreadable) <= {"", "inputs"}


def test_a_stream_of_a_language_model_is_read_when_it_is_whole() -> None:
    events = examples.sse(examples.chat_stream({"content": "to be or not"}, list))
    live = Outcome(200, head=STREAM, body=events)
    reader = ObservationReader((), [PredictionSpec("openai", Kind.TEXT)])
    found = reader.read(observation(live, path=b"/v1/chat/completions"))
    assert said_values(found.said[""]) == (4.0,)
    cut = reader.read(observation(live._replace(body=events[:40]), path=b"/v1/chat/completions"))
    assert cut.said == {}
    assert cut.unreadable[""] in (Reason.TRUNCATED, Reason.NOT_JSON, Reason.MISSING_OUTPUT, Reason.EMPTY)


@pytest.mark.parametrize(
    ("live", "unreadable"),
    [
        (Outcome(503, head=OK), {"": Reason.STATUS_5XX}),
        (Outcome(0, Reason.TIMEOUT), {"": Reason.TIMEOUT}),
        (Outcome(422, head=OK, body=b"no"), {}),  # a request that live refuses says nothing of its predictions
        (Outcome(200, head=OK, body=b"<html>"), {"": Reason.NOT_JSON}),
    ],
)
def test_what_live_did_not_say_has_a_reason(live: Outcome, unreadable: dict[str, Reason]) -> None:
    found = ObservationReader((), [PredictionSpec("json", Kind.NUMBER, pointer="/a")]).read(observation(live))
    assert (found.said, found.unreadable) == ({}, unreadable)


def test_what_a_candidate_served_is_no_answer_of_lives() -> None:
    reader = ObservationReader(FIELDS_OF_ALL[1:2], [PredictionSpec("json", Kind.NUMBER)])
    found = reader.read(observation(Outcome(0), served=Arm.CANDIDATE))
    assert (found.inputs, found.said, found.unreadable, found.served_by_candidate) == ({"country": "DE"}, {}, {}, True)


def test_a_kind_that_is_settled_is_that_of_all_that_follow() -> None:
    reader = ObservationReader((), [PredictionSpec("json")])
    seven = observation(Outcome(200, head=OK, body=b"7"))
    assert reader.read(seven).said[""] == Prediction(Kind.LABEL, (7,))
    reader.settle("", Kind.NUMBER)
    assert reader.read(seven).said[""] == Prediction(Kind.NUMBER, (7.0,))


@pytest.mark.parametrize(
    ("prediction", "values"),
    [
        (Prediction(Kind.SCORE, (0.25, 0.5)), (0.25,)),
        (Prediction(Kind.NUMBER, (7,)), (7.0,)),
        (Prediction(Kind.LABEL, ("x" * 300,)), ("x" * 128,)),
        (Prediction(Kind.LABEL, (3,)), ("3",)),
        (Prediction(Kind.PROBABILITIES, ((0.1, 0.9),)), ("1", 0.9)),
        (Prediction(Kind.RANKING, (("b", "a"),)), ("b",)),
        (Prediction(Kind.VECTOR, ((1.0, 2.0),)), ((1.0, 2.0),)),
        (Prediction(Kind.TEXT, ("",)), (0.0,)),
        (Prediction(Kind.CALLS, (('b({"x":1})', "a({})", "a({})"),)), ("a, b",)),
        (Prediction(Kind.CALLS, ((),)), ("none",)),
        (Prediction(Kind.JSON, ("valid",)), ("valid",)),
        (Prediction(Kind.JSON, ("invalid: no JSON: line 1",)), ("invalid",)),
    ],
)
def test_every_kind_has_values_for_its_fields(prediction: Prediction, values: tuple[object, ...]) -> None:
    assert said_values(prediction) == values
    assert len(values) == len(FIELDS[prediction.kind])


def test_every_kind_can_be_watched() -> None:
    assert set(FIELDS) == set(Kind) - {Kind.AUTO}
