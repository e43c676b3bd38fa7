"""How busy this thread is, and the pace of pairs that follows from it."""

from __future__ import annotations

import time

from proxy.rollout.pair_budget import PairPace, bearable


class LoadMeter:
    """Turns the share of requests that `mirror.max_pairs_per_second: auto` samples, on the loop's own thread.

    Its time is what it has run, by the CPU's clock. Time in which it waited for a core would say on a busy machine that
    a loop with little to do is never idle, for each of its short turns waits; what such a machine cannot give is found
    by what links lose."""

    def __init__(self) -> None:
        self.pace = PairPace()
        self._at = self._busy = 0.0
        self._lost = 0

    def turn(self, now: float, lost: int) -> None:
        """One more step, at `now` (monotonic seconds); `lost` counts the pairs that full links have cost so far."""
        busy = time.thread_time()
        if self._at and now > self._at:
            ratio = (busy - self._busy) / (now - self._at)
            self.pace = bearable(self.pace, now, ratio, max(0, lost - self._lost))
        self._at, self._busy, self._lost = now, busy, lost
