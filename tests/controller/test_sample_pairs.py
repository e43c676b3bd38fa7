"""Keeps the promises of the pairs that are shown: the worst and the latest, few, small, and redacted."""

from __future__ import annotations

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.sample_pairs import (
    MAX_BODY,
    MAX_BYTES,
    MAX_SPOKEN,
    MOST,
    SMALL,
    TOGETHER,
    WAITING,
    SamplePairs,
    difference,
)
from proxy.model import Arm, Kind, Outcome, Pair, Prediction, PredictionSpec
from proxy.model.reasons import Reason
from proxy.pairs.link import cut_request
from proxy.predictions import read_pair
from proxy.predictions.aspects import AspectsReader
from tests.controller.worker import HEAD, answer
from tests.evidence.streams import deep_size

JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
SPEC = PredictionSpec("v2", Kind.LABEL, "y")


def add(kept: SamplePairs, number: int, candidate: Outcome, body: bytes = b"{}") -> None:
    pair = Pair("t", 0, "w", number, f"i{number}", 1000.0, Arm.LIVE, HEAD, body, answer(0), candidate)
    kept.add(pair, read_pair(SPEC, pair))


def test_the_worst_are_kept_however_many_come_after() -> None:
    kept = SamplePairs()
    add(kept, 0, Outcome(0, Reason.CONNECT))
    for number in range(1, 300):
        add(kept, number, answer(number % 2))
    worst = kept.shown("worst", 100, ())
    assert len(worst) == MOST
    assert (worst[0]["id"], worst[0]["fault"], worst[0]["difference"]) == ("i0", "connect", 2.0)
    assert all(pair["difference"] == 1.0 for pair in worst[1:])
    assert [pair["id"] for pair in kept.shown("latest", 2, ())] == ["i299", "i298"]


def test_a_pair_is_found_by_the_id_that_its_caller_knows() -> None:
    """Outcomes are joined by it too; the pair's own id stays, since a caller may repeat its ids."""
    kept = SamplePairs()
    for number, told in enumerate(("", "session-1", "session-1")):
        pair = Pair(
            "t", 0, "w", number, f"i{number}", 1000.0, Arm.LIVE, HEAD, b"{}", answer(0), answer(1), request_id=told
        )
        reading = read_pair(SPEC, pair)
        kept.add(pair, reading)
        assert reading.id == pair.known_as == (told or "i0")
    shown = [(pair["id"], pair["request_id"]) for pair in kept.shown("latest", 3, ())]
    assert shown == [("i2", "session-1"), ("i1", "session-1"), ("i0", "i0")]


def test_answers_of_another_form_are_as_bad_as_can_be_and_said_to_be() -> None:
    kept = SamplePairs()
    for number, candidate in enumerate((answer(0), Outcome(307, head=b"HTTP/1.1 307 Found\r\n\r\n"), answer(0))):
        pair = Pair("t", 0, "w", number, f"i{number}", 1.0, Arm.LIVE, HEAD, b"", answer(0), candidate)
        kept.add(pair, read_pair(None, pair))
    (worst,) = kept.shown("worst", 10, ())
    assert (worst["id"], worst["mismatch"], worst["difference"], worst["fault"]) == ("i1", "status_class", 1.0, None)
    assert worst["detail"] == "candidate: answered 307 where live answered 200"
    assert [pair["mismatch"] for pair in kept.shown("latest", 10, ())] == [None, "status_class", None]


def test_what_is_kept_is_small() -> None:
    kept = SamplePairs()
    add(kept, 0, answer(1), body=b"x" * (1 << 20))
    assert len(kept.shown("latest", 1, ())[0]["request"]["body"]) == MAX_BODY


def test_it_is_said_how_long_a_request_was_and_whether_all_of_it_is_shown() -> None:
    """Whoever cut it: the worker, or what is kept here."""
    kept = SamplePairs()
    long = b"x" * 300_000
    cut = cut_request(long)
    for number, body in enumerate((b"x" * MAX_BODY, b"x" * (MAX_BODY + 1), long, cut[:MAX_BODY])):
        rest = cut[MAX_BODY:] if number == 3 else b""
        pair = Pair("t", 0, "w", number, f"i{number}", 1.0, Arm.LIVE, HEAD, body, answer(0), answer(0))
        kept.add(pair._replace(request_rest=rest), read_pair(SPEC, pair))
    shown = [pair["request"] for pair in kept.shown("latest", 9, ())][::-1]
    assert [(one["size"], one["whole"]) for one in shown] == [
        (MAX_BODY, True), (MAX_BODY + 1, False), (300_000, False), (300_000, False),
    ]  # fmt: skip
    assert {len(one["body"]) for one in shown} == {MAX_BODY}


