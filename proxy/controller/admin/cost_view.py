"""What the API shows of costs: of what a verdict still takes, and of budgets for copies."""

from __future__ import annotations

from typing_extensions import TypedDict

from proxy.json_types import Whole


class ForecastJson(TypedDict):
    """So many more pairs, which take so long and cost so much."""

    pairs: Whole
    seconds: float
    cost: float | None
    judging: float | None
    text: str


class TokenBudgetJson(TypedDict):
    """Tokens per minute."""

    limit: Whole
    last_minute: Whole
    total: Whole
    share: float


class MoneyBudgetJson(TypedDict):
    """Money in each period."""

    limit: str
    amount: float
    period_seconds: float
    in_period: float
    total: float
    share: float


class IdleBudgetJson(TypedDict):
    """Pairs a second while no guard needs more."""

    limit: Whole
    share: float
    reason: str


class PairBudgetJson(TypedDict):
    """Pairs a second, a number or `auto`."""

    limit: int | str
    share: float
