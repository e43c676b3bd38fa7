"""The body so far of a request whose arm is not asked yet, and whose memory it takes.

Invariant: what is gathered is charged to whom it is gathered for, and given back once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.request.legs import Piece
    from proxy.request.ports import RequestContext
    from proxy.request.rollouts import Trial
    from proxy.request.routes import DualWrite


class Gathered:
    """The body so far of a request whose arm is not asked yet."""

    for_place = False
    """It is waited for only so that no connection is: what may be of use to a model goes on at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self._parts: list[Piece] = []

    def charge(self, size: int) -> bool:
        """Count `size` bytes more (or less); whether there is room for them."""
        raise NotImplementedError

    def add(self, piece: Piece) -> bool:
        """Keep a piece; whether more may come."""
        if piece:
            self._parts.append(piece)
        self.size += len(piece)
        return self.charge(len(piece)) and self.size <= self.most

    def release(self) -> list[Piece]:
        """All of it as it came, and its memory with it."""
        self.charge(-self.size)
        return self._parts


class ForTrial(Gathered):
    """Kept for a trial's candidate."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.settings.max_body)
        self._trial = trial

    def charge(self, size: int) -> bool:
        return self._trial.charge(size)


class ForBoth(Gathered):
    """Kept to be written to both arms."""

    def __init__(self, both: DualWrite) -> None:
        super().__init__(both.max_body)
        self._both = both

    def charge(self, size: int) -> bool:
        return self._both.charge(size)


class ForRoute(Gathered):
    """Kept to see where it belongs."""

    def __init__(self, context: RequestContext, most: int) -> None:
        super().__init__(most)
        self._context = context

    def charge(self, size: int) -> bool:
        return self._context.charge(size)


class ForLive(ForRoute):
    """Kept to be changed for live."""

    def __init__(self, context: RequestContext) -> None:
        super().__init__(context, context.max_body)


class ForPlace(Gathered):
    """Kept so that no connection to a model waits for it."""

    for_place = True

    def __init__(self, context: RequestContext, most: int = 0) -> None:
        super().__init__(max(most, context.buffer))
        self._context = context

    def charge(self, size: int) -> bool:
        return self._context.charge(size)
