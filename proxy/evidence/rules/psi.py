"""Population stability index, debiased, with an asymptotic e-value: the one guard without an exact guarantee.

10 × 10 joint table n_ij (i: live's bin, j: the candidate's; edges are live's frozen deciles), smoothed: (n_ij + ½/k) /
(n + ½k). With p, q its margins: PSI = Σ (q − p) ln(q/p); bias_b = (1/2n)[(1/q + p/q²) q(1−q) + (1/p + q/p²) p(1−p) −
2(1/q + 1/p)(J_bb − pq)]. Influence of a pair: g_q[bin_c] + g_p[bin_l] with g_q = ln(q/p) + 1 − p/q, g_p = −ln(q/p) + 1
− q/p; its sd is taken from the joint table, so that paired answers are allowed for.

E-value: x = ρt(est − θ0) / (sd √(1 + tρ²)), E = 2(1 + tρ²)^{−½} exp(x²/2) Φ(x), PASS with −x; ρ² = (−2 ln α + ln(1 − 2
ln α)) / 1000; E = 1 before 500 pairs. The variance of a pair's influence grows in proportion to the PSI: where chance
makes the estimate too small it makes sd too small as well, and a PASS is too sure of itself (at the limit, with one bin
emptied, 7 to 11 % passed where 5 % may). For a PASS sd is therefore multiplied by √(θ0/est), within 1 and 2. Source:
asymptotic confidence sequences, arXiv 2103.06476. A failure has no bin: it is left out here, and a PASS requires
`max_extra_errors` to be configured and passing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from proxy.evidence.families.effort import LEARNED, TABLE
from proxy.evidence.families.guard import COUNTED, GuardType, Question, always
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import NUMBER
from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.input.reference import ceiling, moved_words
from proxy.evidence.process.discordance import discordance_fail_bets
from proxy.evidence.process.estimate import Estimate, intervals
from proxy.evidence.process.normal import log_cdf
from proxy.evidence.process.wealth import CERTAIN, Counts, Floats, Ints, Numbers
from proxy.model import Guard
from proxy.significant import significant

BINS = 10
EARLIEST = 500
ALPHA = 0.01
RHO2 = float((-2.0 * np.log(ALPHA) + np.log(1.0 - 2.0 * np.log(ALPHA))) / 1000.0)
_TINY = 1e-12


def psi_estimate(table: Numbers, k: int) -> tuple[Floats, Floats, Floats]:
    """Debiased PSI, standard deviation of a pair's influence, and the number of pairs; tables (…, k, k) → (…).

    >>> same = np.diag(np.full(10, 100))
    >>> estimate, sd, n = psi_estimate(same, 10)
    >>> abs(float(estimate)) < 0.01, int(n)
    (True, 1000)
    """
    n = table.sum(axis=(-2, -1)).astype(np.float64)
    size = np.maximum(n, 1.0)[..., None, None]
    joint = (table + 0.5 / k) / (size + 0.5 * k)
    p, q = joint.sum(-1), joint.sum(-2)
    ratio = np.log(q / p)
    both = np.diagonal(joint, axis1=-2, axis2=-1) - p * q
    bias = ((1 / q + p / q**2) * q * (1 - q) + (1 / p + q / p**2) * p * (1 - p) - 2 * (1 / q + 1 / p) * both).sum(
        -1
    ) / (2 * size[..., 0, 0])
    estimate = ((q - p) * ratio).sum(-1) - bias
    influence = (-ratio + 1 - q / p)[..., :, None] + (ratio + 1 - p / q)[..., None, :]
    mean = (joint * influence).sum(axis=(-2, -1))
    variance = (joint * influence**2).sum(axis=(-2, -1)) - mean**2
    return estimate, np.sqrt(np.maximum(variance, _TINY)), n


def asymptotic_log_e(estimate: Floats, sd: Floats, n: Floats, theta: float | Floats, sign: float) -> Floats:
    """Log of the one-sided normal-mixture e-value against "the truth is ≤ theta" (sign 1) or "≥ theta" (sign −1).

    >>> float(asymptotic_log_e(np.array(0.5), np.array(1.0), np.array(1000.0), 0.5, 1.0)) < 0.0
    True
    """
    if sign < 0.0:  # the deviation that it would have with the PSI at theta
        sd = sd * np.sqrt(np.clip(theta / np.maximum(estimate, _TINY), 1.0, 4.0))
    spread = 1.0 + n * RHO2
    x = sign * np.sqrt(RHO2) * n * (estimate - theta) / (sd * np.sqrt(spread))
    log_e = np.log(2.0) - 0.5 * np.log(spread) + 0.5 * x**2 + log_cdf(x)
    return np.where(n >= EARLIEST, log_e, 0.0)


@lru_cache(maxsize=64)
def most_apart(psi: float) -> float:
    """The most by which the probabilities of any event can differ under two distributions whose PSI is `psi`.

    Putting bins together never raises the PSI (it is a sum of two Kullback-Leibler divergences), and of two outcomes
    that differ by x it is least at 2x ln((1+x)/(1−x)).

    >>> x = most_apart(0.2)
    >>> round(x, 3), round(2 * x * math.log((1 + x) / (1 - x)), 6)
    (0.222, 0.2)
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        x = 0.5 * (low + high)
        low, high = (x, high) if 4.0 * x * math.atanh(x) < psi else (low, x)
    return high


