"""Counts of a span of time as a chart shows them."""

from __future__ import annotations

from typing import Final

from proxy.drift.channels import FREQUENT
from proxy.drift.finding import DriftBucket
from proxy.drift.scoring import LabelScorer, NumberScorer, Scorer, VectorScorer
from proxy.evidence.process.wealth import Floats, Ints

RANKS: Final = (0.1, 0.5, 0.9)
LEVEL: Final = 1
"""The channel of a number's level, and of the first projection's."""


def drawn_bucket(scorer: Scorer, start: float, seconds: float, counts: Ints, means: Floats) -> DriftBucket:
    """A bucket from `counts` (bins + 1,) and what the reference expects, `means` (channels,)."""
    n = int(counts.sum())
    missing = float(counts[-1]) / max(1, n)
    if isinstance(scorer, LabelScorer):
        present = max(1, n - int(counts[-1]))
        names = [*scorer.frequent, *[""] * (FREQUENT - len(scorer.frequent)), "other labels", "new labels"]
        shown = [i for i, name in enumerate(names) if name]
        shares = tuple((names[i], float(counts[i]) / present) for i in shown)
        return DriftBucket(
            start, seconds, n, missing, None, None, None, shares, tuple(float(means[1 + i]) for i in shown)
        )
    assert isinstance(scorer, NumberScorer | VectorScorer)
    expected = tuple(scorer.binned.expected(float(means[LEVEL]), RANKS))
    if n == counts[-1]:
        return DriftBucket(start, seconds, n, missing, expected=expected)
    low, middle, high = scorer.binned.quantiles(counts[:-1], RANKS)
    return DriftBucket(start, seconds, n, missing, low, middle, high, (), expected)
