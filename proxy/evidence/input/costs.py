"""What answers cost: totals of each arm in whole numbers, and the bound at which the guard on cost cuts.

The bound is frozen from live's first answers, never from the candidate's: `MULTIPLE` times their `QUANTILE`. Those
answers give the guard no evidence. Guards see costs in units of the bound (`scaled`), so nothing else depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from proxy.evidence.process.wealth import Bools, Floats
from proxy.json_types import Whole
from proxy.model import Plan, Reading

ANSWERS = 200
"""Answers of live's that cost something, from which the bound is taken."""
QUANTILE, MULTIPLE = 0.98, 4.0
NANOS = 1e9
"""Totals are in billionths of the currency: they add up in any order."""
MOST_OF_ONE, MOST_OF_ALL = 10**15, 2**62
"""What one answer costs at most in a total, a million, and all of them: a server may say any count of tokens, and what
is saved has 64 bits."""


@dataclass(slots=True)
class CostTotals:
    """What both arms' answers to `pairs` requests cost, whose prices are known and which both answered, and what all
    `copies` did, in billionths. `counted` pairs are those whose tokens were estimated."""

    live: int = 0
    candidate: int = 0
    pairs: int = 0
    copies: int = 0
    counted: int = 0
    paid: int = 0  # pairs that `copies` is of

    def add(self, fields: Mapping[str, Sequence[Any]]) -> None:
        """Add readings, given by field."""
        live, cost = (np.array(fields[name], dtype=np.float64) for name in ("live_cost", "cost"))
        if np.isnan(live).all() and np.isnan(cost).all():
            return  # the usual case: no prices
        copies = np.array(fields["copies_cost"], dtype=np.float64)
        fine = [not (ours or theirs) for ours, theirs in zip(fields["live_fault"], fields["fault"], strict=True)]
        whole = np.isfinite(live) & np.isfinite(cost) & np.array(fine, dtype=bool)
        self.live = _plus(self.live, _nanos(live[whole]))
        self.candidate = _plus(self.candidate, _nanos(cost[whole]))
        self.pairs += int(whole.sum())
        self.copies = _plus(self.copies, _nanos(copies))
        self.counted += int(np.array(fields["counted"], dtype=bool)[whole].sum())
        self.paid += len(copies)

    @property
    def each(self) -> float | None:
        """What the copies of a pair cost on average, in the currency; `None` before there is a price and a pair."""
        return self.copies / NANOS / self.paid if self.paid else None

    def add_copies(self, readings: Sequence[Reading]) -> None:
        """Add what only copies of these cost: they came after the end."""
        self.copies = _plus(self.copies, _nanos(np.array([reading.copies_cost for reading in readings])))

    def merge(self, other: CostTotals) -> CostTotals:
        """Both together."""
        return CostTotals(*map(_plus, self.values, other.values))

    @property
    def values(self) -> tuple[int, ...]:
        """All of it, in the order of the fields."""
        return tuple(getattr(self, name) for name in CostTotals.__slots__)


def _plus(one: int, other: int) -> int:
    """Two totals together."""
    return min(MOST_OF_ALL, one + other)


def _nanos(costs: Floats) -> int:
    """The sum of costs in billionths, each rounded: the same in every order and every cut.

    >>> _nanos(np.array([1e-9, 2.4e-9]))
    3
    """
    return int(np.rint(np.minimum(costs, MOST_OF_ONE / NANOS) * NANOS).astype(np.int64).sum()) if len(costs) else 0


@dataclass(slots=True)
class CostBook:
    """What is kept of costs: `learned` are live's first, until `bound` is known."""

    bound: float | None = None
    learned: list[float] = field(default_factory=list)
    totals: CostTotals = field(default_factory=CostTotals)

    @property
    def saved(self) -> dict[str, Any]:
        """What `restored` takes, under its key; nothing where no answer has a price."""
        return {} if self == CostBook() else {"costs": [self.bound, self.learned, self.totals.values]}

    @classmethod
    def restored(cls, raw: Sequence[Any] | None) -> CostBook:
        """What `saved` gave, or an empty one."""
        return cls() if raw is None else cls(raw[0], list(raw[1]), CostTotals(*raw[2]))

    def copy(self) -> CostBook:
        """A copy that shares no mutable part."""
        return CostBook(self.bound, list(self.learned), CostTotals(*self.totals.values))

    @property
    def known(self) -> tuple[float, ...]:
        """The bound, once there is one."""
        return () if self.bound is None else (self.bound,)

    @property
    def missing(self) -> int:
        """How many more of live's answers decide the bound; 0 once it is known or can be."""
        return 0 if self.bound is not None else max(0, ANSWERS - len(self.learned))

    def freeze(self) -> None:
        """Choose the bound, if enough answers are known and it is not."""
        if self.bound is None and len(self.learned) >= ANSWERS:
            self.bound = bound_of(np.array(self.learned))
            self.learned = []

    def learn(self, costs: Sequence[float], usable: Bools) -> None:
        """Take live's costs (n,) of answers that are `usable` (n,) and cost something; no more than are `missing`."""
        found = np.array(costs, dtype=np.float64)[usable]
        self.learned += found[np.isfinite(found) & (found > 0.0)].tolist()

    def scaled(self, fields: Mapping[str, Sequence[Any]]) -> Floats | None:
        """Live's and the candidate's costs in units of the bound, (2, n), nan where not known; `None` before it is."""
        if self.bound is None:
            return None
        return np.array([fields["live_cost"], fields["cost"]], dtype=np.float64) / self.bound


def bound_of(costs: Floats) -> float:
    """Where costs are cut, from live's first ones (n,), all more than 0.

    >>> bound_of(np.arange(1.0, 201.0))
    784.08
    """
    return round(MULTIPLE * float(np.quantile(costs, QUANTILE)), 15)


class ArmCostJson(TypedDict):
    """What one arm's answers cost, all of them and each."""

    total: float
    mean: float | None


class CostJson(TypedDict):
    """What the answers of each arm cost, over the `pairs` that both answered, and what all copies did; `counted` of the
    pairs by an estimate of tokens."""

    currency: str
    pairs: Whole
    live: ArmCostJson
    candidate: ArmCostJson
    ratio: float | None
    copies: float
    counted: Whole


def cost_figures(plan: Plan, costs: CostTotals) -> CostJson | None:
    """What answers and copies cost; `None` where an arm has no price.

    >>> cost_figures(Plan("r/c", "r", "l", "c", "1", (), ()), CostTotals()) is None
    True
    """
    if plan.live_price is None or plan.candidate_price is None:
        return None
    live, candidate, copies = (total / NANOS for total in (costs.live, costs.candidate, costs.copies))
    pairs = costs.pairs
    return {
        "currency": plan.currency,
        "pairs": pairs,
        "live": {"total": live, "mean": live / pairs if pairs else None},
        "candidate": {"total": candidate, "mean": candidate / pairs if pairs else None},
        "ratio": candidate / live if live else None,
        "copies": copies,
        "counted": costs.counted,
    }
