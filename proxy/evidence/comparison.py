"""How one prediction of a batch is compared: what `Evidence` works out anew when guards or kinds change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxy.evidence.aspect import Aspect
from proxy.evidence.families.rule import Slot
from proxy.evidence.input.batch import Batch
from proxy.evidence.input.measures import Metric, live_scalars, measure, metric_of
from proxy.evidence.process.wealth import Floats
from proxy.evidence.rules.registry import measures_of_rules
from proxy.model import PredictionSpec, Reading


@dataclass(frozen=True, slots=True)
class Comparison:
    """One prediction, its metric, the measures that its guards read, and whether it learns from live's answers."""

    aspect: Aspect
    metric: Metric
    wanted: frozenset[str]
    learns: bool

    @classmethod
    def of(cls, aspect: Aspect, spec: PredictionSpec, slots: Sequence[Slot]) -> Comparison:
        """That of a prediction among the guards in force."""
        own = [slot for slot in slots if slot.guard.aspect == aspect.name]
        learns = aspect.is_learning([slot.guard for slot in own])
        return cls(aspect, metric_of(aspect.kind, spec), measures_of_rules(own), learns)

    def measure(self, part: Sequence[Reading], batch: Batch, draw: Floats, key: int) -> None:
        """Compare what the arms said, (n,) readings of this prediction, and keep what live's first answers show.

        `draw` (n,) in [0, 1) picks the row, `key` the random projections.
        """
        aspect, metric, view = self.aspect, self.metric, batch
        if aspect.name:
            view = batch.seen_by([one.live_fault for one in part], [one.fault for one in part])
            batch.aspects[aspect.name] = view
        view.measures = measure(part, aspect.kind, metric, draw, aspect.reference, self.wanted, key)
        if self.learns:
            new = np.flatnonzero(batch.fresh)
            aspect.learned += live_scalars([part[i] for i in new.tolist()], aspect.kind, metric, draw[new])
