"""The watch after promotion: has a model that was good turned bad?

There is no end to a watch, so "at most α in all" cannot be promised; a rate of false alarms can. The e-detector of
Shin, Ramdas and Rinaldo (arXiv 2203.03532): per bet M ← L·(M + 1) on each one-minute block, L the block's factor.
Under the limits E[M] after t blocks is at most t, so acting at M ≥ 129,600 means at most one false alarm per 129,600
non-empty minutes on average (90 days). Bets are averaged, the quantile ratio takes its least edge, guards are weighted.
This is outside `false_rollback_rate`. PSI has no bets; the watch bets on what a PSI within its limit implies (`psi`).

Every guard has four such sums: the block's factor and the same with its log divided by the size of the bursts
(`bursts`), over pairs with a fresh body, and both over all pairs. Of the two with and without bursts the lesser counts,
so nothing alarms sooner for it; fresh bodies and all pairs have half of the stake each, so that a body that comes again
and again, and goes wrong each time, is seen by what share of the requests it is.

State: log M per guard and bet, the counts of the minute under way and the bursts of all pairs. Two watches over
different traffic merge to their average, weighted by how many went into each: each mean is at most the number of
blocks, so theirs is too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from proxy.evidence.families.rule import Slot
from proxy.evidence.process.bursts import Bursts, TakenByBlocks
from proxy.evidence.process.wealth import Counts, Floats, log_mean_exp, log_sum

BLOCK = 60.0
"""Seconds."""
ALARM = float(np.log(129_600.0))


@dataclass(slots=True)
class EDetector:
    """The e-detector of a promoted candidate. `minute` is the block under way (none before the first pair), `counts`
    (2, width) its pairs with a fresh body, and the others. `logs` by guard are (4, directions, edges, bets): fresh
    bodies, the same for bursts, all pairs, the same for bursts; (1, …) of latency, where these are one."""

    counts: Counts
    bursts: Bursts
    minute: int | None = None
    logs: dict[str, Floats] = field(default_factory=dict)
    blocks: int = 0
    parts: int = 1

    def due(self, time: float) -> bool:
        """Whether a request of this time belongs to a later block."""
        return self.minute is not None and time // BLOCK > self.minute

    def open(self, time: float) -> None:
        """A request of this time belongs to the block under way, or begins one."""
        if self.minute is None:
            self.minute = int(time // BLOCK)

    def close(self, slots: Sequence[Slot], fresh: Sequence[float], every: Sequence[float]) -> None:
        """End the block under way; `fresh` and `every` are the sizes of the guards' bursts among fresh bodies and all
        pairs. Empty blocks do not happen: one begins with its first pair."""
        both = np.stack([self.counts[0], self.counts.sum(axis=0)])
        for slot, sizes in zip(slots, zip(fresh, every, strict=True), strict=True):
            kinds = both[:1] if isinstance(slot.rule, TakenByBlocks) else both
            bets = [slot.rule.log_bets(counts[slot.start : slot.stop], slot.guard.limit) for counts in kinds]
            if len(bets) == 1:
                factor = bets[0][None]
            else:
                factor = np.stack([log / size for log, own in zip(bets, sizes, strict=True) for size in (1.0, own)])
            before = self.logs.get(slot.guard.key)
            # log(M + 1), with M = 0 before the first block
            self.logs[slot.guard.key] = factor if before is None else factor + np.logaddexp(before, 0.0)
        self.counts[:] = 0
        self.minute = None
        self.blocks += 1

    def merge(self, other: EDetector, close: Callable[[EDetector], None]) -> EDetector:
        """The average of two watches; merging in either order gives the same. The older minute of two is ended, by
        `close`."""
        a, b = self.copy(), other.copy()
        if a.minute is not None and b.minute is not None and a.minute != b.minute:
            close(a if a.minute < b.minute else b)
        total, logs = a.parts + b.parts, {}
        for name in sorted(a.logs.keys() | b.logs.keys()):
            parts = [(w.parts, w.logs[name]) for w in (a, b) if name in w.logs]  # M is 0 where no block has ended
            logs[name] = np.logaddexp.reduce(np.broadcast_arrays(*(log + np.log(n / total) for n, log in parts)))
        minute = a.minute if b.minute is None else b.minute
        return EDetector(a.counts + b.counts, a.bursts.merge(b.bursts), minute, logs, max(a.blocks, b.blocks), total)

    def copy(self) -> EDetector:
        """A copy that shares no mutable part."""
        return EDetector(self.counts.copy(), self.bursts.copy(), self.minute, dict(self.logs), self.blocks, self.parts)

    def log_m(self, slot: Slot) -> float:
        """Log of one guard's M: each of the four is the mean over directions of the least over edges of the mean over
        bets."""
        logs = self.logs.get(slot.guard.key)
        if logs is None:
            return -1e9
        sums = log_mean_exp(log_mean_exp(logs).min(axis=-1)).tolist()
        if len(sums) == 1:
            return float(sums[0])
        fresh, bursty, every, every_bursty = sums
        return float(np.logaddexp(min(fresh, bursty), min(every, every_bursty)) - np.log(2.0))


def pooled(logs: list[float], weights: list[float]) -> float:
    """Log of Σ w_i M_i.

    >>> pooled([0.0, 0.0], [0.5, 0.5])
    0.0
    """
    return log_sum([log + float(np.log(w)) for log, w in zip(logs, weights, strict=True)])
