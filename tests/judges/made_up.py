"""A made-up judge with a taste: how much it minds what is right, which comes first, and which is longer.

It scores the first of two answers against the second by `right` × how much better it is, plus `position`, plus `length`
if it is the longer one (less if the shorter), plus what it happens to think of this pair, always the same, plus noise
of each asking; near 0 it says tie.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from proxy.judges.anchors import Anchor, AnchorQuestion

WHIM = 0.6
"""Scale of what it thinks of a pair, the same whenever it is asked (logistic)."""
NEAR = 0.3
"""A score within is a tie."""
CLEAR = 1.5
"""How much better the right answer of an anchor is."""


class Taste(NamedTuple):
    """What it minds; `noise` is the scale of the noise of each asking."""

    right: float = 1.0
    position: float = 0.1
    length: float = 0.0
    noise: float = 0.08


JUDGE = Taste()


def made_up_anchors(n: int = 40) -> list[Anchor]:
    """A quarter each: the better answer is longer, is shorter; two equally good ones, the first longer, the second."""
    kinds = [("first", "first"), ("first", "second"), ("tie", "first"), ("tie", "second")]
    turned = {"first": "second", "second": "first", "tie": "tie"}
    each = [kinds[i % 4] for i in range(n)]
    return [Anchor(*(map(turned.__getitem__, one) if i // 4 % 2 else one)) for i, one in enumerate(each)]


def said(score: float) -> str:
    """The verdict of a score of the first answer against the second."""
    return "tie" if abs(score) < NEAR else "first" if score > 0 else "second"


class MadeUpJudge:
    """A judge, with its whims about its anchors. Its `taste` may be changed at any moment."""

    def __init__(self, seed: int, taste: Taste = JUDGE, anchors: int = 40) -> None:
        self.taste = taste
        self.anchors = made_up_anchors(anchors)
        self._rng = np.random.default_rng(seed)
        self._whims = self._rng.logistic(size=anchors) * WHIM

    def anchor(self, question: AnchorQuestion) -> str:
        """Its verdict on an anchor, as it is asked."""
        known, longer = self.anchors[question.anchor]
        better = {"first": CLEAR, "second": -CLEAR, "tie": 0.0}[known]
        score = self.taste.right * better + self.taste.length * (1 if longer == "first" else -1)
        score += self._whims[question.anchor] + self._rng.logistic() * self.taste.noise
        return said((-score if question.swapped else score) + self.taste.position)

    def pairs(self, better: np.ndarray, longer: np.ndarray) -> np.ndarray:
        """Its verdicts on n pairs of which the candidate's answer is so much better, and longer (1), shorter (−1) or
        neither (0): 1 won, 0 tied, −1 lost. Which answer comes first is drawn."""
        n, taste = len(better), self.taste
        order = self._rng.choice([-1.0, 1.0], n)
        score = taste.right * better + taste.length * longer + taste.position * order
        score += self._rng.logistic(size=n) * WHIM + self._rng.logistic(size=n) * taste.noise
        return np.where(abs(score) < NEAR, 0.0, np.sign(score))
