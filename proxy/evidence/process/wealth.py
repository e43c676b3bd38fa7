"""Log-wealth: how bets on counts become e-values.

Every guard keeps integer counts of what was seen, in `width` categories. A *bet* multiplies its wealth by a factor that
depends only on the category, so its log-wealth is a dot product `counts · log_factors`: state merges by addition, order
does not matter, and the e-value is a pure function of the counts (Waudby-Smith & Ramdas, arXiv 2010.09686; Ramdas,
Grünwald, Vovk, Shafer, arXiv 2210.01948). An average of e-values is an e-value, so a grid of bets is averaged,
with weights that are fixed beforehand.

`CERTAIN` stands for an infinite log-wealth (a limit of exactly zero that was broken). It is finite on purpose:
`0 * inf` is nan, while `0 * CERTAIN` is 0, and the sums below stay exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bools: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]  # bins, positions, sums
Numbers: TypeAlias = NDArray[Any]  # counts, or counts times a number (forecasts)

CERTAIN = 1e12
"""Log-wealth that stands for certainty, in nats; its negative stands for an impossibility."""


def log_mean_exp(log_wealth: Floats, weights: Floats | None = None) -> Floats:
    """Log of the mean of `exp(log_wealth)` along the last axis, without overflow; `weights` sum to 1 (`None`: equal).

    >>> round(float(np.exp(log_mean_exp(np.log([1.0, 3.0])))), 12)
    2.0
    >>> round(float(np.exp(log_mean_exp(np.log([1.0, 3.0]), np.array([0.75, 0.25])))), 12)
    1.5
    >>> float(log_mean_exp(np.array([CERTAIN, 0.0]))) > 1e11
    True
    """
    # The ufuncs' own reductions: `max` and `mean` add a layer of Python that costs more than the sums themselves.
    top = np.maximum.reduce(log_wealth, axis=-1, keepdims=True)
    wealth = np.exp(log_wealth - top)
    mean = np.add.reduce(wealth, axis=-1) / log_wealth.shape[-1] if weights is None else wealth @ weights
    return np.asarray(np.log(mean) + top[..., 0])


def block_gains(x: Floats, unit: Floats, limit: float, largest: float) -> Floats:
    """What each category adds to the gain (ε − x) / (largest − ε) of a pair, and to the number of pairs; see
    `pass_blocks`.

    `x` (width, directions) is what a pair in the category adds to its x in each direction, `unit` (width,) is 1 in the
    one of its categories that counts it. Without directions where nothing is against the limit.

    >>> block_gains(np.array([[0.0], [1.0]]), np.ones(2), 0.2, 1.0).tolist()
    [[0.25, 1.0], [-1.0, 1.0]]
    """
    if limit >= largest:
        return np.asarray(unit[:, None])
    return np.column_stack([(limit * unit[:, None] - x) / (largest - limit), unit])


def log_sum(logs: Sequence[float]) -> float:
    """Log of the sum of exponentials of a few numbers; empty gives minus `CERTAIN`.

    >>> round(log_sum([0.0, 0.0]), 6)
    0.693147
    """
    if not logs:
        return -CERTAIN
    top = max(logs)
    return float(top + np.log(np.sum(np.exp(np.asarray(logs) - top))))


def mixed(counts: Numbers, groups: Sequence[Floats], weights: Floats | None = None) -> Floats:
    """FAIL: the average over groups (directions, thresholds) of the average over each group's bets, as a log.

    `counts` is (…, width), each group (width, bets), `weights` (bets,) those of the bets; the result is (…).

    >>> up, down = np.log([[0.5], [1.5]]), np.log([[1.5], [0.5]])  # one bet each on heads and on tails
    >>> float(np.exp(mixed(np.array([0, 1]), [up, down])))
    1.0
    """
    logs = [log_mean_exp(counts @ group, weights) for group in groups]
    return logs[0] if len(logs) == 1 else log_mean_exp(np.stack(logs, axis=-1))


def weakest(counts: Numbers, groups: Sequence[Floats], weights: Floats | None = None) -> Floats:
    """PASS: the *least* of the groups' averages. Averaging here would promote at the limit: each group has a null of
    its own, and all of them must be rejected (intersection-union).

    >>> up, down = np.log([[0.5], [1.5]]), np.log([[1.5], [0.5]])
    >>> float(np.exp(weakest(np.array([0, 1]), [up, down])))
    0.5
    """
    logs = [log_mean_exp(counts @ group, weights) for group in groups]
    return logs[0] if len(logs) == 1 else np.minimum.reduce(logs)


def crossings(log_e: Callable[[Floats], Floats], near: Floats, far: Floats, level: float, steps: int = 24) -> Floats:
    """For each of n, the limit between `near` and `far` at which `log_e(limits)` reaches `level`, (n,), to 1 % of its
    distance from `near`.

    `near` is the point estimate (where there is no evidence), `far` the end of the range. It is `far` where even there
    the evidence is below `level`: the interval then reaches to the end of the range. Always errs towards `far`.

    Regula falsi on the square root of the evidence, which is nearly a straight line (log e-values grow with the square
    of the distance), within a first bracket that is found by trying an eighth of the way, and an eighth of that; every
    third step is a bisection so that it cannot creep.

    >>> found = crossings(lambda limits: 10.0 * limits, np.zeros(2), np.array([1.0, 0.25]), 5.0)
    >>> 0.5 <= found[0] <= 0.505, float(found[1])
    (np.True_, 0.25)
    """
    goal = math.sqrt(level)
    rows = [_Bracket(a, b, goal) for a, b in zip(near.tolist(), far.tolist(), strict=True)]

    def heights(tried: list[float]) -> list[float]:
        found: list[float] = np.maximum(0.0, log_e(np.array(tried))).tolist()
        return [math.sqrt(height) - goal for height in found]

    for share in _BRACKETS:
        if all(row.high >= 0.0 for row in rows):
            break
        tried = [row.start + share * row.span for row in rows]
        for row, limit, height in zip(rows, tried, heights(tried), strict=True):
            row.widen(limit, height)
    reached = [row.high >= 0.0 for row in rows]
    for step in range(steps):
        wide = [found and row.wide for row, found in zip(rows, reached, strict=True)]
        if not any(wide):
            break
        tried = [row.guess(halve=step % 3 == 2) for row in rows]
        for row, limit, height, open_ in zip(rows, tried, heights(tried), wide, strict=True):
            if open_:
                row.narrow(limit, height)
    return np.array([row.far if found else row.end for row, found in zip(rows, reached, strict=True)])


class _Bracket:
    """Where one of the limits is looked for: between `near`, where the evidence is `low`, and `far`, where it is
    `high`. Plain floats: there are few rows, and an array of one costs ten times as much as its number."""

    __slots__ = ("end", "far", "high", "low", "near", "span", "start")

    def __init__(self, near: float, far: float, goal: float) -> None:
        self.start, self.span, self.end = near, far - near, far
        self.near, self.low, self.far, self.high = near, -goal, near, -goal

    def widen(self, limit: float, height: float) -> None:
        """Further out than all before, unless it has been far enough."""
        if self.high < 0.0:
            self.near, self.low, self.far, self.high = self.far, self.high, limit, height

    @property
    def wide(self) -> bool:
        """Whether it is not narrow enough yet."""
        return abs(self.far - self.near) > 0.01 * abs(self.far - self.start)

    def guess(self, *, halve: bool) -> float:
        """Where to look next."""
        share = 0.5
        if not halve:  # a little beyond the guess, so that both ends of the bracket close in
            share = min(0.98, max(0.02, self.low / min(self.low - self.high, -1e-300))) * 1.004 + 0.001
        return self.near + (self.far - self.near) * min(0.99, share)

    def narrow(self, limit: float, height: float) -> None:
        """It is on one side of this."""
        if height >= 0.0:
            self.far, self.high = limit, height
        else:
            self.near, self.low = limit, height


_BRACKETS = (1 / 64, 1 / 8, 1.0)
