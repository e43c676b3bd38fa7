"""Runs of a truth against a guard: when does it fail, when does it pass, how often when it must not?

`alone` is a single guard at weight 1 without restarts: the whole run is placed once, counts at every look are a
cumulative sum, and all looks are judged in one call. `together` is all guards of the default budget with restarts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.evidence.count_store import CountStore
from proxy.evidence.families.rule import Rule, Slot
from proxy.evidence.input.batch import Batch
from proxy.evidence.process.budget import pool
from proxy.evidence.process.bursts import SIZES, UNDER_WAY
from proxy.evidence.process.prf import key_of
from proxy.evidence.process.restarts import EVERY, ROWS, log_rest, log_weights
from proxy.model import Guard
from tests.calibration.truths import Truth

LOOK = 100
FAIL = float(np.log(100.0))
PASS = float(np.log(20.0))
CHUNK = 256
"""Looks judged in one call, for the memory's sake."""
KEPT = EVERY * ROWS
"""Pairs up to which no restart is folded into the base, which `together` does not do."""


@dataclass(frozen=True)
class Result:
    """First looks of each run, in pairs; infinite where it never came."""

    fails: np.ndarray
    passes: np.ndarray

    @property
    def fail_rate(self) -> float:
        return float(np.isfinite(self.fails).mean())

    @property
    def pass_rate(self) -> float:
        return float(np.isfinite(self.passes).mean())

    @property
    def fail_median(self) -> float:
        return float(np.median(self.fails))

    @property
    def pass_median(self) -> float:
        return float(np.median(self.passes))


