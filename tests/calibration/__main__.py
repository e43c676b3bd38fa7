"""`python -m tests.calibration [SHARE] [--only TEXT]`: all rows, or those whose truth or guard contains a text, into
docs/calibration.md; exit 1 if any breaks its promise."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads only spin on products this small

import argparse
import datetime
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tests.calibration.by_blocks import blocks
from tests.calibration.cases import Case, Row, broken, delays, harmlesses, limits, pooled, stalls
from tests.calibration.costs import cost_delays, cost_limits, cost_rows
from tests.calibration.drifts import drift_rows
from tests.calibration.hostile import hostiles
from tests.calibration.judged import judged_rows
from tests.calibration.outcomes import outcome_delays, outcome_limits, outcome_rows
from tests.calibration.page import Line, exchanged, read, words, written
from tests.calibration.summary import summary
from tests.calibration.together import together_rows
from tests.calibration.unsteady import unsteady
from tests.calibration.whole import wholes

OUT = Path(__file__).parents[2] / "docs" / "calibration.md"
ENOUGH = 0.1
"""Below this share of the runs nothing is written."""

HEAD = """# Calibration

The error rates and delays of the comparator, measured. Written by `make calibration`, single rows by
`python -m tests.calibration --only TEXT`. Every row is seeded, so another machine gives the same figures; on which day
it was measured, and at which part of its full number of runs, stands at its end.
"""

ROWS = """## Every row

*Alone* is a single guard at weight 1 without restarts, after
warm-up, a look every 100 pairs; *default* is the budget of the eight guards of the documented example, with restarts,
where the other seven have nothing to say (unless the row says "defaults"). Delays are medians in pairs (latency pairs
for latency). A row keeps its promise when an error rate is within its nominal value plus three standard errors of the
simulation, and a delay within a quarter of its target. `fail` is at a false rollback rate of 1 %, `pass` at a false
promotion rate of 5 %. A target with a star is missed by more than a quarter, for the reason given in
`docs/statistics.md`; it may take 1.4 times as long. Failed answers count against every guard, so
there `default` may come sooner.

That Σ P₀·E ≤ 1 for *every* outcome of up to 12 pairs is enumerated exactly, not simulated:
`tests/evidence/test_exact.py`.
"""


def every_case() -> list[Case]:
    """All rows in the order of the table."""
    steady = [*limits(), *delays(), broken, pooled, *wholes(), *harmlesses(), stalls]
    costs = [*cost_limits(), *cost_delays(), *cost_rows()]
    outcomes = [*outcome_limits(), *outcome_delays(), *outcome_rows()]
    return [
        *steady,
        *blocks(),
        *hostiles(),
        *unsteady(),
        *together_rows(),
        *costs,
        *judged_rows(),
        *drift_rows(),
        *outcomes,
    ]


def timed(number: int, share: float) -> tuple[Row, float]:
    """One row and its seconds; by number, because a case cannot be sent to another process."""
    start = time.perf_counter()
    return every_case()[number](share), time.perf_counter() - start


def selected(text: str) -> list[int]:
    """Numbers of the cases that may give a row with this text in it; which of them do is known when they have run."""
    return [number for number, case in enumerate(every_case()) if text in words(case)]


def main(share: float, only: str = "") -> int:
    """Run these rows at this share of their full number of runs, two at a time where there are two cores."""
    rows = []
    cores = min(2, len(os.sched_getaffinity(0)))
    numbers = selected(only)
    with ProcessPoolExecutor(cores, get_context("fork")) as workers:
        for row, seconds in workers.map(timed, numbers, [share] * len(numbers)):
            if only not in f"{row.truth} {row.guard}":
                continue
            rows.append(row)
            print(f"{seconds:6.1f} s  {'ok ' if row.ok else 'NOT'}  {row}", flush=True)  # noqa: T201
    if not rows:
        print(f"no row has {only!r} in its truth or its guard")  # noqa: T201
        return 1
    if share >= ENOUGH:
        today = f"{datetime.date.today()}"
        new = [Line(row, today, f"{share:.0%}") for row in rows]
        OUT.write_text(report(exchanged(read(OUT.read_text()), new) if only else new))
    return 0 if all(row.ok for row in rows) else 1


def report(lines: list[Line]) -> str:
    """The page in Markdown."""
    machine = f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}."
    return "\n".join([HEAD, f"{machine}\n", summary([line.row for line in lines]), ROWS, written(lines)])


if __name__ == "__main__":
    options = argparse.ArgumentParser("tests.calibration", description=__doc__)
    options.add_argument("share", nargs="?", type=float, default=1.0, help="of the full number of runs")
    options.add_argument("--only", default="", metavar="TEXT", help="rows whose truth or guard contains it")
    given = options.parse_args()
    sys.exit(main(given.share, given.only))
