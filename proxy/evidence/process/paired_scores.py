"""Bets on the mean of a paired score of few values: is one arm preferred less often than the other, by a margin?

x is what the candidate falls short of live by on one pair, in [−h, h]: of two answers that a judge compares ½ where the
candidate lost, 0 for a tie, −½ where it won, so that E[x] is ½ minus the win rate. FAIL (H0: E[x] ≤ m):
Π (1 + λ(x − m)), λ = g/(h + m). PASS (H0: E[x] ≥ m): Π (1 − λ(x − m)), λ = g/(h − m), for the shares g of `BETS`. Each
factor's mean is at most 1 where H0 holds (Waudby-Smith and Ramdas, arXiv 2010.09686); with h = ½ they are the bets of
`discordance` with a margin of 2m. The state is one integer for each value.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from proxy.evidence.process.estimate import intervals
from proxy.evidence.process.wealth import Floats, log_mean_exp

BETS = np.array([0.9, 0.55, 0.33, 0.2, 0.12, 0.07, 0.035, 0.015])
"""Shares of the largest bet. Two good models win about as often as they lose, so x varies much about a small mean, and
the best bet is a fifth of the largest: where most pairs are ties it is larger, at a small margin smaller."""
WEIGHTS = np.array([0.08, 0.12, 0.2, 0.22, 0.18, 0.1, 0.06, 0.04])
"""Their weights."""


@lru_cache(maxsize=256)
def score_fail_bets(values: tuple[float, ...], margin: float) -> Floats:
    """Log factors (values, 8) against H0: E[x] ≤ margin; x takes `values`, of which the largest is h, |margin| < h.

    >>> p = np.array([0.3, 0.4, 0.3])
    >>> bool(np.allclose(p @ np.exp(score_fail_bets((0.0, 0.5, -0.5), 0.05)), 1.0))  # E[x] = 0.05, at the margin
    True
    """
    return np.asarray(_fail_many(np.array(values), np.array([margin]))[0])


@lru_cache(maxsize=256)
def score_pass_bets(values: tuple[float, ...], margin: float) -> Floats:
    """Log factors (values, 8) against H0: E[x] ≥ margin, likewise.

    >>> p = np.array([0.3, 0.4, 0.3])
    >>> bool(np.allclose(p @ np.exp(score_pass_bets((0.0, 0.5, -0.5), 0.05)), 1.0))
    True
    """
    return np.asarray(_pass_many(np.array(values), np.array([margin]))[0])


def score_intervals(values: tuple[float, ...], counts: Floats) -> tuple[list[float], list[float]]:
    """95 % anytime intervals of n means E[x] from the counts of each value, (n, values).

    >>> (low,), (high,) = score_intervals((0.0, 0.5, -0.5), np.array([[100.0, 200.0, 200.0]]))
    >>> -0.1 < low < 0.0 < high < 0.1
    True
    """
    x = np.array(values)
    h = float(x.max())
    return intervals(
        lambda m: log_mean_exp(np.matmul(counts[:, None], _fail_many(x, m))[:, 0], WEIGHTS),
        lambda m: log_mean_exp(np.matmul(counts[:, None], _pass_many(x, m))[:, 0], WEIGHTS),
        counts @ x / np.maximum(1.0, counts.sum(-1)),
        -h + 1e-9,
        h - 1e-9,
    )


def _fail_many(x: Floats, margins: Floats) -> Floats:
    """`score_fail_bets` of many margins (n,): (n, values, 8)."""
    m = margins[:, None, None]
    return np.asarray(np.log1p(BETS / (x.max() + m) * (x[:, None] - m)))


def _pass_many(x: Floats, margins: Floats) -> Floats:
    """`score_pass_bets` of many margins (n,): (n, values, 8)."""
    m = margins[:, None, None]
    return np.asarray(np.log1p(-BETS / (x.max() - m) * (x[:, None] - m)))
