"""At most how much evidence to fail there is, for a fraction of what it costs to reckon it.

A bet's wealth is multiplied by a factor of each pair, and evidence is an average of bets over starts and directions. So
while pairs come it grows by no more than the luckiest bet on them. Of latency it is that average at the edge where it
is least: it is at most what it is at the edge where it was. So evidence that was reckoned once need not be reckoned
again before luck could have brought the whole over its budget: for a candidate that keeps its limits, whose bets lose,
once in many seconds.

A start has wealth 1 until it begins, so a restart changes nothing by itself; but its bets do not share in what others
lost before. So what the luckiest bet has won is settled at each restart, and the next one is begun at nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxy.evidence.count_store import CountStore
from proxy.evidence.families.ratio import Ratio
from proxy.evidence.families.rule import Slot
from proxy.evidence.input.timings import least_edges
from proxy.evidence.process.restarts import Restarts
from proxy.evidence.process.stakes import UNIT
from proxy.evidence.process.wealth import Floats
from proxy.evidence.rules.psi import Psi

ROUNDING = 1e-6
"""Nats by which sums of floats may be off, and far more."""


@dataclass(slots=True)
class Ceiling:
    """Of each guard the log evidence that there was at most at one moment; of latency the edges at which that was; and
    what each bet had by then won in the restart that counts now. Of all traffic: not of segments, nor of the watch."""

    slots: tuple[Slot, ...]
    restarts: Restarts
    at_most: list[float]
    edges: list[list[int]]
    won: list[Floats]

    @classmethod
    def of(cls, tally: CountStore, logs: Sequence[float]) -> Ceiling:
        """From the log evidence as it is, without bursts."""
        edges = [_edges(tally, i) for i in range(len(logs))]
        return cls(tally.slots, tally.restarts, list(logs), edges, _won(tally, edges))

    def fits(self, tally: CountStore) -> bool:
        """Whether these are the guards and the restart that it knows of."""
        return tally.slots is self.slots and tally.restarts is self.restarts

    def logs(self, tally: CountStore) -> list[float]:
        """Log evidence of each guard is not more than this now."""
        bounds = zip(self.bounds(tally), self.won, strict=True)
        return [bound if len(won) else tally.log_whole(i, 1.0) for i, (bound, won) in enumerate(bounds)]

    def bounds(self, tally: CountStore) -> list[float]:
        """The same, but for guards of which no bets are known, whose figure says nothing."""
        now = zip(self.at_most, _won(tally, self.edges), self.won, strict=True)
        return [before + float((won - then).max(initial=0.0)) + ROUNDING for before, won, then in now]

    def restarted(self, tally: CountStore, at_most: list[float]) -> Ceiling:
        """The same once a restart has begun in which nothing has come yet, and so nothing has been won; `at_most` are
        the `bounds` before it."""
        return Ceiling(tally.slots, tally.restarts, at_most, self.edges, [np.zeros_like(won) for won in self.won])


def _edges(tally: CountStore, i: int) -> list[int]:
    own = tally.timings_of(i)
    if own is None:
        return []
    timings, rule, fails, _ = own
    return least_edges(rule, timings.fails[:, fails], tally.restarts, tally.opened[i])


def _won(tally: CountStore, edges: list[list[int]]) -> list[Floats]:
    """Log-wealth of each guard's bets on what the restart that counts now has seen; none of a guard of which no such
    bets are known, an index and p99 by single pairs."""
    found, row = [], tally.restarts.row
    for i, slot in enumerate(tally.slots):
        if (own := tally.timings_of(i)) is not None:
            timings, rule, fails, _ = own
            each = timings.fails[row, fails].reshape(len(rule.arrays), rule.cells, -1)
            found.append((each[np.arange(len(each)), edges[i]] / UNIT).ravel())
        elif isinstance(slot.rule, Psi | Ratio):
            found.append(np.zeros(0))
        else:
            counts = tally.rows[row, slot.start : slot.stop]
            found.append(slot.rule.log_bets(counts, slot.guard.limit).ravel())
    return found
