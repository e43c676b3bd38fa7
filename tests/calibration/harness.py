"""Runs of a truth against a guard: when does it fail, when does it pass, how often when it must not?

`alone` is a single guard at weight 1 without restarts: the whole run is placed once, counts at every look are a
cumulative sum, and all looks are judged in one call. `together` is what is shipped: all guards of the default budget
with restarts, look by look on a `Tally`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.core.evidence.budget import pool
from proxy.core.evidence.guards import Rule, Slot
from proxy.core.evidence.prf import key_of
from proxy.core.evidence.restarts import EVERY
from proxy.core.evidence.tally import Tally
from proxy.core.model import Guard
from tests.calibration.truths import Truth

LOOK = 100
FAIL = float(np.log(100.0))
PASS = float(np.log(20.0))


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
    """Runs of all guards with an equal share of the budget, restarts on. PASS: all guards at the same look."""
    slots = slots_of(guards)
    weights = [1.0 / len(slots)] * len(slots)
    fails, passes = np.full(runs, np.inf), np.full(runs, np.inf)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        batch = truth(rng, pairs)
        placed = [(slot, *slot.rule.place(batch, slot.salt)) for slot in slots]
        tally = Tally.empty(slots, 0)
        edges = np.arange(0, pairs + 1, LOOK)
        order = [(slot, *_sorted(who, where), edges) for slot, who, where in placed]
        for look in range(len(edges) - 1):
            if look and edges[look] % EVERY == 0:
                tally.restart()
            for slot, who, where, _ in order:
                start, stop = np.searchsorted(who, edges[look : look + 2])
                np.add.at(tally.rows[tally.restarts.row], where[start:stop] + slot.start, 1)
            if pool([tally.log_fail(i) for i in range(len(slots))], weights, 0.01).crossed:
                fails[run] = edges[look + 1]
                break
            if np.isinf(passes[run]) and all(
                float(s.rule.log_pass(tally.carried(s), s.guard.limit)) >= PASS for s in slots
            ):
                passes[run] = edges[look + 1]
    return Result(fails, passes)


def _sorted(who: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(who, kind="stable")
    return who[order], where[order]
