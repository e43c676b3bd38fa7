"""Limits out of what two models differ by, and what they cost: the arithmetic of `understudy suggest`.

Two honest models (live's recipe trained once more) differ by something. A limit near that rolls good candidates back or
decides nothing; twice as much lets them pass and finds what is worse. The costs are estimates for planning, as those of
`effort`: evidence grows per pair by a relative entropy (shares) or by a squared distance over twice a variance (means),
and the variance is taken from the finding's interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, floor, inf, isfinite, log, log10

from proxy.config.effort import CLEAN, blocks_to_pass, clump_blocks, is_latency, pairs_to_pass
from proxy.model import Guard, Kind

STEPS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Leading figures of a limit."""

LEAST = {"max_disagreement": 0.002, "max_extra_errors": 0.002, "max_response_mismatch": 0.002, "max_big_change": 0.002,
         "p99_latency": 0.2, "median_latency": 0.1, "time_to_first_token": 0.1, "time_per_token": 0.1}  # fmt: skip
"""No tighter than this, however alike the two were: a latency limit is so much beyond live's own."""

EVENTS = frozenset({"max_disagreement", "max_big_change", "max_extra_errors", "max_response_mismatch"})
"""Guards on a share of the pairs."""

P99_FAIL, MEDIAN_FAIL = (1130.0, 740.0), (80.0, 20.0)
"""Blocks of one pair, and of ten or more, until a candidate at twice a latency limit fails."""

BLOCK = 0.1
"""Seconds of a latency block where nothing else is said."""

WIDTH = 3.25
"""Half of a 95 % anytime interval, in standard errors: √(2 (ln 40 + what a mixture of bets costs))."""

GRID = log(10.0)
"""Nats that a mixture over some ten bets costs at most."""

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


def rounded_up(value: float) -> float:
    """The next limit that a person would write.

    >>> rounded_up(0.026), rounded_up(0.31), rounded_up(8.4), rounded_up(0.02)
    (0.03, 0.4, 10.0, 0.02)
    """
    power = floor(log10(value) + 1e-9)
    step = next(step for step in STEPS if step * 10.0**power >= value * (1 - 1e-9))
    return float(f"{step * 10.0**power:.3g}")


def propose(measured: Measured, guards: int, alpha: float = 0.01, beta: float = 0.05) -> Proposal:
    """About twice what was measured, and not less than what it may be; `guards` share the error budget `alpha`.

    >>> found = propose(Measured("max_disagreement", 0.013, 0.009, 0.018, 4000), guards=3)
    >>> found.guard, round(found.to_pass, -2), round(found.to_fail, -2)
    (Guard(name='max_disagreement', limit=0.03, relative=False, tolerance=0.0), 800.0, 700.0)
    """
    name, ends = measured.guard, _ends(measured)
    if ends is None:
        return Proposal(measured)
    far, most = ends
    least = LEAST.get(name, 1e-3)
    beyond = rounded_up(max(2.0 * far, most, least * (1.0 if measured.relative or not is_latency_name(name) else 0.0)))
    guard = _guard(measured, beyond)
    if guard is None:
        return Proposal(measured)
    need = log(guards / alpha) + GRID
    if is_latency(guard):
        return Proposal(measured, guard, pairs_to_pass(guard, beta), _fail_blocks(guard, 1.0))
    if name in EVENTS:
        grid = GRID if far else CLEAN
        passing = (log(1.0 / beta) + grid) / entropy(min(far, 0.9 * beyond), beyond)
        if name == "max_extra_errors":  # a difference of two rates, which both fail now and then
            passing = max(passing, pairs_to_pass(guard, beta))
        return Proposal(measured, guard, passing, need / entropy(2.0 * beyond, beyond) * measured.bursts)
    variance = max(_variance(measured), beyond**2)
    learned = 500.0 if name in ("max_ks", "max_psi", "max_spread_change") else 0.0
    passing = learned + 2.0 * variance * (log(1.0 / beta) + GRID) / (beyond - far) ** 2
    return Proposal(measured, guard, passing, learned + 2.0 * variance * need / beyond**2 * measured.bursts)


def _fail_blocks(guard: Guard, each: float) -> float:
    one, many = P99_FAIL if guard.name == "p99_latency" else MEDIAN_FAIL
    return float(many + (one - many) / max(1.0, each) ** 1.35)


def latency_seconds(guard: Guard, rate: float) -> tuple[float, float]:
    """Seconds until a latency guard passes for an equal candidate, and fails for one at twice the limit, at `rate`
    compared requests per second.

    >>> [round(seconds) for seconds in latency_seconds(Guard("p99_latency", 1.2, True), 100.0)]
    [81, 76]
    """
    spacing = BLOCK / (1.0 - exp(-rate * BLOCK))
    each = max(1.0, rate * spacing)
    return blocks_to_pass(guard, each) * spacing, _fail_blocks(guard, each) * spacing


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
    truth = min(0.99, truth)
    event = truth * log(truth / limit) if truth else 0.0
    return event + (1.0 - truth) * log((1.0 - truth) / (1.0 - limit))


def is_latency_name(name: str) -> bool:
    """Whether a guard of this name is about time.

    >>> is_latency_name("p99_latency")
    True
    """
    return is_latency(Guard(name, 1.0))


def _ends(measured: Measured) -> tuple[float, float] | None:
    """How far the two were apart, and how far they may have been, at least 0 and growing with the harm."""
    value, low, high = measured.value, measured.low, measured.high
    if value is None or not measured.pairs:
        return None
    low, high = value if low is None else low, value if high is None or not isfinite(high) else high
    if measured.guard == "min_similarity":
        return max(0.0, 1.0 - value), max(0.0, 1.0 - low)
    if measured.guard in ("max_mean_shift", "max_spread_change"):
        return abs(value), max(abs(low), abs(high))
    away = 1.0 if measured.relative and is_latency_name(measured.guard) else 0.0
    return max(0.0, value - away), max(0.0, high - away)


def _guard(measured: Measured, beyond: float) -> Guard | None:
    """The guard whose limit lies so far beyond no difference at all; `None` where that is no limit any more."""
    name = measured.guard
    if name == "min_similarity":
        return Guard(name, round(1.0 - beyond, 6)) if beyond < 1.0 else None
    if is_latency_name(name):
        limit = 1.0 + beyond if measured.relative else rounded_up(beyond)
        return Guard(name, round(limit, 6), measured.relative)
    bounded = name in EVENTS or name in ("max_ks", "max_quality_drop")
    return None if bounded and beyond >= 1.0 else Guard(name, beyond, measured.relative, measured.tolerance)


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
