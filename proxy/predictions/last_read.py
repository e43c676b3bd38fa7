"""The last few bodies that were read, and what was made of them: several predictions read one answer in turn, and to
put a stream together is nearly all that each of them costs.

What is kept is shared and must not be changed. A body is known by its identity, so it is never compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from proxy.predictions.bounds import Bounds

KEPT = 4
"""Bodies: live's, the candidate's, live's second one, and one to spare."""

Made = TypeVar("Made")


class LastRead(Generic[Made]):
    """What `make` makes of a body within bounds, made once for bodies that come again soon.

    >>> from proxy.predictions.bounds import DEFAULT
    >>> made = []
    >>> read = LastRead(lambda body, bounds: made.append(body) or len(body))
    >>> body = b"abc"
    >>> read(body, DEFAULT), read(body, DEFAULT), len(made)
    (3, 3, 1)
    """

    __slots__ = ("_kept", "_make")

    def __init__(self, make: Callable[[bytes, Bounds], Made]) -> None:
        self._make = make
        self._kept: tuple[tuple[bytes, Bounds, Made], ...] = ()  # replaced as a whole: threads may read too

    def __call__(self, body: bytes, bounds: Bounds) -> Made:
        """What is made of it; raises what `make` raises, and makes that anew each time."""
        for known, within, made in self._kept:
            if known is body and within == bounds:
                return made
        made = self._make(body, bounds)
        self._kept = ((body, bounds, made), *self._kept[: KEPT - 1])
        return made
