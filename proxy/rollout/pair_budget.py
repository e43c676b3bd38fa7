"""How many requests become pairs under `mirror.max_pairs_per_second`: a share, turned as they come.

A number is a rate: the share is that part of the requests which makes so many pairs. `auto` is as many as the one
controller can take, be they of one replica or of a fleet: the share is turned so that its loop runs for `AIM` of the
time, or for less where a busy machine does not give it that much (pairs are lost then, and less is aimed at).

    not busy enough    the share grows by the ratio, smoothly, and at most doubles in `DOUBLING`
    too busy           it falls by the ratio; a loop that is never idle says only that it is too much, not by how much
    pairs were lost    links were full: it halves, at most once in `REACTION`; where that comes again, less is aimed at

Which requests belong to the share is decided by the hash of their id, before anything is known of them
(`rollout.token_budget` says why).

Invariants
- Both are pure functions of what was counted; a share is in [1 basis point, 1].
- What is offered at five times what can be taken is down to that within a minute, and nothing is lost after it
  (`tests/rollout/test_pair_budget.py` has the queue as a model, `loadtests/bench_links.py` the real thing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from proxy.model import BUCKETS

AIM = 0.97
"""Part of the time in which the loop shall be busy."""
LEAST_AIM = 0.5
FORGIVING = 600.0
"""Seconds in which a loss that was no beginning is remembered, and in which the lowest aim is whole again."""
DOUBLING = 10.0
SMOOTHING = 2.0
"""Seconds over which the loop's time is averaged, and in which a wrong share is put right for the most part."""
REACTION = 3.0
"""Seconds until a new share is seen in what arrives: queues in between empty first."""
SETTLED = 30.0
"""Seconds after which a share is not being looked for any more."""
RATE_MEMORY = 5.0
"""Seconds over which the rate of requests is averaged."""
BELOW = 0.95
"""Part of a rate that is aimed at, so that chance does not go beyond it for long."""
START = 0.01
"""The share before the rate of requests is known, for a limit that is a number."""


@dataclass(frozen=True, slots=True)
class PairPace:
    """`share` a ratio, `at` monotonic seconds of the last step. For a number `rate` is requests per second that could
    become pairs (0: not known); for `auto` `busy` is the loop's part of the time, smoothed, `aim` what it shall be."""

    share: float = 1.0
    at: float = math.nan
    rate: float = 0.0
    busy: float = 0.0
    aim: float = AIM
    halved_at: float = -math.inf

    @property
    def affords(self) -> int:
        """Basis points.

        >>> PairPace().affords, PairPace(share=1e-9).affords
        (10000, 1)
        """
        return max(1, round(self.share * BUCKETS))


def at_most(before: PairPace, limit: float, now: float, sampled: int) -> PairPace:
    """The next step towards `limit` pairs per second: so many requests were `sampled` since the last one.

    >>> first = at_most(PairPace(share=START), 100.0, 0.0, 0)
    >>> at_most(first, 100.0, 1.0, sampled=10).share  # 1,000 requests a second
    0.095
    """
    if math.isnan(before.at):
        return replace(before, at=now)
    passed = now - before.at
    if passed <= 0.0:
        return before
    seen = sampled / before.share / passed
    weight = 1.0 - math.exp(-passed / RATE_MEMORY) if before.rate else 1.0
    rate = before.rate + weight * (seen - before.rate)
    share = min(1.0, BELOW * limit / rate) if rate > 0.0 else before.share
    return replace(before, at=now, rate=rate, share=max(share, 1.0 / BUCKETS))


def bearable(before: PairPace, now: float, busy: float, lost: int) -> PairPace:
    """The next step towards a loop that is busy for `AIM` of the time: it was for `busy` (a ratio) since the last one,
    and `lost` pairs did not come because links were full.

    >>> first = bearable(PairPace(), 0.0, 0.0, 0)
    >>> bearable(first, 1.0, 0.5, 0).share, bearable(first, 1.0, 1.0, 7).share
    (1.0, 0.5)
    """
    if math.isnan(before.at):
        return replace(before, at=now)
    passed = now - before.at
    if passed <= 0.0:
        return before
    mean = before.busy + (1.0 - math.exp(-passed / SMOOTHING)) * (min(1.0, max(0.0, busy)) - before.busy)
    aim = min(AIM, before.aim + (AIM - LEAST_AIM) * passed / FORGIVING)
    since = now - before.halved_at
    if lost and since >= REACTION:
        if SETTLED <= since < FORGIVING:  # it was well for a while, and too much all the same
            aim = LEAST_AIM + (aim - LEAST_AIM) * 0.8
        return replace(before, at=now, share=_within(before.share / 2), busy=mean, aim=aim, halved_at=now)
    wrong = aim / max(mean, 0.01)
    factor = min(wrong ** (passed / SMOOTHING), 2.0 ** (passed / DOUBLING))
    return replace(before, at=now, share=_within(before.share * factor), busy=mean, aim=aim)


def _within(share: float) -> float:
    return min(1.0, max(share, 1.0 / BUCKETS))


def turns(told: int, affords: int) -> bool:
    """Whether workers should hear of a change (basis points): by a hundredth, or to all.

    >>> turns(1000, 1005), turns(1000, 1011), turns(9950, 10000), turns(3, 4)
    (False, True, True, True)
    """
    return abs(affords - told) > told / 100 or (affords == BUCKETS and told < BUCKETS)
