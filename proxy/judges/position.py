"""A judge's position bias: how often the answer that stands first wins, of the pairs that one of the two wins.

Since the order is drawn by a keyed hash, a judge without bias says `first` in half of them, whatever the models are
worth. A bias costs pairs, for it adds noise; it favours neither arm. The interval is Wilson's (1927), for reading.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from proxy.judges.verdict import FIRST, SECOND

_Z = 1.959963984540054


class FirstRate(NamedTuple):
    """How often `first` and `second` were said."""

    first: int = 0
    second: int = 0

    def add(self, winner: str) -> FirstRate:
        """With one more verdict; a tie counts for neither."""
        return FirstRate(self.first + (winner == FIRST), self.second + (winner == SECOND))

    @property
    def rate(self) -> float | None:
        """The share of `first`; `None` before either was said.

        >>> FirstRate(3, 1).rate, FirstRate().rate
        (0.75, None)
        """
        total = self.first + self.second
        return self.first / total if total else None

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval of it.

        >>> [round(end, 3) for end in FirstRate(60, 40).interval]
        [0.502, 0.691]
        """
        total, rate = self.first + self.second, self.rate
        if rate is None:
            return 0.0, 1.0
        scale = 1 + _Z**2 / total
        middle = (rate + _Z**2 / (2 * total)) / scale
        half = _Z * math.sqrt(rate * (1 - rate) / total + _Z**2 / (4 * total**2)) / scale
        return max(0.0, middle - half), min(1.0, middle + half)
