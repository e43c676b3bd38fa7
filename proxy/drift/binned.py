"""Numbers in bins of the reference, and what each bin scores.

The edges are quantiles of the first values; a value that equals an edge has a bin of its own, so that numbers with few
values (a count, many zeros) are ranked rightly. The level scores the normal score Φ⁻¹ of a bin's middle rank (van der
Waerden, 1952): for a normal sample its mean moves by as many standard deviations as the sample's, and no outlier weighs
more than three. It is brought to mean 0 and variance 1. The spread is its square; what was
expected of the level is taken from it later (`reference.centred`), so that a cycle of the level is none of the spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from proxy.evidence.process.wealth import Floats, Ints

PARTS = 32
"""Quantile spans."""
FURTHEST = 3.0
"""The largest normal score."""
FLAT = 0.3
"""The least deviation of scores that is brought to 1: where nearly all values are the same, the others are not made
more than ten deviations."""
DECADES = 10.0 ** np.arange(0.5, 4.6, 0.5)
"""Edges of the chart beyond the reference, in its ranges."""
_WIDTHS = 2.0
"""Widths of the inner 30 of 32 values by which a value that is far lies beyond them, at least."""
_TAILS = (1.0 / 256.0, 1.0 / 32.0, 0.5, 31.0 / 32.0, 255.0 / 256.0)
_EMPTY = 1e-3
_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False, slots=True)
class Binned:
    """`edges` (k,) ascending; bin 2i + 1 is edge i itself, bin 2i what lies below it, with `counts` (2k + 1,) of the
    first values. `scores` (2k + 1, 2): level, and its square times `square`, which has variance 1. `ranks` (k,) of the
    edges, `wide` the edges of the chart, `before` mean and standard deviation of the first values, `bounds` between
    which no value is far."""

    edges: Floats
    counts: Ints
    scores: Floats
    square: float
    ranks: Floats
    wide: Floats
    before: tuple[float, float]
    bounds: tuple[float, float]

    @classmethod
    def of(cls, values: Floats) -> Binned:
        """From the first values (n,), n ≥ 2, all finite.

        >>> b = Binned.of(np.arange(1000.0))
        >>> level = b.scores[b.bins(np.array([-5.0, 499.5, 2000.0])), 0]
        >>> level.round(1).tolist()
        [-3.1, 0.0, 3.1]
        """
        edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, PARTS + 1)))
        counts = np.bincount(_bins(edges, values), minlength=2 * len(edges) + 1)
        return cls.rebuilt(edges, counts, (float(values.mean()), float(values.std())), far_bounds(values))

    @classmethod
    def rebuilt(cls, edges: Floats, counts: Ints, before: tuple[float, float], bounds: tuple[float, float]) -> Binned:
        """From what is kept of it."""
        mass = (counts + _EMPTY) / (counts + _EMPTY).sum()
        ranks = np.cumsum(mass) - 0.5 * mass
        level = np.array([_NORMAL.inv_cdf(float(rank)) for rank in ranks]).clip(-FURTHEST, FURTHEST)
        level -= mass @ level
        level /= max(FLAT, float(np.sqrt(mass @ level**2)))
        square = 1.0 / max(FLAT, float(np.sqrt(max(0.0, mass @ level**4 - (mass @ level**2) ** 2))))
        scores = np.stack([level, square * level**2], axis=1)
        span = max(float(edges[-1] - edges[0]), 1e-9 * (1.0 + abs(float(edges[0]))))
        wide = np.concatenate([edges[0] - span * DECADES[::-1], edges, edges[-1] + span * DECADES])
        return cls(edges, counts, scores, square, ranks[1::2], wide, before, bounds)

    @property
    def mass(self) -> Floats:
        """The share of the first values in each bin."""
        return np.asarray((self.counts + _EMPTY) / (self.counts + _EMPTY).sum())

    def bins(self, values: Floats) -> Ints:
        """The bin of each value, (n,)."""
        return _bins(self.edges, values)

    def far(self, values: Floats) -> Floats:
        """1 for a value beyond `bounds`, (n,).

        >>> Binned.of(np.arange(1000.0)).far(np.array([-900.0, 1500.0, 499_500.0])).tolist()
        [0.0, 0.0, 1.0]
        """
        return np.asarray((values < self.bounds[0]) | (values > self.bounds[1]), np.float64)

    def quantiles(self, counts: Ints, ranks: tuple[float, ...]) -> list[float]:
        """Quantiles from counts between the edges of the chart, (len(wide) + 1,); linear in between.

        >>> b = Binned.of(np.arange(1000.0))
        >>> [round(q) for q in b.quantiles(b.count(np.arange(1000.0)), (0.1, 0.5))]
        [100, 500]
        """
        rises = np.cumsum(counts)[:-1] / max(1, int(counts.sum()))
        return [float(x) for x in np.interp(ranks, rises, self.wide)]

    def count(self, values: Floats) -> Ints:
        """Values between the edges of the chart, (len(wide) + 1,)."""
        return np.bincount(np.searchsorted(self.wide, values, "right"), minlength=len(self.wide) + 1)

    def expected(self, level: float, ranks: tuple[float, ...]) -> list[float]:
        """Quantiles of the first values, moved by `level` normal scores."""
        moved = [_NORMAL.cdf(_NORMAL.inv_cdf(rank) + level) for rank in ranks]
        return [float(x) for x in np.interp(moved, self.ranks, self.edges)]


def far_bounds(values: Floats) -> tuple[float, float]:
    """Between which no value of these (n,) is far, nor one that their tails lead to expect.

    Each tail is continued as it falls from one value in 32 to one in 256, twice more: to where one in 16,384 lies if it
    is a power. It is at least `_WIDTHS` widths away. So heavy tails have wide bounds, and up to one wild value in 256
    has no part in them. Where the inner values are all the same, their whole range is the width.

    >>> one, wild = np.arange(1000.0), np.array([*np.arange(1000.0), 1e6, 1e9])
    >>> heavy = (np.arange(1, 2001.0) / 2000.0) ** -0.5  # P(x > t) = t⁻²
    >>> [round(far_bounds(x)[1]) for x in (one, wild, heavy)]
    [2841, 2847, 146]
    >>> far_bounds(np.array([0.0] * 99 + [5.0]))
    (-5.0, 10.0)
    """
    lowest, low, middle, high, highest = (float(x) for x in np.quantile(values, _TAILS))
    if high <= low:
        low, high = float(values.min()), float(values.max())
        span = max(high - low, 1e-9 * max(abs(low), abs(high)))
        return low - span, high + span
    span = _WIDTHS * (high - low)
    down = max(middle - low + span, _continued(middle - low, middle - lowest))
    return middle - down, middle + max(high - middle + span, _continued(high - middle, highest - middle))


def _continued(near: float, further: float) -> float:
    """Where a tail is in two more steps like that from `near` to `further`; no further where it begins with ties."""
    return further * (further / near) ** 2 if near > 0.0 else further


def _bins(edges: Floats, values: Floats) -> Ints:
    return np.asarray(np.searchsorted(edges, values, "left") + np.searchsorted(edges, values, "right"))
