"""Promise: readings come out in request order, each once, whatever order they came in, and the buffer is bounded."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.evidence import ReorderBuffer
from proxy.evidence.input.reorder_buffer import reading_size
from proxy.model import Kind, Prediction, Reading
from tests.evidence.streams import deep_size, make_reading

LABELS = st.text(max_size=80) | st.integers(-(2**63), 2**64 - 1) | st.booleans()


def numbers(readings: list[Reading]) -> list[int]:
    return [r.sequence for r in readings]


@given(n=st.integers(0, 60), seed=st.integers(0, 1000))
def test_any_order_of_arrival_comes_out_in_request_order(n: int, seed: int) -> None:
    arrivals = list(range(n))
    random.Random(seed).shuffle(arrivals)
    order, out = ReorderBuffer(), []
    for sequence in arrivals:
        out += numbers(order.add(make_reading(sequence)))
        assert out == list(range(len(out)))
    assert out == list(range(n))
    assert len(order) == order.late == order.skipped == 0


@given(n=st.integers(1, 40), seed=st.integers(0, 1000), data=st.data())
def test_marks_settle_what_was_dropped(n: int, seed: int, data: st.DataObject) -> None:
    """Some sequences never come; each MARK says so for those below it, and only those above it may still wait."""
    dropped = data.draw(st.sets(st.integers(0, n - 1)))
    rng = random.Random(seed)
    order, out, sent = ReorderBuffer(), [], []
    for block in range(0, n, 8):
        arrivals = [s for s in range(block, min(block + 8, n)) if s not in dropped]
        rng.shuffle(arrivals)
        for sequence in arrivals:
            out += numbers(order.add(make_reading(sequence)))
        sent += sorted(arrivals)
        out += numbers(order.mark(min(block + 8, n)))
        assert out == sent
    assert len(order) == 0


def test_a_repeated_or_settled_sequence_is_refused_and_counted() -> None:
    order = ReorderBuffer()
    assert numbers(order.add(make_reading(0))) == [0]
    assert order.add(make_reading(0)) == []
    assert order.add(make_reading(5)) == []
    assert order.add(make_reading(5)) == []
    assert numbers(order.mark(6)) == [5]
    assert order.add(make_reading(3)) == []
    assert order.late == 3


def test_what_waits_for_a_dead_worker_is_handed_over_in_order() -> None:
    order = ReorderBuffer()
    for sequence in (7, 3, 9):
        assert order.add(make_reading(sequence)) == []
    assert numbers(order.lost()) == [3, 7, 9]
    assert order.lost() == []


@given(
    st.one_of(
        st.tuples(st.just(Kind.SCORE), st.lists(st.floats(0, 1), min_size=1, max_size=200)),
        st.tuples(st.just(Kind.LABEL), st.lists(st.text(max_size=80), min_size=1, max_size=50)),
        st.tuples(st.just(Kind.LABEL), st.lists(LABELS, min_size=1, max_size=50)),
        st.tuples(st.just(Kind.RANKING), st.lists(st.lists(LABELS, min_size=1, max_size=9).map(tuple), min_size=1)),
        st.tuples(st.just(Kind.CALLS), st.lists(st.lists(st.text(max_size=500), max_size=5).map(tuple), min_size=1)),
        st.tuples(st.just(Kind.TEXT), st.lists(st.text(max_size=2000), min_size=1, max_size=2)),
        st.tuples(st.just(Kind.VECTOR), st.lists(st.tuples(*[st.floats(-1, 1)] * 30), min_size=1, max_size=20)),
    )
)
def test_the_size_of_a_reading_is_estimated_from_above(found: tuple[Kind, list[Any]]) -> None:
    kind, rows = found
    one, other = (Prediction(kind, tuple(rows)) for _ in range(2))
    reading = make_reading(7)._replace(live=one, candidate=other)
    assert reading_size(reading) >= deep_size(reading)


def test_texts_and_numbers_in_one_answer_may_wait() -> None:
    order = ReorderBuffer()
    mixed = make_reading(1, ["cat", 3], ["cat", True], kind=Kind.LABEL)
    assert order.add(mixed) == []
    assert numbers(order.add(make_reading(0))) == [0, 1]


def test_a_full_buffer_gives_up_the_gap_and_says_how_much() -> None:
    order = ReorderBuffer(most=3 * reading_size(make_reading(0)))
    for sequence in (4, 2, 5):
        assert order.add(make_reading(sequence)) == []
    assert numbers(order.add(make_reading(9))) == [2]
    assert (order.skipped, len(order)) == (2, 3)
