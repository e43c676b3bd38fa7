"""How long a client may take to say what is waited for: a request whose body is not here whole, a message of a call.

Three bounds, and the time in which we do not read counts for none of them: between two pieces (`server.timeouts.body`),
in all (`server.timeouts.request`), and the least rate (`server.limits.min_rate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.model.reasons import Reason
from proxy.worker.pace import GRACE, Pace

if TYPE_CHECKING:
    from proxy.worker.limits import ClientLimits


class Receiving:
    """One of them, whose first byte came at `began`. Bytes, and monotonic seconds.

    >>> from proxy.worker.limits import ClientLimits
    >>> limits = ClientLimits(32 << 10, 64 << 20, 10, 0, 0, 1 << 10, header=10.0, body=30.0, request=60.0, idle=75.0)
    >>> late = Receiving(limits, 0.0, 1.0)
    >>> late.moved(10_000, 9.0); late.late(limits, 12.0), late.late(limits, 19.0).value
    (<Reason.NONE: ''>, 'slow_client')
    >>> late.stop(12.0); late.go_on(70.0); late.due(limits, 70.0)
    80.0
    """

    def __init__(self, limits: ClientLimits, began: float, now: float) -> None:
        self._began, self._since, self._stopped = began, now, 0.0
        self._pace = Pace(limits.min_rate, now)

    def moved(self, size: int, now: float) -> None:
        """So much more of it came."""
        self._since = now
        self._pace.moved(size, now)

    def asked(self, now: float) -> None:
        """The client has been told to go on (100): until now it may have waited for that."""
        self._since = now
        self._pace.begin(now)

    def stop(self, now: float) -> None:
        """The client is not read."""
        if not self._stopped:
            self._stopped = now

    def go_on(self, now: float) -> None:
        """It is read again."""
        if self._stopped:
            self._began += now - self._stopped
            self._since, self._stopped = now, 0.0
            self._pace.begin(now)

    def behind(self, now: float) -> float:
        """Seconds that the client is behind the least rate."""
        return 0.0 if self._stopped else self._pace.behind(now)

    def late(self, limits: ClientLimits, now: float) -> Reason:
        """Why it is not waited for any longer, if it is not."""
        if self._stopped:
            return Reason.NONE
        if now - self._since >= limits.body or now - self._began >= limits.request:
            return Reason.REQUEST_TIMEOUT
        return Reason.SLOW_CLIENT if self._pace.behind(now) >= GRACE else Reason.NONE

    def due(self, limits: ClientLimits, now: float) -> float:
        """When to look again."""
        if self._stopped:
            return now + GRACE
        return min(self._since + limits.body, self._began + limits.request, now + GRACE - self._pace.behind(now))
