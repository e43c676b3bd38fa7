"""Promise: what is read the short way is what is read the long way, whatever the answers are."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Mismatch, Outcome, Pair, PredictionSpec, Segments
from proxy.model.reasons import Reason
from proxy.predictions.reading import PairReader
from proxy.predictions.v2_grpc import METHOD
from proxy.predictions.v2_known import DEAR, TRIES, KnownMessages
from tests.predictions.messages import framed, raw_answer, typed_answer

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
HEADS = (
    JSON,
    b"HTTP/1.1 200 OK\r\ncontent-type: APPLICATION/json; charset=utf-8\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nInference-Header-Content-Length: 3\r\n\r\n",
)
REQUESTS = (b"POST /v2/models/m/infer HTTP/1.1\r\nx-team: a\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n")
VALUES = (0.5, 0.25, 1, 0, 1.5, -0.0, True, None, "cat", "cat:0.5", "", 2**63, 2**70, [0.5], {"a": 1})
ROWS = (
    [0.25, 0.75], [0.25, 0.5, 0.25], [1, 0], [1, 0.0], [0.5], [1], ["cat"], ["cat", "dog"], [], [None, 1.0], [True, 0],
    [1.01, 0.0], [-0.005, 1.0], [0.5, 0.525], [0.5, 0.475], [-1e-7, 1.0000001],
    [-0.0, 1.0], [1.5, -0.5], [0.5, 0.25], [0.5, 0.515], [1e308, 1e308], [2**63, 0.5], [0.0, 0.0], [{"a": 1}, 0.5],
    [[0.25, 0.75]], [[0.75, 0.25]], [[1, 0]], [[0.5]], [[0.5], [0.5]], [[0.25], 0.75], [[0.25, 0.75], [0.5, 0.5]], [[]],
    [[[0.25, 0.75]]], [["cat"]], [[7]], [0.25, [0.75]], [{"label": "cat", "score": 0.5}],
)  # fmt: skip
SHAPES = ([2], [1, 2], [2, 1], [1, 1, 2], [True, 2], [1, 2.0], [3], [1, 3], [0], [], [1], [1, 1], [1, 0], 2, None)
KINDS = (
    Kind.SCORE, Kind.NUMBER, Kind.LABEL, Kind.AUTO, Kind.TEXT, Kind.PROBABILITIES, Kind.PROBABILITIES, Kind.VECTOR,
    Kind.RANKING,
)  # fmt: skip


def v2(value: object, shape: object, datatype: str, name: str) -> bytes:
    """A V2 answer with one output."""
    output = {"name": name, "shape": shape, "datatype": datatype, "data": [value]}
    try:
        return orjson.dumps({"id": "7", "outputs": [output]})
    except orjson.JSONEncodeError:  # a whole number beyond 64 bits
        return b'{"outputs":[{"name":"y","shape":[1],"datatype":"%s","data":[%s]}]}' % (datatype.encode(), b"1" * 22)


def v2_rows(data: object, shape: object, datatype: str, name: str, beside: object) -> bytes:
    """A V2 answer with a row or several, now and then with another output before it."""
    output = {"name": name, "shape": shape, "datatype": datatype, "data": data}
    return orjson.dumps({"outputs": [output] if beside is None else [beside, output]})


def chat(message: object, choice: dict[str, object], more: dict[str, object]) -> bytes:
    """A chat completion with one choice, or two."""
    one = {"index": 0, "message": message, "finish_reason": "stop", **choice}
    return orjson.dumps({"choices": [one] * (2 if more.get("two") else 1), "usage": {"completion_tokens": 3}, **more})


messages = st.fixed_dictionaries(
    {"content": st.sampled_from(("yes", "no", "", None, 7, [{"type": "text", "text": "yes"}]))},
    optional={
        "refusal": st.sampled_from((None, "I cannot", 7)),
        "tool_calls": st.sampled_from((None, [], [{"function": {"name": "f", "arguments": "{}"}}], 7)),
        "audio": st.sampled_from((None, {"transcript": "hm"})),
        "annotations": st.sampled_from((None, [], [{"type": "url_citation", "url_citation": {"url": "u"}}])),
        "reasoning_content": st.sampled_from(("hm", None)),
    },
)
chats = st.builds(
    chat,
    st.one_of(messages, st.sampled_from((None, "yes", []))),
    st.sampled_from(({}, {}, {}, {"logprobs": {"content": []}}, {"text": "old"}, {"index": "a"})),
    st.sampled_from(({}, {}, {}, {"two": 1}, {"data": []}, {"output": []}, {"choices": []}, {"choices": None})),
)
bodies = st.one_of(
    st.builds(
        v2_rows,
        st.sampled_from(ROWS),
        st.sampled_from(SHAPES),
        st.sampled_from(("FP64", "FP64", "FP64", "INT64", "BYTES", "BOOL", "what", [])),
        st.sampled_from(("y", "y", "z", 7)),
        st.sampled_from((None, None, {"name": "z"}, {"name": "y"}, {}, [], "name", None)),
    ),
    st.builds(
        lambda key, value: orjson.dumps({key: value}),
        st.sampled_from(("predictions", "predictions", "outputs")),
        st.sampled_from((*ROWS, *(value for value in VALUES if value != 2**70))),
    ),
    chats,
    st.builds(
        v2,
        st.sampled_from(VALUES),
        st.sampled_from(([1], [1, 1], [True], [1.0], [2], 1)),
        st.sampled_from(("FP64", "INT64", "BYTES", "BOOL", "what")),
        st.sampled_from(("y", "z")),
    ),
    st.sampled_from((b"", b"{", b"null", b"[1]", b"\x00\x00\x00\x00\x00", b'{"outputs":[]}', b"0.5", b'"\xff"')),
)
outcomes = st.builds(
    Outcome,
    st.sampled_from((200, 200, 200, 200, 201, 404, 503)),
    st.sampled_from((Reason.NONE, Reason.NONE, Reason.NONE, Reason.TIMEOUT)),
    st.sampled_from(HEADS),
    bodies,
)
specs = st.builds(
    PredictionSpec,
    protocol=st.sampled_from(("v2", "v2", "json", "openai", "auto", "tensorflow", "kserve-v1", "mlflow")),
    kind=st.sampled_from(KINDS),
    output=st.sampled_from(("", "y", "text", "text", "refusal")),
    pointer=st.sampled_from(("", "/predictions", "/predictions/0", "/predictions/*")),
)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Two answers, now and then the same bytes, now and then with live's second."""
    live = draw(outcomes)
    candidate = live if draw(st.integers(0, 3)) == 0 else draw(outcomes)
    again = draw(st.one_of(st.none(), outcomes))
    head, served = draw(st.sampled_from(REQUESTS)), draw(st.sampled_from(tuple(Arm)))
    given_id = draw(st.sampled_from(("", "theirs")))
    return Pair("t", 1, "w", 3, "i", 2.0, served, head, b'{"x": 1}', live, candidate, again, request_id=given_id)


