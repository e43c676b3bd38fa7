"""How many requests a token budget affords (`mirror.max_tokens_per_minute`): a share, turned while answers come in.

What a copy to a language model costs is known only when it has been answered. So the share of requests that become
pairs starts small and doubles at most every `DOUBLING` seconds, up to what the mean cost and the rate of requests
allow; it falls at once, and nothing more is asked while the last minute's tokens and those under way use the budget up.

Which requests belong to the share is decided by the hash of their id (`request.routing`) before anything is known of
them. A budget spent first come, first served, or by length, would show the evidence the cheap requests and the quiet
times.

Invariants
- `affords` is a pure function of what was counted; 0 while the budget is used up, at least 1 basis point otherwise.
- In any minute the answers that came cost at most the budget and what was asked since the last step: the estimate of
  what is under way is the mean, so long answers in a row can exceed it by their excess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from proxy.model import BUCKETS

MINUTE = 60.0
START = 0.01
DOUBLING = 10.0
AIM = 0.9
"""Part of the budget that is aimed at, so that chance does not exhaust it every minute."""
PAIRS_MEMORY = 50.0
RATE_MEMORY = 15.0
"""Pairs, and seconds, over which the mean cost and the rate of requests are averaged."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What is known of one rollout's copies. `at` is monotonic seconds, `window` the (time, tokens) of a minute, `cost`
    tokens per pair (0: none has come), `rate` requests per second that could become pairs, `share` a ratio."""

    at: float = math.nan
    window: tuple[tuple[float, int], ...] = ()
    cost: float = 0.0
    rate: float = 0.0
    share: float = START
    exhausted: bool = False

    @property
    def last_minute(self) -> int:
        """Tokens that the answers of the last minute cost."""
        return sum(tokens for _, tokens in self.window)

    @property
    def affords(self) -> int:
        """Share of requests that may become pairs, basis points.

        >>> Spending().affords, Spending(share=1.0).affords, Spending(exhausted=True).affords
        (100, 10000, 0)
        """
        return 0 if self.exhausted else max(1, round(self.share * BUCKETS))


@dataclass(frozen=True, slots=True)
class Spent:
    """What came since the last step: `pairs` that cost `tokens`, requests `sampled`; `pending` are under way now."""

    pairs: int
    tokens: int
    sampled: int
    pending: int


def spend(before: Spending, budget: int, now: float, spent: Spent) -> Spending:
    """The next state, `budget` in tokens per minute.

    >>> first = spend(Spending(), 6000, 0.0, Spent(0, 0, 0, 0))
    >>> spend(first, 60000, 10.0, Spent(pairs=10, tokens=1000, sampled=10, pending=0)).share  # may double
    0.02
    >>> spend(first, 6000, 10.0, Spent(pairs=10, tokens=6000, sampled=10, pending=0)).affords
    0
    """
    passed = 0.0 if math.isnan(before.at) else max(0.0, now - before.at)
    window = tuple(entry for entry in before.window if entry[0] > now - MINUTE)
    cost, rate = before.cost, before.rate
    if spent.pairs:
        window += ((now, spent.tokens),)
        mean = spent.tokens / spent.pairs
        cost += (mean - cost) * (1.0 - math.exp(-spent.pairs / PAIRS_MEMORY) if before.cost else 1.0)
    if passed and not before.exhausted:
        rate += (spent.sampled / before.share / passed - rate) * (1.0 - math.exp(-passed / RATE_MEMORY))
    target = AIM * budget / MINUTE / (cost * rate) if cost * rate > 0.0 else 1.0
    share = max(min(1.0, target, before.share * 2.0 ** (passed / DOUBLING)), 1.0 / BUCKETS)
    after = Spending(now, window, cost, rate, share)
    if after.last_minute + spent.pending * cost < budget:
        return after
    return Spending(now, window, cost, rate, share, exhausted=True)


def worth_telling(told: int, affords: int) -> bool:
    """Whether workers should hear of a change (basis points): to or from nothing, or by a tenth.

    >>> worth_telling(100, 105), worth_telling(100, 111), worth_telling(3, 0)
    (False, True, True)
    """
    return (told == 0) != (affords == 0) or abs(affords - told) > told / 10
