"""A leader's port and standbys, over real sockets and real TLS, in one process."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.controller.fleet.links import Links
from proxy.controller.fleet.relay import Relay
from proxy.controller.fleet.tls import LinkContexts, for_links
from proxy.controller.worker_connections import WorkerConnections
from proxy.pairs.replicas import ReplicaHello
from tests.controller.controllers import eventually
from tests.controller.ear import Ear
from tests.fakes import certificate

DEADLINE = 20.0


def authority(folder: Path, *names: str, ca: str = "ca") -> None:
    """Certificates of these names, signed by an authority of their own."""
    certificate(folder, ca, names="DNS:authority")
    for name in names:
        certificate(folder, name, ca=ca)


def contexts(folder: Path, name: str, ca: str = "ca") -> LinkContexts:
    return for_links(folder / f"{name}.pem", folder / f"{name}.key", folder / f"{ca}.pem")


def listening(port: int = 0) -> tuple[socket.socket, str]:
    """A socket that is bound, and its address."""
    sock = socket.create_server(("127.0.0.1", port))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


class Leader:
    """A port for replicas, and who hears what comes in."""

    def __init__(self, folder: Path, tls: LinkContexts | None = None, term: int = 1, name: str = "leader") -> None:
        self.folder, self.name, self.term, self.ear = folder, name, term, Ear()
        self.connections = WorkerConnections(self.ear)
        self.connections.replica = name
        context = tls.server if tls is not None else None
        self.links = Links(self.connections, lambda: (self.name, self.term), context, lambda: time.time())
        self.address = ""

    async def start(self, port: int = 0) -> Leader:
        sock, self.address = listening(port)
        await self.links.start(sock)
        await self.connections.start(self.folder)
        return self

    async def stop(self) -> None:
        await self.links.stop()
        await self.connections.stop()


class Standby:
    """A replica that follows; `ahead` seconds is its clock of ours."""

    def __init__(self, folder: Path, name: str, tls: LinkContexts | None = None, pids: tuple[int, ...] = (1,)) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.name, self.pids, self.ear, self.ahead = folder, name, pids, Ear(), 0.0
        self.boot, self.version, self.term_seen, self.config_hash = "1", 1, 0, ""
        context = tls.client if tls is not None else None
        self.relay = Relay(folder, self._hello, self.ear, context, lambda: time.time() + self.ahead)

    @property
    def connected(self) -> bool:
        """Whether it has workers, and all of them both links."""
        return bool(self.relay.workers) and all(worker.connected for worker in self.relay.workers.values())

    def _hello(self) -> ReplicaHello:
        workers = tuple(enumerate(self.pids))
        return ReplicaHello(
            self.name, self.boot, "replica", self.version, "a:1", "", self.config_hash, workers, self.term_seen
        )

    async def start(self, leader: Leader | None = None) -> Standby:
        await self.relay.start()
        if leader is not None:
            self.relay.follow(leader.address, leader.term)
            await eventually(lambda: self.relay.leader is not None)
        return self


@asynccontextmanager
async def fleet(folder: Path, *names: str, tls: bool = False) -> AsyncIterator[tuple[Leader, list[Standby]]]:
    """A leader and standbys that are taken in."""
    ends: dict[str, LinkContexts] = {}
    if tls:
        authority(folder, "leader", *names)
        ends = {name: contexts(folder, name) for name in ("leader", *names)}
    leader = await Leader(folder, ends.get("leader")).start()
    standbys = [Standby(folder / name, name, ends.get(name)) for name in names]
    try:
        for one in standbys:
            await one.start(leader)
        yield leader, standbys
    finally:
        for one in standbys:
            await one.relay.stop()
        await leader.stop()
