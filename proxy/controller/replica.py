"""One replica of a fleet: it stands by, or leads when `fleet.member` says so.

    standing by   `Relay`: its workers' links go on to the leader; an admin port for this machine
    leading       `Leading`: the controller and all around it, `Links`: the port for the other replicas

Its admin port is always there, and answered by whoever it is at the moment. A port that is not free, or a store that
cannot be read, costs the leadership and not the process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from proxy import __version__
from proxy.address import address as parts
from proxy.config import Config
from proxy.controller import admin
from proxy.controller.admin.fleet_view import FleetRole, FleetView, LeaderView, ReplicaView
from proxy.controller.admin.passing_on import LeaderAt
from proxy.controller.controller import Controller
from proxy.controller.fleet.events import Leader
from proxy.controller.fleet.links import Links
from proxy.controller.fleet.member import Member
from proxy.controller.fleet.relay import Relay
from proxy.controller.fleet.standby import StandbyService
from proxy.controller.fleet.tls import LinkContexts, for_links
from proxy.controller.fleet.view import others
from proxy.controller.leading import ADMIN_DRAIN, Leading
from proxy.controller.replica_traffic import ReplicaTraffic
from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from proxy.controller.store.postgres.store import PostgresStore
from proxy.controller.supervisor_link import SupervisorLink
from proxy.controller.webhooks.outbox import Sender
from proxy.pairs.replicas import ReplicaHello
from proxy.sockets import bound_socket

ALIVE = 0.5
"""Seconds between two words of a standby to its supervisor."""


class Replica:
    """Fulfils `member.Part` and `standby.StandbyOf`. The listening socket of the admin port stays the caller's."""

    def __init__(
        self, config: Config, config_hash: str, supervisor: SupervisorLink, runtime: Path, listener: socket.socket
    ) -> None:
        assert config.fleet is not None
        assert config.store.url is not None
        self.config, self.generation, self.supervisor = config, 0, supervisor
        self._config_hash = config_hash
        self._runtime, self._listener = runtime, listener
        self.alive: Callable[[], object] = lambda: None
        """Told of each turn of a standby, and of each round of looks of a leader."""
        self._address = config.fleet.reached_at
        self.name = f"{socket.gethostname()}:{parts(self._address)[1]}"
        self._boot = os.urandom(4).hex()
        self.traffic = ReplicaTraffic(f"{self.name}/")
        self._place = config.store.url
        self.store = PostgresStore(self._place)
        self.member = Member(self.name, self._boot, self._address, config.fleet.lease, self._connect, self)
        self._contexts: LinkContexts | None = None
        self._schema = False
        self._relay: Relay | None = None
        self._port: admin.Port | None = None
        self._leading: Leading | None = None
        self._links: Links | None = None
        self._followed = ""

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Stand by. Raises `OSError` for certificates that cannot be loaded."""
        self._contexts = _contexts(self.config)
        await asyncio.to_thread(self.traffic.request_log.configure, self.config)
        await self._stand_by()

    async def run(self) -> None:
        """Take part until `drain`."""
        ticking = asyncio.create_task(self._keep_alive())
        try:
            await self.member.run()
        finally:
            ticking.cancel()
            if self._relay is not None:
                await self._relay.stop(goodbye=True)
            if self._port is not None:
                await self._port.close()
            await asyncio.to_thread(self.traffic.request_log.close)

    def drain(self) -> None:
        """Leave: who leads hands over."""
        self.supervisor.draining = True
        self.member.drain()

    async def reload(self, config: Config, config_hash: str, generation: int) -> str:
        """Take a new configuration; empty, or why it cannot be taken, and then nothing has changed."""
        try:
            contexts = _contexts(config)
        except OSError as error:
            return f"fleet.tls: {error}"
        if self._leading is not None and (refusal := await self._leading.reload(config, config_hash, generation)):
            return refusal
        self.config, self.generation, self._contexts = config, generation, contexts
        self._config_hash = config_hash
        await asyncio.to_thread(self.traffic.request_log.configure, config)
        if self._port is not None:
            self._port.admin = config.admin
        if self._relay is not None:
            self._relay.renew(None if contexts is None else contexts.client)
            self._relay.announce()
        if self._links is not None:
            self._links.renew(None if contexts is None else contexts.server)
        return ""

    def tree(self) -> None:
        """The supervisor has told which processes there are."""
        if self._leading is not None:
            self._leading.tree()
        elif self._relay is not None:
            self._relay.expect(self.supervisor.pids)

    def leader(self) -> tuple[str, str, int, float] | None:
        """Who leads, as far as is known here: name, address of its links, term, since when (epoch seconds)."""
        return self.member.leader()

    async def _keep_alive(self) -> None:
        """A standby has no looks to be told of: its loop turns, and that is what its supervisor wants to hear."""
        while True:
            await asyncio.sleep(ALIVE)
            if self._leading is None:
                self.alive()

    # --- member.Part -------------------------------------------------------------------------------------------------

    async def lead(self, session: Session, term: int) -> None:
        """Stand by no more: build the controller over this session. Raises `UnderstudyError` when it cannot."""
        port, self._port = self._port, None
        relay, self._relay = self._relay, None
        closing = asyncio.create_task(port.close()) if port is not None else None  # what it answers may take a second
        if relay is not None:
            await relay.stop(at_once=True)  # whoever led is gone
        self.store = PostgresStore(self._place)
        self.store.lead(session, term)
        await self._build(term)
        if closing is not None:
            await closing

    async def _build(self, term: int) -> None:
        controller = Controller(self.config, self._config_hash, self.store, traffic=self.traffic)
        controller.generation, controller.alive = self.generation, self.alive
        controller.outranked = self.member.term_seen
        controller.connections.replica = self.name
        controller.executor.term.begin(term)
        controller.executor.term.may_act = self.member.may_act
        self._leading = Leading(controller, self.supervisor)
        await self._leading.start(self._runtime, self._listener)
        context = None if self._contexts is None else self._contexts.server
        links = self._links = Links(controller.connections, lambda: (self.name, self.member.election.term), context)
        self._links.outranked = self.member.term_seen
        self._links.config_hash = lambda: self._config_hash
        assert self._leading.port is not None
        self._links.requests = self._leading.port.take_over
        self._leading.service.fleet_view = lambda: self._view(links)
        self._leading.service.refused_links = links.refused
        assert self.config.fleet is not None
        await self._links.start(bound_socket(self.config.fleet.listen))

    def _view(self, links: Links) -> FleetView:
        leader = LeaderView(self.name, self._address, self.member.leads_since)
        replicas = (self.seen_as("leader"), *others(links, time.monotonic()))
        return FleetView(leader, self.member.election.term, replicas)

    def seen_as(self, role: FleetRole) -> ReplicaView:
        """This replica as the API shows it."""
        me, own = self._me(), 0.0 if role == "leader" else None
        return ReplicaView(me.name, me.address, role, me.version, me.config_hash, len(me.workers), own, own)

    async def go_on(self, session: Session, term: int) -> None:
        """The controller that there is writes over this session from now on, in this term."""
        if self._leading is not None:
            self.store.lead(session, term)
            self._leading.controller.lead_in(term)

    async def stop(self) -> None:
        """End the controller at once, unsaved, and stand by again."""
        if self._leading is not None:
            await self._leading.depose()
        await self._lead_no_more()
        await self._stand_by()

    async def hand_over(self) -> None:
        """End the controller with all that is in hand judged and saved."""
        if self._leading is not None:
            await self._leading.stop()
        await self._lead_no_more()

    async def _lead_no_more(self) -> None:
        if self._links is not None:
            await self._links.stop()
        self._leading = self._links = None
        self.traffic.tallies.forget_others()

    def follow(self, leader: Leader | None) -> None:
        """Pass the workers' links on to this leader, or to nobody."""
        holder = "" if leader is None else leader.holder
        if self._relay is not None and holder != self._followed:  # a leader that goes on in a new term keeps its links
            self._relay.follow(None if leader is None else leader.address, 0 if leader is None else leader.term)
        self._followed = holder

    def followers(self) -> frozenset[str]:
        """Replicas that follow this one now."""
        peers = self._links.peers if self._links is not None else {}
        return frozenset(name for name, peer in peers.items() if peer.connected)

    # --- standing by -------------------------------------------------------------------------------------------------

    async def _stand_by(self) -> None:
        if self._relay is not None:
            return
        context = None if self._contexts is None else self._contexts.client
        self._relay = Relay(self._runtime, self._me, self.traffic, context)
        self._relay.on_heard, self._relay.on_cut = self.member.heard, self.member.cut
        self._relay.expect(self.supervisor.pids)
        await self._relay.start()
        self._followed = ""
        self.follow(self.member.election.leader)
        service = StandbyService(self, lambda: self._relay)
        passing_on = admin.PassingOn(self._asked, lambda: None if self._contexts is None else self._contexts.client)
        app = admin.application(service, Sender(service), passing_on)
        self._port = admin.Port(app, ADMIN_DRAIN, self.config.admin)
        await self._port.start(self._listener.dup())

    def _asked(self) -> LeaderAt | None:
        """Whom this replica's admin port asks."""
        found = self.leader()
        return None if found is None or self.member.leads else LeaderAt(found[0], found[1])

    def _me(self) -> ReplicaHello:
        return ReplicaHello(
            self.name,
            self._boot,
            address=self._address,
            version=__version__,
            config_hash=self._config_hash,
            workers=self.supervisor.workers,
            term_seen=self.member.election.seen,
        )

    async def _connect(self, former: Session | None) -> Session:
        session = await Session.connect(self._place, former)
        if not self._schema:
            try:
                await bring_up_to_date(session)
            except BaseException:
                await session.close()
                raise
            self._schema = True
        return session


def _contexts(config: Config) -> LinkContexts | None:
    tls = config.fleet.tls if config.fleet is not None else None
    return None if tls is None else for_links(tls.cert, tls.key, tls.ca)