def counts_at_looks(rule: Rule, truth: Truth, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Cumulative counts (looks, width) of one run."""
    batch = truth(rng, pairs)
    who, where = rule.place(batch, int(rng.integers(2**63)))
    looks = pairs // LOOK
    counts = np.zeros((looks, rule.width), np.int64)
    np.add.at(counts, (who // LOOK, where), 1)
    return np.cumsum(counts, axis=0)


def first(crossed: np.ndarray) -> float:
    """Pairs at the first look that crossed."""
    at = np.flatnonzero(crossed)
    return float((at[0] + 1) * LOOK) if len(at) else float("inf")


def alone(rule: Rule, limit: float, truth: Truth, pairs: int, runs: int, seed: int) -> Result:
    """Runs of a single guard at weight 1, a look every 100 pairs."""
    fails, passes = np.empty(runs), np.empty(runs)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        counts = counts_at_looks(rule, truth, pairs, rng)
        fails[run] = first(rule.log_fail(counts, limit) >= FAIL)
        passes[run] = first(rule.log_pass(counts, limit) >= PASS)
    return Result(fails, passes)


def slots_of(guards: list[tuple[Guard, Rule]]) -> tuple[Slot, ...]:
    """The guards side by side."""
    slots, at = [], 0
    for guard, rule in guards:
        slots.append(Slot(guard, rule, at, at + rule.width, key_of(0, guard.name, str(at))))
        at += rule.width
    return tuple(slots)


def together(guards: list[tuple[Guard, Rule]], truth: Truth, pairs: int, runs: int, seed: int) -> Result:
    """Runs of all guards with an equal share of the budget, restarts on. PASS: all guards at the same look.

    All looks and restarts of a run are judged in a few calls; `by_tally` is the same look by look, as it is shipped.
    """
    assert pairs <= KEPT
    slots = slots_of(guards)
    fails, passes = np.full(runs, np.inf), np.full(runs, np.inf)
    for run in range(runs):
        placed = placed_on(slots, truth(np.random.default_rng([seed, run]), pairs))
        counts = [cumulated(slot, who, where, pairs) for slot, who, where in placed]
        sizes = [sizes_at_looks(values_of(*one, pairs)) for one in placed]
        logs = np.stack([restarted(*one) for one in zip(slots, counts, sizes, strict=True)])
        fails[run] = first(np.logaddexp.reduce(logs - np.log(len(slots))) >= FAIL)
        passed = [s.rule.log_pass(c, s.guard.limit) >= PASS for s, c in zip(slots, counts, strict=True)]
        at = first(np.all(passed, axis=0))
        passes[run] = at if at < fails[run] else np.inf
    return Result(fails, passes)


def restarted(slot: Slot, counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Log of the restart mixture at every look, from cumulative counts (looks, width) of one guard and the size of its
    bursts at each (looks,): the lesser of with and without."""
    without = mixture(slot, counts, np.ones_like(sizes))
    return np.minimum(without, mixture(slot, counts, sizes)) if (sizes > 1.0).any() else without


def mixture(slot: Slot, counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Log of the restart mixture at every look, of counts divided by the sizes."""
    looks, every = len(counts), EVERY // LOOK
    started = np.arange(looks) // every  # restarts before each look's pairs are counted
    total = np.array([log_rest(int(j)) for j in started])
    for j in range(looks // every + 1):
        since = (counts[j * every :] - (counts[j * every - 1] if j else 0)) / sizes[j * every :, None]
        weight = log_weights(np.array([float(j)]))[0] if j else np.log(0.5)
        parts = [slot.rule.log_fail(since[i : i + CHUNK], slot.guard.limit) for i in range(0, len(since), CHUNK)]
        if parts:
            total[j * every :] = np.logaddexp(total[j * every :], np.concatenate(parts) + weight)
    return total


def sizes_at_looks(values: np.ndarray) -> np.ndarray:
    """Size of the bursts at every look (looks,) from the values of a guard's columns (k, pairs): what `Bursts.sizes`
    says look by look."""
    until = np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))
    at = np.arange(LOOK, values.shape[1] + 1, LOOK)
    variance = np.pad(np.cumsum(values**2, axis=1), ((0, 0), (1, 0)))[:, at] / at - (until[:, at] / at) ** 2
    sizes = np.ones((len(values), len(at)))
    for block in SIZES.tolist():
        starts = 2 * block * np.arange(values.shape[1] // (2 * block))
        squares = np.pad(
            (2 * until[:, starts + block] - until[:, starts] - until[:, starts + 2 * block]) ** 2, ((0, 0), (1, 0))
        )
        count = at // (2 * block)
        total, number = np.cumsum(squares, axis=1)[:, count], count.astype(float)
        if block <= UNDER_WAY:
            last = np.maximum(at - 2 * block, 0)
            total = total + np.where(
                at >= 2 * block, (2 * until[:, at - block] - until[:, last] - until[:, at]) ** 2, 0
            )
            number += at >= 2 * block
        if block == SIZES[-1]:
            total, number = total - np.maximum.accumulate(squares, axis=1)[:, count], number - 1.0
        expected = 2.0 * np.maximum(1.0, number * block) * np.maximum(variance, 1e-300)
        sizes = np.maximum(sizes, np.where(variance > 0.0, total / expected, 0.0))
    return sizes.max(axis=0, initial=1.0)


def values_of(slot: Slot, who: np.ndarray, where: np.ndarray, pairs: int) -> np.ndarray:
    """What `bursts` adds up of each pair for a guard, (columns, pairs)."""
    return np.array([np.bincount(who, column[where], pairs) for column in slot.burst_values.T]).reshape(-1, pairs)


def by_tally(guards: list[tuple[Guard, Rule]], truth: Truth, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Log of the pooled sum at every look of one run, counted and judged by the `CountStore` that is shipped."""
    slots = slots_of(guards)
    placed = placed_on(slots, truth(rng, pairs))
    tally = CountStore.empty(slots, 0)
    values = np.concatenate([values_of(*one, pairs) for one in placed])
    logs = []
    for look in range(pairs // LOOK):
        if look and look * LOOK % EVERY == 0:
            tally.restart()
        for slot, who, where in placed:
            start, stop = np.searchsorted(who, (look * LOOK, (look + 1) * LOOK))
            np.add.at(tally.rows[tally.restarts.row], where[start:stop] + slot.start, 1)
        tally.bursts.add(values[:, look * LOOK : (look + 1) * LOOK])
        each = [tally.log_fail(i, burst=burst) for i, burst in enumerate(tally.burst_sizes())]
        logs.append(pool(each, [1.0 / len(slots)] * len(slots), 1.0).total)
    return np.array(logs)


def placed_on(slots: tuple[Slot, ...], batch: Batch) -> list[tuple[Slot, np.ndarray, np.ndarray]]:
    placed = []
    for slot in slots:
        who, where = slot.rule.place(batch, slot.salt)
        order = np.argsort(who, kind="stable")
        placed.append((slot, who[order], where[order]))
    return placed


def cumulated(slot: Slot, who: np.ndarray, where: np.ndarray, pairs: int) -> np.ndarray:
    counts = np.zeros((pairs // LOOK, slot.rule.width), np.int64)
    np.add.at(counts, (who // LOOK, where), 1)
    return np.cumsum(counts, axis=0)
