"""What `GET /api/v1/fleet` shows, and what is said of it in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from proxy.rfc3339 import rfc3339


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica. `link_lag_seconds` is how long pairs take to the leader, `clock_offset_seconds` how far its clock is
    ahead of the leader's; `None` where that is not known. One that is not connected is shown as it was last."""

    name: str
    address: str
    role: str
    version: str
    config_hash: str
    workers: int
    link_lag_seconds: float | None
    clock_offset_seconds: float | None
    connected: bool = True


@dataclass(frozen=True, slots=True)
class LeaderView:
    """Who leads, where its links are taken, and since when (epoch seconds)."""

    name: str
    address: str
    since: float


@dataclass(frozen=True, slots=True)
class FleetView:
    """The whole fleet; `leader` is `None` where nobody leads. A machine that is no fleet is one replica that leads, in
    term 0."""

    leader: LeaderView | None
    term: int
    replicas: tuple[ReplicaView, ...]

    def shown(self) -> dict[str, Any]:
        """As the API shows it.

        >>> FleetView(None, 3, ()).shown()
        {'leader': None, 'term': 3, 'replicas': []}
        """
        leader = None
        if self.leader is not None:
            leader = {"name": self.leader.name, "address": self.leader.address, "since": rfc3339(self.leader.since)}
        replicas = sorted(self.replicas, key=lambda one: (one.role != "leader", one.name))
        return {"leader": leader, "term": self.term, "replicas": [asdict(one) for one in replicas]}
