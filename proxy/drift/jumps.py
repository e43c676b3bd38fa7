"""Values far beyond all that the reference had: the bets restart at each observation, and a repeated one counts once.

One such value is an outlier, and of those every stream has some; a few of them in succession are another unit. While
the reference's n values had none, their rate is at most about 3/n: so one is worth n/3 at most, and an alarm in 90 days
needs about 10⁸. One is never enough; two are where the reference has tens of thousands of values, three where it has
thousands, or where one value in a thousand is wild anyway.

A block may have ten usual values before the first wild one, for which a bet that began with the block has paid. So
restarts are counted at every observation here, M ← L·(M + Δt) value by value, not by block."""

from __future__ import annotations

from typing import Final

import numpy as np

from proxy.drift.bets import LEAST
from proxy.evidence.process.wealth import Bools, Floats

ECHO: Final = 60.0
"""Seconds in which the same far value is one that somebody sends again."""
MUCH: Final = 1e30
UNDERFLOW: Final = 600.0


def jump_costs(means: Floats, errors: Floats, sizes: Floats) -> Floats:
    """What an observation takes from the log factors, (channels, 12): events of these rates, (channels,), that are
    raised by their errors.

    >>> jump_costs(np.array([0.01]), np.array([0.01]), np.log(np.array([[51.0]]))).round(3).tolist()  # 1 + 0.02 · 50
    [[0.693]]
    """
    return np.log1p(np.clip(means + errors, LEAST, 1.0)[:, None] * np.expm1(sizes))


def restarted(fresh: Floats, events: Floats, trials: Floats, sizes: Floats, costs: Floats, seconds: float) -> Floats:
    """What restarts since a block began are worth after n more observations in `seconds`, (channels, 12), in seconds;
    `fresh` before them. `events` and `trials` (n, channels); a bet wins `sizes` by an event and loses `costs` by an
    observation, (channels, 12), logarithms.

    >>> none, half = np.zeros((1, 1)), np.log(np.full((1, 1), 2.0))
    >>> restarted(none, np.zeros((3, 1)), np.ones((3, 1)), half, half, 3.0)  # 1/2 + 1/4 + 1/8
    array([[0.875]])
    >>> restarted(none, np.array([[0.0], [1.0]]), np.ones((2, 1)), 3 * half, half, 2.0)  # (1/2 + 1) · 4
    array([[6.]])
    """
    each, at = seconds / len(events), 0
    for hit in [*np.flatnonzero(events.any(axis=1)).tolist(), len(events)]:
        n, taken = hit - at, trials[at:hit].sum(axis=0)[:, None]
        lost = np.maximum(1.0, taken) * np.expm1(np.maximum(costs, 1e-12))
        shares = np.where(taken > 0.0, -np.expm1(-taken * np.maximum(costs, 1e-12)) / lost, 1.0)
        fresh = fresh * np.exp(-taken * costs) + each * n * shares
        if hit < len(events):
            logs = sizes * events[hit][:, None] - costs * trials[hit][:, None]
            fresh = np.minimum(MUCH, (fresh + each) * np.exp(np.minimum(logs, 60.0)))
        at = hit + 1
    return fresh


def before_block(fresh: Floats, logs: Floats) -> Floats:
    """The time that, had all of it come before a block with these log factors, would be worth `fresh` after it."""
    return np.asarray(fresh * np.exp(-np.clip(logs, -UNDERFLOW, 60.0)))


def echoes(times: Floats, far: Bools, values: Floats, last: tuple[float, float]) -> tuple[Bools, tuple[float, float]]:
    """Which values (n,) repeat the far one before, less than `ECHO` seconds later; and the last that does not: `last`,
    value and time.

    >>> echoes(np.array([0.0, 9.0, 70.0]), np.ones(3, np.bool_), np.full(3, 1e6), (0.0, 0.0))[0].tolist()
    [False, True, False]
    """
    again = np.zeros(len(far), np.bool_)
    for i in np.flatnonzero(far).tolist():
        value, time = float(values[i]), float(times[i])
        if value == last[0] and time < last[1] + ECHO:
            again[i] = True
        else:
            last = value, time
    return again, last
