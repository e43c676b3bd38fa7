"""A standby's half of the links: its own workers' sockets, whose frames go on to the leader over TCP.

    worker ──pairs.sock──▶ gate ──TLS──▶ leader        one connection for each link of a worker, beside the one of the
    worker ◀─tables.sock── tables, ALIVE ◀── leader    replica itself, which is first and last (`pairs.replicas`)

Frames are passed on as they come; only COUNTS, REQUESTS and HELLO are looked at, for this replica's own metrics, and
REQUESTS stay here: each replica writes its own access log. What the leader does not take fills the kernel, then
`QUEUE` here; then nothing more is read of that worker, which drops pairs itself, counts them as `link_full` and says
so behind what it has sent. So no pair is ever lost here while a link lasts, and none is counted that was.

A link is only as long as both its ends: when one breaks, the worker hears of it at once and says HELLO anew, with its
last table, and where its ledger stands; what was under way is found missing by the next report and booked. So a change
of leader, or of this replica's own role, costs the pairs under way.

Invariants
- Workers are let in while a leader takes this replica's own link; without one they are refused, and count their pairs
  as `link_full`. They hear ALIVE and tables only as they come from the leader: a leader that is cut off is lost.
- Nothing waits for ever: connecting has `CONNECT` seconds, a leader that says nothing for `DEAF` looks is left, and is
  tried again, each time later, at most `LONGEST` seconds.
- A leader of a lower term than the one to be followed is left alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from proxy import logs
from proxy.controller.fleet.dialling import LeaderAddress, LeaderLink, dial
from proxy.controller.fleet.links import DEAF
from proxy.controller.fleet.passing import GATES, LINK_TROUBLE, Passing
from proxy.controller.fleet.tls import trouble_with
from proxy.pairs import link, replicas, request_log
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame, LinkError
from proxy.pairs.replicas import ReplicaHello, Welcome
from proxy.pairs.request_log import RequestEntry

log = logging.getLogger("understudy.relay")

FIRST, LONGEST = 0.1, 2.0
"""Seconds before the leader is tried again."""
LOOK = 1.0
"""Seconds between two looks at whether the leader still says something; it PINGs as often."""
LEAVE = 2.0
"""Seconds in which what waits for the leader may still be written at the end."""


class LocalTraffic(Protocol):
    """Who keeps this replica's own counts and writes its access log. Workers are called `replica/worker`."""

    def on_counts(self, worker: str, counts: dict[str, Any]) -> None:
        """A worker's totals."""

    def on_entries(self, entries: list[RequestEntry]) -> None:
        """What became of some requests."""

    def on_gone(self, worker: str) -> None:
        """Nothing more will come from a worker."""


@dataclass(slots=True)
class RelayedWorker:
    """One of this replica's worker processes and its links through here. `acked` is whether the leader's table is in
    force there."""

    name: str
    slot: int
    pid: int
    pairs: Passing | None = None
    tables: Passing | None = None
    acked: bool = False

    @property
    def connected(self) -> bool:
        """Whether both its links are up."""
        return self.pairs is not None and self.tables is not None

    @property
    def told(self) -> bool:
        """Whether it is connected and a routing table is in force there."""
        return self.connected and self.acked


