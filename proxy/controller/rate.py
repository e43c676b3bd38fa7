"""How many pairs are compared per second, averaged with an exponential memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

RATE_MEMORY = 30.0
"""Seconds over which the rate of compared pairs is averaged."""

NONE = 1e-6
"""Pairs per second that are none: one in eleven days."""


@dataclass(slots=True)
class RateMeter:
    """The rate of something that is counted; `value` is per second."""

    value: float = 0.0
    at: float = math.nan
    count: int = 0

    def update(self, count: int, now: float) -> float:
        """The rate now that so many have been counted at `now` (seconds of any clock)."""
        if math.isnan(self.at) or count < self.count:
            self.at, self.count = now, count
        elif now > self.at:
            share = 1.0 - math.exp((self.at - now) / RATE_MEMORY)
            value = self.value + share * ((count - self.count) / (now - self.at) - self.value)
            self.value = value if value > NONE else 0.0
            self.at, self.count = now, count
        return self.value
