"""Promise: what workers say of requests that they spared turns the share, each of them once, whoever comes and goes."""

from __future__ import annotations

import pytest

from proxy.controller.load import LoadMeter


def told(meter: LoadMeter, now: float, *reports: tuple[str, float, int, int]) -> float:
    """The share after these reports and a turn."""
    for worker, *totals in reports:
        meter.heard(worker, totals)
    meter.turn(now, 0)
    return meter.pace.share


def test_the_share_becomes_what_links_had_room_for_and_a_quarter() -> None:
    meter = LoadMeter()
    told(meter, 9.0)
    told(meter, 10.0)
    assert told(meter, 11.0, ("a", 1e6, 900_000, 800_000), ("b", 0.0, 0, 0)) == 1.0  # of a time before this controller
    assert told(meter, 12.0, ("a", 1e6 + 100, 900_100, 800_070), ("b", 100.0, 100, 70)) == pytest.approx(0.3 / 0.75)
    assert told(meter, 13.0) == pytest.approx(0.3 / 0.75), "what was heard counts once, and nothing grows for a while"
    meter.gone("b")
    assert told(meter, 13.5, ("b", 1e9, 10**9, 10**9)) == pytest.approx(0.3 / 0.75), "another one under its name"


def test_few_that_are_spared_keep_it_from_growing() -> None:
    meter = LoadMeter()
    told(meter, 9.0)
    told(meter, 10.0, ("a", 0.0, 0, 0))
    share = told(meter, 11.0, ("a", 1000.0, 1000, 600))
    assert told(meter, 18.0, ("a", 2000.0, 1500, 601)) == share
    assert told(meter, 20.0) == share, "it was strained a moment ago"
    assert told(meter, 22.0) > share
