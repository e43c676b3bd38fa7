"""Whose fault is a connection that is refused or lost? Where health is checked, the model is asked at once.

A model that restarts loses what it carries and refuses what comes, seconds before the next check of its health is due.
So the first such leg has a check sent to its endpoint, and what the endpoint loses until the check has ended waits for
it (`legs.Inquiry`). A check that succeeds says that the model is there: the leg has failed. One that fails says that it
is away, as long as no check succeeds: what is lost meanwhile is nobody's fault.

That is excused once in a while only. An endpoint that is away again sooner than `health.wait` after it came back is no
server that somebody restarts, it crashes: it is left out like any that is not ready, but what it loses are failures.

Nothing here looks at a clock.
"""

from __future__ import annotations

from typing import Final

from proxy.model.reasons import Reason
from proxy.request.legs import Inquiry

LOST: Final = frozenset({Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.DISCONNECT})
"""How a leg ends by a model that is not there."""


class Absence:
    """What is known of one endpoint's being away. Times are monotonic seconds; `wait` is `health.wait`.

    >>> absence = Absence(600.0)
    >>> inquiry, new = absence.inquire()
    >>> new, inquiry.pending
    (True, True)
    >>> absence.checked(inquiry, False, 0.0); inquiry.excuses, absence.inquire()[0].excuses
    (True, True)
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._away = False
        self._back: float | None = None
        self._last = Inquiry()
        self._last.answer(False)

    def inquire(self) -> tuple[Inquiry, bool]:
        """Something was lost here: what will say whose fault it is, and whether a check is to be sent for that."""
        if self._away or self._last.pending:
            return self._last, False
        self._last = Inquiry()
        return self._last, True

    def checked(self, inquiry: Inquiry | None, good: bool, now: float) -> None:
        """A check has ended, perhaps the one of an inquiry."""
        if good:
            if self._away:
                self._away, self._back = False, now
        elif inquiry is not None:
            self._away = True
        if inquiry is not None:
            inquiry.answer(self._away and (self._back is None or now - self._back >= self._wait))
