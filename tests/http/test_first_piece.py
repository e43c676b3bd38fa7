"""Promise: a stream has begun to speak with the first event that brings content, reasoning, a call or a refusal,
however its bytes are cut, and with none that announces, counts or ends."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.first_piece import MOST, FirstPiece
from tests.predictions import language_examples as examples


def chat(**delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}


def block(**block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": block}


def delta(**delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def item(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": 0, "item": item}


CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
TOLD = 'say "content": "x" and "type":"response.output_text.delta"'
RESPONSE = examples.response_whole(status="in_progress", instructions=TOLD, tools=[{"type": "function", "name": "f"}])
SILENT: list[Any] = [
    b": OPENROUTER PROCESSING\n\n", b"event: ping\ndata: {}\n\n", b"data:\n\n", b"data: [DONE]\n\n", b'data: ""\n\n',
    b"\n\n", b"retry: 10\n\n", b"data: null\n\n",
    chat(role="assistant", content=""), chat(role="assistant"), chat(role="assistant", content=None, refusal=None),
    chat(content="", reasoning_content=""), chat(tool_calls=[]), chat(), {"choices": [], "usage": {"total_tokens": 3}},
    {"choices": [], "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": False}}}]},
    {"choices": [{"index": 0, "text": "", "finish_reason": None}]},
    {"type": "message_start", "message": examples.message_whole()}, {"type": "ping"},
    block(type="text", text=""), block(type="thinking", thinking="", signature=""), {"type": "content_block_stop"},
    delta(type="text_delta", text=""), delta(type="signature_delta", signature="abc"),
    {"type": "response.created", "response": RESPONSE}, {"type": "response.in_progress", "response": RESPONSE},
    {"response": RESPONSE, "sequence_number": 0, "type": "response.created"},
    item(type="message", role="assistant", content=[]), item(type="reasoning", id="rs_1", summary=[]),
    {"type": "response.content_part.added", "part": {"type": "output_text", "text": "", "annotations": []}},
    {"type": "response.reasoning_summary_part.added", "part": {"type": "summary_text", "text": ""}},
    {"type": "response.output_text.delta", "delta": ""},
    {"text_output": ""}, {"model": "m", "message": {"role": "assistant", "content": ""}, "done": False},
    {"response": "", "done": False}, {"error": {"message": "no"}, "type": "error"},
]  # fmt: skip
SPEAKING: list[Any] = [
    b"data: Hel\n\n", b'data: "Hel"\n\n', b"event: token\ndata: x\n\n", b"data: {broken\n\n",
    chat(content="Hi"), chat(content="\n"), chat(content="\""), chat(role="assistant", content="Hi"),
    chat(refusal="No"),
    chat(reasoning_content="Hm"), chat(reasoning="Hm"), chat(tool_calls=[CALL]), chat(function_call={"name": "f"}),
    chat(audio={"id": "a", "data": "AAAA"}), {"choices": [{"index": 0, "text": " a"}]},
    block(type="tool_use", id="t", name="f", input={}),
    block(type="server_tool_use", id="t", name="web_search", input={}),
    block(type="redacted_thinking", data="x"), block(type="text", text="Hi"),
    delta(type="text_delta", text="Hi"), delta(type="thinking_delta", thinking="Hm"),
    delta(type="input_json_delta", partial_json="{"),
    item(type="function_call", name="f", arguments=""), item(type="web_search_call", id="w"),
    {"type": "response.output_text.delta", "delta": "Hi"}, {"type": "response.refusal.delta", "delta": "No"},
    {"type": "response.reasoning_summary_text.delta", "delta": "Hm"},
    {"type": "response.output_text.done", "text": "Hi"},
    {"type": "response.completed", "response": RESPONSE},
    {"text_output": "Hi"}, {"message": {"role": "assistant", "content": "Hi"}}, {"score": 0.5},
    {"token": {"text": "a"}},
]  # fmt: skip


def written(event: Any) -> bytes:
    return examples.sse([event], named=False)


@pytest.mark.parametrize("event", SILENT, ids=str)
def test_what_brings_nothing(event: Any) -> None:
    assert not FirstPiece().found(written(event))
    if isinstance(event, dict) and "." in event.get("type", ""):
        assert not FirstPiece().found(examples.sse([event], named=True))


@pytest.mark.parametrize("event", SPEAKING, ids=str)
def test_what_brings_something(event: Any) -> None:
    assert FirstPiece().found(written(event))
    spaced = written(event).replace(b"\n", b"\r\n")
    assert FirstPiece().found(b"data: {}".replace(b"data: {}", b"") + spaced)
    if isinstance(event, dict):
        assert FirstPiece().found(b"data: %b\n\n" % orjson.dumps(event).replace(b'":', b'" : '))


@given(
    st.lists(st.sampled_from(SILENT), max_size=4), st.sampled_from(SPEAKING), st.lists(st.integers(1, 400), max_size=6),
    st.booleans(),
)  # fmt: skip
def test_it_is_found_when_its_event_is_whole_however_the_bytes_are_cut(
    silent: list[Any], speaks: Any, cuts: list[int], chunked: bool
) -> None:
    before, body = b"".join(map(written, silent)), written(speaks)
    whole = before + body
    at = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    it = FirstPiece(chunked)
    for start, end in pairwise(at):
        piece = whole[start:end]
        found = it.found(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        assert found is (end == len(whole))


@given(st.text('"\\:{}[] content,', max_size=40))
def test_nothing_within_a_string_is_taken_for_a_member(text: str) -> None:
    quoted = {"type": "response.created", "response": {"instructions": text}}
    assert not FirstPiece().found(written(quoted))
    assert not FirstPiece().found(written({"choices": [{"delta": {"role": text, "content": ""}}]}))


def test_a_long_event_is_judged_by_its_beginning_and_not_kept() -> None:
    it = FirstPiece()
    assert not it.found(b'event: response.created\ndata: {"type":"response.created","x":"')
    for _ in range(100):
        assert not it.found(b"a" * 10_000)
        assert len(it._rest) <= 2 * MOST
    assert not it.found(b'"}\n\n')
    assert it.found(written(chat(content="Hi")))


@pytest.mark.parametrize(
    ("key", "silent", "speaks"),
    [
        (b"answer", {"answer": "", "content": "x"}, {"answer": "Hi"}),
        (b"answer", {"began": True}, {"answer": 0}),
        (b"answer", {"answer": None}, {"answer": ["x"]}),
        (b"answer", {"answer": []}, {"deep": {"answer": {"a": 1}}}),
    ],
)
def test_the_owners_pointer_says_where_to_look(key: bytes, silent: Any, speaks: Any) -> None:
    for lines in (False, True):
        it = FirstPiece(lines=lines, key=key)
        bodies = [orjson.dumps(one) + b"\n" if lines else written(one) for one in (silent, speaks)]
        assert [it.found(body) for body in bodies] == [False, True]


def test_lines_are_documents() -> None:
    it = FirstPiece(lines=True)
    assert not it.found(b'{"response":"","done":false}\n\n{"response":"H')
    assert it.found(b'el"}\n')
