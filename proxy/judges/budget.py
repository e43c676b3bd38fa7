"""What a judge has spent of its `max_cost`: what is asked is reserved before, so that questions under way never spend
more together than is left, but for what an answer costs beyond what was reserved.

Periods begin at a full hour or day in UTC, and what is not spent does not carry over. Which pairs a budget that runs
out leaves unjudged must not depend on what they say, their length least of all: so the same is reserved for each pair
(`largest`), and once `lacks` says that this is not left, it says so for the rest of the period, whatever the pairs are.
Money is kept by the hour, so that a limit that changes from `/day` to `/hour` and back is not had twice.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.money import MoneyBudget

_HOUR: Final = 3600
_KEPT: Final = 48
"""Hours that are remembered: of this day, and of one before it by a clock that is set back."""


class JudgeSpending(NamedTuple):
    """Money spent, by the hour (since 1970), oldest first, and reserved for what is under way."""

    hours: tuple[tuple[int, float], ...] = ()
    reserved: float = 0.0


def _hour(spending: JudgeSpending, limit: MoneyBudget, now: float) -> int:
    """The present hour; the last one that was spent in where a clock was set back by up to a period: that brings no
    budget a second time."""
    hour, length = int(now // _HOUR), _length(limit)
    last = spending.hours[-1][0] if spending.hours else hour
    return last if last // length in (hour // length, hour // length + 1) and last > hour else hour


def _length(limit: MoneyBudget) -> int:
    return int(limit.period // _HOUR)


def spent_now(spending: JudgeSpending, limit: MoneyBudget, now: float) -> float:
    """What has been spent in the period of `now` (epoch seconds).

    >>> spending = JudgeSpending(((24, 0.5), (25, 0.25)))
    >>> [spent_now(spending, MoneyBudget(1.0, seconds), 25 * 3600.0) for seconds in (3600.0, 86_400.0)]
    [0.25, 0.75]
    """
    length, hour = _length(limit), _hour(spending, limit, now)
    return sum(money for at, money in spending.hours if at // length == hour // length)


def lacks(spending: JudgeSpending, limit: MoneyBudget, cost: float, now: float) -> bool:
    """Whether so much is not left, even if all that is under way should cost nothing."""
    return spent_now(spending, limit, now) + cost > limit.amount * (1 + 1e-9)


def afford(spending: JudgeSpending, limit: MoneyBudget, cost: float, now: float) -> JudgeSpending | None:
    """The spending with `cost` set aside; `None` when so much is not left beside what is under way.

    >>> limit = MoneyBudget(1.0, 86400.0)
    >>> first = afford(JudgeSpending(), limit, 0.6, 0.0)
    >>> first, afford(first, limit, 0.6, 1.0), afford(first, limit, 0.4, 1.0).reserved
    (JudgeSpending(hours=(), reserved=0.6), None, 1.0)
    """
    if lacks(spending, limit, spending.reserved + cost, now):
        return None
    return spending._replace(reserved=spending.reserved + cost)


def settle_spending(
    spending: JudgeSpending, limit: MoneyBudget, reserved: float, cost: float, now: float
) -> JudgeSpending:
    """The spending when what was set aside has come to `cost`.

    >>> settle_spending(JudgeSpending(((0, 0.5),), 0.6), MoneyBudget(1.0, 86400.0), 0.6, 0.25, 1.0)
    JudgeSpending(hours=((0, 0.75),), reserved=0.0)
    >>> settle_spending(JudgeSpending(((0, 0.5),), 0.6), MoneyBudget(1.0, 86400.0), 0.6, 0.25, 86_400.0)
    JudgeSpending(hours=((0, 0.5), (24, 0.25)), reserved=0.0)
    """
    hour = _hour(spending, limit, now)
    hours = {at: money for at, money in spending.hours if abs(at - hour) < _KEPT}
    hours[hour] = hours.get(hour, 0.0) + cost
    return JudgeSpending(tuple(sorted(hours.items())), max(0.0, spending.reserved - reserved))