def reads_alike(spec: PredictionSpec, pair: Pair, segments: Segments | None = None) -> None:
    reader = PairReader(spec, segments)
    reader.is_short(pair)  # learns the heads, as it does before a pair is read
    short = repr(reader.read(pair))
    reader._usual = reader._single = None
    assert short == repr(reader._any(pair))


@given(specs, st.lists(pairs(), min_size=1, max_size=4), st.booleans())
def test_the_short_way_and_the_long_way_read_the_same(spec: PredictionSpec, found: list[Pair], segments: bool) -> None:
    for pair in found:
        reads_alike(spec, pair, Segments(header="x-team") if segments else None)


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
@pytest.mark.parametrize("protocol", ["v2", "json", "tensorflow", "mlflow"])
def test_every_row_is_read_the_same_either_way(protocol: str, kind: Kind) -> None:
    spec = PredictionSpec(protocol=protocol, kind=kind, pointer="/predictions")
    values = [value for value in VALUES if value != 2**70]
    if protocol == "v2":
        forms = [("FP64", shape) for shape in SHAPES]
        forms += [(datatype, shape) for datatype in ("INT64", "BYTES") for shape in SHAPES[:2]]
        rows = [(row, shape, datatype) for row in ROWS for datatype, shape in forms]
        bodies = [v2_rows(row, shape, datatype, "y", None) for row, shape, datatype in rows]
    else:
        bodies = [usual(protocol, value) for value in (*ROWS, *values)]
    usual_ones = [usual(protocol, value) for value in ([0.25, 0.75], [0.5], ["cat"])]
    for number, body in enumerate(bodies):
        one = usual_ones[number % len(usual_ones)]
        for ours, theirs in ((body, body), (body, one), (one, body)):
            live, candidate = Outcome(200, head=JSON, body=ours), Outcome(200, head=JSON, body=theirs)
            reads_alike(spec, Pair("t", 1, "w", 3, "i", 2.0, Arm.LIVE, REQUESTS[0], b"{}", live, candidate))


