"""One prediction of a trial: what kind it is, and what live's first answers showed of it.

A plan with `prediction:` has one, without a name; a plan with `predictions:` has one for each. They share everything
else: requests, stages, restarts, blocks, and one error budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from proxy.evidence.families.rule import Context
from proxy.evidence.input.reference import Reference, freeze
from proxy.evidence.rules.registry import needs_reference
from proxy.model import Guard, Kind, Plan, PredictionSpec, Reading


@dataclass(slots=True)
class Aspect:
    """What is kept of one prediction. `kinds` counts live's first answers by kind, `learned` holds one number of each,
    `unread` counts answers of live's that could not be read as this one while others of the plan could."""

    name: str
    kind: Kind
    reference: Reference | None = None
    kinds: dict[str, int] = field(default_factory=dict)
    learned: list[float] = field(default_factory=list)
    unread: int = 0

    def copy(self) -> Aspect:
        """A copy that shares no mutable part."""
        return replace(self, kinds=dict(self.kinds), learned=list(self.learned))

    def is_learning(self, guards: Sequence[Guard]) -> bool:
        """Whether live's first answers are still being collected for the reference, which some of these needs."""
        own = [guard for guard in guards if guard.aspect == self.name]
        return self.reference is None and needs_reference(own, self.kind)

    def learn(self) -> None:
        """Choose the kind that most of live's first answers have, or freeze the reference."""
        if self.kind is Kind.AUTO:
            self.kind = Kind(max(self.kinds, key=lambda kind: self.kinds[kind]))
        else:
            self.reference = freeze(np.array(self.learned))
            self.learned = []

    def context(self, spec: PredictionSpec, *, noise_floor: bool) -> Context:
        """What the rules of its guards depend on."""
        return Context(self.kind, spec, self.reference, noise_floor)


def begun(plan: Plan) -> list[Aspect]:
    """The aspects of a new trial."""
    return [Aspect(spec.name, spec.kind) for spec in plan.aspects]


def context_of(aspects: Sequence[Aspect], plan: Plan) -> Context:
    """What rules depend on besides their guards: that of the only aspect, or one that knows those of all by name."""
    floor = plan.noise_floor > 0
    each = {one.name: one.context(spec, noise_floor=floor) for one, spec in zip(aspects, plan.aspects, strict=True)}
    return each[""] if "" in each else Context(Kind.AUTO, plan.prediction, None, floor, each)


def parts_of(readings: Sequence[Reading], plan: Plan) -> list[Sequence[Reading]]:
    """The readings as each aspect sees them, in the plan's order. One that was made without aspects says of each what
    it says itself: that something failed, or nothing."""
    if not plan.predictions:
        return [readings]
    return [[r.aspects[i] if i < len(r.aspects) else r for r in readings] for i in range(len(plan.predictions))]
