"""What happens to a replica of a fleet, as `election` is told it. `now` is the replica's own time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads: `holder` is one process, `address` where its links are taken, `since` when one heard of it."""

    holder: str
    address: str
    term: int
    since: float

    @property
    def name(self) -> str:
        """The replica's.

        >>> Leader("host-1:9091#4f1c", "10.0.0.1:9091", 3, 0.0).name
        'host-1:9091'
        """
        return self.holder.partition("#")[0]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    now: float


@dataclass(frozen=True, slots=True)
class Row:
    """What the store says; `left` seconds of the lease, below 0 when it has run out."""

    now: float
    term: int
    holder: str
    address: str
    left: float


@dataclass(frozen=True, slots=True)
class Away:
    """The store did not answer, or the connection to it has ended."""

    now: float


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to `take`, which was sent at `sent`: a term, or `None`."""

    now: float
    sent: float
    term: int | None


@dataclass(frozen=True, slots=True)
class Renewed:
    """The answer to `renew`."""

    now: float
    sent: float
    ok: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """The leader was heard over its link."""

    now: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The link to the leader has ended."""

    now: float


@dataclass(frozen=True, slots=True)
class TermSeen:
    """A worker or a replica knows a leader of this term, and that was not this process. (Of a store that failed over to
    a server which had not heard of it, a term may come twice.)"""

    now: float
    term: int


@dataclass(frozen=True, slots=True)
class Alone:
    """Of the replicas that there were when the store was last heard no majority follows any more."""

    now: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The controller could not be built, for want of the store or of an address: others may try."""

    now: float


@dataclass(frozen=True, slots=True)
class Drain:
    """This replica leaves."""

    now: float


FleetEvent = Tick | Row | Away | Taken | Renewed | Heard | Cut | TermSeen | Alone | Failed | Drain
