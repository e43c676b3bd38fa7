"""The e-detector of every channel: bets on blocks, with a restart at any time (Shiryaev and Roberts).

Per bet M ← L·(M + Δt), L the factor of a block and Δt the time since the block before in units of the plan's `per`.
With E[L] ≤ 1 while nothing drifts, E[M] after a time t is at most t/`per`, so to act at M ≥ 1/share is at most `share`
false alarms in `per`, whatever the rate of observations: the e-detector of Shin, Ramdas and Rinaldo (arXiv 2203.03532)
with weights by time. Bets of a field are averaged.

A score x is bet on with exp(λx − ψ(λ)), ψ its cumulants in the reference (λ²/2 at least, that of a normal one), an
event of rate m with the likelihood ratio exp(λx)/(1 − m + m·eᵏ), k = λ; the expected mean is moved against the bet by
two standard errors, without a period by three (`detector.ERRORS`, `FIXED`). Log factors are divided by the size of
bursts (`dispersion`): what is exact for independent observations of a known mean is calibrated beyond that, not proved.

`since` is the mean of the times of restart, weighted by what each has won: Shiryaev's posterior mean of the moment of
change. Sums since then are kept by the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from proxy.drift.channels import DriftChannel
from proxy.evidence.process.wealth import Bools, Floats

SIZES: Final = np.array([0.06, 0.12, 0.24, 0.5, 1.0, 2.0])
"""Bets on scores, in standard deviations, in both directions."""
RISES: Final = np.log([1.3, 2.0, 4.0, 16.0, 120.0, 1000.0])
FALLS: Final = np.log([0.8, 0.6, 0.4, 0.2, 0.05, 0.005])
JUMPS: Final = np.log([2.0, 8.0, 64.0, 512.0, 4096.0, 32768.0])
"""Rises of what hardly ever comes (`jumps`): up to what a value is worth that is like none of the reference's."""
_BOTH: Final = np.concatenate([SIZES, -SIZES])
LEAST: Final = 1e-7
"""The least rate."""
MOST: Final = 1e12
LEVEL: Final = 2.5
"""Standard errors by which a level differs that is named before the spread."""


@dataclass(frozen=True, eq=False, slots=True)
class BetGrid:
    """`sizes` (channels, 12): up, then down. `weights` sum to 1 over a channel. `rate` (channels,)."""

    sizes: Floats
    weights: Floats
    signs: Floats
    rate: Bools

    @classmethod
    def of(cls, channels: tuple[DriftChannel, ...]) -> BetGrid:
        """The grid of these channels."""
        rate = np.array([one.rate for one in channels], np.bool_)
        sizes = np.where(rate[:, None], np.concatenate([RISES, FALLS]), _BOTH)
        sizes[[one.jumps for one in channels]] = np.concatenate([JUMPS, FALLS])
        weights = np.full(sizes.shape, 1.0 / sizes.shape[1])
        weights[[one.rises for one in channels]] = np.repeat([1.0, 0.0], len(SIZES)) / len(SIZES)
        possible = _BOTH * np.sqrt(2.0) < 1.0
        weights[[one.what == "spread" for one in channels]] = possible / possible.sum()
        return cls(sizes, weights, np.repeat([1.0, -1.0], len(SIZES)), rate)

    def factors(self, sums: Floats, trials: Floats, means: Floats, errors: Floats, cumulants: Floats) -> Floats:
        """Log factors (channels, 12) of a block: sums, trials, expected means, and by how much those are moved against
        each bet (`errors`), all (channels,); `cumulants` (channels, 12) as of `cumulants_of` (not read for rates).

        >>> grid = BetGrid.of((DriftChannel("far", rises=True),))
        >>> kept = cumulants_of(np.zeros(1), np.ones(1))[None]
        >>> no, yes = (np.exp(grid.factors(*np.array([[s], [1.0], [0.01], [0.0]]), kept))[0, :6] for s in (0.0, 1.0))
        >>> bool(np.allclose(0.99 * no + 0.01 * yes, 1.0))
        True
        """
        n = trials[:, None]
        means = means[:, None] + self.signs * errors[:, None]
        inside = np.clip(means, LEAST, 1.0 - LEAST) * np.expm1(np.where(self.rate[:, None], self.sizes, 0.0))
        costs = np.where(self.rate[:, None], np.log1p(inside), self.sizes * means + cumulants)
        return np.asarray(self.sizes * sums[:, None] - n * costs)


def cumulants_of(scores: Floats, mass: Floats) -> Floats:
    """Log E[exp(λx)] of a score with this distribution, for all bets (12,); at least that of a normal one.

    >>> cumulants_of(np.array([-1.0, 1.0]), np.array([0.5, 0.5]))[2].round(4)  # ln cosh 0.24 = 0.0285
    np.float64(0.0288)
    """
    return np.asarray(np.maximum(np.log(np.exp(_BOTH[:, None] * scores) @ mass), 0.5 * _BOTH**2))


def square_cumulants(scores: Floats, mass: Floats) -> Floats:
    """The same of squares with mean 0 and variance 1; at least that of a normal variable's square, which is infinite
    for λ ≥ 1/√2: of a square that large is not bet on.

    >>> square_cumulants(np.array([-1.0, 1.0]), np.array([0.5, 0.5]))[[2, 4]].round(4).tolist()
    [0.0376, inf]
    """
    rest = 1.0 - np.sqrt(2.0) * _BOTH
    normal = np.where(rest > 0.0, -0.5 * np.log(np.maximum(rest, 1e-9)) - _BOTH / np.sqrt(2.0), np.inf)
    return np.maximum(cumulants_of(scores, mass), normal)


class RestartSums:
    """M (channels, 12), and what is known of the time since the change, (4, channels, 12): epoch seconds, trials, sums
    of what differs from the expected mean, sums in the field's own unit."""

    def __init__(self, channels: int) -> None:
        self.wealth = np.zeros((channels, 2 * len(SIZES)))
        self.since = np.zeros((4, *self.wealth.shape))

    def step(self, logs: Floats, passed: Floats, held: Bools, facts: Floats) -> None:
        """A block: log factors, and `passed` in units of `per`, 0 where nothing may be bet, both (channels, 12);
        `facts` (4, channels): its time, and what else `since` sums. Where `held`, the change is known: sums only
        grow."""
        both = self.wealth + passed
        stays = np.divide(self.wealth, both, out=np.zeros_like(both), where=both > 0.0)
        stays[held] = 1.0
        self.wealth = np.minimum(np.exp(np.minimum(logs, 60.0)) * both, MOST)
        self.since *= stays
        self.since[0] += (1.0 - stays) * facts[0][:, None]
        self.since[1:] += facts[1:, :, None]

    def by_level(self, spread: int, square: float) -> bool:
        """Whether the level, the channel before, moved by what its spread by now does not explain: squares, multiplied
        by `square`, are about the old mean."""
        sums = [self.since[1:3, i, int(np.argmax(self.wealth[i]))] for i in (spread - 1, spread)]
        n, (moved, larger) = max(1e-9, float(sums[0][0])), (float(apart / max(1e-9, n)) for n, apart in sums)
        return n * moved**2 >= LEVEL**2 * max(1.0, 1.0 + larger / square - moved**2)
