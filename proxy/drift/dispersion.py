"""By how much sums vary more than those of independent observations: bursts, stalls, days that differ.

D = max over six lengths of time (a block, 8, 64, a tick, 6, 24 ticks) of the mean of (S₂ − S₁)² / (v₁ + v₂), S the sums
of what differs from the expected mean in two neighbouring spans, v their variance if observations were independent; at
least 1. It is the estimate of `evidence.process.bursts` by time in place of pairs. Neighbours are compared, so that a
lasting shift makes one difference: of each length the largest is left out. Few spans of 24 ticks are known at first:
`PRIOR` of them are taken to have had days that differ by `DAYS` standard deviations. What is older than six weeks
fades."""

from __future__ import annotations

from typing import Final

import numpy as np

from proxy.evidence.process.wealth import Bools, Floats, Ints

BLOCKS: Final = (1, 8, 64)
TICKS: Final = (1, 6, 24)
PRIOR, DAYS = 3.0, 0.03
LEAST: Final = 0.1
MEMORY: Final = 1.0 - 1.0 / 42.0
"""What a day leaves of what was known before."""
MORE: Final = 1.5
"""Times the usual trials of a span up to which it is taken as usual; if it has more, what differs by span counts as
much more."""
SCALES: Final = len(BLOCKS) + len(TICKS)


class Dispersion:
    """Sums under way and finished differences, (scales, channels) each."""

    def __init__(self, rate: Bools, *, days: bool) -> None:
        channels = len(rate)
        self.now, self.before = np.zeros((3, SCALES, channels)), np.zeros((3, SCALES, channels))
        """Sums of what differs from the mean, their variance if independent, and trials, of the span under way and of
        the one before."""
        self.differences = np.zeros((5, SCALES, channels))
        """Sums of squares, their number, the largest, trials and variances of the spans."""
        self.spans: Ints = np.full(SCALES, -1, np.int64)
        self.blocks = 0
        self.days = np.zeros((2, channels))
        """Variances of finished spans of 24 ticks, and the number of these."""
        self._differ = DAYS if days else 0.0
        self._least = np.where(rate, 1.0, LEAST)
        self._sizes: Floats | None = None

    def add(self, apart: Floats, variance: Floats, trials: Floats, tick: int) -> None:
        """A block: sums of what differs from the mean, their variance if independent, and trials, all (channels,)."""
        spans = np.array([self.blocks // size for size in BLOCKS] + [tick // size for size in TICKS])
        if (ended := (spans != self.spans) & (self.spans >= 0)).any():
            self._end(ended)
        self.spans = spans
        self.now[0] += apart
        self.now[1] += variance
        self.now[2] += trials
        self.blocks += 1

    def _end(self, ended: Bools) -> None:
        now, before = self.now[:, ended], self.before[:, ended]
        both = (now[2] > 0.0) & (before[2] > 0.0) & (now[1] + before[1] > 0.0)
        squares = (now[0] - before[0]) ** 2 / np.maximum(now[1] + before[1], 1e-300)
        squares = np.where(both, squares, 0.0)
        self.differences[0, ended] += squares
        self.differences[1, ended] += both
        self.differences[3:, ended] += np.where(both, now[:0:-1], 0.0)
        self.differences[2, ended] = np.maximum(self.differences[2, ended], squares)
        if ended[-1]:
            self.days += self.now[1, -1], self.now[2, -1] > 0.0
            for known in (self.differences, self.days):
                known *= MEMORY
        self.before[:, ended] = np.where(now[2] > 0.0, now, before)
        self.now[:, ended] = 0.0
        self._sizes = None

    def _by_scale(self) -> Floats:
        prior = np.ones_like(self.now[0])
        prior[-1] += self._differ**2 * self.days[0] / np.maximum(1.0, self.days[1])
        sums, count, largest, trials, variances = self.differences
        # The largest of n χ² with one degree of freedom is 0.35 + 1.55 ln n on average, to 7 % from n = 3 on; where
        # spans have few events, all differences are about the same.
        many = np.minimum(1.0, variances / np.maximum(1.0, 4.0 * count))
        known = np.maximum(0.0, count - 1.0 - (1.55 * np.log(np.maximum(1.0, count)) - 0.65) * many)
        mean = (sums - largest + PRIOR * prior) / (known + PRIOR)
        mean *= 1.0 + np.sqrt(known) / (known + PRIOR)  # one standard error more, about
        usual = np.maximum(1.0, trials / np.maximum(1.0, count))
        return np.asarray(mean + np.maximum(0.0, mean - 1.0) * (np.maximum(1.0, self.before[2] / (MORE * usual)) - 1.0))

    def sizes(self) -> Floats:
        """D of each channel, (channels,): at least 1 for events, for scores at least `LEAST`, whose variance of 1 has
        the cycle in it."""
        if self._sizes is None:
            self._sizes = np.maximum(self._least, self._by_scale().max(axis=0))
        return self._sizes

    def noise(self) -> Floats:
        """The variance of an observation, in that without bursts and cycle; (channels,)."""
        return np.asarray(np.maximum(self._least, self._by_scale()[0]))

    def forget(self, columns: slice) -> None:
        """Begin these channels anew."""
        for array in (self.now, self.before, self.differences, self.days):
            array[..., columns] = 0.0
        self._sizes = None
