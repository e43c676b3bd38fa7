"""The frozen reference: thresholds, scale and edges from the first 500 live answers, and never from the candidate.

KS thresholds, PSI edges, the interquartile range that makes unbounded numbers comparable and the median of the spread
must not move while evidence is gathered. They are taken once, from live answers only, and are part of the state and of
its hash. The pairs they come from give no evidence to the guards that need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import lgamma, log, log1p

import numpy as np

from proxy.evidence.process.wealth import Floats
from proxy.significant import significant

WARMUP = 500
"""Live answers from which the reference is taken."""

LEFT = 0.01
"""Chance at most that `ceiling` is below a share that live has had from the start."""

THRESHOLDS = 42
"""At most: 31 inner quantiles, 8 in the tails, one beyond each end, one spare for both ends being equal."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What is frozen. `thresholds` are strictly rising (KS), `edges` the inner edges of up to 10 bins (PSI).

    `gap` is the largest share of the first answers between neighbouring thresholds, `fullest` that in one bin. `scale`
    is what numbers are divided by, and `measured` says of what: `iqr`, else `sd`, `range` or `one` (see `scale_of`).
    """

    median: float
    scale: float
    thresholds: tuple[float, ...]
    edges: tuple[float, ...]
    gap: float
    fullest: float = 1.0
    measured: str = "iqr"

    @property
    def unit(self) -> str:
        """The unit of numbers in words.

        >>> Reference(0.0, 1.0, (), (), 0.0, measured="one").unit
        "1, because live's first 500 answers were all the same"
        """
        if self.measured == "one":
            return f"1, because live's first {WARMUP} answers were all the same"
        name = {"iqr": "interquartile range", "sd": "standard deviation", "range": "range"}[self.measured]
        why = "" if self.measured == "iqr" else ", because their interquartile range is 0 or has no number"
        return f"{significant(self.scale, 3)}, the {name} of live's first {WARMUP} answers{why}"


def freeze(live: Floats) -> Reference:
    """The reference of live's first answers, (n,) finite numbers, one per request.

    Thresholds: 31 inner quantiles (1/32 … 31/32), 0.1, 0.5 and 1 % at both ends, the ends themselves and just beyond.
    Where live has few distinct values duplicates are merged; then the scale falls back to a wider range, then to 1.

    >>> r = freeze(np.arange(500.0))
    >>> r.median, r.scale, len(r.edges), r.thresholds[0] < 0.0
    (249.5, 249.5, 9, True)
    """
    low, high = float(live.min()), float(live.max())
    with np.errstate(over="ignore", invalid="ignore"):  # between ±1e308 an interpolation overflows; such are left out
        inner = np.quantile(live, np.arange(1, 32) / 32)
        tails = np.quantile(live, [0.001, 0.005, 0.01, 0.99, 0.995, 0.999])
        edges = np.quantile(live, np.arange(1, 10) / 10)
        median, (scale, measured) = float(np.median(live)), scale_of(live)
        # A threshold x asks "is the answer ≤ x?": below the smallest and at the largest answer of live, nobody of
        # live's is on the other side, so one candidate answer beyond it is seen there first.
        beyond = [float(np.nextafter(low, -np.inf)), low, high]
    thresholds = _rising(np.concatenate([inner, tails, beyond]))
    edges = _rising(edges)
    edges = edges[edges < high]
    return Reference(
        median=median if np.isfinite(median) else low,
        scale=scale,
        thresholds=tuple(thresholds.tolist()),
        edges=tuple(edges.tolist()),
        gap=_largest(live, thresholds),
        fullest=_largest(live, edges),
        measured=measured,
    )


def _largest(live: Floats, at: Floats) -> float:
    """The largest share of the answers that lies in one of the parts between these points, or beyond the ends."""
    return float(np.bincount(np.searchsorted(at, live, "left"), minlength=1).max() / len(live))


@lru_cache(maxsize=256)
def ceiling(share: float, parts: int) -> float:
    """The most that live's true largest share in one of so many parts can have been, when it was `share` of its first
    answers: it is more with a chance of at most `LEFT` (Clopper and Pearson's bound for each part, by Bonferroni).

    The points are quantiles of those same answers, so their largest share is less than what later answers have there.

    >>> round(ceiling(0.032, 42), 3), ceiling(1.0, 10)
    (0.069, 1.0)
    """
    k = np.arange(round(share * WARMUP) + 1)
    if len(k) > WARMUP:
        return 1.0
    ways = np.array([lgamma(WARMUP + 1) - lgamma(i + 1) - lgamma(WARMUP - i + 1) for i in k.tolist()])
    low, high = share, 1.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        tail = np.exp(ways + k * log(middle) + (WARMUP - k) * log1p(-middle)).sum()
        low, high = (middle, high) if tail > LEFT / parts else (low, middle)
    return high


def _rising(values: Floats) -> Floats:
    """The finite values, sorted, each once."""
    return np.unique(values[np.isfinite(values)])


def scale_of(live: Floats) -> tuple[float, str]:
    """What numbers are divided by, and what that is: the interquartile range, else a wider measure, else 1.

    >>> scale_of(np.arange(5.0)), scale_of(np.ones(5))
    ((2.0, 'iqr'), (1.0, 'one'))
    """
    quartiles = np.quantile(live, [0.25, 0.75])
    spread = float(live.max()) - float(live.min())
    for width, name in ((quartiles[1] - quartiles[0], "iqr"), (live.std(), "sd"), (spread, "range")):
        if np.isfinite(width) and width > 0.0:
            return float(width), name
    return 1.0, "one"


def moved_words(share: float, before: float, where: str) -> str:
    """Why there is no PASS since live has moved.

    >>> moved_words(0.25, 0.032, "in one bin")
    'no pass: live has moved, 25 % of its answers lie in one bin (3.2 % when they were chosen); `restart` chooses anew'
    """
    now, then = (significant(100 * part, 3) for part in (share, before))
    return (
        f"no pass: live has moved, {now} % of its answers lie {where} ({then} % when they were chosen); "
        "`restart` chooses anew"
    )