@dataclass(frozen=True, slots=True)
class Psi:
    """The rule of `max_psi`. Categories: the 10 × 10 table by row, then failures (shown, never used)."""

    edges: tuple[float, ...] | None = None
    fullest: float = 1.0  # largest share of live's answers in one bin, when the edges were frozen
    width: int = BINS * BINS + 1
    shed_at: int | None = None
    worst_at: int | None = None

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return ("live", "candidate")

    def place(self, batch: Batch, salt: int) -> Placed:
        """Cell of each pair that can be compared."""
        live, candidate = batch.measures["live"], batch.measures["candidate"]
        if self.edges is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        who, failed = batch.valued, batch.worst
        who = who[~(np.isnan(live[who]) | np.isnan(candidate[who]))]
        edges = np.asarray(self.edges)
        row, column = np.searchsorted(edges, live[who], "left"), np.searchsorted(edges, candidate[who], "left")
        cells = np.concatenate([row * BINS + column, np.full(len(failed), BINS * BINS)])
        return np.concatenate([who, failed]), cells.astype(np.int64)

    def table(self, counts: Numbers) -> Numbers:
        """The joint table over the bins there are, (…, k, k)."""
        k = len(self.edges or ()) + 1
        return counts[..., :-1].reshape(*counts.shape[:-1], BINS, BINS)[..., :k, :k]

    def _log_e(self, counts: Numbers, limit: float, sign: float) -> Floats:
        if not self.edges:  # not frozen yet, or live gives one value only: nothing to compare
            return np.zeros(counts.shape[:-1])
        estimate, sd, n = psi_estimate(self.table(counts), len(self.edges) + 1)
        return asymptotic_log_e(estimate, sd, n, limit, sign)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value (asymptotic) against PSI ≤ limit; counts (…, 101) → (…)."""
        return self._log_e(counts, limit, 1.0)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value (asymptotic) against PSI ≥ limit; counts (…, 101) → (…). None once live has left the bins."""
        logs = self._log_e(counts, limit, -1.0)
        return np.where(self.largest(counts) > self.most, -CERTAIN, logs)

    def largest(self, counts: Numbers) -> Floats:
        """Live's largest share in one bin since the edges were frozen; (…)."""
        live = self.table(counts).sum(-1)
        return np.asarray(live.max(-1) / np.maximum(live.sum(-1), 1))

    @property
    def most(self) -> float:
        """The most that this share can have been when they were frozen."""
        return ceiling(self.fullest, len(self.edges or ()) + 1)

    def moved(self, counts: Numbers) -> str:
        """Why there is no PASS since live has moved; empty when it has not."""
        share = float(self.largest(counts))
        return moved_words(share, self.fullest, "in one bin") if share > self.most else ""

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of FAIL bets, (edges and signs, 1, bets); see `e_detector`.

        An asymptotic e-value of a minute's pairs means nothing, so the watch asks what a PSI within the limit implies:
        at no edge do the two distributions differ by more than `most_apart(limit)`. That is exact, and blunter.
        """
        if not self.edges:
            return np.zeros((1, 1, 1))
        table, k = self.table(counts), len(self.edges) + 1
        plus = np.array([table[i:, :i].sum() for i in range(1, k)])  # only the candidate's answer is below the edge
        minus = np.array([table[:i, i:].sum() for i in range(1, k)])
        neither = table.sum() - plus - minus
        cells = np.concatenate([np.stack([neither, plus, minus], -1), np.stack([neither, minus, plus], -1)])
        return np.asarray(cells @ discordance_fail_bets(most_apart(limit)))[:, None]

    def pass_gains(self, limit: float) -> Floats:
        """None: an index has no bets; a PASS counts its pairs as what their bursts make of them."""
        return np.ones((self.width, 1))

    def burst_values(self) -> Ints:
        """By how many bins the candidate is higher than live, and by how many it is further out, (101, 2); failures,
        which have no bin, are 0; see `bursts`."""
        row, column = np.divmod(np.arange(BINS * BINS), BINS)
        last = len(self.edges or ())
        moved = np.stack([column - row, np.abs(2 * column - last) - np.abs(2 * row - last)], axis=-1)
        return np.concatenate([moved, [[0, 0]]])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Debiased PSI (at least 0) with its interval, of each row of counts (n, 101)."""
        failed, pairs = counts[:, -1].tolist(), counts[:, :-1].sum(-1).tolist()
        if not self.edges:
            note = "bins are being learned from live's first answers" if self.edges is None else "live gives one value"
            return [Estimate(None, None, None, n, f, note) for n, f in zip(pairs, failed, strict=True)]
        value, sd, n = psi_estimate(self.table(counts), len(self.edges) + 1)
        low, high = intervals(
            lambda m: asymptotic_log_e(value, sd, n, m, 1.0),
            lambda m: asymptotic_log_e(value, sd, n, m, -1.0),
            value,
            -20.0,
            20.0,
        )
        rows = zip(value.tolist(), low, high, pairs, failed, self.largest(counts).tolist(), strict=True)
        return [
            Estimate(max(0.0, v), max(0.0, a), b, m, f, f"live's fullest bin has {significant(100 * share, 3)} %")
            if m
            else Estimate(None, None, None, 0, f)
            for v, a, b, m, f, share in rows
        ]


def rule(_guard: Guard, context: Context) -> Rule:
    """The rule on live's bins, once they are known."""
    reference = context.reference
    return Psi(reference.edges, reference.fullest) if reference is not None else Psi()


GUARDS = (
    GuardType(
        name="max_psi",
        place=40,
        title="population stability index",
        about="Population stability index between the two distributions.",
        question=Question.ACCURATE,
        unit=NUMBER,
        rule=rule,
        effort=replace(TABLE, reach=None, learned=LEARNED),
        kinds=COUNTED,
        compares=True,
        learns=always,
        beside="max_extra_errors",
        generous=lambda _kind: Guard("max_psi", 2.0),
    ),
)
