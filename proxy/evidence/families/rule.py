"""What counts against a guard: a rule, and its place in the one vector of counts of a rollout.

The counts of all guards lie side by side, so that a batch is counted with one scatter, a merge is one addition and a
snapshot is one array. `Slot` says which part belongs to which guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.input.reference import Reference
from proxy.evidence.process.estimate import Estimate
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers
from proxy.model import Guard, Kind, PredictionSpec


class Rule(Protocol):
    """What a guard is made of: pure functions of counts `(…, width)`. `log_fail` and `log_pass` give log e-values.
    `measures` names what it reads of a batch. `shed_at` is the category of copies never sent, `worst_at` that of a pair
    that is the worst for a PASS. `burst_values` (width, k) is what `bursts` adds up of a pair, in k columns, by
    category, `pass_gains` (width, directions + 1) what `pass_blocks` does."""

    @property
    def width(self) -> int: ...
    @property
    def measures(self) -> tuple[str, ...]: ...
    @property
    def shed_at(self) -> int | None: ...
    @property
    def worst_at(self) -> int | None: ...
    def place(self, batch: Batch, salt: int) -> Placed: ...
    def log_fail(self, counts: Numbers, limit: float) -> Floats: ...
    def log_pass(self, counts: Numbers, limit: float) -> Floats: ...
    def log_bets(self, counts: Counts, limit: float) -> Floats: ...
    def burst_values(self) -> Ints: ...
    def pass_gains(self, limit: float) -> Floats: ...
    def estimates(self, counts: Counts, limit: float) -> list[Estimate]: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """One guard's place in the vector of counts: `start` to `stop`, with the key of its roundings."""

    guard: Guard
    rule: Rule
    start: int
    stop: int
    salt: int
    burst_values: NDArray[np.int16] = field(init=False, compare=False)  # (width, columns) of the rule, made once
    pass_gains: Floats = field(init=False, compare=False)  # (width, directions + 1), likewise

    def __post_init__(self) -> None:
        object.__setattr__(self, "burst_values", np.asfortranarray(self.rule.burst_values(), dtype=np.int16))
        object.__setattr__(self, "pass_gains", self.rule.pass_gains(self.guard.limit))

    def place(self, batch: Batch) -> Placed:
        """Which pairs of a batch go in which of the guard's categories."""
        return self.rule.place(batch.of(self.guard.aspect), self.salt)

    @property
    def directions(self) -> int:
        """How many nulls a PASS of blocks must reject; 0 for none."""
        return int(self.pass_gains.shape[1]) - 1


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may depend on besides its guard."""

    kind: Kind
    spec: PredictionSpec
    reference: Reference | None = None
    noise_floor: bool = False
    aspects: Mapping[str, Context] = field(default_factory=dict)
    """Of a plan with several predictions: what the guards of each depend on, by name."""

    def of(self, guard: Guard) -> Context:
        """What the rule of this guard depends on; raises `KeyError` for one of an aspect that there is not."""
        return self.aspects[guard.aspect] if guard.aspect else self

    @property
    def span(self) -> float:
        """Length of a score's range."""
        return self.spec.high - self.spec.low

    @property
    def unit(self) -> str:
        """The unit of what is scaled by live's first answers, in words; empty before they are known."""
        return self.reference.unit if self.reference is not None else ""
