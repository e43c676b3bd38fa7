"""`python -m tests.calibration [SHARE]`: all rows, written to docs/calibration.md; exit 1 if any breaks its promise."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads only spin on products this small

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
from tests.calibration.summary import summary
from tests.calibration.together import together_rows
from tests.calibration.unsteady import unsteady
from tests.calibration.whole import wholes

OUT = Path(__file__).parents[2] / "docs" / "calibration.md"
ENOUGH = 0.1
"""Below this share of the runs nothing is written."""

HEAD = """# Calibration

The error rates and delays of the comparator, measured. Written by `make calibration`. Every row is seeded, so another
machine gives the same figures.
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


def main(share: float) -> int:
    """Run all rows at this share of their full number of runs, two at a time where there are two cores."""
    began, rows = time.perf_counter(), []
    cores = min(2, len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(cores, get_context("fork")) as workers:
        numbers = range(len(every_case()))
        for row, seconds in workers.map(timed, numbers, [share] * len(numbers)):
            rows.append(row)
            print(f"{seconds:6.1f} s  {'ok ' if row.ok else 'NOT'}  {row}", flush=True)  # noqa: T201
    minutes = (time.perf_counter() - began) / 60
    if share >= ENOUGH:
        OUT.write_text(report(rows, minutes, cores, share))
    return 0 if all(row.ok for row in rows) else 1


def report(rows: list[Row], minutes: float, cores: int = 1, share: float = 1.0) -> str:
    """The table in Markdown."""
    machine = (
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
    )
    of = "" if share == 1.0 else f", {share:.0%} of the full number of runs"
    where = "one core" if cores == 1 else f"{cores} cores"
    lines = [HEAD, f"{datetime.date.today()}, {machine}, {minutes:.1f} minutes in one piece on {where}{of}.\n"]
    lines += [summary(rows), ROWS, "| truth | guard | target | alone | default | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r.truth} | `{r.guard}` | {r.target} | {r.measured} | {r.default} | {'kept' if r.ok else '**missed**'} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