USUAL = (
    (Kind.SCORE, "v2", 0.5, 0.25),
    (Kind.NUMBER, "v2", 0.5, 7.5),
    (Kind.PROBABILITIES, "v2", [0.25, 0.75], [1, 0]),
    (Kind.VECTOR, "v2", [0.25, 0.75, 3.0], [1.0, 0.0, -1.0]),
    (Kind.PROBABILITIES, "kserve-v1", [[0.25, 0.75]], [[1.0, 0.0]]),
    (Kind.VECTOR, "tensorflow", [[0.25, 0.75]], [[1.0, 2.0]]),
    (Kind.SCORE, "mlflow", [0.5], [0.25]),
    (Kind.LABEL, "mlflow", ["cat"], ["dog"]),
    (Kind.PROBABILITIES, "json", [0.25, 0.75], [1.0, 0.0]),
)


def usual(protocol: str, value: object) -> bytes:
    """An answer with this value, or this row, as the protocol writes it."""
    if protocol != "v2":
        return orjson.dumps({"predictions": value})
    row = value if isinstance(value, list) else [value]
    return v2_rows(row, [1, len(row)], "FP64", "y", None)


@pytest.mark.parametrize(("kind", "protocol", "ours", "theirs"), USUAL)
def test_an_ordinary_pair_goes_the_short_way(kind: Kind, protocol: str, ours: object, theirs: object) -> None:
    """Or the test above would compare the long way with itself."""
    reader = PairReader(PredictionSpec(protocol=protocol, kind=kind, pointer="/predictions"))
    live, candidate = (Outcome(200, head=JSON, body=usual(protocol, value)) for value in (ours, theirs))
    pair = Pair("t", 1, "w", 3, "i", 2.0, Arm.LIVE, REQUESTS[0], b"{}", live, candidate)
    assert reader.is_short(pair)
    assert reader._usual is not None
    assert reader._usual.read(pair) is not None
    assert reader._usual.read(pair._replace(candidate=candidate._replace(status=201))) is None


# --- no values, and messages of gRPC ---------------------------------------------------------------------------------


@given(st.lists(pairs(), min_size=1, max_size=4), st.booleans())
def test_where_no_values_are_read_both_ways_say_the_same(found: list[Pair], named: bool) -> None:
    reader = PairReader(PredictionSpec("none") if named else None)
    for pair in found:
        reader.is_short(pair)
        assert repr(reader.read(pair)) == repr(reader._any(pair))


def test_a_pair_without_values_goes_the_short_way() -> None:
    reader = PairReader(None)
    one, empty = (Outcome(200, head=CALLED, body=framed(message)) for message in (b"abc", b""))
    pair = Pair("t", 1, "w", 3, "i", 2.0, Arm.LIVE, CALL, framed(b"x"), one, one)
    assert reader.is_short(pair)
    assert reader._usual is not None
    assert reader._usual.read(pair) is not None
    assert reader._usual.read(pair._replace(candidate=empty)) is None
    assert reader.read(pair._replace(candidate=empty)).mismatch == Mismatch.EMPTY


