"""Promise: what a model said is put together as far as its answer goes, wherever that breaks off, and nothing that a
server sends can make it fail."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Kind, Outcome, PredictionSpec
from proxy.predictions.bounds import DEFAULT
from proxy.predictions.calls import row_of_calls
from proxy.predictions.transcript import Transcript, is_spoken, transcript_of
from tests.predictions import language_examples as examples
from tests.predictions.pairs import pair

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
TEXT, ARGUMENTS = "One, two\nand é three.", '{"city": "Ulm", "days": 2}'
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}


def cut(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def stream(api: str) -> bytes:
    function = {"name": "weather", "arguments": ARGUMENTS}
    if api == "chat":
        call = {"id": "c1", "type": "function", "function": function}
        message = {"content": TEXT, "reasoning_content": "Hm.", "tool_calls": [call]}
        return examples.sse(examples.chat_stream(message, cut))
    if api == "anthropic":
        blocks: list[dict[str, Any]] = [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": TEXT},
            {"type": "tool_use", "id": "t", "name": "weather", "input": orjson.loads(ARGUMENTS)},
        ]
        return examples.sse(examples.message_stream(*blocks, cut=cut, stop="tool_use"), named=True)
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    call = {"id": "f", "type": "function_call", "call_id": "c1", "status": "completed", **function}
    return examples.sse(examples.response_stream(message, call, cut=cut), named=True)


def said(body: bytes, api: str = "chat", spec: PredictionSpec | None = None, head: bytes = EVENTS) -> Transcript:
    outcome = Outcome(200, head=head, body=body)
    asked = pair(outcome, outcome, head=f"POST {PATHS[api]} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return transcript_of(spec or PredictionSpec("auto"), asked, outcome, DEFAULT)


@pytest.mark.parametrize("api", PATHS)
def test_a_stream_that_breaks_off_anywhere_says_what_it_had_said(api: str) -> None:
    whole = stream(api)
    full = said(whole, api)
    assert (full.whole, full.trouble, len(full.choices)) == (True, "", 1)
    assert full.choices[0].text == TEXT
    assert row_of_calls(full.choices[0].calls) == ('weather({"city":"Ulm","days":2})',)
    seen, lengths = set(), []
    for end in range(1, len(whole), 3):
        part = said(whole[:end], api)
        (choice,) = part.choices or [None]
        assert part.whole or part.trouble
        if choice is not None:
            assert TEXT.startswith(choice.text)
            assert "Hm.".startswith(choice.reasoning)
            seen.add(choice.text)
            lengths.append(len(choice.text))
    assert len(seen) >= len(cut(TEXT))
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("api", PATHS)
def test_an_error_in_the_midst_ends_it_and_is_told(api: str) -> None:
    events = stream(api).split(b"\n\n")
    ends = b'event: error\ndata: {"type": "error", "error": {"message": "overloaded"}}'
    part = said(b"\n\n".join([*events[: len(events) // 2], ends, b""]), api)
    assert not part.whole
    assert part.trouble == "the stream ended with an error: overloaded"
    assert part.choices[0].text
    assert TEXT.startswith(part.choices[0].text)


def test_whole_answers_errors_and_texts_of_other_protocols() -> None:
    whole = said(orjson.dumps(examples.chat_whole({"content": "Yes."}, usage={"completion_tokens": 2})), head=JSON)
    assert (whole.choices[0].text, whole.choices[0].finish, whole.tokens, whole.whole) == ("Yes.", "stop", 2, True)
    error = said(b'{"error": {"message": "no such model"}}', head=JSON)
    assert (error.choices, error.whole) == ((), False)
    assert "`choices`, `output` or `data` is missing" in error.trouble
    assert said(b"") == Transcript()
    zipped = said(b"no gzip", head=JSON.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"))
    assert zipped.trouble
    spec = PredictionSpec("json", Kind.TEXT, pointer="/text")
    lines = b'data: {"text": "One"}\n\ndata: {"text": ", two"}\n\n'
    assert said(lines, spec=spec).choices[0].text == "One, two"
    assert is_spoken(spec, "json")
    assert not is_spoken(PredictionSpec("json", Kind.LABEL, pointer="/text"), "json")
    assert not is_spoken(PredictionSpec("auto"), "")


@given(st.sampled_from(sorted(PATHS)), st.binary(max_size=200), st.data())
def test_nothing_that_is_sent_makes_it_fail(api: str, noise: bytes, data: st.DataObject) -> None:
    whole = stream(api)
    at = data.draw(st.integers(0, len(whole)))
    until = data.draw(st.integers(at, len(whole)))
    for head in (EVENTS, JSON):
        found = said(whole[:at] + noise + whole[until:], api, head=head)
        assert found.whole or found.trouble or not found.choices
