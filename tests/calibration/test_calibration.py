"""Promise: error rates at the limit and delays are what docs/calibration.md says; here with few runs, all rows of it.

The whole table is `make calibration`; these runs are seeded, so a row that fails here has changed, it was not unlucky.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.calibration.__main__ import OUT, every_case, report, selected
from tests.calibration.by_blocks import blocks
from tests.calibration.cases import DEFAULTS, Case, Row, delays, harmlesses, limits, pooled, stalls
from tests.calibration.costs import cost_delays, cost_limits, cost_rows
from tests.calibration.drifts import drift_rows
from tests.calibration.harness import by_tally, cumulated, placed_on, restarted, sizes_at_looks, slots_of, values_of
from tests.calibration.hostile import hostiles
from tests.calibration.judged import judged_rows
from tests.calibration.outcome_peers import duels
from tests.calibration.outcome_peers import fought as outcome_duels
from tests.calibration.outcomes import outcome_delays, outcome_limits, outcome_rows
from tests.calibration.page import Line, exchanged, read, words, written
from tests.calibration.summary import summary
from tests.calibration.together import together_rows
from tests.calibration.truths import everything
from tests.calibration.unsteady import unsteady
from tests.calibration.whole import wholes


@pytest.mark.parametrize("case", [*limits(), *cost_limits()])
def test_at_the_limit(case: Case) -> None:
    row = case(0.01)
    assert row.ok, row
    assert row.guard in words(case), "`--only` finds it by its guard"


DIFFICULT = [*wholes(), *harmlesses(), stalls, *blocks(), *hostiles(), *unsteady(), *together_rows(), *cost_rows()]


def unless_dear(case: Case) -> Any:
    """A row as a parameter; what a condition costs where it does not hold takes as long as ten others."""
    return pytest.param(case, marks=pytest.mark.slow if getattr(case, "__qualname__", "").startswith("priced.") else ())


@pytest.mark.parametrize("case", [unless_dear(case) for case in DIFFICULT])
def test_difficult_traffic(case: Case) -> None:
    row = case(0.005)
    assert row.ok, row


@pytest.mark.parametrize("case", [*outcome_limits(), *outcome_rows(), *outcome_delays()])
def test_outcomes_of_users(case: Case) -> None:
    row = case(0.01)
    assert row.ok, row


def test_a_test_that_is_looked_at_again_and_again_rolls_back_what_is_at_its_limit() -> None:
    found = {name: float(np.isfinite(users).mean()) for name, users in outcome_duels(duels()[0], 20).items()}
    assert found["repeated"] >= 0.05 > 0.02 >= found["bets"]


@pytest.mark.parametrize("case", list(judged_rows()))
def test_a_judge(case: Case) -> None:
    row = case(0.01)
    assert row.ok, row


QUICK = {1, 3, 4}
"""Rows of drift that take a few seconds: none; a new label; another unit."""


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if i in QUICK else pytest.mark.slow) for i, case in enumerate(drift_rows())]
)
def test_drift(case: Case) -> None:
    row = case(0.01)
    assert row.ok, row


@pytest.mark.parametrize(
    ("case", "share"), [*((one, 0.05) for one in delays()), *((one, 0.1) for one in cost_delays())]
)
def test_delays(case: Case, share: float) -> None:
    row = case(share)
    assert row.ok, row


def test_ten_guards_are_not_much_slower_than_one() -> None:
    row = pooled(0.25)
    assert row.ok, row


@pytest.mark.slow
@pytest.mark.parametrize("case", every_case())
def test_every_row(case: Case) -> None:
    row = case(0.25)
    assert row.ok, row


def lines(*rows: Row) -> list[Line]:
    return [Line(row, "2026-12-01", "100%") for row in rows]


def test_the_table_names_what_was_missed() -> None:
    text = report(lines(Row("t", "g", "1", "2", "3", True), Row("u", "h", "4", "5 of 60 runs", "6", False)))
    assert "| t | `g` | 1 | 2 | 3 | kept | 2026-12-01 |  | 100% |" in text
    assert "| u | `h` | 4 | 5 of 60 runs | 6 | **missed** | 2026-12-01 | 60 | 100% |" in text


def test_rows_that_are_measured_anew_take_the_place_of_those_about_the_same() -> None:
    old = lines(*(Row(truth, "g", "", "", "", True) for truth in "tuv"))
    new = [Line(Row(truth, "g", "", "9 runs", "", False), "2026-12-02", "10%") for truth in "uw"]
    assert exchanged(old, new) == [old[0], new[0], old[2], new[1]]
    assert read(written(exchanged(old, new))) == exchanged(old, new)


def test_the_page_is_what_its_own_lines_give() -> None:
    page = OUT.read_text()
    found = read(page)
    assert len(found) > 170
    assert page.endswith(written(found))
    assert summary([line.row for line in found]) in page


@pytest.mark.parametrize(
    "text", ["max_disagreement", "max_cost", "min_win_rate", "max_outcome_drop", "p99_latency", "drift", "anchors"]
)
def test_the_rows_of_a_text_are_among_those_that_are_run_for_it(text: str) -> None:
    wanted = [line for line in read(OUT.read_text()) if text in f"{line.row.truth} {line.row.guard}"]
    assert len(every_case()) > len(selected(text)) >= len({line.key for line in wanted}) > 0


def test_the_summary_counts_every_row_and_says_which_promise_is_missed() -> None:
    rows = [
        Row(
            "hedged at p90",
            "g",
            "fail ≤ 2%, pass ≤ 6%",
            "fail 1.00% (0% – 2%), pass 4.00% (1% – 9%) of 100 runs",
            "",
            True,
        ),
        Row("hedged at p95", "g", "fail ≤ 2%", "", "fail 3.00% (1% – 9%) of 300 runs", False),
        Row("p99 × 2", "h", "fail by 800 blocks", "fail 740 blocks (10 runs)", "", True),
    ]
    text = summary(rows)
    assert (
        "| hedged pairs | a candidate within its limits is rolled back | ≤ 1% of trials | 2.50% of 400 runs; " in text
    )
    assert "the worst of 2 rows 3.00% | **1 missed** |" in text
    assert "passes | ≤ 5% of trials | 4.00% of 100 runs; the worst of 1 rows 4.00% | kept |" in text
    assert "| independent requests | delays and the rest are as said below | all | 1 of 1 rows | kept |" in text
    assert report(lines(*rows)).index("## Summary") < report(lines(*rows)).index("## Every row")


def test_judging_all_looks_at_once_is_what_the_tally_says_look_by_look() -> None:
    truth = everything(shift=0.01)
    slow = by_tally(DEFAULTS, truth, 4000, np.random.default_rng(5))
    slots = slots_of(DEFAULTS)
    placed = placed_on(slots, truth(np.random.default_rng(5), 4000))
    sizes = [sizes_at_looks(values_of(*one, 4000)) for one in placed]
    assert max(size.max() for size in sizes) > 1.5  # there is something to divide by
    logs = np.stack([restarted(one[0], cumulated(*one, 4000), size) for one, size in zip(placed, sizes, strict=True)])
    np.testing.assert_allclose(np.logaddexp.reduce(logs - np.log(len(slots))), slow, atol=1e-6)
