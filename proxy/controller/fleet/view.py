"""What a leader knows of the other replicas, as the API shows it."""

from __future__ import annotations

import math

from proxy.controller.admin.fleet_view import ReplicaView
from proxy.controller.fleet.links import Links, Peer


def others(links: Links, now: float) -> tuple[ReplicaView, ...]:
    """Every replica but the leader, `now` in monotonic seconds; one that is cut off stays until it is held for gone."""
    return tuple(_view(peer, now) for peer in links.peers.values())


def _view(peer: Peer, now: float) -> ReplicaView:
    hello, lag, offset = peer.hello, peer.lag(now), peer.clock.middle
    return ReplicaView(
        hello.name,
        hello.address,
        "standby",
        hello.version,
        hello.config_hash,
        len(hello.workers),
        lag if peer.connected and math.isfinite(lag) else None,
        offset,
        peer.connected,
    )
