"""Promise: a stream of chat is put together the short way as it is the long way, whatever its events are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.openai_stream import assembled, assembled_anyhow
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.usual_stream import usual_stream

texts = st.sampled_from(("Hel", "lo", "", None, "ü", "\n\ndata: [DONE]", "data:", "\ud83d\ude00", 7, ["x"], {"a": 1}))
nothings = st.sampled_from((None, None, [], 0, "", {}))
deltas = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": texts,
        "reasoning": texts,
        "reasoning_content": texts,
        "refusal": st.one_of(st.none(), texts),
        "audio": st.one_of(nothings, st.just({"data": "x", "transcript": "hm"})),
        "annotations": st.one_of(nothings, st.just([{"url": "u"}])),
        "tool_calls": st.one_of(nothings, st.just([{"index": 0, "id": "c", "function": {"name": "f"}}])),
        "function_call": st.one_of(st.none(), st.just({"name": "f", "arguments": "{}"})),
    },
)
usual_deltas = st.builds(lambda text: {"content": text}, st.sampled_from(("Hel", "lo", "", None, "ü")))
choices = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from((0, 0, 0, 1, 200, -1, True, 0.0, "0", None)),
        "delta": st.one_of(usual_deltas, usual_deltas, deltas, st.none(), st.just("x")),
        "finish_reason": st.sampled_from((None, None, "stop", "length", 7)),
        "logprobs": st.sampled_from((None, None, {"content": [{"logprob": -1.0}]}, [])),
        "text": texts,
        "stop_reason": st.none(),
    },
)
usages = st.sampled_from((None, {"completion_tokens": 3}, {"completion_tokens": 2**70}, [], "x", {}))
events = st.fixed_dictionaries(
    {"id": st.just("c")},
    optional={
        "choices": st.one_of(
            st.builds(lambda delta: [{"index": 0, "delta": delta}], usual_deltas),
            st.lists(choices, max_size=2),
            st.sampled_from((None, {}, "x", [1])),
        ),
        "usage": usages,
        "error": st.sampled_from((None, None, "", {}, {"message": "overloaded"})),
        "type": st.sampled_from((None, None, "response.completed", "error", "x")),
        "delta": st.sampled_from((None, "x", "", 7)),
        "object": st.just("chat.completion.chunk"),
    },
)


def written(event: object) -> bytes:
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:  # half a character, or a whole number beyond 64 bits
        import json

        return json.dumps(event).encode()


data = st.one_of(
    st.builds(written, events),
    st.builds(written, events),
    st.sampled_from((
        b"[DONE]", b"{", b"[]", b"7", b'{"choices":[],"choices":[{"delta":{"content":"a"}}]}', b"", b" ", b"null",
        b'{"id":"\xff","choices":[]}', b'{"id":"\\ud800","choices":[]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b'{"choices":[{"delta":{"content":"a"}}]},{"choices":[]}', b'{"choices":[{"delta":', b'{"content":"a"}}]}',
        b'{"choices":[{"delta":{"content":"\\u00fc\\n"},"finish_reason":"stop"}], "x": [1e5, {"y": "}"}]}',
    )),
)  # fmt: skip
starts = st.sampled_from(
    (b"data: ",) * 8 + (b"data:", b"event: error\ndata: ", b"id: 1\ndata: ", b": hello\n\ndata: ", b"")
)
ends = st.sampled_from((b"\n\n",) * 8 + (b"\r\n\r\n", b"\n", b"\n\n\n\n", b"\r\r"))


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events, mostly written as they usually are, and mostly ended."""
    start, end, whole = draw(starts), draw(ends), draw(st.booleans())
    parts = [
        (draw(starts) if draw(st.integers(0, 9)) == 0 else start) + one + end
        for one in draw(st.lists(data, max_size=6))
    ]
    return b"".join([*parts, b"data: [DONE]\n\n" if whole else b"", draw(st.sampled_from((b"", b"", b"\n", b"x")))])


def made(make: Any, body: bytes) -> Any:
    try:
        return make(body, DEFAULT)
    except Unreadable as why:
        return why.reason, why.detail


@given(streams())
def test_the_short_way_and_the_long_way_say_the_same(body: bytes) -> None:
    short = usual_stream(body, DEFAULT)
    assert made(assembled, body) == made(assembled_anyhow, body)
    if short is not None:
        assert short == made(assembled_anyhow, body)


def event(**delta: str | None) -> bytes:
    return (
        b"data: "
        + orjson.dumps({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        + b"\n\n"
    )


USAGE = b'data: {"choices":[],"usage":{"completion_tokens":2}}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "body",
    [
        event(role="assistant", content="") + event(content="Hel") + event(content="lo") + LAST + USAGE + DONE,
        event(content="Hel") + LAST,
        event(reasoning_content="hm", content=None) + event(content="ü") + LAST + DONE,
        event(content="a") + DONE.rstrip(b"\n"),
        DONE,
    ],
)
def test_a_usual_stream_goes_the_short_way(body: bytes) -> None:
    """Or the test above would compare the long way with itself."""
    assert usual_stream(body, DEFAULT) == assembled_anyhow(body, DEFAULT)


def test_events_are_never_read_into_one_another() -> None:
    """Two that are no JSON alone are none, though they are together."""
    body = b'data: {"choices":[{"delta":{"content":"a"}}],"x":[1\n\ndata: ]}\n\n' + DONE
    assert usual_stream(body, DEFAULT) is None


@pytest.mark.parametrize("end", [b"", b"\n" * 20])
def test_a_stream_beyond_the_bounds_is_left_to_the_long_way(end: bytes) -> None:
    bounds = Bounds(parts=3)
    assert usual_stream(event(content="a") * 2 + DONE, bounds) is not None
    assert usual_stream(event(content="a") * (2 if end else 3) + DONE + end, bounds) is None


def test_an_event_of_which_the_long_way_counts_the_elements_is_left_to_it() -> None:
    bounds = Bounds(nodes=200)
    event = b'data: {"choices":[],"usage":{"x":[%b0]}}\n\n'
    assert usual_stream(event % b"" + LAST, bounds) is not None
    assert usual_stream(event % (b"0," * 100) + LAST, bounds) is None


def test_data_within_texts_are_counted_as_the_long_way_counts_them() -> None:
    bounds, body = Bounds(parts=300), event(content="data:" * 320) + DONE
    assert len(body) < len("data: ") * 300
    assert usual_stream(body, bounds) is None
