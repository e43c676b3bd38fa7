"""What a request asks of the process that it runs in: its worker, and the client's side."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from proxy.http.answer_head import Answer
    from proxy.model.reasons import Reason
    from proxy.request.counts import Counts
    from proxy.request.legs import Leg
    from proxy.request.rollouts import Trial


class Timed(Protocol):
    """What a precise timer calls."""

    def late(self) -> None:
        """The time has come."""


class Watched(Protocol):
    """Something that may be late. `slot` belongs to the wheel; a new thing starts with 0."""

    slot: int

    def check(self, now: float) -> float:
        """Do what is due; return when to look again (monotonic seconds), or 0.0 for never."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestContext:
    """What all requests of a worker share. A class and not a Protocol: compiled, a call through a Protocol costs more.

    Times are monotonic seconds; add `epoch` to get epoch seconds.
    """

    counts: Counts
    epoch: float
    told = False
    """Whether a routing table has come: until then live serves alone, and nobody is sampled."""

    @property
    def buffer(self) -> int:
        """Bytes of a slow body that are held before a model is asked (`server.limits.buffer`)."""
        raise NotImplementedError

    @property
    def max_body(self) -> int:
        """Bytes of the longest body that is taken (`server.limits.max_body`)."""
        raise NotImplementedError

    @property
    def backlog(self) -> int:
        """Bytes that wait for the controller."""
        raise NotImplementedError

    @property
    def room(self) -> int:
        """The part of the pairs that the link to the controller has room for now, basis points."""
        raise NotImplementedError

    def later(self, work: Callable[[], None]) -> None:
        """Do `work`, which no client waits for, when everything that one waits for has been sent."""
        raise NotImplementedError

    def call_at(self, what: Timed, due: float) -> None:
        """Call `what.late()` soon after `due`, unless it is cancelled before."""
        raise NotImplementedError

    def cancel(self, what: Timed) -> None:
        """Do not call it; nothing if nobody would."""
        raise NotImplementedError

    def watch(self, what: Watched, due: float) -> None:
        """See to it that `what.check` is called within a tick after `due`, which costs less than `call_at`."""
        raise NotImplementedError

    def unwatch(self, what: Watched) -> None:
        """Do not check it any more."""
        raise NotImplementedError

    def charge(self, size: int) -> bool:
        """Count `size` bytes more (or less) that are held for a slow client; whether there is room for them."""
        raise NotImplementedError

    def span(self) -> tuple[bytes, bytes]:
        """A span id and a trace id (W3C Trace Context)."""
        raise NotImplementedError

    def publish(
        self, trial: Trial, sequence: int, stage: int, time: float, flags: int,
        name: bytes, head: bytes, body: bytes, outcomes: bytes, given: bytes, failed: bool,
    ) -> None:  # fmt: skip
        """Send a pair to the controller, or count it as `link_full`; `failed`: the candidate has, which is urgent."""
        raise NotImplementedError

    def observe(
        self, observer: Trial, sequence: int, time: float, flags: int, head: bytes, body: bytes, outcome: bytes
    ) -> None:
        """Send what was observed of a request to the controller, or count it as `link_full`."""
        raise NotImplementedError


class DownstreamStream(Protocol):
    """The client's side of one request: an HTTP/1.1 connection, or one call of a gRPC connection."""

    peer: bytes
    scheme: bytes
    lines: bytes
    trusted: bool
    """It is a proxy whose word on who asks is believed (`server.trusted_proxies`)."""
    blocked: bool

    def interim(self, head: bytes) -> None:
        """Pass on a 1xx."""

    def answer(self, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        """Begin the client's answer."""

    def more(self, piece: bytes, done: bool) -> None:
        """Go on with it."""

    def refuse(self, reason: Reason, name: bytes = b"", counted: bool = False) -> None:
        """Answer with an error of our own; `counted` when its legs have been counted already."""

    def abort(self) -> None:
        """The answer that has begun cannot be completed."""

    def upgraded(self, leg: Leg, head: bytes, rest: bytes) -> None:
        """The model took up the upgrade."""

    def gives_way(self, now: float) -> bool:
        """Others wait for the connection to a model that this client holds: whether it is cut off for it."""

    def pause_reading(self) -> None:
        """Whoever takes the request cannot take more."""

    def resume_reading(self) -> None:
        """There is room again."""
