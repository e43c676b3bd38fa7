"""The table at the top of docs/calibration.md: one line per condition and promise, from all rows that try it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tests.calibration.cases import Row

CONDITIONS = (
    ("hedged pairs", "hedged"),
    ("bursts, clumps, stalls", r"bursts|clumps|AR\(1\)|stall|noise is the block"),
    ("hot bodies", r"one body|bodies"),
    ("users and their outcomes", "max_outcome_drop"),
    ("users, `cluster_by`", r"\buser|cluster_by"),
    ("labels that come late", "frauds"),
    ("judged by a model", "min_win_rate|anchors"),
    ("live that moves", "live leaves|live stays|inputs cycle"),
    ("drift of live, 90 days", "drift"),
    ("workers, stages, restarts, merges", "workers|controller dies|a stage every|canary pairs|merge"),
)
"""What the requests of a row are like, and by which words of its truth and guard that is known."""
OTHERWISE = "independent requests"

HEAD = """## Summary

| requests | promise | target | measured | |
|---|---|---|---|---|
"""
NOTE = """
*Kept* is said of each row by its own target. One is not that of its promise: bursts of 20, at half the limit, are
longer than the [correction for dependence](statistics.md) reaches, which lets up to 8 % of such trials be rolled back;
without it 71 % are.
"""
RATES = (
    ("fail", "a candidate within its limits is rolled back", "≤ 1% of trials"),
    ("pass", "a candidate at its limit or beyond it passes", "≤ 5% of trials"),
)


def condition(row: Row) -> str:
    """What its requests are like.

    >>> condition(Row("at the limit, clumps of 3", "max_extra_errors: 0.02", "", "", "", True))
    'bursts, clumps, stalls'
    """
    text = f"{row.truth} {row.guard}"
    return next((name for name, words in CONDITIONS if re.search(words, text)), OTHERWISE)


def rate(row: Row, side: str) -> tuple[float, int] | None:
    """The share of its runs that ended so where that is an error, and how many runs; `None` where it is none.

    >>> rate(Row("", "", "fail ≤ 1.67%", "fail 0.25% (0.08% – 0.58%) of 2000 runs", "", True), "fail")
    (0.0025, 2000)
    """
    if not re.search(rf"{side} ≤ [\d.]+%", row.target):
        return None
    text = f"{row.measured} {row.default}"
    share, runs = re.search(rf"{side} ([\d.]+)%", text), re.search(r"of ([\d,]+) runs", text)
    return (float(share[1]) / 100.0, int(runs[1].replace(",", ""))) if share and runs else None


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the table."""
    for name in (OTHERWISE, *(one for one, _ in CONDITIONS)):
        mine = [row for row in rows if condition(row) == name]
        rest = list(mine)
        for side, promise, target in RATES:
            tried = [(row, found) for row in mine if (found := rate(row, side)) is not None]
            if not tried:
                continue
            rest = [row for row in rest if all(row is not one for one, _ in tried)]
            runs = sum(count for _, (_, count) in tried)
            share = sum(found * count for _, (found, count) in tried) / runs
            worst = max(found for _, (found, _) in tried)
            measured = f"{share:.2%} of {runs:,} runs; the worst of {len(tried)} rows {worst:.2%}"
            yield _line(name, promise, target, measured, [row for row, _ in tried])
        if rest:
            kept = sum(row.ok for row in rest)
            yield _line(name, "delays and the rest are as said below", "all", f"{kept} of {len(rest)} rows", rest)


def _line(name: str, promise: str, target: str, measured: str, rows: Sequence[Row]) -> str:
    missed = sum(not row.ok for row in rows)
    verdict = "kept" if not missed else f"**{missed} missed**"
    return f"| {name} | {promise} | {target} | {measured} | {verdict} |"


def summary(rows: Sequence[Row]) -> str:
    """The section."""
    return HEAD + "\n".join(lines(rows)) + "\n" + NOTE