@pytest.mark.parametrize("answer_bytes", [500, 5_000, 100_000])
def test_what_is_kept_is_bounded_in_bytes_whatever_is_answered(answer_bytes: int) -> None:
    kept, head = SamplePairs(), HEAD.replace(b"\r\n\r\n", b"\r\nx: " + b"h" * 30_000 + b"\r\n\r\n")
    spec = PredictionSpec("v2", Kind.VECTOR, "y")
    for number in range(60):
        values = [(number + n) % 7 / 7 for n in range(answer_bytes // 10)]
        arms = [vectors([values[0], 0.1 * arm, *values[2:]]) for arm in (1, 2)]
        pair = Pair("t", 0, "w", number, f"i{number}", 1.0, Arm.LIVE, head, b"x" * (1 << 18), *arms, arms[0])
        kept.add(pair, read_pair(spec, pair))
    assert kept.shown("worst", 1, ())[0]["difference"] > 0
    assert 10 <= len(kept.shown("latest", 100, ())) < 50
    shared = deep_size(HEAD)
    assert deep_size([kept._worst, kept._latest]) <= 2 * MAX_BYTES + shared
    assert deep_size(kept._latest[-1].reading) + deep_size(kept._latest[-1].pair) <= kept._latest[-1].size


def test_what_waits_to_be_looked_at_is_bounded_in_bytes_and_number() -> None:
    kept, most, waited = SamplePairs(), 0, 0
    for number in range(300):
        add(kept, number, answer(number % 2)._replace(body=b"x" * 3000), body=b"x" * MAX_BODY)
        most, waited = max(most, kept._new_bytes), max(waited, len(kept._new))
    assert WAITING // 2 < most <= WAITING
    assert MOST < waited < TOGETHER, "a look at them is worth it"
    assert [pair["id"] for pair in kept.shown("latest", 100, ())] == [f"i{number}" for number in range(299, 249, -1)]


def vectors(values: list[float]) -> Outcome:
    output = {"name": "y", "datatype": "FP64", "shape": [1, len(values)], "data": values}
    return answer(0)._replace(body=orjson.dumps({"model_name": "m", "outputs": [output]}))


def test_what_is_to_be_redacted_is_never_shown() -> None:
    kept = SamplePairs()
    add(kept, 0, answer("private"), body=b'{"name": "private"}')
    add(kept, 1, answer("private"), body=b'{"name": "private", "cut": "' + b"x" * MAX_BODY)
    shown = repr(kept.shown("latest", 2, ["/name", "/outputs/0/data"]))
    assert "private" not in shown
    assert "[redacted]" in shown
    assert "not complete JSON" in shown


def test_a_query_parameter_is_hidden_and_the_bodies_are_shown_as_they_are() -> None:
    kept = SamplePairs()
    head = HEAD.replace(b" HTTP/1.1", b"?API_KEY=s3cret&top=1 HTTP/1.1")
    pair = Pair("t", 0, "w", 0, "i", 1000.0, Arm.LIVE, head, b"a=1", answer(1), answer(1))
    kept.add(pair, read_pair(SPEC, pair))
    [shown] = kept.shown("latest", 1, ["?api_key"])
    assert shown["request"]["path"].endswith("?API_KEY=[redacted]&top=1")
    assert shown["request"]["body"] == "a=1"
    assert shown["live"]["prediction"] is not None


numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5))
@pytest.mark.parametrize("kind", [Kind.SCORE, Kind.NUMBER, Kind.LABEL])
def test_a_difference_is_0_for_equal_answers_and_never_beyond_1(kind: Kind, rows: list[tuple[float, float]]) -> None:
    a, b = (Prediction(kind, tuple(row[arm] for row in rows)) for arm in (0, 1))
    assert 0.0 <= difference(a, b) <= 1.0
    assert difference(a, a) == 0.0


def test_a_difference_of_vectors_is_their_angle() -> None:
    def one(*values: float) -> Prediction:
        return Prediction(Kind.VECTOR, (values,))

    assert difference(one(1.0, 0.0), one(0.0, 2.0)) == 1.0
    assert difference(one(1.0, 1.0), one(3.0, 3.0)) == pytest.approx(0.0)
    assert difference(one(0.0, 0.0), one(0.0, 1.0)) == 1.0


