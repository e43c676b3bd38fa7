"""How far another replica's clock is ahead of ours, from times on messages that go there and back.

One exchange: a PING leaves at t1 and the PONG is back at t4, by our clock; by the other's it came at t2 and was
answered at t3. The way there and the way back each took some time that is not known, so the offset lies somewhere in
[t3 − t4, t2 − t1], whatever their parts: NTP's estimate ± half the round trip (RFC 5905, 8). Each exchange is such an
interval; what lies in all of them is what is known. The one of the least delay is the narrowest, so it rules by itself,
and two that were delayed on different ways are narrower together than either.

What is known grows old: two clocks drift apart, so the interval widens with time. An exchange that contradicts it says
that a clock was set: what was known before is forgotten.

Invariants
- The offset is in [low, high] as long as the clocks drift by at most `DRIFT` (property test). After a clock was set it
  is off by at most the round trip of the first exchange since.
- The correction is changed only when it has become impossible. So between clocks that agree it is 0, exactly, and the
  times of pairs do not jitter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

DRIFT = 500e-6
"""How fast two clocks may drift apart, a ratio: what the kernel bends each by at most (adjtimex(2))."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """What is known of another clock's offset (its time less ours, seconds) at `at` (monotonic seconds): it is between
    `low` and `high`. `correction` is what its times are taken to be ahead by."""

    low: float = -math.inf
    high: float = math.inf
    at: float = 0.0
    correction: float = 0.0

    def uncertainty(self, now: float) -> float:
        """By how much a corrected time may be wrong at `now` (monotonic seconds), seconds; infinite before the first
        exchange.

        >>> ClockOffset().uncertainty(1.0), ClockOffset(-0.001, 0.003, 10.0).uncertainty(12.0)
        (inf, 0.004)
        """
        return max(self.high - self.correction, self.correction - self.low) + DRIFT * max(0.0, now - self.at)

    @property
    def middle(self) -> float | None:
        """The best guess, seconds; `None` before the first exchange."""
        return None if math.isinf(self.high) else (self.low + self.high) / 2


def exchanged(before: ClockOffset, times: tuple[float, float, float, float], now: float) -> ClockOffset:
    """What is known after one more exchange: `times` are t1 to t4 in epoch seconds, `now` monotonic seconds.

    >>> exchanged(ClockOffset(), (100.0, 107.1, 107.2, 100.4), 0.0).correction  # 7 s ahead, 0.3 s there and back
    6.95
    >>> exchanged(ClockOffset(), (100.0, 100.1, 100.2, 100.4), 0.0).correction  # may be equal, so is taken to be
    0.0
    >>> exchanged(ClockOffset(), (100.0, 107.1, 107.2, 99.0), 0.0).middle  # our own clock was set: says nothing
    """
    sent, came, answered, back = times
    low, high = answered - back, came - sent
    if not low <= high < math.inf:
        return before
    widened = DRIFT * max(0.0, now - before.at)
    if low <= before.high + widened and high >= before.low - widened:  # else a clock was set
        low, high = max(low, before.low - widened), min(high, before.high + widened)
    after = replace(before, low=low, high=high, at=now)
    if after.low <= after.correction <= after.high:
        return after
    return replace(after, correction=round((after.low + after.high) / 2, 9))
