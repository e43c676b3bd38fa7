"""Runs of a truth against a guard: when does it fail, when does it pass, how often when it must not?

`alone` is a single guard at weight 1 without restarts: the whole run is placed once, counts at every look are a
cumulative sum, and all looks are judged in one call. `together` is all guards of the default budget with restarts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.core.evidence.batch import Batch
from proxy.core.evidence.budget import pool
from proxy.core.evidence.guards import Rule, Slot
from proxy.core.evidence.prf import key_of
from proxy.core.evidence.restarts import EVERY, ROWS, log_rest, log_weights
from proxy.core.evidence.tally import Tally
from proxy.core.model import Guard
from tests.calibration.truths import Truth

LOOK = 100
FAIL = float(np.log(100.0))
PASS = float(np.log(20.0))
CHUNK = 256
"""Looks judged in one call, for the memory's sake."""


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
    assert pairs <= EVERY * ROWS, "a restart more, and the oldest would be folded into the base"
    slots = slots_of(guards)
    fails, passes = np.full(runs, np.inf), np.full(runs, np.inf)
    for run in range(runs):
        placed = placed_on(slots, truth(np.random.default_rng([seed, run]), pairs))
        counts = [cumulated(slot, who, where, pairs) for slot, who, where in placed]
        logs = np.stack([restarted(slot, c) for slot, c in zip(slots, counts, strict=True)])
        fails[run] = first(np.logaddexp.reduce(logs - np.log(len(slots))) >= FAIL)
        passed = [s.rule.log_pass(c, s.guard.limit) >= PASS for s, c in zip(slots, counts, strict=True)]
        at = first(np.all(passed, axis=0))
        passes[run] = at if at < fails[run] else np.inf
    return Result(fails, passes)


def restarted(slot: Slot, counts: np.ndarray) -> np.ndarray:
    """Log of the restart mixture at every look, from cumulative counts (looks, width) of one guard."""
    looks, every = len(counts), EVERY // LOOK
    started = np.arange(looks) // every  # restarts before each look's pairs are counted
    total = np.array([log_rest(int(j)) for j in started])
    for j in range(looks // every + 1):
        since = counts[j * every :] - (counts[j * every - 1] if j else 0)
        weight = log_weights(np.array([float(j)]))[0] if j else np.log(0.5)
        parts = [slot.rule.log_fail(since[i : i + CHUNK], slot.guard.limit) for i in range(0, len(since), CHUNK)]
        if parts:
            total[j * every :] = np.logaddexp(total[j * every :], np.concatenate(parts) + weight)
    return total


def by_tally(guards: list[tuple[Guard, Rule]], truth: Truth, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Log of the pooled sum at every look of one run, counted and judged by the `Tally` that is shipped."""
    slots = slots_of(guards)
    placed = placed_on(slots, truth(rng, pairs))
    tally = Tally.empty(slots, 0)
    logs = []
    for look in range(pairs // LOOK):
        if look and look * LOOK % EVERY == 0:
            tally.restart()
        for slot, who, where in placed:
            start, stop = np.searchsorted(who, (look * LOOK, (look + 1) * LOOK))
            np.add.at(tally.rows[tally.restarts.row], where[start:stop] + slot.start, 1)
        logs.append(pool([tally.log_fail(i) for i in range(len(slots))], [1.0 / len(slots)] * len(slots), 1.0).total)
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
