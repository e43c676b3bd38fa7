"""What `GET /api/v1/fleet` shows, and what is said of it in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from proxy.json_types import AsDict, Timestamp, Whole
from proxy.rfc3339 import rfc3339

FleetRole = Literal["leader", "standby"]


class LeaderJson(TypedDict):
    """Who leads, where its links are taken, and since when."""

    name: str
    address: str
    since: Timestamp


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica. `link_lag_seconds` is how long pairs take to the leader, `clock_offset_seconds` how far its clock is
    ahead of the leader's; `None` where that is not known. One that is not connected is shown as it was last."""

    name: str
    address: str
    role: FleetRole
    version: str
    config_hash: str
    workers: Whole
    link_lag_seconds: float | None
    clock_offset_seconds: float | None
    connected: bool = True


class FleetJson(TypedDict):
    """The whole fleet; `leader` is null where nobody leads."""

    leader: LeaderJson | None
    term: Whole
    replicas: list[Annotated[dict[str, Any], AsDict(ReplicaView)]]


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

    def shown(self) -> FleetJson:
        """As the API shows it.

        >>> FleetView(None, 3, ()).shown()
        {'leader': None, 'term': 3, 'replicas': []}
        """
        leader: LeaderJson | None = None
        if self.leader is not None:
            leader = {"name": self.leader.name, "address": self.leader.address, "since": rfc3339(self.leader.since)}
        replicas = sorted(self.replicas, key=lambda one: (one.role != "leader", one.name))
        return {"leader": leader, "term": self.term, "replicas": [asdict(one) for one in replicas]}
