"""Promise: the tokens of copies are those that the engine counted, else an estimate; of answers that served, none."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from proxy.model import Arm, Outcome
from proxy.model.reasons import Reason
from proxy.predictions import copies_cost
from tests.predictions import language_examples as examples
from tests.predictions.pairs import answer, pair

CHAT = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def said(usage: Any, **more: Any) -> Outcome:
    return answer(orjson.dumps({"choices": [], "usage": usage, **more}))


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (CHAT, 21),
        ({"prompt_tokens": 9, "completion_tokens": 12}, 21),
        ({"input_tokens": 3, "output_tokens": 4}, 7),
        ({"prompt_tokens": 5, "total_tokens": 5}, 5),
        ({"total_tokens": 2, "prompt_tokens": 9, "completion_tokens": -3}, 9),
    ],
)
def test_what_the_engine_counted(usage: Any, tokens: int) -> None:
    assert copies_cost(pair(answer(b"{}"), said(usage))) == tokens


def test_which_answers_are_copies() -> None:
    live, candidate, again = (said({"total_tokens": n}) for n in (1, 10, 100))
    one = pair(live, candidate)._replace(again=again)
    assert copies_cost(one) == 110
    assert copies_cost(one._replace(served=Arm.CANDIDATE)) == 101
    assert copies_cost(one._replace(served=Arm.CANDIDATE, hedged=True, again=None)) == 0
    assert copies_cost(one._replace(served=Arm.CANDIDATE, fell_back=True, again=None)) == 0


def test_a_stream_with_and_without_its_usage() -> None:
    pieces = [b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'] * 10
    last = b'data: {"choices": [], "usage": {"total_tokens": 33}}\n\n'
    asked = pair(answer(b"{}"), answer(b"{}")).request_body
    estimate = len(asked) // 4
    for body, tokens in (
        (b"".join([*pieces, last, b"data: [DONE]\n\n"]), 33),
        (b"".join([*pieces, b"data: [DONE]\n\n"]), estimate + 10),
        (b"".join([*pieces, b'data: {"usage": nul\n\n']), estimate + 10),
        (b"".join([*pieces, b'data: {"usage": {"total_tok\n\n']), estimate + 10),
        (b"".join([*pieces[:1], b'data: {"usage": null}\n\n', *pieces[1:], last]), 33),
    ):
        assert copies_cost(pair(answer(b"{}"), Outcome(200, head=EVENTS, body=body))) == tokens
    done = b'data: {"type": "response.completed", "response": {"usage": {"total_tokens": 8}}}\n\n'
    assert copies_cost(pair(answer(b"{}"), Outcome(200, head=EVENTS, body=done))) == 8


@pytest.mark.parametrize("reason", [Reason.CONNECT, Reason.POOL_FULL, Reason.NOT_REWRITTEN])
def test_what_was_never_asked_costs_nothing(reason: Reason) -> None:
    assert copies_cost(pair(answer(b"{}"), Outcome(0, reason))) == 0
    assert copies_cost(pair(answer(b"{}"), Outcome(429, body=b"no"))) == 0


NO_COUNT = {"completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0}
"""What a gateway (LiteLLM 1.108.7) writes where its engine says nothing."""


@pytest.mark.parametrize("usage", [None, 3, "many", {}, {"total_tokens": "9"}, NO_COUNT, [CHAT]])
def test_what_cannot_be_read_is_estimated(usage: Any) -> None:
    candidate = said(usage)
    one = pair(answer(b"{}"), candidate)
    assert copies_cost(one) == len(one.request_body) // 4 + len(candidate.body) // 4
    packed = Outcome(
        200, head=b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", body=gzip.compress(said(CHAT).body)
    )
    assert copies_cost(one._replace(candidate=packed)) == 21
    assert copies_cost(one._replace(candidate=packed._replace(body=b"\x1f"))) == len(one.request_body) // 4
    assert copies_cost(one._replace(candidate=Outcome(0, Reason.TIMEOUT))) == len(one.request_body) // 4


def test_messages_say_what_went_in_at_the_start_and_what_came_out_at_the_end() -> None:
    events = examples.message_stream({"type": "text", "text": "Hi"}, cut=list, output=40)
    events[0]["message"]["usage"]["cache_read_input_tokens"] = 100  # type: ignore[call-overload, index]
    body = examples.sse(events, named=True)
    assert copies_cost(pair(answer(b"{}"), Outcome(200, head=EVENTS, body=body))) == 25 + 100 + 40
    assert copies_cost(pair(answer(b"{}"), answer(examples.message_whole()))) == 25 + 12
    ended = examples.response_stream(cut=list)
    assert copies_cost(pair(answer(b"{}"), Outcome(200, head=EVENTS, body=examples.sse(ended)))) == 21


def test_counts_in_what_a_model_writes_are_no_counts() -> None:
    """Inside a text quotes are escaped; and of very many places only the first and the last are looked at."""
    text = '"usage": {"prompt_tokens": 1000000}'
    message = {"choices": [{"message": {"content": text}}], "usage": CHAT}
    assert copies_cost(pair(answer(b"{}"), answer(orjson.dumps(message)))) == 21
    many = b'{"usage": {' * 100_000 + orjson.dumps({"usage": CHAT})
    assert copies_cost(pair(answer(b"{}"), Outcome(200, head=EVENTS, body=many))) == 21
