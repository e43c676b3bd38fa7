"""Promise: what a language model said is read the same, streamed or not, however the stream was cut up."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.predictions.message import Message
from proxy.predictions.protocols.openai import recognise
from proxy.predictions.sse import sse_data
from proxy.predictions.unreadable import Unreadable
from tests.predictions.pairs import answer, head_of, pair, refusal, said

STREAM = "text/event-stream"


def stream(*chunks: Any, done: bool = True) -> bytes:
    parts = [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks]
    return b"".join(parts) + (b"data: [DONE]\n\n" if done else b"")


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}


def chat(*messages: dict[str, Any], **extra: Any) -> dict[str, Any]:
    choices = [{"index": at, "message": message, "finish_reason": "stop"} for at, message in enumerate(messages)]
    return {"id": "chatcmpl-2", "object": "chat.completion", "created": 2, "choices": choices, **extra}


def call(arguments: str, name: str = "weather") -> dict[str, Any]:
    return {"id": "call_7", "type": "function", "function": {"name": name, "arguments": arguments}}


HELLO = chat({"role": "assistant", "content": "Hello!"}, usage={"completion_tokens": 3})
HELLO_STREAM = stream(
    delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), delta(content="!"),
    delta(finish="stop"), {"choices": [], "usage": {"completion_tokens": 3}},
)  # fmt: skip
CALLED = 'weather({"city":"Ulm","days":2})'
RESPONSE = {
    "object": "response", "status": "completed", "usage": {"output_tokens": 3},
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": part} for part in ("Hel", "lo!")]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "media_type", "spec", "rows"),
    [
        (HELLO, "application/json", {}, ("Hello!",)),
        (HELLO_STREAM, STREAM, {}, ("Hello!",)),
        (HELLO_STREAM.replace(b"\n", b"\r\n"), STREAM, {}, ("Hello!",)),
        (b": warming up\n\n" + HELLO_STREAM, "text/plain", {}, ("Hello!",)),
        (stream(delta(content="Hi"), delta(finish="stop"), done=False), STREAM, {}, ("Hi",)),
        (chat({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "", {}, ("ab",)),
        (chat({"content": None, "refusal": "I will not."}), "", {}, ("I will not.",)),
        (chat({"content": "one"}, {"content": "two"}), "", {}, ("one", "two")),
        (stream(delta(1, content="b"), delta(0, content="a"), delta(1, content="!")), STREAM, {}, ("a", "b!")),
        ({"choices": [{"index": 0, "text": "abc", "finish_reason": "length"}]}, "", {}, ("abc",)),
        (stream(*({"choices": [{"index": 0, "text": text}]} for text in ("ab", "c"))), STREAM, {}, ("abc",)),
        (RESPONSE, "", {}, ("Hello!",)),
        (
            stream({"type": "x.delta", "delta": "Hel"}, {"type": "response.completed", "response": RESPONSE}),
            STREAM, {}, ("Hello!",),
        ),
        (chat({"content": None, "tool_calls": [call('{"days": 2, "city": "Ulm"}')]}), "", {}, (CALLED,)),
        (chat({"content": "Let me see.", "tool_calls": [call("{}", "f")]}), "", {},
         ("Let me see.\nf({})",)),
        (chat({"content": None, "tool_calls": [call('{"city": ')]}), "", {"output": "tool_calls"},
         (('weather("{\\"city\\": ")',),)),
        (chat({"content": "no"}), "", {"output": "tool_calls"}, ((),)),
        (chat({"content": "no"}), "", {"output": "tool_calls", "kind": Kind.TEXT}, ("",)),
        (HELLO, "", {"output": "finish_reason", "kind": Kind.LABEL}, ("stop",)),
        (HELLO_STREAM, STREAM, {"output": "finish_reason"}, ("stop",)),
        (RESPONSE, "", {"output": "finish_reason"}, ("completed",)),
        (HELLO, "", {"output": "json"}, (False,)),
        (chat({"content": '{"n": 1}'}), "", {"output": "json"}, (True,)),
        (chat({"content": '{"n": 1, "a": [{"b": "x"}, 2]}'}), "", {"output": "json_form"},
         ("{a: [number or {b: text}], n: number}",)),
        (chat({"content": "[" * 2000}), "", {"output": "json_form"}, ("not JSON",)),
        (chat({"content": "I'm sorry, but I cannot do that."}), "", {"output": "refusal"}, (True,)),
        (chat({"content": None, "refusal": "No."}), "", {"output": "refusal"}, (True,)),
        (HELLO, "", {"output": "refusal"}, (False,)),
        (HELLO, "", {"output": "tokens"}, (3.0,)),
        (HELLO_STREAM, STREAM, {"output": "tokens"}, (3.0,)),
        ({"data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}]}, "", {},
         ((1.0, 2.0), (3.0, 4.0))),
        ({"data": [{"index": 0, "embedding": base64.b64encode(struct.pack("<2f", 0.5, -1)).decode()}]}, "", {},
         ((0.5, -1.0),)),
    ],
)  # fmt: skip
def test_answers(body: Any, media_type: str, spec: dict[str, Any], rows: tuple[Any, ...]) -> None:
    assert said("openai", body, media_type=media_type, **spec).rows == rows


def test_a_streamed_tool_call_is_the_same_as_a_whole_one() -> None:
    def piece(**function: str) -> dict[str, Any]:
        return delta(tool_calls=[{"index": 0, "function": function}])

    streamed = stream(
        delta(role="assistant", content=None), piece(name="weather", arguments=""), piece(arguments='{"city": "U'),
        piece(arguments='lm", "days": 2}'), delta(finish="tool_calls"),
    )  # fmt: skip
    assert said("openai", streamed, media_type=STREAM).rows == (CALLED,)


def test_several_streamed_tool_calls_stay_apart() -> None:
    parts = [
        delta(tool_calls=[{"index": at, "function": {"name": name, "arguments": "{}"}}]) for at, name in enumerate("fg")
    ]
    assert said("openai", stream(*parts), media_type=STREAM).rows == ("f({})\ng({})",)


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]},
        {"token_logprobs": [None, -0.5, -1.5]},
    ],
)
def test_logprob_is_the_mean_over_the_tokens(logprobs: dict[str, Any]) -> None:
    whole = {"choices": [{"index": 0, "text": "ab", "logprobs": logprobs}]}
    assert said("openai", whole, output="logprob", kind=Kind.NUMBER).rows == (-1.0,)


def test_streamed_logprobs_are_collected() -> None:
    parts = [
        {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"logprob": value}]}}]}
        for value in (-0.5, -1.5)
    ]
    assert said("openai", stream(*parts), media_type=STREAM, output="logprob").rows == (-1.0,)


REFUSALS: list[tuple[Any, str, dict[str, Any], Reason, str]] = [
    (
        {"error": {"message": "x"}},
        "",
        {},
        Reason.MISSING_OUTPUT,
        "`choices`, `output` or `data` is missing; found `error`",
    ),
    ([1], "", {}, Reason.MISSING_OUTPUT, "found an array"),
    (b'{"choices": [', "", {}, Reason.TRUNCATED, "breaks off"),
    (b"", "", {}, Reason.EMPTY, "empty"),
    ({"choices": []}, "", {}, Reason.EMPTY, "no choice"),
    ({"choices": [1]}, "", {}, Reason.BAD_TYPE, "an entry is a number"),
    ({"output": [1]}, "", {}, Reason.BAD_TYPE, "an entry of `output` is a number"),
    (chat({"content": 5}), "", {}, Reason.BAD_TYPE, "`content` is a number"),
    (chat({"content": "", "tool_calls": "x"}), "", {}, Reason.BAD_TYPE, "`tool_calls` is text"),
    (chat({"content": "", "tool_calls": [call("[" * 300 + "]" * 300)]}), "", {}, Reason.TOO_DEEP, "nested too deep"),
    (HELLO, "", {"output": "mood"}, Reason.MISSING_OUTPUT, "output `mood` is not one of `text`, `tool_calls`"),
    (HELLO, "", {"output": "logprob"}, Reason.MISSING_OUTPUT, "the request must ask"),
    ({"choices": [{"text": "x"}]}, "", {"output": "finish_reason"}, Reason.MISSING_OUTPUT, "why it ended"),
    (HELLO, "", {"kind": Kind.SCORE}, Reason.BAD_TYPE, "the text 'Hello!'"),
    ({"data": []}, "", {}, Reason.EMPTY, "`data` is empty"),
    ({"data": [{"url": "x"}]}, "", {}, Reason.MISSING_OUTPUT, "`embedding` is null"),
    ({"data": [{"embedding": "!!"}]}, "", {}, Reason.BAD_ENCODING, "base64"),
    ({"data": [{"embedding": "AAA="}]}, "", {}, Reason.BAD_ENCODING, "base64"),
    ({"data": [{"embedding": [1, 2]}, {"embedding": [1]}]}, "", {}, Reason.BAD_SHAPE, "differ in length"),
    (stream(delta(content="Hel"), done=False), STREAM, {}, Reason.TRUNCATED, "breaks off before its end"),
    (HELLO_STREAM[:40], STREAM, {}, Reason.TRUNCATED, "breaks off"),
    (b"", STREAM, {}, Reason.TRUNCATED, "breaks off before its end"),
    (stream(delta(content="a"), {"error": {"code": 500}}), STREAM, {}, Reason.TRUNCATED, "ended with an error"),
    (b'event: error\ndata: {"message": "x"}\n\ndata: [DONE]\n\n', STREAM, {}, Reason.TRUNCATED, "ended with an error"),
    (stream({"type": "response.failed", "response": {}}), STREAM, {}, Reason.TRUNCATED, "ended with an error"),
    (stream([1]), STREAM, {}, Reason.BAD_TYPE, "an event is an array"),
    (stream({"choices": [1]}), STREAM, {}, Reason.BAD_TYPE, "a choice is a number"),
    (stream(delta(10**9, content="a")), STREAM, {}, Reason.BAD_SHAPE, "an index is 1000000000"),
    (stream(delta("x", content="a")), STREAM, {}, Reason.BAD_SHAPE, "an index is x"),  # type: ignore[arg-type]
    (stream(delta(tool_calls=[{"index": -1, "function": {}}])), STREAM, {}, Reason.BAD_SHAPE, "an index is -1"),
    (b"data: nonsense\n\n", STREAM, {}, Reason.NOT_JSON, "not JSON"),
]


@pytest.mark.parametrize(("body", "media_type", "spec", "reason", "words"), REFUSALS)
def test_refusals(body: Any, media_type: str, spec: dict[str, Any], reason: Reason, words: str) -> None:
    found, detail = refusal("openai", body, media_type=media_type, **spec)
    assert found is reason
    assert words in detail


def test_tokens_of_a_stream_are_counted_by_usage_or_by_pieces() -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\n\r\n"
    counted = answer(HELLO_STREAM, head=head_of(STREAM))
    bare = answer(stream(delta(content="a"), delta(content="b"), delta(finish="stop")), head=head_of(STREAM))
    reading = read_pair(PredictionSpec(), pair(counted, bare, head=head))
    assert (reading.detail, reading.live_tokens, reading.tokens) == ("", 3, 2)
    whole = read_pair(PredictionSpec("openai"), pair(answer(HELLO), counted, head=head))
    assert (whole.live_tokens, whole.tokens) == (0, 3)  # there is no time per token in an answer that came at once


def test_recognised_by_the_path() -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/openai/v1/embeddings", "/v1/responses?x=1"):
        assert recognise(path, Message(b"", b""))
    assert not recognise("/v1/models", Message(b"", b""))


@given(st.lists(st.text("ab\n\r: "), max_size=4), st.sampled_from(["\n", "\r\n", "\r"]))
def test_events_are_found_whatever_the_line_ends(said: list[str], end: str) -> None:
    lines = [text.replace("\r", "").split("\n") for text in said]
    body = "".join("".join(f"data: {line}{end}" for line in block) + end for block in lines)
    assert list(sse_data(body.encode())) == ["\n".join(block).encode() for block in lines]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 200) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "index", "content", "tool_calls", "function", "name", "arguments", "text",
                         "finish_reason", "logprobs", "token_logprobs", "output", "data", "embedding", "usage", "type",
                         "message", "completion_tokens", "predictions", "results", "label", "score", "b64"]),
        inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(
    st.sampled_from(["openai", "tensorflow", "mlflow", "sagemaker", "torchserve", "v2", "json"]),
    st.lists(JSON, min_size=1, max_size=3), st.sampled_from([STREAM, "application/json", "application/jsonlines"]),
    st.sampled_from(["", "text", "tool_calls", "finish_reason", "logprob", "tokens", "label"]), st.sampled_from(Kind),
)  # fmt: skip
def test_nothing_shaped_like_an_answer_raises_anything_else(
    protocol: str, documents: list[Any], media_type: str, output: str, kind: Kind
) -> None:
    body = stream(*documents) if media_type == STREAM else b"\n".join(map(orjson.dumps, documents))
    try:
        said(protocol, body, media_type=media_type, output=output, kind=kind)
    except Unreadable:
        return
