"""A pool, as its connections and those who wait for one see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from proxy.request.legs import Upstream

if TYPE_CHECKING:
    from proxy.http.answer_head import Answer
    from proxy.http.known_heads import KnownHeads
    from proxy.model.reasons import Reason
    from proxy.request.legs import Leg
    from proxy.worker.timers import TimerWheel
    from proxy.worker.turn import TurnScheduler
    from proxy.worker.upstream.endpoint import Endpoint, PooledConnection


@mypyc_attr(allow_interpreted_subclasses=True)
class Http1ConnectionOwner(Upstream):
    """A pool, as its connections see it. A class and not a Protocol: compiled, a call through a Protocol costs more."""

    wheel: TimerWheel
    turn: TurnScheduler
    period: float
    known: KnownHeads[Answer]
    stalled: dict[PooledConnection, None]

    def submit(self, leg: Leg, fresh: bool = False, avoid: Endpoint | None = None) -> None:
        """Send a leg as soon as there is a connection; `fresh` asks for a new one, `avoid` has just failed."""
        raise NotImplementedError

    def elsewhere(self, leg: Leg, endpoint: Endpoint) -> bool:
        """Try another endpoint, if there is one that may be tried; whether there was."""
        raise NotImplementedError

    def doubt(self, leg: Leg, endpoint: Endpoint, reason: Reason) -> None:
        """A leg is about to fail: where health is checked, find out whether the model is there at all (`absence`)."""
        raise NotImplementedError

    def remember(self, answer: Answer) -> None:
        """Keep a head that has passed every check, for the next time."""
        raise NotImplementedError

    def release(self, connection: PooledConnection) -> None:
        """It is idle."""
        raise NotImplementedError

    def lost(self, connection: PooledConnection) -> None:
        """It has ended."""
        raise NotImplementedError
