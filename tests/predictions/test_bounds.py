"""Promise: what an answer weighs says nothing of how long it may take to read: what would take too long is not read,
for a reason of its own, and whatever is read takes its bounded time."""

from __future__ import annotations

import gzip
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Outcome, Pair, PredictionSpec
from proxy.model.reasons import Reason
from proxy.pairs.redaction import redact
from proxy.predictions import PairReader
from proxy.predictions.bounds import DEFAULT, MAX_BODY, VALUES, Bounds, check_json
from proxy.predictions.mismatch import is_empty
from proxy.predictions.unreadable import Unreadable
from tests.dear import BEYOND, DEAREST, GZIP, JSON, Case, many, outcome

REQUEST = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\n\r\n"
FIRST = PredictionSpec("json", Kind.VECTOR, pointer="/a")
LONG = 1.5
"""Seconds of CPU that one answer may take here: several times what it takes on an idle machine."""


def pair_of(live: Outcome, candidate: Outcome, request: bytes = b"{}") -> Pair:
    return Pair("t", 0, "w", 0, "i", 1e3, Arm.LIVE, REQUEST, request, live, candidate, None)


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_too_much_to_read_has_a_reason_of_its_own_and_is_not_read(name: str) -> None:
    spec, *_ = case = BEYOND[name]()
    began = time.thread_time()
    reading = PairReader(spec).read(pair_of(outcome(case), outcome(case)))
    assert time.thread_time() - began < 2 * LONG
    expected = Reason.DECOMPRESSED_TOO_LARGE if name == "zeros" else Reason.TOO_MANY_ELEMENTS
    assert (reading.live_fault, reading.fault) == (expected, Reason.NONE)


@pytest.mark.parametrize("name", DEAREST)
def test_whatever_is_read_takes_its_bounded_time(name: str) -> None:
    spec, *_ = case = DEAREST[name]()
    steps, longest = PairReader(spec).steps(pair_of(outcome(case), outcome(case))), 0.0
    while True:
        began = time.thread_time()
        reading = next(steps, None)
        longest = max(longest, time.thread_time() - began)
        if reading is not None:
            break
    assert (reading.live_fault, reading.fault) == (Reason.NONE, Reason.NONE), reading.detail
    assert reading.live is not None
    assert longest < LONG


def case_of(values: int) -> Case:
    return FIRST, JSON, many(b'{"a":[', b"1", b"]}", values)


