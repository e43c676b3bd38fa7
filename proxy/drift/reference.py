"""What each channel's mean was at this hour of the cycle, and how sure that is.

Sums and trials are kept per cell: an hour of the week with a period of 24 h, a 24th of any other period, one cell
without. The expected mean is level + phase of the day + day of the week + their interaction, each shrunk towards 0 by
as many observations as `SHRINK` says (James and Stein, 1961, as hierarchical means): a cell that was seen once hardly
moves it.

The reference goes on learning with equal weights, one day (24 ticks) late and never from a field that drifts. A lasting
shift is found long before it is learned; of a slow ramp the part that is not learned is at least half of it, however
long it lasts: the mean of the past lags behind it by half."""

from __future__ import annotations

from typing import Final

import numpy as np

from proxy.drift.plan import DAY
from proxy.evidence.process.wealth import Bools, Floats, Ints

PHASES: Final = 24
LATE: Final = 24
"""Ticks by which learning lags."""
SHRINK: Final = (4.0, 4.0, 50.0)
"""Observations that phase, day and interaction are worth before anything was seen."""


class CycleReference:
    """Sums (cells, channels), and those of the last `LATE` ticks, which wait."""

    def __init__(self, period: float | None, channels: int) -> None:
        self.tick = 3600.0 if period is None else period / PHASES
        self.days = 7 if period == DAY else 1
        self.phases = 1 if period is None else PHASES
        self.cover = 0.0 if period is None else period * self.days
        """Seconds that a reference must span."""
        cells = self.days * self.phases
        self.sums, self.trials = np.zeros((cells, channels)), np.zeros((cells, channels))
        self.waiting = np.zeros((2, LATE, channels))
        self.ticks: Ints = np.full(LATE, -1, np.int64)
        self.means, self.unsure = np.zeros((cells, channels)), np.full((cells, channels), np.inf)

    def cell(self, time: float) -> int:
        """The cell of a time, epoch seconds; a week begins on a Thursday, as the epoch did.

        >>> CycleReference(86_400.0, 1).cell(86_400.0 + 7200.0), CycleReference(None, 1).cell(5.0)
        (26, 0)
        """
        return int(time // self.tick) % len(self.sums)

    def cells(self, times: Floats) -> Ints:
        """The cells of times (n,)."""
        return np.asarray((times // self.tick).astype(np.int64) % len(self.sums))

    def learn(self, cells: Ints, sums: Floats, trials: Floats, columns: slice) -> None:
        """Add these (n, columns) at once."""
        np.add.at(self.sums[:, columns], cells, sums)
        np.add.at(self.trials[:, columns], cells, trials)

    def wait(self, time: float, sums: Floats, trials: Floats) -> bool:
        """These (channels,) belong to the reference a day from now; returns whether what waited was learned."""
        tick = int(time // self.tick)
        slot, moved = tick % LATE, False
        if self.ticks[slot] != tick:
            for old in np.flatnonzero((self.ticks >= 0) & (self.ticks <= tick - LATE)):
                cell = int(self.ticks[old]) % len(self.sums)
                self.sums[cell] += self.waiting[0, old]
                self.trials[cell] += self.waiting[1, old]
                self.waiting[:, old], self.ticks[old], moved = 0.0, -1, True
            self.ticks[slot] = tick
        self.waiting[0, slot] += sums
        self.waiting[1, slot] += trials
        return moved

    def forget(self, columns: slice, *, all_of_it: bool) -> None:
        """Drop what waits of these channels, or `all_of_it`."""
        self.waiting[:, :, columns] = 0.0
        if all_of_it:
            self.sums[:, columns], self.trials[:, columns] = 0.0, 0.0

    def refresh(self, bursts: Floats, cyclic: Bools, rate: Bools) -> None:
        """Compute `means` and `unsure` (its variance, of an observation's variance) of all cells; `bursts`
        (channels,)."""
        shape = (self.days, self.phases, -1)
        sums, trials = self.sums.reshape(shape), self.trials.reshape(shape)
        total = trials.sum((0, 1))
        level = (sums.sum((0, 1)) + np.where(rate, 0.5, 0.0)) / np.maximum(total + rate, 1e-9)
        unsure = np.repeat((bursts / np.maximum(total, 1e-9))[None], len(self.sums), axis=0)
        means = np.repeat(level[None], len(self.sums), axis=0)
        if self.phases > 1:
            moves, doubts = _moves(sums - trials * level, trials, bursts)
            means += np.where(cyclic, moves, 0.0).reshape(means.shape)
            unsure += np.where(cyclic, doubts, 0.0).reshape(unsure.shape)
        self.means = np.where(rate, np.clip(means, 0.2 * level, 1.0 - 0.2 * (1.0 - level)), means)
        self.unsure = unsure


def _moves(rest: Floats, trials: Floats, bursts: Floats) -> tuple[Floats, Floats]:
    """By how much each (day, phase) differs from the level, and the variance of that; both (days, phases, channels)."""
    by_phase, by_day, by_both = (shrink * bursts for shrink in SHRINK)
    moves, doubts = np.zeros_like(rest), np.zeros_like(rest)
    for _ in range(2):  # backfitting: what one margin explains is taken from the other
        for axis, shrink in ((0, by_phase), (1, by_day)):
            if rest.shape[axis] > 1 or axis == 0:
                move = rest.sum(axis, keepdims=True) / (trials.sum(axis, keepdims=True) + shrink)
                moves, rest = moves + move, rest - trials * move
    moves = moves + (rest / (trials + by_both) if len(rest) > 1 else 0.0)
    doubts = doubts + bursts / (trials.sum(0, keepdims=True) + by_phase)
    if len(rest) > 1:
        doubts = doubts + bursts / (trials.sum(1, keepdims=True) + by_day)
    return moves, doubts
