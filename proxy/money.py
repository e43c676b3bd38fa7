"""Amounts of money as the configuration file writes them and as texts show them; nothing is ever converted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from proxy.units import Unfit, multiple_hint

MOST_MONEY = 1e9
"""More is a slip."""
PERIODS = {"hour": 3600.0, "day": 86400.0}
BUDGET_TEXT = r"^[0-9]+(\.[0-9]+)?\s*/\s*(hour|day)$"
MULTIPLE_TEXT = r"^[0-9]+(\.[0-9]+)?\s*x$"
_TIMES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*x")
_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*/\s*([A-Za-z]+)")
_PERIODS = {"h": "hour", "hr": "hour", "d": "day", "hours": "hour", "days": "day", "daily": "day", "hourly": "hour"}


def amount(value: Any) -> float:
    """An amount of money, a number of at least 0; raises `Unfit`.

    >>> amount(0.15), amount(3)
    (0.15, 3.0)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_MONEY:
        raise Unfit("an amount such as 0.15, without a currency")
    return float(value)


@dataclass(frozen=True, slots=True)
class MoneyBudget:
    """So much money in each `period`, seconds."""

    amount: float
    period: float

    def __str__(self) -> str:
        name = next(name for name, seconds in PERIODS.items() if seconds == self.period)
        return f"{self.amount:.10g}/{name}"


def money_budget(value: Any) -> MoneyBudget:
    """A budget such as `20/day` or `1.50/hour`; raises `Unfit`.

    >>> money_budget("20/day"), str(money_budget("1.50/hour"))
    (MoneyBudget(amount=20.0, period=86400.0), '1.5/hour')
    """
    expected = "an amount for a day or an hour, such as 20/day"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise Unfit(expected, "`/day` or `/hour` is missing")
    match = _BUDGET.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Unfit(expected)
    if match[2] not in PERIODS:
        likely = _PERIODS.get(match[2].lower(), "")
        raise Unfit(expected, f"did you mean `{match[1]}/{likely}`?" if likely else "")
    if not 0 < float(match[1]) <= MOST_MONEY:
        raise Unfit(f"{expected}, more than 0")
    return MoneyBudget(float(match[1]), PERIODS[match[2]])


def multiple(value: Any) -> float:
    """A multiple of live's, `1.3x`; raises `Unfit`.

    >>> multiple("1.3x")
    1.3
    """
    match = _TIMES.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        hint = multiple_hint(value) if isinstance(value, str) else "an `x` is missing" * isinstance(value, float | int)
        raise Unfit("a multiple of live such as 1.3x", hint)
    return float(match[1])


def money_text(value: float, currency: str = "$") -> str:
    """An amount for people: two digits after the point, more where it is small.

    >>> money_text(4.1), money_text(1234.5, "EUR"), money_text(0.00123), money_text(0), money_text(-0.5)
    ('$4.10', 'EUR 1,234.50', '$0.0012', '$0', '-$0.50')
    """
    sign, size = "-" * (value < 0), abs(value)
    blank = " " * currency[-1:].isalnum()
    if size == 0:
        return f"{currency}{blank}0"
    digits = f"{size:,.2f}" if size >= 0.095 else f"{size:.2g}" if size >= 1e-4 else f"{size:.1e}"
    return f"{sign}{currency}{blank}{digits}"
