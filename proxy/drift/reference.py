"""What each channel's mean was at this hour of the cycle, and how sure that is.

Sums and trials are kept per cell: an hour of the week with a period of 24 h, a 24th of any other period, one cell
without. The expected mean is level + phase of the day + day of the week + their interaction (first smooth over five
phases, then what is left), each shrunk towards 0 by as many observations as `SHRINK` says (James and Stein, 1961, as
hierarchical means): a cell that was seen once hardly moves it.

The reference goes on learning with equal weights, one day (24 ticks) late and never from a field that drifts. A lasting
shift is found long before it is learned; of a slow ramp the part that is not learned is at least half of it, however
long it lasts: the mean of the past lags behind it by half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from proxy.drift.plan import DAY
from proxy.evidence.process.wealth import Bools, Floats, Ints

PHASES: Final = 24
LATE: Final = 24
"""Ticks by which learning lags."""
AROUND: Final = (1.0, 2.0, 3.0, 2.0, 1.0)
"""Weights of the phases around one, where a day's own shape is estimated."""
LEAST: Final = 0.02
"""The least variance of means, in that of their noise."""


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
        self.means, self.unsure = np.zeros((cells, channels)), np.full(channels, np.inf)

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

    def expect(self, channel: int, events: int) -> None:
        """So many events of a channel without a cycle were in the reference, whatever was counted."""
        self.sums[:, channel] = 0.0
        self.sums[0, channel] = events

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

    def shares(self) -> Floats:
        """Overall means, (channels,)."""
        return np.asarray((self.sums.sum(0) + 0.5) / (self.trials.sum(0) + 1.0))

    def refresh(self, noise: Floats, bursts: Floats, cyclic: Bools, rate: Bools, squares: Floats) -> None:
        """Compute `means` of all cells and `unsure`, the variance of the level. `noise` (channels,) is the variance of
        an observation, `bursts` by how much more a day's sum varies."""
        self.unsure = noise * bursts / np.maximum(self.trials.sum(0), 1e-9)
        self.means = self._means(self.sums, self.trials, noise, bursts, cyclic, rate)
        some = np.flatnonzero(squares > 0.0)
        if len(some):
            apart = centred(self.sums, self.trials, self.means, squares)[:, some]
            facts = (noise[some], bursts[some], cyclic[some], rate[some])
            self.means[:, some] = self._means(apart, self.trials[:, some], *facts)

    def _means(
        self, all_sums: Floats, all_trials: Floats, noise: Floats, bursts: Floats, cyclic: Bools, rate: Bools
    ) -> Floats:
        shape = (self.days, self.phases, -1)
        sums, trials = all_sums.reshape(shape), all_trials.reshape(shape)
        level = (sums.sum((0, 1)) + np.where(rate, 0.5, 0.0)) / np.maximum(trials.sum((0, 1)) + rate, 1e-9)
        means = np.repeat(level[None], len(all_sums), axis=0)
        if self.phases > 1:
            moves = _moves(sums - trials * level, trials, noise, bursts)
            means += np.where(cyclic, moves, 0.0).reshape(means.shape)
        return np.where(rate, np.clip(means, 0.2 * level, 1.0 - 0.2 * (1.0 - level)), means)


def centred(sums: Floats, trials: Floats, means: Floats, squares: Floats) -> Floats:
    """Sums of (x − m)² in place of those of x², times `squares`, m the mean of the channel before; others as they are.

    >>> one, none = np.array([3.0, 5.0]), np.array([0.0, 1.0])  # 1 and 2, and their squares
    >>> centred(one, np.array([2.0, 2.0]), np.array([1.5, 0.0]), none).tolist()
    [3.0, 0.5]
    """
    before, mean = (np.concatenate((one[..., -1:], one[..., :-1]), axis=-1) for one in (sums, means))
    return np.asarray(sums - squares * mean * (2.0 * before - trials * mean))


def _moves(rest: Floats, trials: Floats, noise: Floats, bursts: Floats) -> Floats:
    """By how much each (day, phase) differs from the level, (days, phases, channels)."""
    weekly = len(rest) > 1
    margins = [(axis, trials.sum(axis, keepdims=True)) for axis in ((0, 1) if weekly else (0,))]
    found: list[Floats] = [np.zeros_like(seen) for _, seen in margins]
    for _ in range(2):  # backfitting: what one margin explains is taken from the other
        for (axis, seen), moved in zip(margins, found, strict=True):
            move = _shrunk(rest.sum(axis, keepdims=True), seen, noise * bursts)
            moved += move
            rest = rest - trials * move
    if not weekly:
        return found[0]
    move = _shrunk(*_smoothed(rest, trials), noise)
    moves, rest = found[0] + found[1] + move, rest - trials * move
    return moves + _shrunk(rest, trials, noise)


def _smoothed(sums: Floats, trials: Floats) -> tuple[Floats, Floats]:
    """Sums and trials of the means over five phases around each, weighted by `AROUND`: as many trials as a mean of that
    variance has."""
    total = _around(trials, AROUND)
    worth = total**2 / np.maximum(_around(trials, [weight**2 for weight in AROUND]), 1e-9)
    means = _around(sums, AROUND) / np.maximum(total, 1e-9)
    return np.asarray(means * worth).reshape(sums.shape), np.asarray(worth).reshape(sums.shape)


def _around(cells: Floats, weights: Sequence[float]) -> Floats:
    """Weighted sums of each cell and the two on either side of it, (cells, channels); the first follows the last.

    >>> _around(np.array([[[1.0], [0.0], [0.0], [0.0], [0.0], [0.0]]]), AROUND).ravel().tolist()
    [3.0, 2.0, 1.0, 0.0, 1.0, 2.0]
    """
    flat = cells.reshape(-1, cells.shape[-1])
    ring = np.concatenate((flat[-2:], flat, flat[:2]))
    total, one = np.zeros_like(flat), np.empty_like(flat)  # in place: memory that is new each time costs more than sums
    for i, weight in enumerate(weights):
        total += np.multiply(weight, ring[4 - i : 4 - i + len(flat)], out=one)
    return total


def _shrunk(sums: Floats, trials: Floats, noise: Floats) -> Floats:
    """Means (a, b, channels) as far as they differ by more than noise: sums / (trials + noise / variance of the means).

    >>> _shrunk(np.array([[[3.0], [-3.0]]]), np.ones((1, 2, 1)), np.ones(1)).ravel().round(2).tolist()
    [2.67, -2.67]
    """
    seen = np.maximum(trials, 1e-9)
    excess = np.maximum((sums**2 / seen).mean((0, 1)) - noise, LEAST * noise)
    return np.asarray(sums / (trials + seen.mean((0, 1)) * noise / np.maximum(excess, 1e-300)))