class Relay:
    """A standby's links. `me` says what this replica is now, `local` hears what concerns it alone."""

    def __init__(
        self,
        runtime: Path,
        me: Callable[[], ReplicaHello],
        local: LocalTraffic,
        context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._runtime, self._me, self._local, self._context, self._clock = runtime, me, local, context, clock
        self.workers: dict[str, RelayedWorker] = {}
        self.leader: Welcome | None = None
        """Who takes this replica's links now."""
        self.trouble = ""
        """Why nobody does."""
        self.on_heard: Callable[[], object] = lambda: None
        """Told whenever the leader says something on this replica's own link."""
        self.on_cut: Callable[[], object] = lambda: None
        """Told when that link has ended, or could not be made."""
        self._target: tuple[str, int] | None = None
        self._control: LeaderLink | None = None
        self._silent = 0  # looks since the leader said something
        self._wake = asyncio.Event()
        self._passing: set[Passing] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._stopping = False
        self._leave = LEAVE
        self._keeper: asyncio.Task[None] | None = None

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow whom `follow` names."""
        self._keeper = asyncio.create_task(self._keep())

    def follow(self, address: str | None, term: int) -> None:
        """Follow the leader at `HOST:PORT`, of this term at least; `None`: there is none. Returns at once; links to
        another one are released."""
        target = None if address is None else (address, term)
        if target != self._target:
            self._target = target
            self._wake.set()

    def announce(self) -> None:
        """What `me` says has changed: tell the leader."""
        if self._control is not None and self.leader is not None:
            self._control.send(replicas.encode_hello(self._me()))

    def expect(self, pids: set[int | None]) -> None:
        """Which worker processes this replica has: those that are not among them are gone for good."""
        for worker in [worker for worker in self.workers.values() if worker.pid not in pids]:
            self._drop(worker)
        self.announce()

    def renew(self, context: ssl.SSLContext | None) -> None:
        """Use this for the connections that are made from now on."""
        self._context = context

    async def stop(self, *, goodbye: bool = False, at_once: bool = False) -> None:
        """Let go of workers and leader, after what workers have sent is written, or `at_once`; with a `goodbye` the
        leader expects nothing of this replica any more."""
        self._stopping = True
        self._leave = 0.0 if at_once else LEAVE
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._control is not None:
            if goodbye:
                self._control.send(link.frame(Frame.GOODBYE, b""))
            self._control.close()

    # --- the leader --------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        pause, said = FIRST, ""
        while True:
            self._wake.clear()
            if self._target is None:
                pause, self.trouble = FIRST, "no leader is known"
                await self._wake.wait()
                continue
            target, began = self._target, time.monotonic()
            try:
                await self._serve(LeaderAddress(*target, self._context))
                self.trouble = "the link to the leader has ended"
            except LINK_TROUBLE as error:
                self.trouble = trouble_with(error)
            if target != self._target:
                pause, said = FIRST, ""
                continue
            self.on_cut()
            lasted = time.monotonic() - began > LONGEST
            if lasted or self.trouble != said:
                said = self.trouble
                logs.event(log, "leader.cut_off", logging.WARNING, leader=target[0], why=said)
            pause = FIRST if lasted else min(LONGEST, 2 * pause)
            wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - so that standbys do not come all at once
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _serve(self, to: LeaderAddress) -> None:
        """Be taken in by a leader, then let workers through, until that ends."""
        ended = asyncio.Event()

        def lost(_: Channel) -> None:
            ended.set()
            self._wake.set()
            if self._target == (to.address, to.term) and self.leader is not None:
                self.on_cut()

        self._silent = 0
        self._control, welcome = await dial(to, self._me(), self._from_leader, lost)
        self.leader, self.trouble = welcome, ""
        self.on_heard()
        logs.event(log, "leader.followed", leader=welcome.name, address=to.address, term=welcome.term)
        try:
            await self._listen(to)
            while not ended.is_set() and self._target == (to.address, to.term):
                self._wake.clear()
                try:
                    async with asyncio.timeout(LOOK):
                        await self._wake.wait()
                except TimeoutError:
                    self._silent += 1
                    if self._silent > DEAF:
                        raise
        finally:
            self.leader = None
            await self._let_go()
            if not self._stopping:
                self._control.abort()

    def _from_leader(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is not Frame.PING:
            raise LinkError(f"{kind.name} from the leader on the link of a replica")
        self._silent, now = 0, self._clock()
        self.on_heard()
        channel.send(replicas.encode_pong(payload, now, now))

    # --- workers -----------------------------------------------------------------------------------------------------

    async def _listen(self, to: LeaderAddress) -> None:
        loop, me = asyncio.get_running_loop(), self._me()
        for kind in GATES:
            path = self._runtime / f"{kind}.sock"
            path.unlink(missing_ok=True)
            factory = partial(self._let_in, kind, to, ReplicaHello(me.name, me.boot, kind))
            self._servers.append(await loop.create_unix_server(factory, str(path)))

    def _let_in(self, kind: str, to: LeaderAddress, me: ReplicaHello) -> Passing:
        one = Passing(kind, to, me, self, self._clock)
        self._passing.add(one)
        return one

    async def _let_go(self) -> None:
        """Let nobody in, and end every link: within `LEAVE` by writing what was read, then at once."""
        for server in self._servers:
            server.close()
        self._servers = []
        leaving = list(self._passing)
        for one in leaving:
            one.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._leave):
                await asyncio.gather(*(one.ended.wait() for one in leaving))
        for one in leaving:
            if not one.ended.is_set():
                one.abort()

    def passes(self, one: Passing, kind: Frame, payload: bytes) -> None:
        if kind is Frame.HELLO:
            self._hello(one, link.read_note(payload))
            return
        worker = self.workers.get(one.worker)
        if worker is None:
            raise LinkError(f"{kind.name} before HELLO")
        if kind is Frame.COUNTS:
            self._local.on_counts(worker.name, link.read_note(payload))
        elif kind is Frame.REQUESTS:
            self._local.on_entries(request_log.decode_entries(payload))
        else:
            worker.acked = True

    def _hello(self, one: Passing, hello: dict[str, Any]) -> None:
        try:
            slot, pid, name = int(hello["slot"]), int(hello["pid"]), f"{self._me().name}/{hello['worker']}"
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"not a hello: {error!r}") from None
        worker = self.workers.get(name)
        if worker is None:
            here = {pid for _, pid in self._me().workers}  # two share a slot while one hands over to the other
            for other in [other for other in self.workers.values() if other.slot == slot and other.pid not in here]:
                self._drop(other)
            worker = self.workers[name] = RelayedWorker(name, slot, pid)
        one.worker = name
        if one.kind == "pairs":
            worker.pairs = one
        else:
            worker.tables, worker.acked = one, False

    def over(self, one: Passing) -> None:
        self._passing.discard(one)
        worker = self.workers.get(one.worker)
        if worker is None:
            return
        if worker.pairs is one:
            worker.pairs = None
        if worker.tables is one:
            worker.tables = None
        if worker.slot < 0:
            self._drop(worker)

    def _drop(self, worker: RelayedWorker) -> None:
        """Forget a worker whose process is gone, when all that it wrote has gone up."""
        if worker.pairs is not None:
            worker.slot = -1
            return
        del self.workers[worker.name]
        self._local.on_gone(worker.name)