CALLED = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\n\r\n"
CALL = f"POST {METHOD} HTTP/1.1\r\nhost: m\r\ncontent-type: application/grpc\r\n\r\n".encode()
LETTERS = {"FP32": "f", "FP64": "d", "INT64": "q", "INT32": "i", "UINT8": "B"}


def message(datatype: str, shape: list[int], row: list[float], name: str, raw: bool, tail: bytes) -> bytes:
    """A message with this row, or nearly."""
    values: list[Any] = row if datatype.startswith("FP") else [round(value * 8) for value in row]
    if raw:
        body = raw_answer(name, datatype, shape, struct.pack(f"<{len(row)}{LETTERS[datatype]}", *values))
    else:
        body = typed_answer(name, datatype, shape, values)
    return framed(body + tail)


messages_of_calls = st.builds(
    message,
    st.sampled_from(tuple(LETTERS)),
    st.sampled_from(([1, 2], [2], [1], [1, 1], [2, 1], [3], [1, 1, 2], [])),
    st.sampled_from(([0.25, 0.75], [0.5, 0.5], [1.0, 0.0], [0.5], [0.75], [0.25, 0.5], [0.25, 0.25, 0.5])),
    st.sampled_from(("y", "y", "z")),
    st.booleans(),
    st.sampled_from((b"", b"", b"", b"\x1a\x01x", b"\x32\x00", b"\x2a\x00", b"\xff")),
)


@given(st.sampled_from(KINDS), st.sampled_from(("", "y")), st.lists(st.tuples(messages_of_calls, messages_of_calls)))
def test_calls_are_read_the_same_either_way(kind: Kind, output: str, found: list[tuple[bytes, bytes]]) -> None:
    """By one reader: it knows the later ones by the earlier ones."""
    reader = PairReader(PredictionSpec("v2", kind, output))
    for ours, theirs in [*found, *found]:
        live, candidate = Outcome(200, head=CALLED, body=ours), Outcome(200, head=CALLED, body=theirs)
        pair = Pair("t", 1, "w", 3, "i", 2.0, Arm.LIVE, CALL, b"", live, candidate)
        reader.is_short(pair)
        assert repr(reader.read(pair)) == repr(reader._any(pair))


@pytest.mark.parametrize("raw", [True, False])
def test_an_ordinary_call_goes_the_short_way_from_the_second_on(raw: bool) -> None:
    reader = PairReader(PredictionSpec("v2", Kind.PROBABILITIES, "y"))
    for n in range(4):
        live, candidate = (
            Outcome(200, head=CALLED, body=message("FP32", [1, 2], [part / 8, 1 - part / 8], "y", raw, b""))
            for part in (n, n + 1)
        )
        pair = Pair("t", 1, "w", 3, "i", 2.0, Arm.LIVE, CALL, b"", live, candidate)
        assert reader.is_short(pair)
        assert reader._usual is not None
        found = reader._usual.read(pair)
        assert (found is not None) == (n > 0)
        if found is not None and found.candidate is not None:
            assert found.candidate.rows == (((n + 1) / 8, 1 - (n + 1) / 8),)


def test_messages_that_are_never_known_cost_little() -> None:
    known = KnownMessages("y")
    learned = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KnownMessages, "_learn", lambda _, body: learned.append(body))
        for _ in range(1000):
            assert known.row(b"no message") is None
    assert len(learned) <= 1000 // DEAR + TRIES // DEAR


@pytest.mark.parametrize("datatype", ["INT8", "UINT8"])
def test_numbers_of_one_byte_that_are_varints_are_never_known(datatype: str) -> None:
    """Below 128 they look like raw ones."""
    known = KnownMessages("y")
    body = framed(typed_answer("y", datatype, [2], [5, 6]))
    assert [known.row(body) for _ in range(3)] == [None] * 3
