"""Promise: what is read the short way is what is read the long way, whatever the answers are."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Outcome, Pair, PredictionSpec, Segments
from proxy.model.reasons import Reason
from proxy.predictions.reading import PairReader

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
KINDS = (Kind.SCORE, Kind.NUMBER, Kind.LABEL, Kind.AUTO, Kind.TEXT, Kind.PROBABILITIES)


def v2(value: object, shape: object, datatype: str, name: str) -> bytes:
    """A V2 answer with one output."""
    output = {"name": name, "shape": shape, "datatype": datatype, "data": [value]}
    try:
        return orjson.dumps({"id": "7", "outputs": [output]})
    except orjson.JSONEncodeError:  # a whole number beyond 64 bits
        return b'{"outputs":[{"name":"y","shape":[1],"datatype":"%s","data":[%s]}]}' % (datatype.encode(), b"1" * 22)


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
    protocol=st.sampled_from(("v2", "json", "openai", "openai", "auto")),
    kind=st.sampled_from(KINDS),
    output=st.sampled_from(("", "y", "text", "text", "refusal")),
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


@given(specs, st.lists(pairs(), min_size=1, max_size=4), st.booleans())
def test_the_short_way_and_the_long_way_read_the_same(spec: PredictionSpec, found: list[Pair], segments: bool) -> None:
    for pair in found:
        reader = PairReader(spec, Segments(header="x-team") if segments else None)
        reader.is_short(pair)  # learns the heads, as it does before a pair is read
        short = repr(reader.read(pair))
        reader._usual = reader._single = None
        assert short == repr(reader._any(pair))


@pytest.mark.parametrize("kind", [Kind.SCORE, Kind.NUMBER])
def test_an_ordinary_pair_goes_the_short_way(kind: Kind) -> None:
    """Or the test above would compare the long way with itself."""
    reader = PairReader(PredictionSpec(protocol="v2", kind=kind))
    live, candidate = (Outcome(200, head=JSON, body=v2(value, [1], "FP64", "y")) for value in (0.5, 0.25))
    pair = Pair("t", 1, "w", 3, "i", 2.0, Arm.LIVE, REQUESTS[0], b"{}", live, candidate)
    assert reader.is_short(pair)
    assert reader._usual is not None
    assert reader._usual.read(pair) is not None
    assert reader._usual.read(pair._replace(candidate=candidate._replace(status=201))) is None
