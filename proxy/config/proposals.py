"""Limits out of what two models differ by, and what they cost: the arithmetic of `understudy suggest`.

Two equivalent models (live's recipe trained once more) differ a little. A limit near that rolls good candidates back or
decides nothing; twice as much lets them pass and finds what is worse. The costs are estimates for planning, as those of
`effort`: evidence grows per pair by a relative entropy (shares) or by a squared distance over twice a variance (means),
and the variance is taken from the finding's interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, isfinite, log

from proxy.config.effort import clump_blocks
from proxy.evidence.families.effort import CLEAN, GRID, growth, rounded_up
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Guard, Kind

BLOCK = 0.1
"""Seconds of a latency block where nothing else is said."""

WIDTH = 3.25
"""Half of a 95 % anytime interval, in standard errors: √(2 (ln 40 + what a mixture of bets costs))."""

FEW = 1000
"""Pairs below which a limit is that of a wide interval more than of the models."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What two models differ by in the words of one guard. `relative` and `tolerance` as in `Guard`."""

    guard: str
    value: float | None
    low: float | None
    high: float | None
    pairs: int
    relative: bool = False
    tolerance: float = 0.0
    bursts: float = 1.0
    aspect: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A limit for the guard, with the pairs until a candidate like the one measured passes, and until one that differs
    by twice the limit fails (infinite: not to be reckoned; for latency blocks of one pair, see `latency_seconds`). No
    `guard`: nothing to propose.
    """

    measured: Measured
    guard: Guard | None = None
    to_pass: float = inf
    to_fail: float = inf


def propose(measured: Measured, guards: int, alpha: float = 0.01, beta: float = 0.05) -> Proposal:
    """About twice what was measured, and not less than what it may be; `guards` share the error budget `alpha`.

    >>> found = propose(Measured("max_disagreement", 0.013, 0.009, 0.018, 4000), guards=3)
    >>> found.guard, round(found.to_pass, -2), round(found.to_fail, -2)
    (Guard(name='max_disagreement', limit=0.03, relative=False, tolerance=0.0), 800.0, 700.0)
    """
    kind, ends = GUARDS[measured.guard], _ends(measured)
    if ends is None:
        return Proposal(measured)
    far, most = ends
    least = 0.0 if kind.timed and not measured.relative else kind.least
    beyond = rounded_up(max(2.0 * far, most, least))
    if beyond >= kind.most:
        return Proposal(measured)
    limit = kind.scale.limit(beyond, measured.relative)
    guard = Guard(kind.name, limit, measured.relative, measured.tolerance, measured.aspect)
    need, effort = log(guards / alpha) + GRID, kind.effort
    if kind.timed:
        return Proposal(measured, guard, effort.pairs(guard, beta), _fail_blocks(guard, 1.0))
    if effort.events:
        grid = GRID if far else CLEAN
        passing = (log(1.0 / beta) + grid) / entropy(min(far, 0.9 * beyond), beyond)
        if effort.at_least:
            passing = max(passing, effort.pairs(guard, beta))
        return Proposal(measured, guard, passing, need / entropy(2.0 * beyond, beyond) * measured.bursts)
    variance = max(_variance(measured), beyond**2)
    passing = effort.learned + 2.0 * variance * (log(1.0 / beta) + GRID) / (beyond - far) ** 2
    return Proposal(measured, guard, passing, effort.learned + 2.0 * variance * need / beyond**2 * measured.bursts)


def _fail_blocks(guard: Guard, each: float) -> float:
    one, many = GUARDS[guard.name].effort.failing
    return float(many + (one - many) / max(1.0, each) ** 1.35)


def latency_seconds(guard: Guard, rate: float) -> tuple[float, float]:
    """Seconds until a latency guard passes for an equal candidate, and fails for one at twice the limit, at `rate`
    compared requests per second.

    >>> [round(seconds) for seconds in latency_seconds(Guard("p99_latency", 1.2, True), 100.0)]
    [81, 76]
    """
    spacing = BLOCK / (1.0 - exp(-rate * BLOCK))
    each = max(1.0, rate * spacing)
    blocks = GUARDS[guard.name].effort.blocks
    passing = blocks(guard, each, 0.05) if blocks is not None else inf
    return passing * spacing, _fail_blocks(guard, each) * spacing


def pass_seconds(one: Proposal, guard: Guard, kind: Kind, rate: float) -> float:
    """Seconds until a candidate like the one measured passes at `rate` compared requests per second: by pairs and by
    blocks of request time.

    >>> one = propose(Measured("max_disagreement", 0.013, 0.009, 0.018, 4000), guards=3)
    >>> [round(pass_seconds(one, one.guard, Kind.LABEL, rate)) for rate in (10.0, 1000.0)]
    [84, 17]
    """
    spacing = BLOCK / (1.0 - exp(-rate * BLOCK))
    return max(one.to_pass / rate, clump_blocks(guard, kind) * spacing)


def entropy(truth: float, limit: float) -> float:
    """Nats per pair by which evidence about the limit of a share grows when the share is `truth` (up to 0.99).

    >>> round(entropy(0.0, 0.02), 4), entropy(0.04, 0.02) < entropy(0.06, 0.02)
    (0.0202, True)
    """
    return growth(min(0.99, truth), limit)


def _ends(measured: Measured) -> tuple[float, float] | None:
    """How far the two were apart, and how far they may have been, at least 0 and growing with the harm."""
    value, low, high = measured.value, measured.low, measured.high
    if value is None or not measured.pairs:
        return None
    low, high = value if low is None else low, value if high is None or not isfinite(high) else high
    apart = GUARDS[measured.guard].scale.apart
    return apart(value, measured.relative), max(apart(end, measured.relative) for end in (low, high))


def _variance(measured: Measured) -> float:
    """Variance of one pair's difference, from the width of the interval."""
    if measured.low is None or measured.high is None:
        return 0.0
    return (0.5 * (measured.high - measured.low) / WIDTH) ** 2 * measured.pairs


def about(pairs: float) -> str:
    """A number of pairs to two digits.

    >>> about(1683.2), about(7.2), about(inf)
    ('1,700', '8', 'no number of')
    """
    if not isfinite(pairs):
        return "no number of"
    whole = ceil(pairs)
    return f"{round(whole, -max(0, len(str(whole)) - 2)):,}"
