"""The leader's port for the other replicas of its fleet: who comes is checked, then its links go to the connections of
workers as if they came from this machine.

    accepted ─TLS─▶ REPLICA ─▶ replica   known from now on, pinged; its process list says which workers it has
                          └──▶ pairs, tables   handed to `WorkerConnections`, whose frames follow

A replica is *connected* while its own link is up. It is *gone* when it said GOODBYE, or when another process has come
under its name. Else it is *cut off*: its workers may still have what they have not told, so their accounts wait, for
`AWAY`; the others go on meanwhile.

Invariants
- Whoever is refused is told why, if it can be, and counted and logged by reason: no certificate, another authority,
  another version of the link, a name that is taken.
- Every wait has a deadline: TLS and REPLICA `HELLO`, the answer to a PING `DEAF` of them. Connections are bounded,
  those that have not said who they are too.
- A certificate that has changed on disk holds for the connections after the next `renew`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

from proxy import logs
from proxy.controller.fleet.clock import ClockOffset, exchanged
from proxy.controller.fleet.door import Door, TakeRequest
from proxy.controller.fleet.tls import trouble_with
from proxy.controller.worker_connections import AWAY, WorkerConnections
from proxy.pairs import replicas
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame, LinkError
from proxy.pairs.replicas import LINK_VERSION, ReplicaHello, Welcome

log = logging.getLogger("understudy.links")

HELLO = 5.0
"""Seconds in which whoever connects has to say who it is, TLS included."""
PING = 1.0
DEAF = 5
"""PINGs in a row without an answer after which a replica is cut off. Counted and not timed: this process may have been
stopped, and then what has come must be read first."""
KEEPALIVE = 5
"""Seconds between two probes of an idle connection, of which three may be lost."""
MAX_GREETING = 64
"""Connections that have not said who they are."""
MAX_LINKS = 4096
MAX_REPLICAS = 256
"""Replicas that are known, those that are cut off among them: of these the oldest is taken for gone."""
BACKLOG = 256
REFUSALS = ("tls", "silent", "ended", "garbage", "version", "term", "unknown", "name", "full", "failed")
"""Why a connection is refused: every word there is."""
LEFT = ", before TLS was agreed on: its log says why. It may not take our certificate"
"""Of who does not trust us: it closes the connection, and its reason stays with it."""
SAY = 1.0
"""Seconds between two lines of the log about connections that are refused for the same reason."""


@dataclass(slots=True, eq=False)
class Peer:
    """Another replica, as its leader knows it. Times are monotonic seconds; `since` is when it came or was cut off."""

    hello: ReplicaHello
    since: float
    control: Channel | None = None
    clock: ClockOffset = field(default_factory=ClockOffset)
    links: set[Channel] = field(default_factory=set)
    differs: str = ""  # the hash of its configuration, where that has been said to be another one than ours
    silent: int = 0  # PINGs that it has not answered
    asked: dict[Channel, float] = field(default_factory=dict)  # since when a PING waits for its PONG, by link
    took: dict[Channel, float] = field(default_factory=dict)  # what the last one took

    @property
    def connected(self) -> bool:
        """Whether its own link is up."""
        return self.control is not None

    def lag(self, now: float) -> float:
        """Seconds that a message takes there and back, behind the pairs that wait on its slowest link; what is still
        waited for counts."""
        waits = (now - since for since in self.asked.values())
        return max((*waits, *self.took.values()), default=math.inf)


class Links:
    """The listener and the replicas behind it. `me` gives this leader's name and term."""

    def __init__(
        self,
        connections: WorkerConnections,
        me: Callable[[], tuple[str, int]],
        context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connections, self._me, self._context = connections, me, context
        self.peers: dict[str, Peer] = {}
        self.refused: Counter[str] = Counter(dict.fromkeys(REFUSALS, 0))
        """Connections that were refused, by reason word."""
        self.requests: TakeRequest = lambda transport, _: transport.abort()
        """Given a connection of a standby that passes requests of its admin port on."""
        self.outranked: Callable[[int], object] = lambda term: None
        """Told when a replica knows of a higher term than ours."""
        self.config_hash: Callable[[], str] = lambda: ""
        """The hash of our own configuration; empty where none is compared."""
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._said: dict[str, float] = {}
        self._greeting = 0
        connections.ponged = self._pair_ponged

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self, listener: socket.socket) -> None:
        """Take in replicas on a socket that is bound; it is closed at the end."""
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._listener = listener
        self._spawn(self._accept(listener))
        self._spawn(self._keep_asking())

    def renew(self, context: ssl.SSLContext | None) -> None:
        """Use this for the connections that come from now on."""
        self._context = context

    async def stop(self) -> None:
        """Take in nobody any more and close every link."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._listener is not None:
            self._listener.close()
        for peer in self.peers.values():
            for channel in (peer.control, *peer.links):
                if channel is not None:
                    channel.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- who comes ---------------------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:  # no file left to open, most likely
                self._refuse("failed", "", str(error))
                await asyncio.sleep(PING)
                continue
            if self._greeting >= MAX_GREETING or self._count >= MAX_LINKS:
                self._refuse("full", address[0], f"{self._greeting} that say nothing yet, {self._count} links")
                sock.close()
            else:
                self._greeting += 1
                self._spawn(self._greet(sock, address[0]))

    @property
    def _count(self) -> int:
        return sum(1 + len(peer.links) for peer in self.peers.values())

    async def _greet(self, sock: socket.socket, where: str) -> None:
        """TLS, and the first frame, in time."""
        said = asyncio.Event()

        def first(channel: Channel, kind: Frame, payload: bytes) -> None:
            said.set()
            self._admit(channel, kind, payload, where)

        channel = Channel(first, lambda _: said.set())
        limit = None if self._context is None else HELLO
        try:
            async with asyncio.timeout(HELLO):
                patient(sock)
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: Door(channel, self.requests, said.set), sock, ssl=self._context, ssl_handshake_timeout=limit
                )
                await said.wait()
        except (OSError, TimeoutError) as error:  # of TLS too: `ssl.SSLError` is one
            sock.close()
            channel.abort()
            word = (
                "tls" if isinstance(error, ssl.SSLError) else "silent" if isinstance(error, TimeoutError) else "ended"
            )
            left = "" if word != "ended" or self._context is None else LEFT
            self._refuse(word, where, trouble_with(error) + left)
        finally:
            self._greeting -= 1

    def _admit(self, channel: Channel, kind: Frame, payload: bytes, where: str) -> None:
        """The first frame has come."""
        if kind is not Frame.REPLICA:
            self._refuse("garbage", where, f"its first frame is {kind.name}, expected REPLICA")
            raise LinkError(f"{kind.name} before REPLICA")
        hello = replicas.decode_hello(payload)
        name, term = self._me()
        reason, sentence = self._objection(hello, name, term)
        channel.send(replicas.encode_welcome(Welcome(name, term, refused=sentence)))
        if reason:
            self._refuse(reason, where, sentence, replica=hello.name)
            channel.close()
        elif hello.link == "replica":
            self._come(channel, hello)
        else:
            self.peers[hello.name].links.add(channel)
            self._connections.join(channel, hello.name, hello.link)

    def _objection(self, hello: ReplicaHello, name: str, term: int) -> tuple[str, str]:
        """Why a replica cannot be taken in, as a word and a sentence; empty when it can."""
        peer = self.peers.get(hello.name)
        if not replicas.neighbours(hello.link_version):
            speaks = f"the leader speaks {LINK_VERSION}, and that of its neighbours"
            return "version", f"link version {hello.link_version}: {speaks}"
        if hello.term_seen > term:
            self.outranked(hello.term_seen)
            return "term", f"term {term} of this leader is over: {hello.term_seen} has begun"
        if hello.link != "replica":
            known = peer is not None and peer.connected and peer.hello.boot == hello.boot
            return ("", "") if known else ("unknown", "the link of the replica itself comes first")
        if hello.name == name or (peer is not None and peer.connected and peer.hello.boot != hello.boot):
            return "name", f"another replica is called {hello.name}: each has a name of its own"
        if peer is None and len(self.peers) >= MAX_REPLICAS and not self._make_room():
            return "full", f"{MAX_REPLICAS} replicas are connected, and that is the most"
        return "", ""

    def _make_room(self) -> bool:
        """Take the replica that has been cut off the longest for gone; whether there was one."""
        away = [peer for peer in self.peers.values() if not peer.connected]
        if away:
            self._gone(min(away, key=lambda peer: peer.since), "room was wanted for another one")
        return bool(away)

    def _refuse(self, reason: str, where: str, sentence: str, replica: str = "") -> None:
        self.refused[reason] += 1
        now = time.monotonic()
        if now - self._said.get(reason, -math.inf) > SAY:
            self._said[reason] = now
            fields = {"reason": reason, "peer": where, "why": sentence, "count": self.refused[reason]}
            logs.event(log, "link.refused", logging.WARNING, **fields, **({"replica": replica} if replica else {}))

    # --- replicas ----------------------------------------------------------------------------------------------------

    def _come(self, channel: Channel, hello: ReplicaHello) -> None:
        peer = self.peers.get(hello.name)
        if peer is not None and peer.hello.boot != hello.boot:
            self._gone(peer, "another process has come under its name")
            peer = None
        if peer is None:
            peer = self.peers[hello.name] = Peer(hello, 0.0)
            self._connections.set_clock(hello.name, peer.clock)
        before, peer.control, peer.since, peer.silent = peer.control, channel, time.monotonic(), 0
        peer.asked.clear()
        channel.hand_to(lambda c, kind, payload: self._heard(peer, c, kind, payload), lambda c: self._ended(peer, c))
        if before is not None:
            before.abort()
        self._tell(peer, hello)
        self._ask(channel, peer, time.monotonic())
        logs.event(log, "replica.connected", replica=hello.name, version=hello.version, workers=len(hello.workers))

    def _tell(self, peer: Peer, hello: ReplicaHello) -> None:
        ours, its = self.config_hash(), hello.config_hash
        if ours and its not in (ours, peer.differs):
            fields = {"replica": hello.name, "its": its[:12], "ours": ours[:12]}
            logs.event(log, "replica.configured_otherwise", logging.WARNING, **fields)
        peer.hello, peer.differs = hello, its if its != ours else ""
        self._connections.expect((pid for _, pid in hello.workers), hello.name)

    def _heard(self, peer: Peer, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.PONG:
            now, peer.silent = time.monotonic(), 0
            peer.took[channel] = now - peer.asked.pop(channel, now)
            peer.clock = exchanged(peer.clock, (*replicas.decode_pong(payload), self._clock()), now)
            self._connections.set_clock(peer.hello.name, peer.clock)
        elif kind is Frame.REPLICA:
            hello = replicas.decode_hello(payload)
            if (hello.name, hello.boot) != (peer.hello.name, peer.hello.boot):
                raise LinkError(f"{peer.hello.name} calls itself {hello.name} now")
            self._tell(peer, hello)
        elif kind is Frame.GOODBYE:
            peer.control = None  # its links are read to their end
            self._gone(peer, "it said goodbye")
        else:
            raise LinkError(f"{kind.name} on the link of a replica")

    def _ended(self, peer: Peer, channel: Channel) -> None:
        """The link of a replica has ended: without a goodbye, nobody knows what its workers still have."""
        if peer.control is not channel:
            return
        peer.control, peer.since = None, time.monotonic()  # links that end by themselves are read to their end
        if self.peers.get(peer.hello.name) is peer:
            logs.event(
                log, "replica.cut_off", logging.WARNING, replica=peer.hello.name, workers=len(peer.hello.workers)
            )

    def _gone(self, peer: Peer, sentence: str) -> None:
        if self.peers.get(peer.hello.name) is peer:
            del self.peers[peer.hello.name]
            self._connections.forget(peer.hello.name)
            logs.event(log, "replica.gone", replica=peer.hello.name, why=sentence)

    # --- time --------------------------------------------------------------------------------------------------------

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(PING)
            now = time.monotonic()
            for peer in list(self.peers.values()):
                self._look_at(peer, now)

    def _look_at(self, peer: Peer, now: float) -> None:
        peer.links = {channel for channel in peer.links if not channel.ended}
        if peer.control is None:
            if now - peer.since > DEAF * PING:
                for one in peer.links:
                    one.abort()
            if now - peer.since > AWAY:
                self._gone(peer, f"cut off for {AWAY:g} s")
            return
        here = {peer.control, *peer.links}
        peer.took = {channel: seconds for channel, seconds in peer.took.items() if channel in here}
        peer.asked = {channel: since for channel, since in peer.asked.items() if channel in here}
        peer.silent += 1
        if peer.silent > DEAF:
            peer.control.abort()
            return
        for channel in here:
            if channel not in peer.asked and (channel is peer.control or self._connections.brings_pairs(channel)):
                self._ask(channel, peer, now)

    def _ask(self, channel: Channel, peer: Peer, now: float) -> None:
        peer.asked[channel] = now
        channel.send(replicas.encode_ping(self._clock()))

    def _pair_ponged(self, channel: Channel, payload: bytes) -> None:
        """A PONG that came behind pairs: it says how long those take, and too little of the clock."""
        replicas.decode_pong(payload)
        for peer in self.peers.values():
            if (since := peer.asked.pop(channel, None)) is not None:
                peer.took[channel] = time.monotonic() - since


def patient(sock: socket.socket) -> None:
    """A peer whose host is not there any more is noticed: left to itself an idle connection waits for ever. (No
    TCP_USER_TIMEOUT: it ends a connection whose peer is held up, too.)"""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with suppress(AttributeError, OSError):  # Linux knows them
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
