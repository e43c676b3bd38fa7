"""Paired discordance with a margin: does one arm do something more often than the other, on the same requests?

n⁺ pairs where only the candidate did it, n⁻ where only live did, n⁰ where both or neither. FAIL (H0: E[X] ≤ ε with
X = ±1, 0): Π = (1+λ(1−ε))^{n⁺} (1−λ(1+ε))^{n⁻} (1−λε)^{n⁰}, λ = .98·2⁻ᵏ/(1+ε), k = 0…9. PASS (H0: E[X] ≥ ε):
(1−λ(1−ε))^{n⁺} (1+λ(1+ε))^{n⁻} (1+λε)^{n⁰}, λ = .98·2⁻ᵏ/(1−ε). Each factor's mean is 1 at E[X] = ε, so these are
betting e-processes (arXiv 2010.09686) on three integers. With ε = 0 this is an anytime-valid McNemar test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from proxy.core.evidence.batch import Batch, Placed
from proxy.core.evidence.estimate import Estimate, interval
from proxy.core.evidence.wealth import CERTAIN, Counts, Floats, Numbers, mixed, weakest

_GRID = 0.98 * 2.0 ** -np.arange(10)
NEITHER, WORSE, BETTER, SHED = range(4)


@lru_cache(maxsize=256)
def fail_bets(margin: float) -> Floats:
    """Log factors (3, 10) of [n⁰, n⁺, n⁻] against H0: E[X] ≤ margin, −1 < margin < 1.

    >>> p = np.array([0.898, 0.052, 0.050])  # E[X] = 0.002, at the margin
    >>> bool(np.allclose(p @ np.exp(fail_bets(0.002)), 1.0))
    True
    """
    if margin >= 1.0:
        return np.zeros((3, 1))
    bet = _GRID / (1.0 + margin)
    return np.log1p(np.stack([-bet * margin, bet * (1.0 - margin), -bet * (1.0 + margin)]))


@lru_cache(maxsize=256)
def pass_bets(margin: float) -> Floats:
    """Log factors (3, 10) of [n⁰, n⁺, n⁻] against H0: E[X] ≥ margin, −1 < margin < 1.

    >>> p = np.array([0.898, 0.052, 0.050])
    >>> bool(np.allclose(p @ np.exp(pass_bets(0.002)), 1.0))
    True
    """
    if margin >= 1.0:
        return np.full((3, 1), CERTAIN)
    bet = _GRID / (1.0 - margin)
    return np.log1p(np.stack([bet * margin, -bet * (1.0 - margin), bet * (1.0 + margin)]))


def discordance_interval(neither: float, worse: float, better: float) -> tuple[float, float]:
    """95 % anytime interval of E[X] from the three counts.

    >>> low, high = discordance_interval(980, 15, 5)
    >>> low < 0.01 < high
    True
    """
    counts = np.array([neither, worse, better])
    total = neither + worse + better
    return interval(
        lambda m: float(mixed(counts, [fail_bets.__wrapped__(m)])),
        lambda m: float(weakest(counts, [pass_bets.__wrapped__(m)])),
        (worse - better) / total if total else 0.0,
        -1.0 + 1e-9,
        1.0 - 1e-9,
    )


@dataclass(frozen=True, slots=True)
class ExtraErrors:
    """The rule of `max_extra_errors`. Categories: [both or neither failed, only the candidate, only live, shed].

    Both failed is n⁰. A copy that was shed followed earlier slowness of the candidate: the worst for PASS, absent for
    FAIL.
    """

    width: int = 4
    shed_at: int | None = SHED

    def place(self, batch: Batch, salt: int) -> Placed:
        """Category of each pair with a fresh body whose live side is known."""
        if len(batch.valued) == batch.size:  # nobody failed: the usual case
            return batch.valued, np.zeros(batch.size, np.int64)
        who = np.flatnonzero(batch.fresh & (batch.answered | batch.live_broke))
        failed, broke = batch.failed[who], batch.live_broke[who]
        return who, np.where(failed & ~broke, WORSE, np.where(broke & ~failed, BETTER, NEITHER)).astype(np.int64)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the candidate fails at most `limit` more often"; counts (…, 4) → (…)."""
        return mixed(counts[..., :3], [fail_bets(limit)])

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the candidate fails at least `limit` more often"; counts (…, 4) → (…)."""
        worst = counts[..., :3] + counts[..., 3:] * np.array([0, 1, 0])
        return weakest(worst, [pass_bets(limit)])

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `after_promotion`."""
        return np.asarray(counts[:3] @ fail_bets(limit))[None, None]

    def estimate(self, counts: Counts, limit: float) -> Estimate:
        """Difference of the failure rates, candidate minus live, with its interval."""
        neither, worse, better, shed = (int(n) for n in counts)
        total = neither + worse + better
        if not total:
            return Estimate(None, None, None, 0)
        low, high = discordance_interval(neither, worse, better)
        note = f"{shed} shed copies count as failures for a pass" if shed else ""
        return Estimate((worse - better) / total, low, high, total, worse, note)
