"""How many requests a budget for copies affords: a share, turned while answers come in.

One machine for tokens a minute (`mirror.max_tokens_per_minute`) and money an hour or a day (`mirror.max_cost`). What a
copy costs is known only when it has been answered. So the share of requests that become pairs starts small and doubles
at most every `DOUBLING` seconds, up to what the mean cost and the rate of requests allow: the budget is spread over its
period evenly. It falls at once, and nothing more is asked while what the last period's copies cost and those under way
use the budget up. Where a period is an hour or longer, the same holds of a `PARTS`-th of it, which may cost twice its
part: a day's budget is not gone by noon.

Which requests belong to the share is decided by the hash of their id (`request.routing`) before anything is known of
them. A budget spent first come, first served, or by length, would show the evidence the cheap requests and the quiet
times.

Invariants
- `affords` is a pure function of what was counted; 0 while the budget is used up, at least 1 basis point otherwise.
- In any period the answers that came cost at most the budget and what was asked since the last step: the estimate of
  what is under way is the mean, so long answers in a row can exceed it by their excess.
- Bounded: a period is kept in `ENTRIES` parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from proxy.model import BUCKETS

MINUTE, HOUR = 60.0, 3600.0
START = 0.01
DOUBLING = 10.0
AIM = 0.9
"""Part of the budget that is aimed at, so that chance does not exhaust it every minute."""
PAIRS_MEMORY = 50.0
RATE_MEMORY = 15.0
"""Pairs, and seconds at least, over which the mean cost and the rate of requests are averaged."""
SAMPLES = 20.0
"""Pairs, as many as the budget affords, over whose time the rate of requests is averaged where that is longer; but no
longer than a quarter of the period."""
ENTRIES, PARTS = 240, 24


@dataclass(frozen=True, slots=True)
class Spending:
    """What is known of one rollout's copies. `at` is monotonic seconds, `window` the (first time, last time, amount) of
    the last period, `cost` the amount per pair (0: none has come), `rate` requests per second that could become pairs,
    of `seen` seconds, `share` a ratio."""

    at: float = math.nan
    window: tuple[tuple[float, float, float], ...] = ()
    cost: float = 0.0
    rate: float = 0.0
    seen: float = 0.0
    share: float = START
    exhausted: bool = False

    @property
    def in_period(self) -> float:
        """What the answers of the last period cost."""
        return sum(amount for _, _, amount in self.window)

    @property
    def affords(self) -> int:
        """Share of requests that may become pairs, basis points.

        >>> Spending().affords, Spending(share=1.0).affords, Spending(exhausted=True).affords
        (100, 10000, 0)
        """
        return 0 if self.exhausted else max(1, round(self.share * BUCKETS))


@dataclass(frozen=True, slots=True)
class Spent:
    """What came since the last step: `pairs` that cost `amount`, requests `sampled`, copies `lost` (asked, and no pair
    came of them: they are taken to cost what others do); `pending` are under way now."""

    pairs: int
    amount: float
    sampled: int
    pending: int
    lost: int = 0


def begin_spending(period: float) -> Spending:
    """Nothing spent yet of a budget for so many seconds; where that is long, what the first answers cost is to be a
    small part of it.

    >>> begin_spending(MINUTE).affords, begin_spending(24 * HOUR).affords
    (100, 10)
    """
    return Spending(share=START if period < HOUR else START / 10)


def spend(before: Spending, budget: float, now: float, spent: Spent, period: float = MINUTE) -> Spending:
    """The next state, of a `budget` for each `period` of seconds.

    >>> first = spend(Spending(), 6000, 0.0, Spent(0, 0, 0, 0))
    >>> spend(first, 60000, 10.0, Spent(pairs=10, amount=1000, sampled=10, pending=0)).share  # may double
    0.02
    >>> spend(first, 6000, 10.0, Spent(pairs=10, amount=6000, sampled=10, pending=0)).affords
    0
    """
    passed = 0.0 if math.isnan(before.at) else max(0.0, now - before.at)
    cost = before.cost
    if spent.pairs:
        mean = spent.amount / spent.pairs
        cost += (mean - cost) * (1.0 - math.exp(-spent.pairs / PAIRS_MEMORY) if cost else 1.0)
    amount = spent.amount + spent.lost * cost
    window = tuple(entry for entry in before.window if entry[1] > now - period)
    if amount:
        window = _with(window, now, amount, period / ENTRIES)
    rate, seen = before.rate, before.seen
    if passed and not before.exhausted:
        seen += passed
        memory = max(RATE_MEMORY, min(period / 4, SAMPLES * period * cost / budget))
        weight = max(1.0 - math.exp(-passed / memory), passed / seen)
        rate += (spent.sampled / before.share / passed - rate) * weight
    target = AIM * budget / period / (cost * rate) if cost * rate > 0.0 else 1.0
    share = max(min(1.0, target, before.share * 2.0 ** (passed / DOUBLING)), 1.0 / BUCKETS)
    used_up = _used_up(window, budget, period, now, spent.pending * cost)
    return Spending(now, window, cost, rate, seen, share, exhausted=used_up)


def _with(
    window: tuple[tuple[float, float, float], ...], now: float, amount: float, part: float
) -> tuple[tuple[float, float, float], ...]:
    """The window with what came now, in the last entry where that began less than a `part` ago."""
    if window and now - window[-1][0] < part:
        first, _, before = window[-1]
        return (*window[:-1], (first, now, before + amount))
    return (*window, (now, now, amount))


def _used_up(
    window: tuple[tuple[float, float, float], ...], budget: float, period: float, now: float, pending: float
) -> bool:
    """Whether nothing more may be asked."""
    if sum(amount for _, _, amount in window) + pending >= budget:
        return True
    since = now - period / PARTS
    lately = sum(amount for _, last, amount in window if last > since)
    return period >= HOUR and lately + pending >= 2.0 * budget / PARTS


def worth_telling(told: int, affords: int) -> bool:
    """Whether workers should hear of a change (basis points): to or from nothing, or by a tenth.

    >>> worth_telling(100, 105), worth_telling(100, 111), worth_telling(3, 0)
    (False, True, True)
    """
    return (told == 0) != (affords == 0) or abs(affords - told) > told / 10
