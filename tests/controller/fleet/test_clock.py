"""Promise: the other clock's offset is where it is said to be, however unequal the two ways are; clocks that agree are
not corrected; one that was set is noticed."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.fleet.clock import DRIFT, ClockOffset, exchanged

DELAYS = st.floats(0.0, 2.0) | st.floats(1e-5, 1e-3)
EXCHANGE = st.tuples(DELAYS, st.floats(0.0, 0.1), DELAYS, st.floats(0.01, 30.0))
"""Seconds there, in between, back, and until the next one."""
SLACK = 1e-6
"""Times are epoch seconds in doubles, which are exact to a quarter of a microsecond."""


def watch(
    exchanges: list[tuple[float, float, float, float]], offset: float, drift: float = 0.0, began: float = 1.7e9
) -> list[tuple[ClockOffset, float, float]]:
    """After each exchange: what is known, the true offset, and the monotonic time."""
    known, now, found = ClockOffset(), 0.0, []
    for there, between, back, pause in exchanges:
        sent, came = began + now, began + now + there + offset + drift * (now + there)
        end = now + there + between + back
        answered = came + between
        known = exchanged(known, (sent, came, answered, began + end), end)
        found.append((known, offset + drift * end, end))
        now = end + pause
    return found


@given(st.lists(EXCHANGE, min_size=1, max_size=30), st.floats(-3600, 3600), st.floats(-DRIFT / 2, DRIFT / 2))
def test_the_offset_is_where_it_is_said_to_be(
    exchanges: list[tuple[float, float, float, float]], offset: float, drift: float
) -> None:
    for known, true, now in watch(exchanges, offset, drift):
        slack = SLACK + DRIFT * 5  # within one exchange the clocks drift too
        assert known.low - slack <= true <= known.high + slack
        assert abs(known.correction - true) <= known.uncertainty(now) + slack


@given(st.lists(EXCHANGE, min_size=2, max_size=30), st.floats(-10, 10))
def test_the_least_delay_rules_and_nothing_gets_worse_but_by_age(
    exchanges: list[tuple[float, float, float, float]], offset: float
) -> None:
    found = watch(exchanges, offset)
    for (before, _, then), (after, _, now) in pairwise(found):
        assert after.high - after.low <= before.high - before.low + 2 * DRIFT * (now - then) + SLACK
    least = min(there + back for there, _, back, _ in exchanges)
    last, _, now = found[-1]
    assert last.high - last.low <= least + 2 * DRIFT * now + SLACK


@given(st.lists(EXCHANGE, min_size=1, max_size=30))
def test_clocks_that_agree_are_not_corrected(exchanges: list[tuple[float, float, float, float]]) -> None:
    assert {known.correction for known, _, _ in watch(exchanges, 0.0, began=0.0)} == {0.0}


@given(EXCHANGE, EXCHANGE, st.floats(-10, 10), st.floats(-100, 100))
def test_a_clock_that_was_set_is_known_again_at_once(
    first: tuple[float, float, float, float], second: tuple[float, float, float, float], offset: float, by: float
) -> None:
    ((before, _, now),) = watch([first], offset)
    there, between, back, _ = second
    sent, came = 1e6, 1e6 + there + offset + by
    known = exchanged(before, (sent, came, came + between, sent + there + between + back), now + 1.0)
    assert min(abs(known.low - offset - by), abs(known.high - offset - by)) <= there + back + SLACK


def test_nothing_is_known_before_the_first_exchange_and_less_with_time() -> None:
    assert math.isinf(ClockOffset().uncertainty(0.0))
    known = exchanged(ClockOffset(), (0.0, 5.001, 5.001, 0.002), 0.0)
    assert known.correction == 5.0
    assert known.uncertainty(0.0) < 0.0011 < 0.02 < known.uncertainty(40.0)


def test_a_correction_stays_as_long_as_it_may_be_right() -> None:
    known = exchanged(ClockOffset(), (0.0, 5.001, 5.001, 0.002), 0.0)
    later = exchanged(known, (1.0, 6.0010001, 6.0010001, 1.002), 1.0)
    assert later != known
    assert later.correction == known.correction
    moved = exchanged(later, (2.0, 7.004, 7.004, 2.002), 2.0)
    assert moved.correction != known.correction
