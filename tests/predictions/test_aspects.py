"""Promise: of one answer each prediction is read by itself, and what cannot be read as one fails or silences that one
only."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Outcome, Pair, PredictionSpec, Reading
from proxy.model.reasons import Reason
from proxy.predictions import booking
from proxy.predictions.aspects import AspectsReader
from proxy.predictions.bounds import Bounds
from proxy.predictions.last_read import LastRead
from proxy.predictions.openai_stream import assembled
from proxy.predictions.reading import PairReader
from tests.predictions import language_examples as examples

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
SPECS = (
    PredictionSpec("json", Kind.LABEL, pointer="/intent", name="intent", ignore=("/id",)),
    PredictionSpec("json", Kind.LABEL, pointer="/refused", name="refusal"),
    PredictionSpec("json", Kind.SCORE, pointer="/risk", name="risk"),
)
GOOD = {"intent": "pay", "refused": False, "risk": 0.25}


def pair(live: Any, candidate: Any, request: bytes = b"{}", **fields: Any) -> Pair:
    ours, theirs = (
        one if isinstance(one, Outcome) else Outcome(200, head=HEAD, body=orjson.dumps(one), seconds=0.1)
        for one in (live, candidate)
    )
    head = b"POST /x HTTP/1.1\r\n\r\n"
    return Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, head, request, ours, theirs, **fields)


def read(one: Pair) -> Reading:
    return AspectsReader(SPECS).read(one)


def test_each_is_read_as_it_would_be_alone() -> None:
    one = pair(GOOD, {**GOOD, "risk": 0.75})
    found = read(one)
    assert found.aspects == tuple(PairReader(spec).read(one)._replace(request_hash=part.request_hash)
                                  for spec, part in zip(SPECS, found.aspects, strict=True))  # fmt: skip
    assert (found.live, found.candidate, found.live_fault, found.fault) == (None, None, Reason.NONE, Reason.NONE)
    assert [part.live and part.live.rows for part in found.aspects] == [("pay",), (False,), (0.25,)]
    assert found.aspects[2].candidate == PairReader(SPECS[2]).read(one).candidate


def test_a_candidate_that_cannot_be_read_as_one_fails_that_one_and_as_a_whole() -> None:
    found = read(pair(GOOD, {"intent": "pay", "refused": False}))
    assert [part.fault for part in found.aspects] == [Reason.NONE, Reason.NONE, Reason.MISSING_OUTPUT]
    assert found.fault is Reason.MISSING_OUTPUT
    assert found.detail.startswith("risk: candidate: ")


def test_live_that_cannot_be_read_as_one_says_nothing_of_that_one() -> None:
    found = read(pair({"intent": "pay", "risk": 0.5}, GOOD))
    assert (found.live_fault, found.fault, booking(found.live_fault)) == (Reason.NONE, Reason.NONE, "compared")
    assert [part.live_fault for part in found.aspects] == [Reason.NONE, Reason.MISSING_OUTPUT, Reason.NONE]


def test_live_that_can_be_read_as_none_is_unparseable() -> None:
    found = read(pair({"other": 1}, GOOD))
    assert booking(found.live_fault) == "unparseable"
    assert found.fault is Reason.NONE


@pytest.mark.parametrize("status", [500, 429])
def test_a_server_that_fails_fails_in_all_of_them(status: int) -> None:
    theirs = read(pair(GOOD, Outcome(status, head=HEAD)))
    assert theirs.fault
    assert {part.fault for part in theirs.aspects} == {theirs.fault}
    ours = read(pair(Outcome(status, head=HEAD), GOOD))
    assert booking(ours.live_fault) == "live_failed"
    assert {part.live_fault for part in ours.aspects} == {ours.live_fault}


def test_what_any_of_them_ignores_makes_no_new_request() -> None:
    one, other, new = (read(pair(GOOD, GOOD, body)) for body in (b'{"id":1,"x":2}', b'{"id":3,"x":2}', b'{"x":3}'))
    assert one.request_hash == other.request_hash != new.request_hash


@given(st.binary(max_size=60), st.binary(max_size=60), st.booleans())
def test_it_reads_in_steps_what_it_reads_at_once_and_never_raises(live: bytes, candidate: bytes, twice: bool) -> None:
    bodies = [Outcome(200, head=HEAD, body=body, seconds=0.1, first=0.1) for body in (live, candidate)]
    one = pair(*bodies, again=bodies[0] if twice else None)
    reader = AspectsReader(SPECS)
    *steps, last = reader.steps(one)
    assert set(steps) <= {None}
    assert last == reader.read(one)


def test_a_stream_is_put_together_once_for_all_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is nearly all that reading it costs; another answer with the same bytes is another one."""
    made: list[bytes] = []

    def counted(body: bytes, bounds: Bounds) -> tuple[dict[str, Any], int]:
        made.append(body)
        return assembled(body, bounds)

    monkeypatch.setattr("proxy.predictions.protocols.openai._assembled", LastRead(counted))
    specs = tuple(PredictionSpec("openai", output=output, name=output) for output in ("text", "refusal", "tool_calls"))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    for number in range(20):
        text = f"Answer {number}"
        bodies = [examples.sse(examples.chat_stream({"content": text}, list)) for _ in range(3)]
        arms = [Outcome(200, head=head, body=body, seconds=0.1) for body in bodies]
        reading = AspectsReader(specs).read(pair(arms[0], arms[1], again=arms[2]))
        assert [one.live.rows for one in reading.aspects if one.live] == [(text,), (False,), ((),)]
    assert len(made) == 60
