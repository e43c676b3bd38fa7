"""Promise: what a language model said is read part by part, the same whole and streamed, however the stream was cut,
whichever of three APIs it came over."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.predictions.language import OUTPUTS
from proxy.predictions.message import Message
from proxy.predictions.protocols import anthropic
from proxy.predictions.unreadable import Unreadable
from tests.predictions import language_examples as examples
from tests.predictions.pairs import answer, head_of, pair, refusal, said

STREAM = "text/event-stream"
KINDS = {"tool_calls": Kind.CALLS, "logprob": Kind.NUMBER, "tokens": Kind.NUMBER}
TEXTS = st.text('ab é\n"\\{', min_size=1, max_size=12)
INPUTS = st.dictionaries(st.sampled_from(["city", "days"]), st.integers(-3, 3) | st.text('ab"', max_size=3), max_size=2)
CALLS = st.lists(st.tuples(st.sampled_from(["weather", "search"]), INPUTS), max_size=3)


def pieces(text: str, cuts: list[int]) -> list[str]:
    at = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(at)]


def both(protocol: str, whole: Any, stream: bytes) -> None:
    """Every output of the two is the same."""
    for output in OUTPUTS:
        if output == "logprob":
            continue
        kind = KINDS.get(output, Kind.AUTO)
        found = [
            said(protocol, body, media_type=media_type, output=output, kind=kind).rows
            for body, media_type in ((whole, "application/json"), (stream, STREAM))
        ]
        assert found[0] == found[1], output


@given(TEXTS | st.just(""), TEXTS | st.just(""), CALLS, st.lists(st.integers(0, 30), max_size=8))
def test_chat_is_the_same_however_it_was_cut(text: str, thought: str, calls: Any, cuts: list[int]) -> None:
    message: dict[str, Any] = {"content": text or None}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call_{n}",
                "type": "function",
                "function": {"name": name, "arguments": orjson.dumps(value).decode()},
            }
            for n, (name, value) in enumerate(calls)
        ]
    usage = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
    whole = examples.chat_whole(message, "tool_calls" if calls else "stop", usage)
    events = examples.chat_stream(message, lambda text: pieces(text, cuts), "tool_calls" if calls else "stop", usage)
    both("openai", whole, examples.sse(events))


@given(TEXTS | st.just(""), TEXTS | st.just(""), CALLS, st.lists(st.integers(0, 30), max_size=8))
def test_messages_are_the_same_however_they_were_cut(text: str, thought: str, calls: Any, cuts: list[int]) -> None:
    content: list[dict[str, Any]] = []
    if thought:
        content.append({"type": "thinking", "thinking": thought, "signature": "x"})
    if text:
        source = {"type": "web_search_result_location", "url": "https://a.example", "cited_text": "a", "title": "A"}
        content.append({"type": "text", "text": text, "citations": [source]})
    for number, (name, value) in enumerate(calls):
        content.append({"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": value})
    stream = examples.message_stream(*content, cut=lambda text: pieces(text, cuts))
    both("anthropic", examples.message_whole(*content), examples.sse(stream, named=True))


@given(TEXTS, CALLS, st.lists(st.integers(0, 30), max_size=8))
def test_responses_are_the_same_however_they_were_cut(text: str, calls: Any, cuts: list[int]) -> None:
    output: list[dict[str, Any]] = [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": text, "annotations": []}]},
    ]  # fmt: skip
    for number, (name, value) in enumerate(calls):
        arguments = orjson.dumps(value).decode()
        ids = {"id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
        output.append({"type": "function_call", **ids, "name": name, "arguments": arguments})
    stream = examples.response_stream(*output, cut=lambda text: pieces(text, cuts))
    both("openai", examples.response_whole(*output), examples.sse(stream, named=True))
    hollow = [
        {**event, "response": {**event["response"], "output": []}} if "response" in event else event
        for event in stream
        if isinstance(event, dict)
    ]
    both("openai", examples.response_whole(*output), examples.sse(hollow, named=True))


THINKS = {"type": "thinking", "thinking": "Ulm is in Germany.", "signature": "x"}
SAYS = {"type": "text", "text": "Let me look."}
ASKS = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}}
RAN = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Ulm"}}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]}
CLICK = {**ASKS, "name": "left_click", "toolset_name": "computer", "input": {"coordinate": [1, 2]}}
CITES = {"type": "text", "text": "It rains.", "citations": [{"type": "char_location", "document_index": 1}]}


@pytest.mark.parametrize(
    ("blocks", "output", "rows"),
    [
        ([THINKS, SAYS, ASKS], "", ('Let me look.\nweather({"city":"Ulm"})',)),
        ([THINKS, SAYS, ASKS], "text", ("Let me look.",)),
        ([THINKS, SAYS, ASKS], "reasoning", ("Ulm is in Germany.",)),
        ([THINKS, SAYS, ASKS], "tool_calls", (('weather({"city":"Ulm"})',),)),
        ([RAN, RESULT, CITES], "tool_calls", (('web_search({"query":"Ulm"})',),)),
        ([RAN, RESULT, CITES], "citations", ("document 1",)),
        ([CLICK], "tool_calls", (('computer.left_click({"coordinate":[1,2]})',),)),
        ([{"type": "redacted_thinking", "data": "x"}, SAYS], "reasoning", ("",)),
        ([], "text", ("",)),
        ([SAYS], "stop_reason", ("end_turn",)),
        ([SAYS], "tokens", (12.0,)),
        ([{"type": "text", "text": '{"a": 1}'}], "json_form", ("{a: number}",)),
    ],
)
def test_blocks_of_messages(blocks: Any, output: str, rows: Any) -> None:
    assert (
        said("anthropic", examples.message_whole(*blocks), output=output, kind=KINDS.get(output, Kind.AUTO)).rows
        == rows
    )


def test_a_refusal_is_one_by_mark_or_by_its_opening() -> None:
    def refused(protocol: str, body: Any) -> bool:
        return bool(said(protocol, body, output="refusal").rows[0])

    assert refused("anthropic", examples.message_whole(stop="refusal"))
    assert refused("anthropic", examples.message_whole({"type": "text", "text": "I can't help with that."}))
    assert not refused("anthropic", examples.message_whole(SAYS))
    assert refused("openai", examples.chat_whole({"refusal": "No."}))
    assert refused("openai", examples.chat_whole({"content": [{"type": "refusal", "refusal": "No."}]}))
    assert refused("openai", examples.chat_whole({"content": "The"}, "content_filter"))
    part = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
    assert refused("openai", examples.response_whole(part))
    filtered = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    assert refused("openai", examples.response_whole(**filtered))
    assert not refused("openai", examples.chat_whole({"content": "Das mache ich nicht."}))  # said in the docs


RESPONSE_ITEMS = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm. "}], "content": None},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "Ulm"}},
    {"type": "mcp_call", "id": "mcp_1", "name": "roll", "server_label": "dice", "arguments": '{"n": 2}', "output": "4"},
    {"type": "custom_tool_call", "call_id": "c1", "name": "exec", "input": "ls"},
    {"type": "message", "content": [{"type": "output_text", "text": "4", "annotations": [
        {"type": "url_citation", "url": "https://b.example", "title": "B"},
        {"type": "url_citation", "url": "https://a.example", "title": "A"},
        {"type": "url_citation", "url": "https://a.example", "title": "A"}]}]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "rows"),
    [
        ("text", ("4",)),
        ("reasoning", ("Hm. ",)),
        ("citations", ("https://a.example\nhttps://b.example",)),
        ("tool_calls", (('web_search({"query":"Ulm","type":"search"})', 'roll({"n":2})', 'exec("ls")'),)),
        ("finish_reason", ("completed",)),
    ],
)
def test_items_of_responses(output: str, rows: Any) -> None:
    body = examples.response_whole(*RESPONSE_ITEMS)
    assert said("openai", body, output=output, kind=KINDS.get(output, Kind.AUTO)).rows == rows


ODD: list[tuple[str, Any, str, Reason, str]] = [
    ("anthropic", {"type": "error", "error": {"type": "overloaded_error"}}, "", Reason.MISSING_OUTPUT, "`content`"),
    ("anthropic", examples.message_whole(7), "", Reason.BAD_TYPE, "a block of `content` is a number"),  # type: ignore[arg-type]
    ("anthropic", examples.message_whole({"type": "text", "text": 7}), "", Reason.BAD_TYPE, "`text` is a number"),
    (
        "anthropic",
        b'data: {"type":"content_block_delta","index":0,"delta":{}}\n\n',
        STREAM,
        Reason.BAD_SHAPE,
        "not begun",
    ),
    ("anthropic", b'data: {"type":"content_block_start","index":9999}\n\n', STREAM, Reason.BAD_SHAPE, "9999"),
    ("openai", examples.response_whole(status="failed", error={"message": "no room"}), "", Reason.TRUNCATED, "no room"),
    ("openai", b'data: {"type":"response.output_text.delta","delta":"a"}\n\n', STREAM, Reason.TRUNCATED, "breaks off"),
]


@pytest.mark.parametrize(("protocol", "body", "media_type", "reason", "words"), ODD)
def test_what_cannot_be_read(protocol: str, body: Any, media_type: str, reason: Reason, words: str) -> None:
    found, detail = refusal(protocol, body, media_type=media_type)
    assert found is reason
    assert words in detail


def test_an_error_in_the_midst_of_a_stream_is_no_answer_whatever_came_before() -> None:
    events = examples.message_stream(SAYS, cut=list)[:6]
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found, detail = refusal("anthropic", examples.sse([*events, error], named=True), media_type=STREAM)
    assert (found, detail) == (Reason.TRUNCATED, "the stream ended with an error: Overloaded")
    found, _ = refusal("anthropic", examples.sse(events, named=True), media_type=STREAM)
    assert found is Reason.TRUNCATED
    failed = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "down"}}}
    assert refusal("openai", examples.sse([failed]), media_type=STREAM)[1].endswith("error: down")


def test_a_stream_without_its_last_mark_is_whole_once_it_has_said_why_it_ended() -> None:
    assert said("anthropic", examples.sse(examples.message_stream(SAYS, cut=list)[:-1]), media_type=STREAM).rows == (
        "Let me look.",
    )
    assert said("openai", examples.sse(examples.chat_stream({"content": "Hi"}, list)[:-1]), media_type=STREAM).rows == (
        "Hi",
    )


def test_chunks_that_say_nothing_of_a_choice_are_passed_over() -> None:
    azure = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}
    events = [b": OPENROUTER PROCESSING\n\n", azure, *examples.chat_stream({"content": "Hi"}, list)]
    assert said("openai", examples.sse(events), media_type=STREAM).rows == ("Hi",)


@pytest.mark.parametrize("function", [{"name": "f", "arguments": "{}"}, {"name": "f", "arguments": ""}])
def test_calls_without_an_index_are_told_apart_by_their_ids(function: Any) -> None:
    calls = [{"id": f"c{n}", "function": {**function, "name": f"f{n}"}} for n in range(2)]
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls]
    rows = said("openai", examples.sse([*chunks, b"data: [DONE]\n\n"]), media_type=STREAM, output="tool_calls").rows
    assert rows == (("f0({})", "f1({})"),)


def test_audio_is_read_by_its_transcript() -> None:
    whole = examples.chat_whole({"audio": {"id": "a", "data": "AAAA", "transcript": "Hello"}})
    deltas = [{"audio": {"id": "a", "transcript": "Hel"}}, {"audio": {"data": "AAAA"}}, {"audio": {"transcript": "lo"}}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    streamed = examples.sse([*chunks, b"data: [DONE]\n\n"])
    assert said("openai", whole).rows == said("openai", streamed, media_type=STREAM).rows == ("Hello",)


def test_which_call_differs_is_told_of_a_pair() -> None:
    def called(days: int) -> Any:
        return answer(examples.message_whole({**ASKS, "input": {"city": "Ulm", "days": days}}, stop="tool_use"))

    spec = PredictionSpec("anthropic", Kind.CALLS, "tool_calls")
    reading = read_pair(spec, pair(called(2), called(3), head=b"POST /v1/messages HTTP/1.1\r\n\r\n"))
    assert (reading.fault, reading.detail) == ("", "candidate: weather: `/days` is 3 where live has 2")
    assert read_pair(spec, pair(called(2), called(2))).detail == ""


def test_tokens_of_both_arms_are_counted_in_one_way() -> None:
    def streamed(usage: dict[str, Any] | None, text: str = "abcd", thought: str = "") -> Any:
        message = {"content": text, "reasoning_content": thought}
        return answer(examples.sse(examples.chat_stream(message, list, usage=usage)), head=head_of(STREAM))

    def counted(live: Any, candidate: Any) -> tuple[int, int, bool]:
        reading = read_pair(PredictionSpec("openai"), pair(live, candidate))
        return reading.live_tokens, reading.tokens, reading.pieces

    hidden = {"completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 15}}
    assert counted(streamed({"completion_tokens": 8}), streamed({"completion_tokens": 9})) == (8, 9, False)
    assert counted(streamed({"completion_tokens": 8}), streamed(None, "abc")) == (4, 3, True)
    assert counted(streamed(hidden), streamed(hidden, thought="xyz")) == (5, 20, False)
    assert read_pair(PredictionSpec("openai"), pair(streamed(None), streamed(None))).served is Arm.LIVE


def test_messages_are_recognised_by_the_path() -> None:
    nothing = Message(b"", b"")
    assert anthropic.recognise("/v1/messages", nothing)
    assert anthropic.recognise("/anthropic/v1/messages?beta=true", nothing)
    assert not anthropic.recognise("/v1/threads/t_1/messages", nothing)
    assert not anthropic.recognise("/v1/messages/count_tokens", nothing)


WORDS = ["type", "index", "delta", "content", "content_block", "text", "thinking", "partial_json", "message", "usage",
         "output_tokens", "stop_reason", "message_start", "message_delta", "content_block_start", "content_block_delta",
         "tool_use", "name", "input", "id", "output", "item", "output_index", "response", "response.completed",
         "response.output_item.done", "function_call", "arguments", "citations", "citation", "url"]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 200) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)


@given(
    st.sampled_from(["openai", "anthropic"]), st.lists(JSON, min_size=1, max_size=4), st.booleans(),
    st.sampled_from(["", *OUTPUTS]), st.sampled_from(Kind),
)  # fmt: skip
def test_nothing_shaped_like_an_answer_raises_anything_else(
    protocol: str, documents: list[Any], streamed: bool, output: str, kind: Kind
) -> None:
    events = b"".join(b"data: %b\n\n" % orjson.dumps(document) for document in documents)
    body: Any = events if streamed else documents[0]
    try:
        said(protocol, body, media_type=STREAM if streamed else "", output=output, kind=kind)
    except Unreadable:
        return
