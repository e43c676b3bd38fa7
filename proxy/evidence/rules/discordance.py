"""Paired discordance with a margin: does one arm do something more often than the other, on the same requests?

n⁺ pairs where only the candidate did it, n⁻ where only live did, n⁰ where both or neither. FAIL (H0: E[X] ≤ ε with
X = ±1, 0): Π = (1+λ(1−ε))^{n⁺} (1−λ(1+ε))^{n⁻} (1−λε)^{n⁰}, λ = g/(1+ε). PASS (H0: E[X] ≥ ε):
(1−λ(1−ε))^{n⁺} (1+λ(1+ε))^{n⁻} (1+λε)^{n⁰}, λ = g/(1−ε), for the shares g of `BETS`. Each factor's mean is 1 at E[X] =
ε, so these are betting e-processes (arXiv 2010.09686) on three integers. With ε = 0 this is an anytime-valid McNemar
test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from proxy.evidence.input.batch import Batch, Ints, Placed
from proxy.evidence.process.estimate import NOTHING, Estimate, intervals
from proxy.evidence.process.wealth import CERTAIN, Counts, Floats, Numbers, block_gains, log_mean_exp, mixed, weakest

BETS = np.array([0.97, 0.66, 0.38, 0.12, 0.035, 0.01])
"""Shares of the largest bet, which one failure could ruin: large ones for arms that hardly ever fail, small ones for
those that often do."""
WEIGHTS = np.array([0.22, 0.36, 0.26, 0.08, 0.05, 0.03])
"""Their weights."""
NEITHER, WORSE, BETTER, SHED = range(4)


@lru_cache(maxsize=256)
def fail_bets(margin: float) -> Floats:
    """Log factors (3, 6) of [n⁰, n⁺, n⁻] against H0: E[X] ≤ margin, −1 < margin < 1.

    >>> p = np.array([0.898, 0.052, 0.050])  # E[X] = 0.002, at the margin
    >>> bool(np.allclose(p @ np.exp(fail_bets(0.002)), 1.0))
    True
    """
    if margin >= 1.0:
        return np.zeros((3, 1))
    return np.asarray(fail_many(np.array([margin]))[0])


@lru_cache(maxsize=256)
def pass_bets(margin: float) -> Floats:
    """Log factors (3, 6) of [n⁰, n⁺, n⁻] against H0: E[X] ≥ margin, −1 < margin < 1.

    >>> p = np.array([0.898, 0.052, 0.050])
    >>> bool(np.allclose(p @ np.exp(pass_bets(0.002)), 1.0))
    True
    """
    if margin >= 1.0:
        return np.full((3, 1), CERTAIN)
    return np.asarray(pass_many(np.array([margin]))[0])


def discordance_intervals(cells: Floats) -> tuple[list[float], list[float]]:
    """95 % anytime intervals of n means E[X] from the counts [n⁰, n⁺, n⁻], (n, 3).

    >>> (low,), (high,) = discordance_intervals(np.array([[980.0, 15.0, 5.0]]))
    >>> low < 0.01 < high
    True
    """
    values = (cells[:, 1] - cells[:, 2]) / np.maximum(1.0, cells.sum(-1))
    return intervals(
        lambda m: log_mean_exp(np.matmul(cells[:, None], fail_many(m))[:, 0], WEIGHTS),
        lambda m: log_mean_exp(np.matmul(cells[:, None], pass_many(m))[:, 0], WEIGHTS),
        values,
        -1.0 + 1e-9,
        1.0 - 1e-9,
    )


def fail_many(margins: Floats) -> Floats:
    """`fail_bets` of many margins (n,) below 1: (n, 3, 6).

    >>> bool(np.array_equal(fail_many(np.array([0.1, 0.002]))[1], fail_bets(0.002)))
    True
    """
    m = margins[:, None]
    bet = BETS / (1.0 + m)
    return np.log1p(np.stack([-bet * m, bet * (1.0 - m), -bet * (1.0 + m)], axis=1))


def pass_many(margins: Floats) -> Floats:
    """`pass_bets` of many margins (n,) below 1: (n, 3, 6).

    >>> bool(np.array_equal(pass_many(np.array([0.1, 0.002]))[1], pass_bets(0.002)))
    True
    """
    m = margins[:, None]
    bet = BETS / (1.0 - m)
    return np.log1p(np.stack([bet * m, -bet * (1.0 - m), bet * (1.0 + m)], axis=1))


@dataclass(frozen=True, slots=True)
class ExtraErrors:
    """The rule of `max_extra_errors`. Categories: [both or neither failed, only the candidate, only live, shed].

    Both failed is n⁰. A copy that was shed followed earlier slowness of the candidate: the worst for PASS, absent for
    FAIL.
    """

    width: int = 4
    shed_at: int | None = SHED
    worst_at: int | None = WORSE

    def place(self, batch: Batch, salt: int) -> Placed:
        """Category of each pair with a fresh body whose live side is known."""
        if len(batch.valued) == batch.size:  # nobody failed: the usual case
            return batch.valued, np.zeros(batch.size, np.int64)
        who = np.flatnonzero(batch.fresh & (batch.answered | batch.live_broke))
        failed, broke = batch.failed[who], batch.live_broke[who]
        return who, np.where(failed & ~broke, WORSE, np.where(broke & ~failed, BETTER, NEITHER)).astype(np.int64)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the candidate fails at most `limit` more often"; counts (…, 4) → (…)."""
        return mixed(counts[..., :3], [fail_bets(limit)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the candidate fails at least `limit` more often"; counts (…, 4) → (…)."""
        worst = counts[..., :3] + counts[..., 3:] * np.array([0, 1, 0])
        return weakest(worst, [pass_bets(limit)], WEIGHTS)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `after_promotion`."""
        return np.asarray(counts[:3] @ fail_bets(limit))[None, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (4, 2): a shed copy is as one that fails; see `pass_blocks`."""
        return block_gains(np.array([[0.0], [1.0], [-1.0], [1.0]]), np.ones(4), limit, 1.0)

    def burst_values(self) -> Ints:
        """A failure of the candidate alone is 1, of live alone −1, (4, 1); see `bursts`."""
        return np.array([[0], [1], [-1], [0]])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Differences of the failure rates, candidate minus live, with their intervals; counts (n, 4)."""
        cells = counts[:, :3].astype(np.float64)
        low, high = discordance_intervals(cells)
        found = []
        for (neither, worse, better, shed), a, b in zip(counts.tolist(), low, high, strict=True):
            total = neither + worse + better
            note = f"{shed} shed copies count as failures for a pass" if shed else ""
            value = (worse - better) / max(1, total)
            found.append(Estimate(value, a, b, total, worse, note) if total else NOTHING)
        return found
