"""How busy this thread is, and the pace of pairs that follows from it."""

from __future__ import annotations

import time
from pathlib import Path

from proxy.rollout.pair_budget import PairPace, bearable

SCHEDSTAT = Path("/proc/thread-self/schedstat")


def busy_seconds() -> float:
    """Seconds for which this thread has run or waited for a core, since it began. What a busy machine makes it wait is
    no time that it has to spare. Where the kernel does not say (Linux does), those for which it has run."""
    try:
        ran, waited, _ = SCHEDSTAT.read_text("ascii").split()
        return (int(ran) + int(waited)) / 1e9
    except (OSError, ValueError):
        return time.thread_time()


class LoadMeter:
    """Turns the share of requests that `mirror.max_pairs_per_second: auto` samples, on the loop's own thread."""

    def __init__(self) -> None:
        self.pace = PairPace()
        self._at = self._busy = 0.0
        self._lost = 0

    def turn(self, now: float, lost: int) -> None:
        """One more step, at `now` (monotonic seconds); `lost` counts the pairs that full links have cost so far."""
        busy = busy_seconds()
        if self._at and now > self._at:
            ratio = (busy - self._busy) / (now - self._at)
            self.pace = bearable(self.pace, now, ratio, max(0, lost - self._lost))
        self._at, self._busy, self._lost = now, busy, lost
