"""How many requests become pairs under `mirror.max_pairs_per_second`: a share, turned as they come.

A number is a rate: the share is that part of the requests which makes so many pairs. `auto` is as many as the one
controller can take, be they of one replica or of a fleet, by two loops:

    each worker     `room_in` its own link: as that fills, fewer requests are sampled, down to none, at once and with
                    no word from anybody; those that the share has and the link has not are *spared*, and counted
    the controller  turns the share for all, so that its loop runs for `AIM` of the time and few are spared:
        not busy enough        it grows by the ratio, smoothly, and at most doubles in `DOUBLING`
        too busy               it falls by the ratio
        requests were spared   it does not grow: a busy machine gives the loop no more. Where more than `SPARE` of them
                               were, it is what was taken and `SPARE`, whatever it has become since
        pairs were lost        a link was full all the same: it halves, at most once in `REACTION`

The first one needs no measure of the controller and has no delay, so nothing is lost when a machine gives it less from
one moment to the next, and `SPARE` is there to be used when it gives more; the second keeps the queues short, so that
what is decided is not decided late.

Which requests belong to the share is decided by the hash of their id, before anything is known of them
(`rollout.token_budget` says why), and by the queue as it was before they came.

Invariants
- Both are pure functions of what was counted; a share is in [1 basis point, 1].
- What is offered at five times what can be taken is down to that within a minute, and nothing is lost after it, though
  what can be taken changes (`tests/rollout/test_pair_budget.py` has the queue as a model, `loadtests/bench_links.py`
  the real thing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from proxy.model import BUCKETS

AIM = 0.97
"""Part of the time in which the loop shall be busy."""
DOUBLING = 10.0
SMOOTHING = 2.0
"""Seconds over which the loop's time is averaged, and in which a wrong share is put right for the most part."""
REACTION = 3.0
"""Seconds until a new share is seen in what arrives: queues in between empty first."""
SPARE = 0.25
"""Part of the requests of the share that links may spare."""
RATE_MEMORY = 5.0
"""Seconds over which rates of requests are averaged."""
BELOW = 0.95
"""Part of a rate that is aimed at, so that chance does not go beyond it for long."""
START = 0.01
"""The share before the rate of requests is known, for a limit that is a number."""


@dataclass(frozen=True, slots=True)
class PairPace:
    """`share` a ratio, `at` monotonic seconds of the last step. For a number `rate` is requests per second that could
    become pairs (0: not known); for `auto` `busy` is the loop's part of the time, smoothed, `offered`, `due` and
    `spared` are requests as in `Strain`, those of the last seconds above all, `strained_at` is when requests were
    spared or pairs lost at last, `halved_at` when it was halved."""

    share: float = 1.0
    at: float = math.nan
    rate: float = 0.0
    busy: float = 0.0
    offered: float = 0.0
    due: float = 0.0
    spared: float = 0.0
    strained_at: float = -math.inf
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


@dataclass(frozen=True, slots=True)
class Strain:
    """What is heard since the last step: how busy the loop was (a ratio), how many pairs were `lost` to full links; how
    many requests could have been pairs (`offered`, a real number), how many were `due` by the share of that time, and
    how many of those were `spared`."""

    busy: float = 0.0
    lost: int = 0
    offered: float = 0.0
    due: int = 0
    spared: int = 0


def bearable(before: PairPace, now: float, seen: Strain) -> PairPace:
    """The next step towards a loop that is busy for `AIM` of the time, and links that spare few.

    >>> first = bearable(PairPace(), 0.0, Strain())
    >>> bearable(first, 1.0, Strain(0.5)).share, bearable(first, 1.0, Strain(1.0, lost=7)).share
    (1.0, 0.5)
    >>> round(bearable(first, 1.0, Strain(0.6, offered=100.0, due=100, spared=70)).share, 3)  # 30 % were taken
    0.4
    """
    if math.isnan(before.at):
        return replace(before, at=now)
    passed = now - before.at
    if passed <= 0.0:
        return before
    mean = before.busy + (1.0 - math.exp(-passed / SMOOTHING)) * (min(1.0, max(0.0, seen.busy)) - before.busy)
    kept = math.exp(-passed / RATE_MEMORY)
    offered, due, spared = (
        kept * old + new
        for old, new in ((before.offered, seen.offered), (before.due, seen.due), (before.spared, seen.spared))
    )
    after = replace(before, at=now, busy=mean, offered=offered, due=due, spared=spared)
    if seen.lost or seen.spared:
        after, share = replace(after, strained_at=now), before.share
        if spared > SPARE * due:
            share = min(share, (due - spared) / offered / (1.0 - SPARE))
        if seen.lost and now - before.halved_at >= REACTION:
            after, share = replace(after, halved_at=now), min(share, before.share / 2)
        return replace(after, share=_within(share))
    factor = min((AIM / max(mean, 0.01)) ** (passed / SMOOTHING), 2.0 ** (passed / DOUBLING))
    if now - before.strained_at < REACTION:
        factor = min(1.0, factor)
    return replace(after, share=_within(before.share * factor))


EASY, FULL = 256 << 10, 2 << 20
"""Bytes that wait in a worker's link: up to the one it takes all, from the other on none."""


def room_in(waiting: int) -> int:
    """The part of the pairs that a link has room for while so many bytes wait in it, basis points.

    >>> room_in(EASY), room_in(EASY + FULL >> 1), room_in(FULL)
    (10000, 5000, 0)
    """
    return BUCKETS * min(FULL - EASY, max(0, FULL - waiting)) // (FULL - EASY)


def _within(share: float) -> float:
    return min(1.0, max(share, 1.0 / BUCKETS))


def turns(told: int, affords: int) -> bool:
    """Whether workers should hear of a change (basis points): by a hundredth, or to all.

    >>> turns(1000, 1005), turns(1000, 1011), turns(9950, 10000), turns(3, 4)
    (False, True, True, True)
    """
    return abs(affords - told) > told / 100 or (affords == BUCKETS and told < BUCKETS)
