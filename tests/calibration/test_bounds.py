"""Promise: docs/power.md says of each row that misses its target what no test can undercut, as it is reckoned here."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest

from tests.calibration.bounds import LATE, NEEDED, Bound, missed, table

PAGE = Path(__file__).parents[2] / "docs" / "power.md"


def test_the_page_says_what_is_reckoned() -> None:
    assert table().strip() in PAGE.read_text()


@pytest.mark.parametrize("bound", missed(), ids=lambda one: one.what)
def test_what_is_shipped_is_slower_than_its_bound_by_the_price_of_a_grid_at_most(bound: Bound) -> None:
    whole = bound.looks_bursty(40) * bound.restarted
    assert bound.least < bound.target < bound.shipped
    assert whole <= bound.shipped <= 1.4 * whole


def test_a_break_after_a_thousand_million_pairs_cannot_be_found_as_soon_as_wished() -> None:
    late = missed()[-1]
    assert (NEEDED + log(LATE)) / late.growth > 1.2 * late.target
    assert late.nats > log(LATE)  # restarts that know no number beforehand cost more than a million equal ones
