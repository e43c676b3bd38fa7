"""How far a peer is behind the least rate at which it has to send or take what is waited for.

Each byte pays for 1/rate seconds, and never for more than have passed: a peer that keeps the rate is not behind, one
that rests is behind by as long as it rests, and one that has been fast has no time in store. It is timed only while it
is the one that is waited for; whoever holds a `Pace` sees to that. Kestrel (`MinRequestBodyDataRate`) and Apache
(`RequestReadTimeout`) bound their clients likewise.
"""

from __future__ import annotations

from typing import Final

GRACE: Final = 10.0
"""Seconds that a peer may be behind before it is cut off."""
HURRY: Final = 1.0
"""The same where others wait for what it holds."""
LOOK: Final = 1.0
"""Seconds between two looks at one that may be behind."""


class Pace:
    """One peer's. Bytes per second, and monotonic seconds.

    >>> pace = Pace(1024, 100.0); pace.moved(2048, 103.0); pace.behind(104.0)
    2.0
    >>> pace.moved(1 << 20, 105.0); pace.behind(106.0)
    1.0
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._paid = rate, now

    def moved(self, size: int, now: float) -> None:
        """So many bytes came, or were taken."""
        self._paid = min(now, self._paid + size / self._rate)

    def begin(self, now: float) -> None:
        """It is waited for again, as if anew."""
        self._paid = now

    def behind(self, now: float) -> float:
        """Seconds that it is behind."""
        return now - self._paid
