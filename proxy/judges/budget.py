"""What a judge has spent of its `max_cost`: what is asked is reserved before, so that questions under way never spend
more together than is left, but for what an answer costs beyond the estimate.

Periods begin at a full hour or day in UTC, and what is not spent does not carry over. A budget that is spent leaves the
rest of the period's pairs unjudged: which ones depends on the time alone, not on what they say.
"""

from __future__ import annotations

from typing import NamedTuple

from proxy.money import MoneyBudget


class JudgeSpending(NamedTuple):
    """Money spent in the period of this number (since 1970), and reserved for what is under way."""

    period: int = -1
    spent: float = 0.0
    reserved: float = 0.0


def _now(spending: JudgeSpending, limit: MoneyBudget, now: float) -> JudgeSpending:
    period = int(now // limit.period)
    if period in (spending.period, spending.period - 1):  # a clock that was set back brings no budget a second time
        return spending
    return JudgeSpending(period, 0.0, spending.reserved)


def afford(spending: JudgeSpending, limit: MoneyBudget, cost: float, now: float) -> JudgeSpending | None:
    """The spending with `cost` set aside at `now` (epoch seconds); `None` when so much is not left.

    >>> limit = MoneyBudget(1.0, 86400.0)
    >>> first = afford(JudgeSpending(), limit, 0.6, 0.0)
    >>> first, afford(first, limit, 0.6, 1.0), afford(first, limit, 0.4, 1.0).reserved
    (JudgeSpending(period=0, spent=0.0, reserved=0.6), None, 1.0)
    """
    spending = _now(spending, limit, now)
    if spending.spent + spending.reserved + cost > limit.amount * (1 + 1e-9):
        return None
    return spending._replace(reserved=spending.reserved + cost)


def settle(spending: JudgeSpending, limit: MoneyBudget, reserved: float, cost: float, now: float) -> JudgeSpending:
    """The spending when what was set aside has come to `cost`.

    >>> settle(JudgeSpending(0, 0.0, 0.6), MoneyBudget(1.0, 86400.0), 0.6, 0.25, 1.0)
    JudgeSpending(period=0, spent=0.25, reserved=0.0)
    >>> settle(JudgeSpending(0, 0.9, 0.6), MoneyBudget(1.0, 86400.0), 0.6, 0.25, 86_400.0)
    JudgeSpending(period=1, spent=0.25, reserved=0.0)
    """
    spending = _now(spending, limit, now)
    return spending._replace(spent=spending.spent + cost, reserved=max(0.0, spending.reserved - reserved))


def spent_now(spending: JudgeSpending, limit: MoneyBudget, now: float) -> float:
    """What has been spent in the period of `now`."""
    return _now(spending, limit, now).spent
