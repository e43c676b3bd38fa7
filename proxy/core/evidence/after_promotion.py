"""The watch after promotion: has a model that was good turned bad?

There is no end to a watch, so "at most α in all" cannot be promised; a rate of false alarms can. The e-detector of
Shin, Ramdas and Rinaldo (arXiv 2203.03532): per bet M ← L·(M + 1) on each one-minute block, L the block's factor.
Under the limits E[M] after t blocks is at most t, so acting at M ≥ 129,600 means at most one false alarm per 129,600
non-empty minutes on average (90 days). Bets are averaged, the quantile ratio takes its least edge, guards are weighted.
This is outside `false_rollback_rate`, and PSI, which has no bets, is not part of it.

State: log M per guard and bet, and the counts of the minute under way. Unlike the rest of the evidence it is not a sum,
so it is dumped but not merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from proxy.core.evidence.guards import Slot
from proxy.core.evidence.wealth import Counts, Floats, log_mean_exp, log_sum

BLOCK = 60.0
"""Seconds."""
ALARM = float(np.log(129_600.0))


@dataclass(slots=True)
class Watch:
    """The e-detector of a promoted candidate. `minute` is the block under way (none before the first pair)."""

    counts: Counts
    minute: int | None = None
    logs: dict[str, Floats] = field(default_factory=dict)
    blocks: int = 0

    def due(self, time: float) -> bool:
        """Whether a request of this time belongs to a later block."""
        return self.minute is not None and time // BLOCK > self.minute

    def open(self, time: float) -> None:
        """A request of this time belongs to the block under way, or begins one."""
        if self.minute is None:
            self.minute = int(time // BLOCK)

    def close(self, slots: Iterable[Slot]) -> None:
        """End the block under way. Empty ones do not happen: a block begins with its first pair."""
        for slot in slots:
            factor = slot.rule.log_bets(self.counts[slot.start : slot.stop], slot.guard.limit)
            before = self.logs.get(slot.guard.name)
            # log(M + 1), with M = 0 before the first block
            self.logs[slot.guard.name] = factor if before is None else factor + np.logaddexp(before, 0.0)
        self.counts[:] = 0
        self.minute = None
        self.blocks += 1

    def log_m(self, slot: Slot) -> float:
        """Log of one guard's M: the mean over directions of the least over edges of the mean over bets."""
        logs = self.logs.get(slot.guard.name)
        if logs is None:
            return -1e9
        return float(log_mean_exp(log_mean_exp(logs).min(axis=-1)))


def pooled(logs: list[float], weights: list[float]) -> float:
    """Log of Σ w_i M_i.

    >>> pooled([0.0, 0.0], [0.5, 0.5])
    0.0
    """
    return log_sum([log + float(np.log(w)) for log, w in zip(logs, weights, strict=True)])
