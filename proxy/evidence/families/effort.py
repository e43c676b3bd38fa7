"""What a limit costs: pairs, or blocks of request time, until a good candidate passes and a bad one fails.

Estimates for planning, not promises: the expected growth of each guard's PASS evidence per pair, for a candidate at a
quarter of its limits, against the evidence that is needed. The formulas are those of the e-processes (an e-value grows
by its expected log per pair); the constants that depend on the traffic (how much two good models differ) are stated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, inf, log, log10

from proxy.evidence.input.measures import CLIP
from proxy.evidence.process.discordance import BETS
from proxy.model import Guard, Kind

TABLE_PASS = 1000
"""Pairs until a guard on the whole distribution passes: 500 to learn live's thresholds, then its evidence."""
LEARNED = 500.0
"""Pairs from which live's thresholds are learned."""
SPREAD = 0.14
"""Assumed standard deviation of the difference between two good scores on [0, 1]."""
FAILING = 0.001
"""Assumed share of requests on which a good arm fails, by itself."""
CLEAN = 1.0
"""Nats that the mixture over a rate's bets costs while nothing differs: a good candidate's answers are of the same form
as live's on every request, not on all but a quarter of the limit."""
GRID = log(10.0)
"""Nats that a mixture over some ten bets costs at most."""
STEPS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Leading figures of a limit."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How far apart two arms are: `apart` takes a value, and whether it is relative, to its distance from two arms that
    are alike, at least 0 and growing with the harm; `limit` takes a distance to the value that lies so far away."""

    apart: Callable[[float, bool], float] = lambda value, _relative: max(0.0, value)
    limit: Callable[[float, bool], float] = lambda distance, _relative: distance


UPWARDS = Scale()
"""More is worse, and 0 is alike."""
BOTH_WAYS = Scale(apart=lambda value, _relative: abs(value))
"""0 is alike, and either way is worse."""
SIMILARITY = Scale(lambda value, _: max(0.0, 1.0 - value), lambda distance, _: round(1.0 - distance, 6))
"""1 is alike, and less is worse."""
TIMES = Scale(
    lambda value, relative: max(0.0, value - 1.0 if relative else value),
    lambda distance, relative: round(1.0 + distance if relative else rounded_up(distance), 6),
)
"""A multiple of live's time, of which 1 is alike, or a time."""


def one(_kind: Kind) -> float:
    """The largest difference of a pair that is a share.

    >>> one(Kind.LABEL)
    1.0
    """
    return 1.0


@dataclass(frozen=True, slots=True)
class Effort:
    """What a guard's limit costs. `pairs` takes a guard and the rate of false promotions to pairs until a good
    candidate passes, infinite when it never can; `blocks`, for a guard that counts by blocks of request time, takes
    pairs per block too (then `pairs` is for blocks of one pair), and `failing` are blocks of one pair, and of ten or
    more, until a candidate at twice the limit fails. `events` says that it is a share of the pairs.

    `reach` is the largest difference of one pair, by kind, or `None` where a PASS asks nothing of blocks of request
    time beside; `kept` is the part of the limit that a good candidate is taken to use up there. Pairs `learned` give no
    evidence yet. `at_least`: a pass never takes fewer than `pairs`, however alike the arms were.
    """

    pairs: Callable[[Guard, float], float]
    events: bool = False
    blocks: Callable[[Guard, float, float], float] | None = None
    failing: tuple[float, float] = (inf, inf)
    passing: tuple[int, int] | None = None  # blocks of one pair, and of very many, where `check` says so
    reach: Callable[[Kind], float] | None = one
    kept: float = 0.0
    learned: float = 0.0
    at_least: bool = False


def growth(truth: float, limit: float) -> float:
    """Growth per pair of the evidence that a rate is below `limit` when it is `truth`: their relative entropy, nats.

    >>> round(growth(0.0, 0.02), 4)
    0.0202
    """
    event = truth * log(truth / limit) if truth else 0.0
    return event + (1 - truth) * log((1 - truth) / (1 - limit))


def share_pairs(guard: Guard, false_promotion_rate: float) -> float:
    """Pairs of a share of events, for a candidate at a quarter of the limit.

    >>> round(share_pairs(Guard("max_disagreement", 0.02), 0.05), -1)
    650.0
    """
    if guard.limit <= 0:
        return inf
    if guard.limit >= 1:
        return TABLE_PASS
    return (log(1 / false_promotion_rate) + GRID) / growth(guard.limit / 4, guard.limit)


def clean_pairs(guard: Guard, false_promotion_rate: float) -> float:
    """Pairs of a share of events of which a good candidate has none.

    >>> round(clean_pairs(Guard("max_response_mismatch", 0.01), 0.05))
    398
    """
    if guard.limit <= 0:
        return inf
    return TABLE_PASS if guard.limit >= 1 else (log(1 / false_promotion_rate) + CLEAN) / growth(0.0, guard.limit)


def discordance_pairs(guard: Guard, false_promotion_rate: float) -> float:
    """Pairs of a difference of two rates of failures, when each arm fails on `FAILING` of the requests by itself.

    >>> round(discordance_pairs(Guard("max_extra_errors", 0.01), 0.05), -2)
    800.0
    """
    if guard.limit <= 0:
        return inf
    return (log(1 / false_promotion_rate) + GRID) / _discordance(guard.limit)


def _discordance(margin: float) -> float:
    """Growth per pair of the evidence that one arm fails less than `margin` more often: that of the best of the
    bets."""
    bets = [bet / (1 - margin) for bet in BETS.tolist()] if margin < 1 else []
    return max(
        (
            (1 - 2 * FAILING) * log(1 + bet * margin)
            + FAILING * (log(1 - bet * (1 - margin)) + log(1 + bet * (1 + margin)))
            for bet in bets
        ),
        default=inf,
    )


def mean_pairs(guard: Guard, false_promotion_rate: float) -> float:
    """Pairs of a mean of differences whose standard deviation is `SPREAD`.

    >>> round(mean_pairs(Guard("max_mean_shift", 0.02), 0.05), -2)
    500.0
    """
    if guard.limit <= 0:
        return inf
    return (log(1 / false_promotion_rate) + GRID) / min(0.5 * guard.limit, guard.limit**2 / (2 * SPREAD**2))


def table_pairs(guard: Guard, _false_promotion_rate: float) -> float:
    """Pairs of a limit on the whole distribution.

    >>> table_pairs(Guard("max_ks", 0.05), 0.05), table_pairs(Guard("max_ks", 0.0), 0.05)
    (1000, inf)
    """
    return TABLE_PASS if guard.limit > 0 else inf


def scaled(kind: Kind) -> float:
    """The largest shift of a pair's answers: numbers, lengths and directions are cut, the others lie within 1.

    >>> scaled(Kind.SCORE), scaled(Kind.NUMBER)
    (1.0, 8.0)
    """
    return CLIP if kind in (Kind.NUMBER, Kind.TEXT, Kind.VECTOR) else 1.0


SHARE = Effort(share_pairs, events=True, kept=0.25)
MEAN = Effort(mean_pairs)
TABLE = Effort(table_pairs)


def rounded_up(value: float) -> float:
    """The next limit that a person would write.

    >>> rounded_up(0.026), rounded_up(0.31), rounded_up(8.4), rounded_up(0.02)
    (0.03, 0.4, 10.0, 0.02)
    """
    power = floor(log10(value) + 1e-9)
    step = next(step for step in STEPS if step * 10.0**power >= value * (1 - 1e-9))
    return float(f"{step * 10.0**power:.3g}")
