"""Promise: each user is one unit of a stage, on the arm of the draw with the probability that is known of it; a stage
that ends leaves units out on both arms alike; what was posted in time counts, in any order; and a book that is replayed
from its events, or restored, goes on as the one that was there."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.evidence.input import early_posts, exposures
from proxy.evidence.input.early_posts import PATIENCE
from proxy.evidence.input.exposures import ExposureBook
from proxy.model import BUCKETS

WITHIN = 100.0


def user(bucket: int, number: int = 0) -> int:
    """A user in this bucket."""
    return number * BUCKETS + bucket


def book(**more: Any) -> ExposureBook:
    return ExposureBook(WITHIN, **{"points": False, **more})


def test_a_user_is_one_unit_of_a_stage_and_settles_with_all_that_was_posted_in_time() -> None:
    one = book()
    for time in (0.0, 1.0, 50.0):
        one.expose(1, 500, [(user(3), 0), (user(9000), 0)], time)
    assert (one.candidate.exposed, one.live.exposed, one.new_users) == (1, 1, (1, 1))
    assert [one.post(user(3), 2.0, time) for time in (10.0, 99.9)] == ["joined", "joined"]
    assert len(one.settle(99.9, 1, serving=True)) == 0
    assert one.post(user(3), 5.0, 100.0) == "late"
    settled = one.settle(100.0, 1, serving=True)
    assert settled.candidate.tolist() == [True, False]
    assert settled.value.tolist() == [4.0, 0.0]
    assert settled.share.tolist() == [0.05, 0.05]
    assert one.post(user(9000), 1.0, 101.0) == "late"
    assert (one.live.late, one.candidate.late) == (1, 1)
    assert one.expose(1, 500, [(user(3), 0)], 102.0) == [], "it has been one"


def test_a_drop_in_points_takes_one_conversion_and_refuses_what_is_none() -> None:
    one = book(points=True)
    one.expose(1, 500, [(user(3), 0)], 0.0)
    assert [one.post(user(3), value, 1.0) for value in (1.0, 1.0, 7.0, -1.0)] == ["joined", "joined", "unfit", "unfit"]
    assert one.settle(WITHIN, 1, serving=True).value.tolist() == [1.0]


def test_an_outcome_before_its_user_is_told_waits_a_minute() -> None:
    one = book()
    assert one.post(user(3), 1.0, 0.0) == "early"
    assert one.post(user(4), 1.0, 0.0) == "early"
    one.expose(1, 500, [(user(3), 0)], PATIENCE)
    one.expose(1, 500, [(user(4), 0)], PATIENCE + 1)
    assert one.settle(2 * WITHIN, 1, serving=True).value.tolist() == [1.0, 0.0]
    assert one.unknown == 1


class CountedTime(float):
    """A time that counts how often another is compared with it."""

    looks = 0

    def __sub__(self, other: float) -> float:
        CountedTime.looks += 1
        return float(self) - other


def test_what_waits_for_its_user_costs_the_same_however_much_waits_and_is_bounded() -> None:
    one, many = book(), early_posts.MOST + 100
    CountedTime.looks = 0
    posted = Counter(one.post(user(3, i), 1.0, CountedTime(i * 1e-4)) for i in range(many - 1000))
    posted += Counter(one.post(user(4), 1.0, CountedTime(2.0)) for _ in range(1000))
    assert posted == {"early": early_posts.MOST, "unknown": 100}
    assert CountedTime.looks <= 2 * many
    one.settle(70.0, 1, serving=True)
    assert one.unknown == many, "told without another outcome"
    assert one.post(user(5), 1.0, 70.0) == "early"


def test_a_later_stage_takes_those_who_were_on_live_with_the_probability_that_is_left() -> None:
    one = book()
    one.expose(1, 1000, [(user(b), 0) for b in (500, 1500, 9000)], 0.0)
    one.settle(WITHIN, 1, serving=True)
    began = one.expose(2, 4000, [(user(b), 0) for b in (500, 1500, 9000, 501)], 200.0)
    assert [(u.user, u.candidate, round(u.share, 6)) for u in began] == [
        (1500, True, 0.333333),
        (9000, False, 0.333333),
        (501, True, 0.4),
    ]
    assert one.expose(3, 1000, [(user(9000), 0)], 300.0) == [], "less weight than before: nothing is drawn anew"


def test_a_stage_that_ends_leaves_out_both_arms() -> None:
    one = book()
    one.expose(1, 1000, [(user(1), 0), (user(5000), 0)], 0.0)
    assert len(one.settle(WITHIN + 1, 2, serving=True)) == 0
    one.expose(2, 4000, [(user(6000), 0)], 200.0)
    assert len(one.settle(999.0, 2, serving=False)) == 0
    assert (one.live.switched, one.candidate.switched) == (2, 1)


def test_requests_without_a_key_are_users_by_the_number_of_their_id_and_forgotten() -> None:
    one = book()
    one.expose(1, 500, [(user(3), 77), (user(700), 78)], 0.0)
    assert one.post(77, 1.0, 1.0) == "joined"
    assert one.settle(WITHIN, 1, serving=True).value.tolist() == [1.0, 0.0]
    assert (one.known, one.post(78, 1.0, WITHIN), one.post(79, 1.0, WITHIN)) == ({}, "late", "early")
    assert one.post(77, 1.0, WITHIN) == "late"
    assert (one.live.late, one.candidate.late) == (1, 1)
    many = [(user(9000, n), 1000 + n) for n in range(1, exposures.CLOSED + 1)]
    one.expose(1, 500, many, WITHIN)
    one.settle(3 * WITHIN, 1, serving=True)
    assert [one.post(name, 1.0, 3 * WITHIN) for name in (78, 1001)] == ["early", "late"], "so many are known"


def test_half_of_the_users_are_kept_where_there_are_too_many_whatever_their_arm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exposures, "MOST", 1000)
    rng = np.random.default_rng(1)
    one = book()
    everyone = rng.integers(0, 1 << 63, 4000).tolist()
    for i, name in enumerate(everyone):
        one.expose(1, 2000, [(name, 0)], float(i) / 1e4)
    assert len(one.open) + len(one.known) <= 1000
    assert one.halvings >= 3
    arms = Counter(unit.candidate for unit in one.open.values())
    assert 0.1 < arms[True] / len(one.open) < 0.3
    results = Counter(one.post(name, 1.0, 50.0) for name in everyone)
    assert results["joined"] == len(one.open)
    assert results["left_out"] == 4000 - len(one.open)


_EVENT = st.one_of(
    st.tuples(st.just("exposed"), st.integers(1, 3), st.lists(st.integers(0, 60), max_size=8)),
    st.tuples(st.just("posted"), st.integers(0, 60), st.floats(-1.0, 5.0)),
)


@given(st.lists(_EVENT, max_size=60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_book_that_is_replayed_or_restored_goes_on_as_the_one_that_was_there(events: list[Any], cut: int) -> None:
    stages, told, time, stage = {1: 500, 2: 2500, 3: 5000}, [], 0.0, 1
    for event in events:
        time += 7.0
        if event[0] == "exposed":
            stage = max(stage, event[1])
            users = [[user((name * 997) % BUCKETS, name), 0] for name in event[2]]
            told.append(["exposed", time, stage, stages[stage], 0, users])
        else:
            told.append(["posted", user((event[1] * 997) % BUCKETS, event[1]), event[2], time])
    whole, first = book(), book()
    counted = whole.replay(told)
    parts = [first.replay(told[:cut])]
    second = ExposureBook.restored(first.dump())
    second._early = first._early  # what waits for its user is not kept: it is a minute at most
    parts.append(second.replay(told[cut:]))
    joined = exposures.joined(parts)
    assert joined.numbers.tolist() == counted.numbers.tolist()
    assert joined.value.tolist() == counted.value.tolist()
    assert joined.share.tolist() == counted.share.tolist()
    assert second.dump() == whole.dump()
    assert len(set(joined.numbers.tolist())) == len(joined)


def test_among_those_who_count_the_candidate_has_the_share_that_was_said() -> None:
    """Returning users, two stages: z of the sum of A − p, over all units."""
    rng, one = np.random.default_rng(5), book()
    everyone, counted = rng.integers(0, 1 << 63, 6000), []
    for day in range(40):
        entry, weight = (1, 1000) if day < 20 else (2, 3000)
        counted.append(one.settle(day * 20.0, entry, serving=True))
        one.expose(entry, weight, [(int(u), 0) for u in rng.choice(everyone, 400)], day * 20.0)
    units = exposures.joined(counted)
    off = units.candidate - units.share
    assert len(units) > 5000
    assert abs(off.sum()) < 4.0 * np.sqrt((units.share * (1 - units.share)).sum())
    late = off[units.share > 0.2]
    assert len(late) > 1000
    assert abs(late.sum()) < 4.0 * np.sqrt(0.25 * len(late))