def test_of_what_language_models_said_more_is_kept_and_no_more_is_listed() -> None:
    """An event of a stream weighs a quarter of a kilobyte and brings a word."""
    kept = SamplePairs(MAX_SPOKEN)
    stream = b"data: {}\n\n" * 40_000
    add(kept, 0, answer(0)._replace(body=stream))
    add(kept, 1, answer(0)._replace(body=stream[: 2 * MAX_BODY]))
    found = [kept.find(f"i{number}") for number in (0, 1, 2)]
    assert [None if pair is None else len(pair.candidate.body) for pair in found] == [MAX_SPOKEN, 2 * MAX_BODY, None]
    assert [len(pair["candidate"]["body"]) for pair in kept.shown("latest", 2, ())] == [MAX_BODY, MAX_BODY]
    for number in range(2, 60):
        add(kept, number, answer(0)._replace(body=stream))
    assert deep_size([kept._worst, kept._latest]) <= 2 * MAX_BYTES + deep_size(HEAD)


def test_small_pairs_wait_to_be_looked_at_and_come_to_the_same() -> None:
    """Whoever asks sees them at once, few wait, and kept is what is kept by one that looks at each by itself."""
    rng, together, singly = random.Random(4), SamplePairs(), SamplePairs()
    for number in range(3 * TOGETHER + 70):
        live, candidate = rng.choice([0, 1]), answer(rng.choice([0, 1, 2]))
        body = b"x" * rng.choice([1, 1, 1, 5 * SMALL])
        pair = Pair("t", 0, "w", number, f"i{number}", 1.0, Arm.LIVE, HEAD, body, answer(live), candidate)
        for kept in (together, singly):
            kept.add(pair, read_pair(SPEC, pair))
        singly.shown("latest", 1, ())
        assert len(together._new) < TOGETHER
        if rng.random() < 0.01:
            assert together.find(f"i{number}") == pair
    for order in ("worst", "latest"):
        assert together.shown(order, MOST, ()) == singly.shown(order, MOST, ())
    assert [entry.number for entry in together._latest] == [entry.number for entry in singly._latest]


def test_judged_pairs_are_kept_by_themselves_few_and_small() -> None:
    """A verdict comes long after its pair, when that is among the latest no more."""
    kept = SamplePairs()
    for number in range(MOST + 5):
        pair = Pair("t", 0, "w", number, f"i{number}", 1.0, Arm.LIVE, HEAD, b"x" * 2 * MAX_BODY, answer(0), answer(0))
        kept.add_judged(pair, read_pair(SPEC, pair))
    shown = kept.shown("judged", 100, ())
    assert len(shown) <= MOST
    assert shown[0]["id"] == f"i{MOST + 4}"
    assert all(len(pair["request"]["body"]) == MAX_BODY for pair in shown)
    assert kept.shown("latest", 9, ()) == kept.shown("worst", 9, ()) == []
    assert deep_size(kept) < 2 * MAX_BYTES


def test_a_pair_that_calls_another_tool_is_worse_than_any_in_other_words() -> None:
    specs = PredictionSpec("openai", Kind.CALLS, "tool_calls", name="tools"), PredictionSpec("openai", name="text")
    kept, reader = SamplePairs(), AspectsReader(specs)
    for number in range(2 * MOST):
        calls = [{"function": {"name": "f", "arguments": f'{{"a": 1, "b": {int(number == 20)}}}'}}]
        bodies = [{"content": "Yes.", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1, "b": 0}'}}]}]
        bodies.append({"content": f"Sure {number}", "tool_calls": calls})
        arms = [Outcome(200, head=JSON, body=orjson.dumps({"choices": [{"message": one}]})) for one in bodies]
        pair = Pair("t", 0, "w", number, f"i{number}", 1000.0, Arm.LIVE, HEAD, b"{}", *arms)
        kept.add(pair, reader.read(pair))
    worst = kept.shown("worst", MOST, (), ["tools", "text"])
    assert (worst[0]["id"], 0.1 < worst[0]["difference"] < 1) == ("i20", True)
    assert {one["difference"] for one in worst[1:]} == {0.1}
    assert [one["difference"] for one in worst[1]["aspects"]] == [0.0, 1.0]
