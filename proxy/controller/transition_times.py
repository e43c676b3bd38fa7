"""How long transitions took, for the metrics."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from proxy import logs
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import Change

log = logging.getLogger("understudy.controller")


@dataclass(slots=True)
class TransitionTimes:
    """Seconds that transitions took, by rollout, and how many ended in which way."""

    rollback: dict[str, list[float]] = field(default_factory=dict)
    detection: dict[str, list[float]] = field(default_factory=dict)
    results: dict[tuple[str, str], int] = field(default_factory=dict)

    def measure(self, trial: RolloutRun, change: Change, seconds: float, behind: list[str]) -> None:
        """Enter a change that took so many seconds to be in force; `behind` are workers that did not say so."""
        name, after = trial.name, change.saved.rollout
        if change.kind in ("promoted", "rolled_back"):
            key = (name, change.kind)
            self.results[key] = self.results.get(key, 0) + 1
        if change.kind != "rolled_back" or after.cause not in ("fail", "tripwire"):
            return
        self.rollback.setdefault(name, []).append(seconds)
        first = trial.pair_ledger.first_pair
        if first is not None:
            self.detection.setdefault(name, []).append(max(0.0, change.time - first))
        logs.event(log, "rollout.weight_0", rollout=name, seconds=round(seconds, 4), behind=behind)
