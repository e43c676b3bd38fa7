"""Promise: a worker tells each user of a trial once while stage and weight stay, by the number by which the arm is
drawn, forgets nobody that it has told while there is room, and counts those for whom there is none."""

from __future__ import annotations

import struct

import pytest

from proxy.request import exposures
from proxy.request.exposures import Exposures


def told(one: Exposures) -> list[tuple[int, ...]]:
    return list(struct.Struct("<QQ").iter_unpack(one.take()[1]))


def test_a_user_is_told_once_and_a_request_without_a_key_each_time() -> None:
    one = Exposures()
    assert not one.waits
    for _ in range(20):
        one.saw(7, 0)
    one.saw(8, 0)
    one.saw(9, 5)
    one.saw(10, 6)
    assert one.waits
    assert told(one) == [(7, 0), (8, 0), (9, 5), (10, 6)]
    one.saw(7, 0)
    assert told(one) == []
    one.begin(2, 500, 0)
    one.saw(7, 0)
    assert told(one) == [(7, 0)]


def test_what_waits_survives_a_controller_and_what_was_told_last_is_told_again() -> None:
    one = Exposures(2, 500)
    one.saw(7, 0)
    one.saw(8, 80)
    assert told(one) == [(7, 0), (8, 80)]
    one.saw(9, 0)
    one.saw(10, 100)
    one.again()
    assert told(one) == [(7, 0), (9, 0), (10, 100)], "a request without a key is not told twice"
    one.untold(3)
    assert one.take()[0] == 3
    one.saw(9, 0)
    assert not one.waits, "it is remembered"


def test_other_questions_are_about_everybody_and_a_stage_begins_with_nobody() -> None:
    one = Exposures(2, 500)
    one.begin(2, 500, 11)
    one.saw(7, 0)
    one.take()
    one.saw(8, 0)
    one.begin(2, 500, 11)
    one.saw(7, 0)
    one.begin(2, 500, 12)
    for user in (8, 7):
        one.saw(user, 0)
    assert told(one) == [(8, 0), (7, 0)]
    one.saw(9, 0)
    one.begin(3, 900, 12)
    assert (told(one), one.stage, one.weight) == ([], 3, 900)
    one.untold(0)
    assert not one.waits


def test_what_there_is_no_room_for_is_counted_and_told_with_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    if exposures.__file__.endswith(".so"):
        pytest.skip("constants are compiled in")
    monkeypatch.setattr(exposures, "MOST_PENDING", 2)
    one = Exposures()
    for user in (1, 2, 3, 3):
        one.saw(user, 0)
    assert one.take()[0] == 2
    one.saw(3, 0)
    assert told(one) == [(3, 0)]
    assert one.take()[0] == 0
    for user in (4, 5):
        one.saw(user, 0)
    one.take()
    one.saw(6, 0)
    one.untold(0)
    assert one.take()[0] == 1
