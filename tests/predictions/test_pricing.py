"""Promise: a pair costs what its tokens or its seconds cost by the prices of the two arms, and copies what they alone
cost. Two arms paid by tokens are counted in one way."""

from __future__ import annotations

from math import isnan
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Outcome, Plan, Reading
from proxy.model.price import Price, TokenUsage
from proxy.model.reasons import Reason
from proxy.predictions import reader_of
from proxy.predictions.usage import usage_of
from tests.predictions import language_examples as examples
from tests.predictions.pairs import answer, pair

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
DEAR, CHEAP = Price(input=3e-6, output=15e-6, cached=0.3e-6, written=3e-6), Price(1e-7, 4e-7, 1e-7, 1e-7)
MACHINE = Price(second=0.002)


def chat(text: str = "Hello", usage: Any = None, seconds: float = 1.0) -> Outcome:
    choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    body = {"id": "x", "object": "chat.completion", "choices": choices, **({"usage": usage} if usage else {})}
    return answer(orjson.dumps(body))._replace(seconds=seconds)


def usage(into: int, out: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out, **more}


def read(live: Outcome, candidate: Outcome, ours: Price | None, theirs: Price | None, **more: Any) -> Reading:
    plan = Plan("r/c", "r", "l", "c", "1", (), (), live_price=ours, candidate_price=theirs)
    one = pair(live, candidate)._replace(**more)
    reader = reader_of(plan)
    (*_, last) = reader.steps(one)
    assert repr(last) == repr(reader.read(one))  # nan is not itself
    assert last is not None
    return last


def test_tokens_that_the_engines_say_at_the_prices_of_each_arm() -> None:
    found = read(chat(usage=usage(1000, 200)), chat(usage=usage(1000, 400)), DEAR, CHEAP)
    assert found.live_cost == pytest.approx(1000 * 3e-6 + 200 * 15e-6)
    assert found.cost == found.copies_cost == pytest.approx(1000 * 1e-7 + 400 * 4e-7)
    assert not found.counted


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (usage(900, 5, prompt_tokens_details={"cached_tokens": 600}), TokenUsage(300, 5, 600)),
        ({"input_tokens": 900, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 600}},
         TokenUsage(300, 5, 600)),
        ({"input_tokens": 300, "output_tokens": 5, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 70},
         TokenUsage(300, 5, 600, 70)),
        (usage(900, 5, prompt_cache_hit_tokens=100), TokenUsage(800, 5, 100)),
        (usage(9, 5, prompt_tokens_details={"cached_tokens": 10**9}), TokenUsage(0, 5, 9)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 40}, TokenUsage(9, 31)),
        ({"prompt_tokens": 9, "total_tokens": 9}, TokenUsage(9)),
    ],
)  # fmt: skip
def test_cached_tokens_are_told_apart_however_an_api_says_them(said: Any, expected: TokenUsage) -> None:
    assert usage_of(2, chat(usage=said)) == expected


def test_busy_seconds_are_paid_for_whatever_was_said_even_of_a_failure() -> None:
    found = read(chat(seconds=2.0), Outcome(503, seconds=4.0), MACHINE, MACHINE)
    assert (found.live_cost, found.cost) == (0.004, 0.008)
    assert not found.counted
    never = read(chat(seconds=2.0), Outcome(0, Reason.CONNECT, seconds=4.0), MACHINE, MACHINE)
    assert never.cost == 0.0


def test_an_arm_without_a_price_costs_nobody_knows_what() -> None:
    found = read(chat(usage=usage(9, 9)), chat(usage=usage(9, 9)), None, CHEAP)
    assert isnan(found.live_cost)
    assert found.cost == pytest.approx(9 * 5e-7)
    plain = read(chat(), chat(), None, None)
    assert isnan(plain.cost)
    assert plain.copies_cost == 0.0


def test_where_one_arm_does_not_say_its_tokens_both_are_counted_in_one_way() -> None:
    """The candidate's engine says ten times as many tokens as four bytes make: the same text costs the same."""
    found = read(chat("word " * 100), chat("word " * 100, usage(9, 1250)), CHEAP, CHEAP)
    assert found.counted
    assert found.cost == found.live_cost > 0


@pytest.mark.parametrize("streamed", [False, True])
def test_texts_are_counted_and_not_the_json_around_them(streamed: bool) -> None:
    def outcome(words: int) -> Outcome:
        if not streamed:
            return chat("word " * words)
        pieces = [{"id": "x" * 80, "choices": [{"index": 0, "delta": {"content": "word " * 4}}]}] * (words // 4)
        return Outcome(200, head=EVENTS, body=examples.sse(pieces))

    short, long = (usage_of(0, outcome(words)) for words in (40, 80))
    assert short == TokenUsage(0, 50, counted=True)
    assert long.output == 2 * short.output


def test_a_stream_of_the_responses_api_that_says_itself_again_is_counted_once() -> None:
    text = "All is well that ends well. " * 10
    part = {"type": "output_text", "text": text, "annotations": []}
    events = examples.response_stream({"type": "message", "role": "assistant", "content": [part]}, cut=list)
    for event in events:
        if isinstance(event, dict):
            event.get("response", {}).pop("usage", None)
    found = usage_of(0, Outcome(200, head=EVENTS, body=examples.sse(events)))
    assert found == TokenUsage(0, len(text) // 4, counted=True)


def test_what_copies_cost_is_that_of_answers_which_served_nobody() -> None:
    ours, theirs = chat(usage=usage(10, 0)), chat(usage=usage(0, 10))
    again = chat(usage=usage(100, 0))
    live_cost, cost = 10 * DEAR.input, 10 * CHEAP.output
    assert read(ours, theirs, DEAR, CHEAP).copies_cost == pytest.approx(cost)
    assert read(ours, theirs, DEAR, CHEAP, again=again).copies_cost == pytest.approx(cost + 100 * DEAR.input)
    assert read(ours, theirs, DEAR, CHEAP, served=Arm.CANDIDATE).copies_cost == pytest.approx(live_cost)
    for hedged, fell_back in ((True, False), (False, True)):
        more = {"served": Arm.CANDIDATE, "hedged": hedged, "fell_back": fell_back}
        assert read(ours, theirs, DEAR, CHEAP, **more).copies_cost == 0.0


@given(st.binary(max_size=300), st.sampled_from([b"", EVENTS, b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n"]))
def test_no_bytes_raise(body: bytes, head: bytes) -> None:
    odd = Outcome(200, head=head, body=body, seconds=1.0)
    found = read(odd, odd, DEAR, MACHINE)
    assert found.live_cost >= 0
    assert found.cost == 0.002
