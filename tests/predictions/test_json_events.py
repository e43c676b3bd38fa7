"""Promise: a stream of JSON events is read by its pointer: texts are joined however they were cut, any other value is a
row, the end is that of the message, and an error in it is never taken for an answer."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Kind, Outcome, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.predictions.json_events import LINES
from tests.predictions.pairs import answer, head_of, pair, refusal, said

STREAM = "text/event-stream"


def sse(*events: Any, end: str = "\n\n") -> bytes:
    texts = (event if isinstance(event, bytes) else orjson.dumps(event) for event in events)
    return b"".join(b"data: " + text + end.encode() for text in texts)


def lines(*events: Any) -> bytes:
    return b"".join(orjson.dumps(event) + b"\n" for event in events)


TRITON = sse(
    {"model_name": "llm", "model_version": "1", "text_output": "Hel"},
    {"model_name": "llm", "model_version": "1", "text_output": "lo"},
)
OLLAMA = lines(
    {"model": "m", "response": "Hel", "done": False},
    {"model": "m", "response": "lo", "done": False},
    {"model": "m", "response": "", "done": True, "eval_count": 2},
)
TGI = sse({"token": {"text": "Hel"}}, {"token": {"text": "lo"}, "generated_text": "Hello"})
MOSEC = b"event: message\r\ndata: Hel\r\n\r\nevent: message\r\ndata: lo\r\n\r\n"


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.AUTO])
@pytest.mark.parametrize(
    ("body", "media_type", "spec"),
    [
        (TRITON, STREAM, {"pointer": "/text_output"}),
        (TRITON, "", {"pointer": "/text_output"}),
        (TRITON, STREAM, {"jmespath": "text_output"}),
        (OLLAMA, "application/x-ndjson", {"pointer": "/response"}),
        (OLLAMA, "application/json", {"pointer": "/response"}),
        (OLLAMA, "text/plain", {"jmespath": "response"}),
        (TGI, STREAM, {"pointer": "/token/text"}),
        (MOSEC, STREAM, {}),
        (sse("Hel", "lo"), STREAM, {}),
        (sse("Hel", "lo", b"[DONE]"), STREAM, {}),
        (sse({"t": "Hel"}, {"ping": 1}, {"t": None}, {"t": "lo"}, b"[DONE]"), STREAM, {"pointer": "/t"}),
        (b": hello\n\nid: 3\ndata: {\"t\":\ndata: \"Hello\"}\n\n", STREAM, {"pointer": "/t"}),
    ],
)  # fmt: skip
def test_texts_are_joined(body: bytes, media_type: str, spec: dict[str, Any], kind: Kind) -> None:
    assert said("json", body, media_type=media_type, kind=kind, **spec).rows == ("Hello",)


def test_plain_texts_that_look_like_json_are_texts_where_text_is_wanted() -> None:
    for body in (sse(b"1", b"2", b" true"), sse(b"12 true")):
        assert said("json", body, media_type=STREAM, kind=Kind.TEXT).rows == ("12 true",)


def test_a_batch_of_texts_is_joined_in_its_places() -> None:
    body = sse({"t": ["He", "B"]}, {"t": ["llo", "ye"]})
    assert said("json", body, media_type=STREAM, pointer="/t", kind=Kind.TEXT).rows == ("Hello", "Bye")


@pytest.mark.parametrize(
    ("events", "kind", "rows"),
    [
        ([{"v": 0.5}, {"v": 0.25}], Kind.SCORE, (0.5, 0.25)),
        ([{"v": 3}, {"w": 1}, {"v": "cat"}], Kind.LABEL, (3, "cat")),
        ([{"v": [1, 2]}, {"v": [3]}], Kind.LABEL, (1, 2, 3)),
        ([{"v": [0.5, 0.5]}, {"v": [1, 0]}], Kind.PROBABILITIES, ((0.5, 0.5), (1.0, 0.0))),
        ([{"v": [[0.5, 0.5], [1, 0]]}], Kind.PROBABILITIES, ((0.5, 0.5), (1.0, 0.0))),
        ([{"v": ["a", "b"]}], Kind.RANKING, (("a", "b"),)),
        ([{"v": 12345678901234567890123}, {"v": 1}], Kind.LABEL, ("12345678901234567890123", 1)),
    ],
)
def test_any_other_value_is_a_row(events: list[Any], kind: Kind, rows: tuple[Any, ...]) -> None:
    texts = [json.dumps(event).encode() for event in events]
    for body, media_type in ((sse(*texts), STREAM), (b"\n".join(texts), "application/x-ndjson")):
        outcome = answer(body, head=head_of(media_type))
        reading = read_pair(PredictionSpec("json", kind, pointer="/v"), pair(outcome, outcome))
        assert reading.live is not None, reading.detail
        assert reading.live.rows == rows


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (sse({"t": "Hel"}, {"error": "out of memory"}), Reason.TRUNCATED, "ended with an error: out of memory"),
        (sse({"t": "Hel"}) + b"event: error\ndata: no\n\n", Reason.TRUNCATED, "ended with an error: no"),
        (sse({"error": {"message": "busy"}}), Reason.TRUNCATED, "busy"),
        (sse({"x": 1}, {"x": 2}), Reason.MISSING_OUTPUT, "none of 2 events has it: `t` is missing at the top"),
        (b": only a comment\n\n", Reason.EMPTY, "holds no event"),
        (sse(b"[DONE]"), Reason.EMPTY, "holds no event"),
        (sse({"t": "Hel"}, b'{"t": "l'), Reason.TRUNCATED, "breaks off"),
        (sse({"t": "Hel"}, b"oops"), Reason.NOT_JSON, "not JSON"),
        (sse({"t": 1}, {"t": "a"}), Reason.BAD_TYPE, "expected text"),
    ],
)
def test_refusals(body: bytes, reason: Reason, words: str) -> None:
    found, detail = refusal("json", body, pointer="/t", kind=Kind.TEXT)
    assert (found, words in detail) == (reason, True), detail


def test_an_error_is_none_where_it_is_what_is_asked_for_or_null() -> None:
    assert said("json", sse({"error": "a"}, {"error": "b"}), pointer="/error", kind=Kind.TEXT).rows == ("ab",)
    assert said("json", sse({"t": "a"}, {"error": None}), pointer="/t", kind=Kind.TEXT).rows == ("a",)
    assert refusal("json", sse({"error": "x"}), kind=Kind.LABEL)[0] is Reason.TRUNCATED


def test_json_over_several_lines_is_no_stream() -> None:
    assert said("json", b'{\n "t":\n "a"}\n', pointer="/t", kind=Kind.TEXT).rows == ("a",)
    assert refusal("json", b'{\n "t":\n "a"', pointer="/t", kind=Kind.TEXT)[0] is Reason.TRUNCATED
    assert refusal("json", b'{"t": 1}\n{"t": ', pointer="/t", kind=Kind.TEXT)[0] is Reason.NOT_JSON


@given(st.text(min_size=1, max_size=30), st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)), st.data())
def test_how_a_text_was_cut_and_framed_does_not_matter(
    text: str, cuts: list[int], others: list[int], data: st.DataObject
) -> None:
    def outcome(cuts: list[int]) -> Outcome:
        at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
        events = [{"t": text[a:b]} for a, b in itertools.pairwise(at)]
        form = data.draw(st.sampled_from(["sse", "lines", "whole"]))
        if form == "whole":
            return answer({"t": text})
        body, media_type = (sse(*events), STREAM) if form == "sse" else (lines(*events), min(LINES))
        return answer(body, head=head_of(media_type))

    reading = read_pair(PredictionSpec("json", Kind.TEXT, pointer="/t"), pair(outcome(cuts), outcome(others)))
    assert (reading.live_fault, reading.fault) == ("", ""), reading.detail
    assert reading.live is not None
    assert reading.live == reading.candidate
    assert reading.live.rows == (text,)


def test_pieces_are_counted_as_tokens() -> None:
    outcome = answer(TRITON, head=head_of(STREAM))
    reading = read_pair(
        PredictionSpec("json", Kind.TEXT, pointer="/text_output"), pair(outcome, answer({"text_output": "Hello"}))
    )
    assert (reading.live_tokens, reading.tokens) == (2, 0)


def test_the_table_of_servers_in_the_docs_reads_their_answers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "servers" / "json.md").read_text()
    pointers = re.findall(r"pointer: (/\w+(?:/\w+)?), kind: text", page)
    assert pointers == ["/text_output", "/response", "/token/text"]
    for body, pointer in zip((TRITON, OLLAMA, TGI), pointers, strict=True):
        assert said("json", body, pointer=pointer, kind=Kind.TEXT).rows == ("Hello",)
