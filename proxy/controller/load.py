"""How busy this thread is, what links have room for, and the pace of pairs that follows from both."""

from __future__ import annotations

import time
from collections.abc import Sequence

from proxy.rollout.pair_budget import PairPace, Strain, bearable

_NONE = (0.0, 0, 0)


class LoadMeter:
    """Turns the share of requests that `mirror.max_pairs_per_second: auto` samples, on the loop's own thread.

    Its time is what it has run, by the CPU's clock. Time in which it waited for a core would say on a busy machine that
    a loop with little to do is never idle, for each of its short turns waits; what such a machine cannot give is found
    by what workers spare and lose."""

    def __init__(self) -> None:
        self.pace = PairPace()
        self._at = self._busy = 0.0
        self._lost = 0
        self._totals: dict[str, tuple[float, int, int]] = {}
        self._offered = 0.0
        self._due = self._spared = 0

    def heard(self, worker: str, totals: Sequence[float]) -> None:
        """A worker's totals: requests offered, due by the share, and spared. The first ones are of a time before."""
        now = (float(totals[0]), int(totals[1]), int(totals[2]))
        before, self._totals[worker] = self._totals.get(worker, now), now
        self._offered += now[0] - before[0]
        self._due += now[1] - before[1]
        self._spared += now[2] - before[2]

    def gone(self, worker: str) -> None:
        """Nothing more will come from a worker."""
        self._totals.pop(worker, None)

    def turn(self, now: float, lost: int) -> None:
        """One more step, at `now` (monotonic seconds); `lost` counts the pairs that full links have cost so far."""
        busy = time.thread_time()
        if self._at and now > self._at:
            ratio = (busy - self._busy) / (now - self._at)
            new = max(0, lost - self._lost)
            self.pace = bearable(self.pace, now, Strain(ratio, new, self._offered, self._due, self._spared))
        self._at, self._busy, self._lost = now, busy, lost
        self._offered, self._due, self._spared = _NONE
