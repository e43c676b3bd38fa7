"""The frozen reference: thresholds, scale and edges from the first 500 live answers, and never from the candidate.

KS thresholds, PSI edges, the interquartile range that makes unbounded numbers comparable and the median of the spread
must not move while evidence is gathered. They are taken once, from live answers only, and are part of the state and of
its hash. The pairs they come from give no evidence to the guards that need them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.core.evidence.wealth import Floats

WARMUP = 500
"""Live answers from which the reference is taken."""

THRESHOLDS = 42
"""At most: 31 inner quantiles, 8 in the tails, one beyond each end, one spare for both ends being equal."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What is frozen. `thresholds` are strictly rising (KS), `edges` the inner edges of up to 10 bins (PSI)."""

    median: float
    scale: float
    thresholds: tuple[float, ...]
    edges: tuple[float, ...]
    gap: float


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
        median, scale = float(np.median(live)), _scale(live, low, high)
        # A threshold x asks "is the answer ≤ x?": below the smallest and at the largest answer of live, nobody of
        # live's is on the other side, so one candidate answer beyond it is seen there first.
        beyond = [float(np.nextafter(low, -np.inf)), low, high]
    thresholds = _rising(np.concatenate([inner, tails, beyond]))
    edges = _rising(edges)
    shares = np.diff(np.searchsorted(np.sort(live), thresholds, side="right")) / len(live)
    return Reference(
        median=median if np.isfinite(median) else low,
        scale=scale,
        thresholds=tuple(thresholds.tolist()),
        edges=tuple(edges[edges < high].tolist()),
        gap=float(shares.max()) if len(shares) else 0.0,
    )


def _rising(values: Floats) -> Floats:
    """The finite values, sorted, each once."""
    return np.unique(values[np.isfinite(values)])


def _scale(live: Floats, low: float, high: float) -> float:
    quartiles = np.quantile(live, [0.25, 0.75])
    for width in (float(quartiles[1] - quartiles[0]), float(live.std()), high - low):
        if np.isfinite(width) and width > 0.0:
            return width
    return 1.0
