"""Promise: a block of request time closes once, in order, when every worker that is waited for has passed it, and holds
the same pairs however they were batched and whichever worker was slow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from proxy.evidence.input import blocks
from proxy.evidence.input.blocks import KEY, NUMBER, PATIENCE, OpenBlocks, bounds
from tests.evidence.streams import cut

Reading = tuple[str, float, int]
"""Worker, request time, key."""


def count(it: OpenBlocks, batch: Sequence[Reading]) -> None:
    workers, times, keys = zip(*batch, strict=True)
    it.add(it.numbers(workers, times), np.array(keys), np.zeros((len(batch), 0), np.int64))


def closed(stream: list[Reading], sizes: tuple[int, ...] = (7,)) -> list[list[int]]:
    """What `complete` gives, over and over, as rows of [block, key]."""
    it, found = OpenBlocks(0.1, 0), []
    for batch in cut(stream, sizes):
        count(it, batch)
        found += it.complete().tolist()
    return found


streams = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30), st.integers(0, 2**62)), max_size=60)


@given(streams, st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_the_same_however_it_is_batched(stream: list[Reading], sizes: list[int]) -> None:
    """Whatever the order: of one worker too, whose clock may have been set back."""
    assert closed(stream, tuple(sizes)) == closed(stream, (len(stream) or 1,)) == closed(stream, (1,))


@given(streams)
def test_blocks_close_once_and_in_order(stream: list[Reading]) -> None:
    found = closed(stream, (3,))
    assert found == sorted(found)
    for size in (1, 3):
        it, last = OpenBlocks(0.1, 0), -1
        for batch in cut(stream, (size,)):
            count(it, batch)
            rows = it.complete()
            assert not len(rows) or rows[0, NUMBER] >= last  # none is opened again
            last = it.start
            assert (it.rows[:, NUMBER] >= it.start).all()


def test_a_worker_that_is_behind_is_waited_for_and_its_pairs_are_in_their_own_block() -> None:
    """Else the pairs of the slow worker, the slow ones among them, would be missing from every block."""
    quick = [("quick", 0.02 * i, i) for i in range(400)]
    slow = [("slow", 0.02 * i + 0.01, 1000 + i) for i in range(400)]
    together = sorted([*quick, *slow], key=lambda reading: reading[1])
    late = [*quick[:1], *slow[:1], *quick[1:], *slow[1:]]
    assert closed(late) == [row for row in closed(together) if row[NUMBER] < 79]
    assert len(closed([*quick[:1], *slow[:1], *quick[1:]])) == 0


def test_one_that_has_nothing_to_do_is_waited_for_so_long_and_no_longer() -> None:
    idle = [("idle", 0.0, 0)]
    busy = [("busy", 0.1 * i + 0.05, i) for i in range(1, 200)]
    waited_for = round(10 * PATIENCE)
    assert closed([*idle, *busy[: waited_for - 1]], (1,)) == []
    assert len(closed([*idle, *busy[: waited_for + 2]], (1,))) == waited_for + 2
    back = [*idle, *busy, ("idle", 1.0, 7), ("busy", 30.0, 8), ("busy", 30.2, 9)]
    assert [199, 7] in closed(back, (1,))  # its own block has been closed, so it is in the oldest open one


def test_one_that_is_gone_is_not_waited_for() -> None:
    it = OpenBlocks(0.1, 0)
    count(it, [("gone", 0.0, 0), *(("here", 0.1 * i + 0.05, i) for i in range(1, 20))])
    assert len(it.complete()) == 0
    it.gone("gone")
    assert len(it.complete()) == 19
    it.gone("nobody")
    it.gone("here")
    assert it.start == 19


def test_no_more_than_so_many_pairs_wait() -> None:
    it = OpenBlocks(0.1, 0)
    n = blocks.MOST + 1000
    count(it, [("idle", 0.0, -1), *(("busy", time, i) for i, time in enumerate(np.linspace(0.0, 9.0, n)))])
    assert it.start == 0
    assert len(it.complete()) >= 1000
    assert len(it.rows) <= blocks.MOST


@given(streams, st.lists(st.booleans(), min_size=60, max_size=60))
def test_what_waits_merges_in_any_order(stream: list[Reading], mine: list[bool]) -> None:
    halves = OpenBlocks(0.1, 0), OpenBlocks(0.1, 0)
    for reading, first in zip(stream, mine, strict=False):
        count(halves[not first], [reading])
    one, other = halves[0].merge(halves[1]), halves[1].merge(halves[0])
    assert one.rows.tolist() == other.rows.tolist()
    assert (one.start, one.front) == (other.start, other.front)
    assert sorted(one.rows[:, KEY].tolist()) == sorted(key for _, _, key in stream)
    assert len(bounds(one.rows)) == len(set(one.rows[:, NUMBER].tolist())) + 1
