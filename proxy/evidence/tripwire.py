"""The tripwire: candidate failures in a row where live succeeded. It acts at once, outside the statistics.

It sees every pair in the order of arrival, repeats included. A request on which live failed too says nothing about the
candidate, so it neither counts nor resets, and so does one on which neither answer could be read; a success of the
candidate resets.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.model import Reading
from proxy.model.reasons import PREDICTION_WORDS


@dataclass(slots=True)
class Tripwire:
    """Counts failures in a row; `limit` of them trip it. A limit of 0 never trips."""

    limit: int
    count: int = 0

    def add(self, reading: Reading) -> bool:
        """Count one reading; whether the wire is tripped now.

        >>> wire = Tripwire(limit=2)
        >>> wire.tripped
        False
        """
        if not reading.fault:
            if not reading.live_fault:  # nearly always
                self.count = 0
                return False
            if reading.candidate is not None or reading.live_fault not in PREDICTION_WORDS:
                self.count = 0
        elif not reading.live_fault:
            self.count += 1
        return self.tripped

    @property
    def tripped(self) -> bool:
        """Whether the limit has been reached."""
        return 0 < self.limit <= self.count
