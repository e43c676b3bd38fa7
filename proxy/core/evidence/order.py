"""Request order: pairs enter the evidence in the order of their requests, not of their answers.

Answers arrive in an order that depends on their outcome (a slow candidate's pairs come last), and a rule that stops
looking when it has seen enough would then see a biased sample (STATISTICS 5, trap 2). One buffer serves one worker
incarnation and one trial: a pair waits only while an earlier sampled pair of the same worker is in flight.
"""

from __future__ import annotations

from proxy.core.model import Reading

MOST = 65_536
"""Readings that may wait."""


class RequestOrder:
    """Hands readings over in order of `sequence`, counted from 0.

    `add` and `mark` return the readings that are now ready. `late` counts readings refused because their place had been
    settled (a repeated frame), `skipped` sequences given up because more than `most` readings waited behind them.
    """

    __slots__ = ("_most", "_next", "_waiting", "late", "skipped")

    def __init__(self, most: int = MOST) -> None:
        self._waiting: dict[int, Reading] = {}
        self._next = 0
        self._most = most
        self.late = 0
        self.skipped = 0

    def __len__(self) -> int:
        """How many readings wait."""
        return len(self._waiting)

    def add(self, reading: Reading) -> list[Reading]:
        """Take a reading; returns what is ready, in order."""
        sequence = reading.sequence
        if sequence < self._next or sequence in self._waiting:
            self.late += 1
            return []
        if sequence == self._next and not self._waiting:  # in order already: the usual case
            self._next += 1
            return [reading]
        self._waiting[sequence] = reading
        ready = self._ready()
        if len(self._waiting) > self._most:
            first = min(self._waiting)
            self.skipped += first - self._next
            self._next = first
            ready += self._ready()
        return ready

    def mark(self, sequence: int) -> list[Reading]:
        """Every sequence below `sequence` is settled: nothing that has not arrived by now will."""
        ready = []
        if sequence > self._next:
            settled = sorted(s for s in self._waiting if s < sequence)
            ready = [self._waiting.pop(s) for s in settled]
            self._next = sequence
        return ready + self._ready()

    def lost(self) -> list[Reading]:
        """The worker is gone: everything that waits, in order."""
        return self.mark(max(self._waiting, default=self._next - 1) + 1)

    def _ready(self) -> list[Reading]:
        ready = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        return ready
