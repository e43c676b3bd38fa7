"""Promise: a fleet that offers five times what its controller can take is down to that within a minute, loses nothing
after it, and uses at least 95 % of it; a number is kept to; one that is not busy samples everything."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model import BUCKETS
from proxy.rollout.pair_budget import START, PairPace, at_most, bearable, turns

STEP = 0.25


class Queue:
    """A controller that takes `capacity` pairs a second, behind queues that hold `room` seconds of them; of what it
    is offered at share 1 `noise` is the standard deviation of each step, a ratio."""

    def __init__(self, capacity: float, room: float, noise: float, seed: int) -> None:
        self.capacity, self.room, self.noise, self.random = capacity, room * capacity, noise, random.Random(seed)
        self.waits, self.taken, self.lost = 0.0, 0.0, 0

    def step(self, offered: float) -> tuple[float, int]:
        """How busy it was, and what was lost."""
        comes = offered * STEP * max(0.0, self.random.gauss(1.0, self.noise))
        most = self.capacity * STEP * self.random.uniform(0.97, 1.0)
        waits = self.waits + comes
        done = min(waits, most)
        self.taken += done
        lost = max(0.0, waits - done - self.room)
        self.waits = waits - done - lost
        self.lost += int(lost)
        return done / most, int(lost)


def run(queue: Queue, offered: float, seconds: float, pace: PairPace, now: float, delay: int = 2) -> PairPace:
    """Drive it for a while; what workers are told reaches the queue some steps later, losses are heard of as late."""
    told, under_way, heard = pace.affords, [pace.affords] * delay, [0] * 4
    for n in range(int(seconds / STEP)):
        busy, lost = queue.step(offered * under_way.pop(0) / BUCKETS)
        heard.append(lost)
        pace = bearable(pace, now + n * STEP, busy, heard.pop(0))
        told = pace.affords if turns(told, pace.affords) else told
        under_way.append(told)
    return pace


@settings(max_examples=40)
@given(
    st.floats(1.5, 8.0),
    st.floats(0.5, 8.0),
    st.floats(0.0, 0.05),
    st.integers(0, 2**32),
    st.sampled_from([500, 20_000]),
)
def test_what_is_offered_beyond_what_can_be_taken_is_sampled_down_and_nothing_lost(
    times: float, room: float, noise: float, seed: int, capacity: float
) -> None:
    queue = Queue(capacity, room, noise, seed)
    pace = run(queue, times * capacity, 60.0, PairPace(), 0.0)
    queue.taken, queue.lost = 0.0, 0
    run(queue, times * capacity, 60.0, pace, 60.0)
    assert queue.lost == 0
    assert queue.taken >= 0.95 * 0.985 * capacity * 60.0  # 0.985 of it is what it can take on average


@settings(max_examples=40)
@given(st.floats(0.0, 0.8), st.integers(0, 2**32))
def test_who_can_take_all_samples_all(load: float, seed: int) -> None:
    queue = Queue(1000.0, 1.0, 0.05, seed)
    assert run(queue, load * 1000.0, 60.0, PairPace(), 0.0).affords == BUCKETS
    assert queue.lost == 0


def test_more_is_sampled_again_when_less_is_offered() -> None:
    queue = Queue(1000.0, 1.0, 0.02, 7)
    pace = run(queue, 5000.0, 60.0, PairPace(), 0.0)
    assert pace.affords < 2_500
    assert run(queue, 500.0, 60.0, pace, 60.0).affords == BUCKETS


@settings(max_examples=40)
@given(st.floats(1.0, 10_000.0), st.floats(1.0, 100_000.0), st.integers(0, 2**32))
def test_a_number_is_kept_to(limit: float, offered: float, seed: int) -> None:
    pace, rng, taken = PairPace(share=START), random.Random(seed), 0
    for n in range(480):
        mean = offered * STEP * pace.affords / BUCKETS
        sampled = max(0, round(rng.gauss(mean, mean**0.5)))
        taken += sampled if n >= 240 else 0
        pace = at_most(pace, limit, n * STEP, sampled)
    rate, bp = taken / 60.0, offered / BUCKETS
    assert rate <= max(limit, bp) + 4 * (rate / 60.0) ** 0.5 + bp
    if offered * START > 2.0:  # else it is not known in a minute how many there are
        assert rate >= min(0.9 * limit, offered) - 5 * (limit / 60.0) ** 0.5 - bp


def test_nothing_is_told_that_is_not_news() -> None:
    assert not turns(500, 503)
    assert turns(500, 506)
    assert not turns(BUCKETS, BUCKETS)
