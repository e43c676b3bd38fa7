"""What one client may cost, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.http.peers import Networks, is_within, networks
from proxy.request.routes import part

if TYPE_CHECKING:
    import asyncio

    from proxy.model.worker_config import DataPortSpec


@dataclass(frozen=True)
class ClientLimits:
    """What one client may cost; `max_connections` is this worker's part. Bytes and seconds."""

    max_header: int
    max_body: int
    max_connections: int
    buffer: int
    max_memory: int
    min_rate: int
    header: float
    body: float
    request: float
    idle: float
    trusted: Networks = ()
    """Proxies whose word is believed on who asks."""

    @classmethod
    def of(cls, port: DataPortSpec, place: tuple[int, int]) -> ClientLimits:
        """A worker's limits; `place`: slot, workers."""
        connections = part(port.max_connections, *place)
        sizes = port.max_header, port.max_body, connections, port.buffer, port.max_memory, port.min_rate
        return cls(*sizes, port.header, port.body, port.request, port.idle, networks(port.trusted_proxies))

    def whose(self, transport: asyncio.BaseTransport) -> tuple[bytes, bool]:
        """The address at the other end, and whether it is a trusted proxy's. Asked once per connection."""
        address = transport.get_extra_info("peername")
        if not isinstance(address, tuple):
            return b"unknown", False
        peer = str(address[0])
        return peer.encode(), is_within(peer, self.trusted)

    @property
    def shortest(self) -> float:
        """How often a connection must be looked at so that no timeout is missed."""
        return min(self.header, self.body, self.request, self.idle)
