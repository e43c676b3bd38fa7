"""Paired discordance with a margin: does one arm do something more often than the other, on the same requests?

n⁺ pairs where only the candidate did it, n⁻ where only live did, n⁰ where both or neither. FAIL (H0: E[X] ≤ ε with
X = ±1, 0): Π = (1+λ(1−ε))^{n⁺} (1−λ(1+ε))^{n⁻} (1−λε)^{n⁰}, λ = g/(1+ε). PASS (H0: E[X] ≥ ε):
(1−λ(1−ε))^{n⁺} (1+λ(1+ε))^{n⁻} (1+λε)^{n⁰}, λ = g/(1−ε), for the shares g of `BETS`. Each factor's mean is 1 at E[X] =
ε, so these are betting e-processes (arXiv 2010.09686) on three integers. With ε = 0 this is an anytime-valid McNemar
test.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from proxy.evidence.process.estimate import intervals
from proxy.evidence.process.wealth import (
    CERTAIN,
    Floats,
    log_mean_exp,
)

BETS = np.array([0.97, 0.66, 0.38, 0.12, 0.035, 0.01])
"""Shares of the largest bet, which one failure could ruin: large ones for arms that hardly ever fail, small ones for
those that often do."""
WEIGHTS = np.array([0.22, 0.36, 0.26, 0.08, 0.05, 0.03])
"""Their weights."""


@lru_cache(maxsize=256)
def discordance_fail_bets(margin: float) -> Floats:
    """Log factors (3, 6) of [n⁰, n⁺, n⁻] against H0: E[X] ≤ margin, −1 < margin < 1.

    >>> p = np.array([0.898, 0.052, 0.050])  # E[X] = 0.002, at the margin
    >>> bool(np.allclose(p @ np.exp(discordance_fail_bets(0.002)), 1.0))
    True
    """
    if margin >= 1.0:
        return np.zeros((3, 1))
    return np.asarray(fail_many(np.array([margin]))[0])


@lru_cache(maxsize=256)
def discordance_pass_bets(margin: float) -> Floats:
    """Log factors (3, 6) of [n⁰, n⁺, n⁻] against H0: E[X] ≥ margin, −1 < margin < 1.

    >>> p = np.array([0.898, 0.052, 0.050])
    >>> bool(np.allclose(p @ np.exp(discordance_pass_bets(0.002)), 1.0))
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
    """`discordance_fail_bets` of many margins (n,) below 1: (n, 3, 6).

    >>> bool(np.array_equal(fail_many(np.array([0.1, 0.002]))[1], discordance_fail_bets(0.002)))
    True
    """
    m = margins[:, None]
    bet = BETS / (1.0 + m)
    return np.log1p(np.stack([-bet * m, bet * (1.0 - m), -bet * (1.0 + m)], axis=1))


def pass_many(margins: Floats) -> Floats:
    """`discordance_pass_bets` of many margins (n,) below 1: (n, 3, 6).

    >>> bool(np.array_equal(pass_many(np.array([0.1, 0.002]))[1], discordance_pass_bets(0.002)))
    True
    """
    m = margins[:, None]
    bet = BETS / (1.0 - m)
    return np.log1p(np.stack([bet * m, -bet * (1.0 - m), bet * (1.0 + m)], axis=1))
