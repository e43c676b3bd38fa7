"""Paired Kolmogorov-Smirnov: do the two arms' answers have the same distribution, at each frozen threshold?

For a threshold x let X = 1{c ≤ x} − 1{l ≤ x}. FAIL: the discordance e-process of X and of −X with margin ε, averaged
over thresholds and signs (H0: |E[X]| ≤ ε at every x). PASS: the minimum over all of them. Because both answers are to
the same request, only pairs that x separates count, so close models are told apart from equal ones far sooner than by
two unpaired samples. It certifies the thresholds: the sup over all x is at most ε plus the largest share of live that
lies between two neighbouring ones. They are frozen (`reference`), so a live that moves may leave them: no PASS while
that share is more than it can have been when they were. Nearest published relative: arXiv 2604.21851.

State: histograms of c, of l and of max(c, l) over the thresholds' bins, and failures. n⁺ at x is the pairs with c ≤ x
minus those with both ≤ x, and "both ≤ x" is "max ≤ x".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from proxy.evidence.families.effort import LEARNED, TABLE
from proxy.evidence.families.guard import COUNTED, GuardType, Question, always, below_one
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import NUMBER
from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.input.reference import THRESHOLDS, ceiling, moved_words
from proxy.evidence.process.discordance import (
    WEIGHTS,
    discordance_fail_bets,
    discordance_pass_bets,
    fail_many,
    pass_many,
)
from proxy.evidence.process.estimate import Estimate, intervals
from proxy.evidence.process.wealth import CERTAIN, Counts, Floats, Ints, Numbers, block_gains, log_mean_exp
from proxy.model import Guard

BINS = THRESHOLDS + 1


@dataclass(frozen=True, slots=True)
class Ks:
    """The rule of `max_ks`. `thresholds` are empty until they are frozen; then there is no evidence.

    Categories: 3 histograms of `BINS` bins (c, l, their maximum), then failures.
    """

    thresholds: tuple[float, ...] = ()
    gap: float = 1.0  # largest share of live's answers between neighbouring thresholds, when they were frozen
    width: int = 3 * BINS + 1
    shed_at: int | None = None
    worst_at: int | None = 3 * BINS

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return ("live", "candidate")

    def place(self, batch: Batch, salt: int) -> Placed:
        """Three bins of each pair that can be compared."""
        live, candidate = batch.measures["live"], batch.measures["candidate"]
        if not self.thresholds:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        who, failed = batch.valued, batch.worst
        who = who[~(np.isnan(live[who]) | np.isnan(candidate[who]))]
        # Bin i holds thresholds[i-1] < value ≤ thresholds[i], so "value ≤ thresholds[i]" is "bin ≤ i".
        edges = np.asarray(self.thresholds)
        c, ours = np.searchsorted(edges, candidate[who], "left"), np.searchsorted(edges, live[who], "left")
        parts = [c, BINS + ours, 2 * BINS + np.maximum(c, ours), np.full(len(failed), 3 * BINS)]
        return np.concatenate([who, who, who, failed]), np.concatenate(parts).astype(np.int64)

    def cells(self, counts: Numbers) -> tuple[Floats, Floats]:
        """Per threshold and sign the counts [n⁰, n⁺, n⁻], (…, 2T, 3), and the failures (…, 1)."""
        last = len(self.thresholds)
        below = [np.cumsum(counts[..., i * BINS : (i + 1) * BINS], -1)[..., :last].astype(np.float64) for i in range(3)]
        total = counts[..., :BINS].sum(-1)[..., None]
        plus, minus = below[0] - below[2], below[1] - below[2]
        neither = total - plus - minus
        rising = np.stack([neither, plus, minus], axis=-1)
        falling = np.stack([neither, minus, plus], axis=-1)
        return np.concatenate([rising, falling], axis=-2), counts[..., -1:].astype(np.float64)

    def _logs(self, counts: Numbers, bets: Floats, worst: Floats) -> Floats:
        """Log of each threshold's and sign's average over bets, (…, 2T); a failure multiplies `worst` per bet."""
        cells, failed = self.cells(counts)
        return log_mean_exp(cells @ bets + failed[..., None] * worst, WEIGHTS)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "at no threshold do the distributions differ by more than `limit`"."""
        if not self.thresholds:
            return np.zeros(counts.shape[:-1])
        bets = discordance_fail_bets(limit)
        return log_mean_exp(self._logs(counts, bets, bets.max(axis=0)))

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "at some threshold the distributions differ by at least `limit`"."""
        if not self.thresholds:
            return np.zeros(counts.shape[:-1])
        bets = discordance_pass_bets(limit)
        logs = self._logs(counts, bets, bets.min(axis=0)).min(axis=-1)
        return np.where(self.largest(counts) > self.most, -CERTAIN, logs)

    def largest(self, counts: Numbers) -> Floats:
        """Live's largest share between neighbouring thresholds, or beyond them all, since they were frozen; (…)."""
        live = counts[..., BINS : 2 * BINS]
        return np.asarray(live.max(-1) / np.maximum(live.sum(-1), 1))

    @property
    def most(self) -> float:
        """The most that this share can have been when they were frozen."""
        return ceiling(self.gap, len(self.thresholds) + 1)

    def moved(self, counts: Numbers) -> str:
        """Why there is no PASS since live has moved; empty when it has not."""
        share = float(self.largest(counts))
        return moved_words(share, self.gap, "between two thresholds") if share > self.most else ""

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (thresholds and signs, 1, bets); see `e_detector`."""
        if not self.thresholds:
            return np.zeros((1, 1, 1))
        bets = discordance_fail_bets(limit)
        cells, failed = self.cells(counts)
        return np.asarray(cells @ bets + failed[..., None] * bets.max(axis=0))[:, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (width, thresholds and signs + 1), a failure as the worst; see `pass_blocks`."""
        last = len(self.thresholds)
        below = (np.arange(BINS)[:, None] <= np.arange(last)).astype(np.float64)
        x = np.concatenate([below, -below, np.zeros_like(below), np.ones((1, last))])
        falling = np.append(-x[:-1], x[-1:], axis=0)
        unit = np.append(np.arange(3 * BINS) < BINS, True).astype(np.float64)
        return block_gains(np.concatenate([x, falling], axis=1), unit, limit, 1.0)

    def burst_values(self) -> Ints:
        """By how many thresholds the candidate is higher than live, and by how many it is further out, (width, 2): the
        sums of X over all thresholds, with one sign and with that of the threshold's half; see `bursts`."""
        last = len(self.thresholds)
        bins = np.arange(BINS)
        moved = np.stack([bins, np.abs(2 * bins - last)], axis=-1)
        return np.concatenate([moved, -moved, np.zeros_like(moved), [[last, last]]])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Largest differences at a threshold, with their intervals (the evidence above, inverted in the margin); counts
        (n, width)."""
        failed, totals = counts[:, -1].tolist(), counts[:, :BINS].sum(-1)
        if not self.thresholds:
            note = "thresholds are being learned from live's first answers"
            return [Estimate(None, None, None, f, f, note) for f in failed]
        cells, _ = self.cells(counts)
        values = np.abs(cells[..., 1] - cells[..., 2]).max(-1) / np.maximum(1, totals)
        low, high = intervals(
            lambda m: log_mean_exp(log_mean_exp(cells @ fail_many(m), WEIGHTS)),
            lambda m: np.asarray(log_mean_exp(cells @ pass_many(m), WEIGHTS).min(-1)),
            values,
            0.0,
            1.0 - 1e-9,
        )
        rows = zip(values.tolist(), low, high, totals.tolist(), failed, self.largest(counts).tolist(), strict=True)
        return [
            Estimate(v, a, b, n + f, f, f"between thresholds it may be up to {share:.3g} more")
            if n
            else Estimate(None, None, None, f, f)
            for v, a, b, n, f, share in rows
        ]


def rule(_guard: Guard, context: Context) -> Rule:
    """The rule on live's thresholds, once they are known."""
    reference = context.reference
    return Ks(reference.thresholds, reference.gap) if reference is not None else Ks()


GUARDS = (
    GuardType(
        name="max_ks",
        place=30,
        title="largest difference of the distributions (KS)",
        about="Largest distance between the two distributions (Kolmogorov-Smirnov).",
        question=Question.ACCURATE,
        unit=NUMBER,
        rule=rule,
        effort=replace(TABLE, learned=LEARNED),
        kinds=COUNTED,
        compares=True,
        check=below_one,
        learns=always,
        most=1.0,
        generous=lambda _kind: Guard("max_ks", 0.5),
    ),
)
