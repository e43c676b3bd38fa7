"""Bets on blocks of pairs: how much of the stake lies on what, and what a block makes of it.

Two things may be bet on at each edge q: that more than p of the candidate's times lie beyond it, and that fewer than p
of live's do. A bet lays the share A of its stake on the one and B on the other, A + B < 1, so that no block can lose
all. A block of at most m pairs, of which n say something, C beyond q in the candidate and L in live, multiplies

    FAIL  1 + A/p·(C − pn)/m + B/(1−p)·(pn − L)/m        PASS  1 + A/(1−p)·(pn − C)/m + B/p·(L − pn)/m

Where q is live's quantile and the limit is kept (FAIL) or just broken (PASS), the mean of that given the past is at
most 1, whatever hangs together inside the block, if m is known before the block and which pairs say something does not
depend on their times. With m = 1 it is a bet on single pairs. What a block wins is a number of 2⁻²⁰ nats, rounded down,
so sums are exact, merge by addition and do not depend on any order.

Weights are fixed beforehand. Those for many pairs put most on live: at edges beyond everything that was seen only one
thing speaks, that live was never there, at most −ln(1 − p) a block; that, 458 blocks for 1 in 100, bounds every test
that allows for stalls of a whole block. `FAIL` and `PASS` were found by making the least favourable edge of a dozen
truths as early as possible (docs/statistics.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from proxy.evidence.process.rates import FALLS, RISES
from proxy.evidence.process.wealth import Floats, Ints

UNIT = float(2**20)
"""Parts of a nat in which sums are kept."""


@dataclass(frozen=True, eq=False)
class Stakes:
    """A grid of bets: shares of the stake on the candidate and on live, with weights, each (k,)."""

    candidate: Floats
    live: Floats
    weights: Floats

    @classmethod
    def of(cls, *bets: tuple[float, float, float]) -> Stakes:
        """From rows (A, B, weight).

        >>> Stakes.of((0.0, 0.5, 0.25), (0.5, 0.0, 0.75)).weights.tolist()
        [0.25, 0.75]
        """
        columns = np.array(bets).T
        return cls(columns[0], columns[1], columns[2])


FAIL_ONE = Stakes.of(
    (0.0, 0.96, 0.28), (0.005, 0.5, 0.20), (0.005, 0.74, 0.18), (0.01, 0.3, 0.11),
    (0.005, 0.94, 0.09), (0.04, 0.5, 0.06), (0.08, 0.0, 0.04), (0.02, 0.6, 0.04),
)  # fmt: skip
FAIL_MANY = Stakes.of(
    (0.0, 0.995, 0.75), (0.005, 0.985, 0.074), (0.005, 0.79, 0.056), (0.02, 0.94, 0.046),
    (0.02, 0.5, 0.018), (0.08, 0.88, 0.023), (0.08, 0.2, 0.014), (0.0, 0.6, 0.019),
)  # fmt: skip
PASS_ONE = Stakes.of(
    (0.3, 0.005, 0.38), (0.7, 0.005, 0.20), (0.3, 0.0, 0.12), (0.92, 0.0, 0.08),
    (0.7, 0.0, 0.05), (0.3, 0.02, 0.07), (0.12, 0.0025, 0.06), (0.5, 0.04, 0.04),
)  # fmt: skip
PASS_MANY = Stakes.of(
    (0.98, 0.01, 0.34), (0.99, 0.0, 0.26), (0.5, 0.005, 0.20), (0.95, 0.02, 0.08),
    (0.6, 0.08, 0.05), (0.3, 0.32, 0.03), (0.5, 0.0, 0.02), (0.12, 0.0025, 0.02),
)  # fmt: skip
"""For blocks of one pair and of many. Bet i of one goes on as bet i of the other, since m is known before the block; so
where there are blocks it has the weight that it has among those of many."""

_PASS_WEIGHTS = np.array([0.25, 0.15, 0.15, 0.12, 0.1, 0.08, 0.06, 0.05, 0.04])


@lru_cache(maxsize=16)
def share_stakes(p0: float) -> tuple[tuple[Stakes, Stakes], tuple[Stakes, Stakes]]:
    """Bets on the share beyond one limit, where p0 may be: only the candidate can be bet on. For FAIL and for PASS,
    on blocks of one pair (those of `rate`) and of many.

    >>> (one, many), _ = share_stakes(0.5)
    >>> one.candidate.round(2).tolist(), many.candidate.round(2).tolist()
    ([0.5, 0.25, 0.1], [0.95, 0.44, 0.2])
    """
    rises = np.array([(p0 * rise - p0) / (1.0 - p0) for rise in RISES if p0 * rise < 1.0])[::-1]
    nothing, equal = np.zeros(len(rises)), np.full(len(rises), 1.0 / len(rises))
    many = np.geomspace(0.95, 2.0 * rises.min(), len(rises))
    falls = 1.0 - np.array(FALLS)
    passing = Stakes(falls, np.zeros(len(falls)), _PASS_WEIGHTS)
    return (Stakes(rises, nothing, equal), Stakes(many, nothing, equal)), (passing, passing)


def gains(stakes: Stakes, p: float, c: Floats, live: Floats, n: Floats, m: Floats, *, fail: bool) -> Ints:
    """What blocks win, (…, k), in 2⁻²⁰ nats: `c` and `live` (…) are how many lie beyond, of `n` (…) in at most `m` (…).

    >>> one, none = np.array([1.0]), np.array([0.0])
    >>> both = [gains(FAIL_ONE, 0.01, x, y, one, one, fail=True) / UNIT for x, y in ((none, none), (one, one))]
    >>> bool((0.99 * np.exp(both[0]) + 0.01 * np.exp(both[1]) <= 1.0).all())  # at the limit no bet wins on average
    True
    """
    expected = p * n
    ours, theirs = (c - expected) / m, (expected - live) / m
    if fail:
        won = ours[..., None] * (stakes.candidate / p) + theirs[..., None] * (stakes.live / (1.0 - p))
    else:
        won = -ours[..., None] * (stakes.candidate / (1.0 - p)) - theirs[..., None] * (stakes.live / p)
    return np.asarray(np.floor(np.log1p(won) * UNIT).astype(np.int64))


def worst(stakes: Stakes, m: float) -> Ints:
    """What a pair costs a PASS at most: beyond every edge in the candidate, and before it in live; (k,).

    >>> bool((worst(PASS_MANY, 10.0) < 0).all())
    True
    """
    return np.asarray(np.floor(np.log1p(-(stakes.candidate + stakes.live) / m) * UNIT).astype(np.int64))