@pytest.mark.parametrize(
    ("live", "candidate", "faults"),
    [
        (3, VALUES + 2, (Reason.NONE, Reason.TOO_MANY_ELEMENTS)),
        (VALUES // 2 - 9, VALUES + 2, (Reason.NONE, Reason.TOO_MANY_ELEMENTS)),
        (VALUES // 2 + 9, VALUES + 2, (Reason.TOO_MANY_ELEMENTS, Reason.NONE)),  # models that differ by chance
        (VALUES + 2, 3, (Reason.TOO_MANY_ELEMENTS, Reason.NONE)),
    ],
)
def test_near_the_bound_nobody_is_at_fault(live: int, candidate: int, faults: tuple[Reason, Reason]) -> None:
    reading = PairReader(FIRST).read(pair_of(outcome(case_of(live)), outcome(case_of(candidate))))
    assert (reading.live_fault, reading.fault) == faults
    assert "at most 262,144 are read" in reading.detail


@pytest.mark.parametrize("plain", [MAX_BODY // 2 - 99, MAX_BODY // 2 + 99])
def test_near_what_may_be_inflated_nobody_is_at_fault_either(plain: int) -> None:
    text = PredictionSpec("json", Kind.TEXT, pointer="/a")
    short, long = (b'{"a":"%s"}' % (b"x" * size) for size in (plain, MAX_BODY))
    live, candidate = (Outcome(200, head=GZIP, body=gzip.compress(body)) for body in (short, long))
    for arm in (live, Outcome(200, head=JSON, body=short)):
        reading = PairReader(text).read(pair_of(arm, candidate))
        found = reading.live_fault if 2 * plain > MAX_BODY else reading.fault
        assert found is Reason.DECOMPRESSED_TOO_LARGE


def test_a_larger_max_body_allows_more_but_of_rows_and_labels_a_smaller_one_only_less_to_inflate() -> None:
    for name, case in BEYOND.items():
        spec, *_ = made = case()
        reading = PairReader(spec, max_body=64 << 20).read(pair_of(outcome(made), Outcome(500)))
        beyond = reading.live_fault in (Reason.TOO_MANY_ELEMENTS, Reason.DECOMPRESSED_TOO_LARGE)
        assert beyond is ("rows" in reading.detail or "labels" in reading.detail), name
    assert Bounds.of(1) == Bounds(inflated=1)


def test_steps_read_what_reading_at_once_reads() -> None:
    answers = [Outcome(200, head=JSON, body=body) for body in (b'{"a":[1]}', b'{"a":[2]}', b"<html>", b'{"a":[1,2]}')]
    answers.append(Outcome(500))
    reader = PairReader(FIRST)
    for live in answers:
        for candidate in answers:
            for again in (None, *answers):
                pair = pair_of(live, candidate)._replace(again=again)
                *_, reading = reader.steps(pair)
                assert reading == reader.read(pair) == PairReader(FIRST).read(pair)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(alphabet='a"\\,:[]{} ', max_size=9),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(alphabet='a",:[', max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)


def counted(value: object) -> tuple[int, int]:
    """Arrays and objects, and members, of a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = (int(isinstance(value, list | dict)), len(value) if isinstance(value, dict) else 0)
    below = [counted(item) for item in inner]
    return own[0] + sum(one for one, _ in below), own[1] + sum(two for _, two in below)


@given(json_values, st.integers(0, 40))
def test_what_stands_in_strings_is_no_element(value: object, most: int) -> None:
    import orjson

    nodes, members = counted(value)
    bounds = Bounds(nodes=most, members=most, values=1 << 30)
    try:
        check_json(orjson.dumps(value), bounds)
    except Unreadable:
        assert nodes > most or members > most
    else:
        assert (nodes <= most and members <= most) or len(orjson.dumps(value)) <= most


def test_a_text_full_of_brackets_is_a_text() -> None:
    body = b'{"a":"%s"}' % (b'[{\\",:}]' * 100_000)
    spec = PredictionSpec("json", Kind.TEXT, pointer="/a")
    assert PairReader(spec).read(pair_of(*[Outcome(200, head=JSON, body=body)] * 2)).live_fault is Reason.NONE


@pytest.mark.parametrize("name", ["bomb", "objects"])
def test_a_request_beyond_the_bounds_is_known_by_its_bytes(name: str) -> None:
    answer = Outcome(200, head=JSON, body=b'{"a":[1]}')
    body = gzip.compress(bytes(10_000_000)) if name == "bomb" else many(b"[", b"{}", b"]", 300_000)
    head = REQUEST if name == "objects" else REQUEST[:-2] + b"content-encoding: gzip\r\n\r\n"
    pair = pair_of(answer, answer, body)._replace(request_head=head)
    reader = PairReader(PredictionSpec("json", Kind.VECTOR, pointer="/a", ignore=("/id",)))
    first, second = (reader.read(pair).request_hash for _ in range(2))
    assert first == second != reader.read(pair._replace(request_body=body[:-1])).request_hash


def test_nothing_is_inflated_to_see_whether_there_is_anything() -> None:
    deflated = gzip.compress(b"\0")
    assert len(deflated) < 64
    assert not is_empty(Outcome(200, head=GZIP, body=deflated))
    assert is_empty(Outcome(200, head=GZIP, body=gzip.compress(b"")))


def test_a_body_with_too_much_in_it_is_not_redacted_but_left_out() -> None:
    assert redact(many(b'{"a":[', b"[]", b"]}", DEFAULT.nodes + 1), ["/a"]) is None
    assert redact(many(b'{"b":1,"a":[', b"1", b"]}", 1000), ["/a"]) == b'{"b":1,"a":"[redacted]"}'
