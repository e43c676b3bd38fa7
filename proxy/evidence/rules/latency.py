"""`p99_latency`, `median_latency`, `time_to_first_token`, `time_per_token`: how long answers take.

A quantile of the candidate's times: against a multiple of live's p99 (`families.ratio`), or the share of pairs that are
slower than the limit allows (`families.slower`), by blocks of request time.
"""

from __future__ import annotations

from functools import partial
from math import inf, log

from proxy.evidence.families.effort import GRID, TIMES, Effort, growth
from proxy.evidence.families.guard import GuardType, LimitProblem, Question
from proxy.evidence.families.ratio import Ratio
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.slower import Slower
from proxy.evidence.families.unit import LATENCY
from proxy.model import Guard, Kind

P99_PASS = 3300, 690
"""Blocks of one pair, and of very many, until `p99_latency: 1.2x` passes for equal arms with lognormal times."""
MEDIAN_PASS = 100, 12
"""The same for a median limit."""
SHARE_PASS = 595
"""Blocks until an absolute p99 passes, however many pairs they have: in a stall all pairs of one are slow together."""


def rule(guard: Guard, _context: Context, quantity: str, p0: float) -> Rule:
    """The rule on the quantile with a share of p0 beyond it."""
    if guard.relative and p0 < 0.5:
        return Ratio.at(quantity, guard.limit, p0)
    return Slower.at(quantity, guard.limit, p0, relative=guard.relative)


def p99_blocks(guard: Guard, each: float, false_promotion_rate: float) -> float:
    """Blocks until a limit on p99 passes; `each` is how many pairs a block has. What a block says grows with its pairs,
    up to what it can say at all.

    >>> [round(p99_blocks(Guard("p99_latency", 1.2, True), each, 0.05)) for each in (1, 3, 10, 100)]
    [3300, 1282, 807, 695]
    """
    if guard.limit > 0 and not guard.relative:
        needed = log(1 / false_promotion_rate) + GRID
        return max(SHARE_PASS, needed / growth(0.0025, 0.01) / int(each))
    return _fewer(P99_PASS, each) if guard.limit > 0 else inf


def median_blocks(guard: Guard, each: float, _false_promotion_rate: float) -> float:
    """The same of a limit on a median.

    >>> [round(median_blocks(Guard("median_latency", 1.2, True), each, 0.05)) for each in (1, 100)]
    [100, 12]
    """
    return _fewer(MEDIAN_PASS, each) if guard.limit > 0 else inf


def _fewer(blocks: tuple[int, int], each: float) -> float:
    one, many = blocks
    return float(many + (one - many) / int(each) ** 1.35)


P99 = Effort(
    lambda guard, rate: p99_blocks(guard, 1.0, rate),
    blocks=p99_blocks,
    failing=(1130.0, 740.0),
    passing=P99_PASS,
    reach=None,
)
MEDIAN = Effort(
    lambda guard, rate: median_blocks(guard, 1.0, rate), blocks=median_blocks, failing=(80.0, 20.0), reach=None
)


def check(guard: Guard, _kind: Kind) -> LimitProblem | None:
    """A time that no answer can keep."""
    return LimitProblem("must be more than 0") if guard.limit <= 0 else None


def gap(guard: Guard) -> str:
    """Why there is no figure yet.

    >>> gap(Guard("p99_latency", 1.2, relative=True))
    'no live timings yet'
    """
    return "no live timings yet" if guard.relative else "no timings yet"


def _latency(
    name: str, quantity: str, p0: float, *, place: int, title: str, about: str, default: str = ""
) -> GuardType:
    """The guard on the quantile of a time with a share of p0 beyond it."""
    p99, whole = p0 < 0.5, quantity == "whole"  # few answers are streams, so the other two are not measured unasked
    return GuardType(
        name=name,
        place=place,
        title=title,
        about=about,
        question=Question.FAST,
        unit=LATENCY,
        rule=partial(rule, quantity=quantity, p0=p0),
        effort=P99 if p99 else MEDIAN,
        default=default,
        check=check,
        gap=gap,
        scale=TIMES,
        least=0.2 if p99 else 0.1,
        generous=lambda _kind: Guard(name, 5.0, relative=True) if whole else None,
    )


GUARDS = (
    _latency(
        "p99_latency",
        "whole",
        0.01,
        place=90,
        title="p99 latency",
        about="The candidate's 99th percentile: a multiple of live's, or absolute.",
        default="1.2x",
    ),
    _latency(
        "median_latency",
        "whole",
        0.5,
        place=100,
        title="median latency",
        about="The median of candidate over live, or the candidate's own median.",
    ),
    _latency(
        "time_to_first_token",
        "first",
        0.5,
        place=110,
        title="median time to first token",
        about="Streams: median time to the first token.",
    ),
    _latency(
        "time_per_token",
        "token",
        0.5,
        place=120,
        title="median time per token",
        about="Streams: median time per token after the first.",
    ),
)
