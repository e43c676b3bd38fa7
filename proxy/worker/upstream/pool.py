"""Connections to one upstream: few, reused, bounded, and only to addresses that work.

An upstream has one or more endpoints (`addresses`; `endpoint` says when one is left out, `balancing` which one a leg is
sent to). A leg gets an idle connection; when there is none that is young enough for it (`keepalive`) a new one is
opened; when there are as many as allowed the leg waits in a bounded queue, for at most `connect_timeout`.

An attempt to connect that takes long does not hold its leg up: a quarter of `connect_timeout` later another endpoint is
dialled beside it, and the leg goes on what is there first (RFC 8305, 5). One that fails has the next begin at once.

Invariants
- Every connection is in exactly one place: opening, carrying a leg, or idle; `open` counts them all, and an endpoint's
  `busy` those to it that are not idle.
- A leg is given to no connection that has ended: nobody would hear of it again.
- Bookkeeping per request is constant time.
"""

from __future__ import annotations

import asyncio
import ssl

from mypy_extensions import mypyc_attr

from proxy.fields.document import JsonDocument
from proxy.fields.set_json import set_values, stands_alone
from proxy.http.answer_head import Answer
from proxy.http.known_heads import KnownHeads
from proxy.model.reasons import Reason
from proxy.model.worker_config import HealthSpec
from proxy.request.clock import monotonic
from proxy.request.legs import Leg
from proxy.resolver import Resolver
from proxy.worker.pace import LOOK
from proxy.worker.timers import TimerWheel
from proxy.worker.turn import TurnScheduler
from proxy.worker.upstream.absence import LOST
from proxy.worker.upstream.addresses import Addresses
from proxy.worker.upstream.balancing import Balancer
from proxy.worker.upstream.dialling import Settings, found, why
from proxy.worker.upstream.endpoint import Endpoint, PooledConnection
from proxy.worker.upstream.health import Checks, Probe
from proxy.worker.upstream.http1 import UpstreamConnection
from proxy.worker.upstream.owner import Http1ConnectionOwner

LOOK_EVERY = 1.0
MAX_WAITING = 1024
MAX_LOOKS = 8  # clients that are looked at for one that is too slow, when a leg has to wait
MAX_RACING = 4  # attempts to connect that are under way for one leg
RACE_AFTER = 0.25  # the longest that an attempt is waited for before the next begins, seconds (RFC 8305, 5)
MAX_KNOWN = 256
"""Heads of answers that a pool remembers."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Pool(Http1ConnectionOwner):
    """Connections of one worker to one upstream."""

    slot = 0

    def __init__(
        self,
        settings: Settings,
        wheel: TimerWheel,
        turn: TurnScheduler,
        context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.settings, self.wheel, self.turn, self.context = settings, wheel, turn, context
        self.resolver = resolver or Resolver()
        self.name = settings.name
        self.label = settings.name.encode()
        self.timeout = settings.timeout
        self.set_json = settings.set_json
        self.period = min(LOOK_EVERY, settings.idle_timeout / 4, settings.timeout)
        self.race_after = min(RACE_AFTER, settings.connect_timeout / 4)
        self.balancer = Balancer(settings)
        self.reads_body = self.balancer.reads_body
        key = settings.hash_key
        self.pointers = (*(tokens[:1] for tokens, _ in self.set_json), *(key.pointers if key is not None else ()))
        self.reads_whole = not stands_alone(self.set_json)
        self.is_checked = settings.health is not None
        self.open = 0
        self.closing = False
        self.known: KnownHeads[Answer] = KnownHeads(MAX_KNOWN)
        self.stalled: dict[PooledConnection, None] = {}
        """Those that wait for their clients, to send or to take: the longest first."""
        self._all: set[PooledConnection] = set()
        self._waiting: dict[Leg, float] = {}
        self._opening: dict[Leg, dict[asyncio.Task[UpstreamConnection], Endpoint]] = {}
        self._addresses = Addresses(self, settings.renew_names)
        self.endpoints = self._addresses.all
        self._checks: Checks | None = None
        if settings.health is not None:
            self._checks = Checks(self, settings.health)
            wheel.watch(self._checks, monotonic())

    def moved(self, endpoints: tuple[Endpoint, ...], gone: set[Endpoint]) -> None:
        """There are other endpoints from now on; connections to those that are gone end with what they carry."""
        self.endpoints = endpoints
        self.known.forget()  # see `remember`
        for endpoint in gone:
            for connection in list(endpoint.idle):
                connection.drop()
        for leg, tasks in self._opening.items():  # those that waited for the name have one address to begin with
            asyncio.get_running_loop().call_later(self.race_after, self._race, leg, next(iter(tasks)))
        if self._checks is not None and not self.closing:
            self.wheel.watch(self._checks, monotonic())

    # --- what it is asked ---

    def changed(self, path: bytes, body: bytes, document: JsonDocument | None) -> bytes | None:
        """The JSON of a request as it is sent here; `None` when it cannot be changed so."""
        return set_values(document, self.set_json) if document is not None else None

    # --- legs in ---

    def submit(self, leg: Leg, fresh: bool = False, avoid: Endpoint | None = None) -> None:
        """Send a leg as soon as there is a connection; `fresh` asks for a new one, `avoid` has just failed."""
        endpoint = self.endpoints[0] if len(self.endpoints) == 1 else self.balancer.pick(self.endpoints, leg, avoid)
        if endpoint.idle and not fresh:
            connection = self._idle(endpoint, leg)
            if connection is not None:
                connection.start(leg)
                return
        if leg.optional and endpoint.unreachable and monotonic() < endpoint.dead_until:
            self.doubt(leg, endpoint, endpoint.unreachable)
            leg.refused(endpoint.unreachable)  # as a moment ago: dialling a dead URL costs more than the copy
        elif self.open < self.settings.max_connections:
            self._connect(endpoint, leg)
        else:
            self._at_the_limit(endpoint, leg, fresh)

    def _idle(self, endpoint: Endpoint, leg: Leg) -> PooledConnection | None:
        """The idle connection that was used last, if it is young enough for this leg; it is busy from here on."""
        idle = endpoint.idle
        most = endpoint.keep.usable if leg.repeatable else endpoint.keep.safe
        while idle:
            connection = idle.popitem()[0]
            endpoint.reserve()
            if connection.transport.is_closing():
                connection.drop()  # its end is on the way: it is told now that it counts no more
            elif connection.age(monotonic()) <= most:
                return connection
            else:  # as all the others, which are older; they stay, and show how long the server keeps them
                endpoint.free()
                idle[connection] = None
                return None
        return None

    def _at_the_limit(self, endpoint: Endpoint, leg: Leg, fresh: bool) -> None:
        """No further connection is allowed: another URL's is used, or makes room, or the leg waits."""
        for other in self.endpoints if self.settings.hash_key is None else ():
            connection = None if fresh else self._idle(other, leg)
            if connection is not None:
                connection.start(leg)
                return
        for other in self.endpoints:
            if other.idle and self.open >= self.settings.max_connections:
                next(iter(other.idle)).drop()
        if self.open < self.settings.max_connections:
            self._connect(endpoint, leg)
        else:
            self._wait(leg)

    def _wait(self, leg: Leg) -> None:
        if len(self._waiting) >= MAX_WAITING:
            leg.refused(Reason.POOL_FULL)
            return
        now = monotonic()
        self._waiting[leg] = now
        self.wheel.watch(self, now + min(LOOK, self.settings.connect_timeout))
        if not leg.optional:
            self._make_room(now)

    def _make_room(self, now: float) -> bool:
        """Cut off a client that is too slow for others to wait for it: the connection that it holds is closed, which
        lets the first leg that waits open another. Whether there was one."""
        for _ in range(min(len(self.stalled), MAX_LOOKS)):
            connection = next(iter(self.stalled))
            leg = connection.leg
            if leg is not None and leg.gives_way(now):
                return True
            self.stalled.pop(connection, None)
            self.stalled[connection] = None  # it goes on after all: the others are asked first the next time
        return False

    def check(self, now: float) -> float:
        """Make room for the legs that wait, as clients fall behind, and refuse those that have waited too long."""
        patience = self.settings.connect_timeout
        while self._waiting:
            leg, since = next(iter(self._waiting.items()))
            if not leg.optional and self._make_room(now):
                continue
            if now - since < patience:
                return min(since + patience, now + LOOK)
            self._waiting.pop(leg, None)
            leg.refused(Reason.POOL_FULL)
        return 0.0

    def forget(self, leg: Leg) -> None:
        """The leg is cancelled: it needs no connection any more."""
        self._waiting.pop(leg, None)
        for task in self._opening.pop(leg, ()):
            task.cancel()

    def remember(self, answer: Answer) -> None:
        """Keep an answer's head for the next time.

        One that says how long its connection is kept must be read for each URL, which learns from it (`keepalive`).
        """
        if len(self.endpoints) == 1 or b"\r\nkeep-alive:" not in answer.head.lower():
            self.known.keep(answer)

    # --- connections ---

    def _connect(self, endpoint: Endpoint, leg: Leg) -> None:
        self.open += 1
        endpoint.reserve()
        loop, now = asyncio.get_running_loop(), monotonic()
        task = loop.create_task(self.dial(endpoint))
        self._opening.setdefault(leg, {})[task] = endpoint
        # The books are kept here, not by the task: one that is cancelled before its first step runs no line of its own.
        task.add_done_callback(lambda task: self._opened(endpoint, leg, task))
        if len(self.endpoints) > 1 and not leg.is_check:
            leg.dials(now)
            loop.call_later(self.race_after, self._race, leg, task)

    def _race(self, leg: Leg, slow: asyncio.Task[UpstreamConnection]) -> None:
        """An attempt has not come to anything yet: begin another one beside it."""
        tasks = self._opening.get(leg)
        if tasks is None or slow not in tasks:
            return
        tasks[slow].tried(monotonic() + self.settings.connect_timeout)
        if len(tasks) >= MAX_RACING or not self.may_try_more(leg):
            return
        endpoint = self.balancer.pick(self.endpoints, leg, *tasks.values())
        if self.open < self.settings.max_connections and endpoint not in tasks.values():
            leg.tries_elsewhere()
            self._connect(endpoint, leg)

    def may_try_more(self, leg: Leg) -> bool:
        """Whether one more endpoint may be dialled for a leg that has no connection yet."""
        in_time = not leg.dialled or monotonic() - leg.dialled < 2 * self.settings.connect_timeout
        return leg.tries < len(self.endpoints) and in_time

    def probe(self, endpoint: Endpoint, leg: Leg) -> None:
        """Send a health check to this URL, on a connection of its own; none when the pool is full of requests."""
        if self.open < self.settings.max_connections:
            self._connect(endpoint, leg)
        else:
            leg.refused(Reason.POOL_FULL)

    def new_probe(self, endpoint: Endpoint, settings: HealthSpec) -> Leg:
        """One health check of one URL."""
        return Probe(self, endpoint, settings)

    def doubt(self, leg: Leg, endpoint: Endpoint, reason: Reason) -> None:
        settings = self.settings.health
        if settings is None or leg.is_check or reason not in LOST:
            return
        inquiry, new = endpoint.absence.inquire()
        leg.asks(inquiry)
        if new:
            probe = self.new_probe(endpoint, settings)
            probe.asks(inquiry)
            self.probe(endpoint, probe)

    def _opened(self, endpoint: Endpoint, leg: Leg, task: asyncio.Task[UpstreamConnection]) -> None:
        """An attempt to connect has ended, well or not, or its leg was cancelled."""
        tasks = self._opening.get(leg, {})
        wanted = tasks.pop(task, None) is not None
        reason = Reason.NONE
        if not task.cancelled():
            reason = why(task.exception())
            if not reason:
                connection = task.result()
                reason = connection.why  # perhaps it was lost again before we come to hear of it
            endpoint.reached(reason)
            if not reason:
                if wanted:
                    del self._opening[leg]  # what else was begun for it will be idle
                self._carry(leg if wanted else None, connection)
                return
        self.open -= 1
        endpoint.free()
        if wanted and not tasks:
            del self._opening[leg]
        self._wake()  # what it leaves free may serve another
        if wanted and reason and not leg.ended:
            if tasks:
                self._race(leg, next(iter(tasks)))
            elif not self.elsewhere(leg, endpoint):
                self.doubt(leg, endpoint, reason)
                leg.refused(reason)

    def _carry(self, leg: Leg | None, connection: UpstreamConnection) -> None:
        self._all.add(connection)
        if leg is not None and not leg.ended:
            connection.start(leg)
        else:
            self.release(connection)

    def elsewhere(self, leg: Leg, endpoint: Endpoint) -> bool:
        """Send a leg to another endpoint than the one that failed it, if there is one. Nothing of it was written there,
        so it may be sent whatever its method."""
        if self.endpoints == (endpoint,) or not self.may_try_more(leg):
            return False
        leg.tries_elsewhere()
        self.submit(leg, avoid=endpoint)
        return True

    async def dial(self, endpoint: Endpoint) -> UpstreamConnection:
        """A new connection within `connect_timeout`, not yet counted; raises `OSError` (`TimeoutError`, `ssl.SSLError`)
        and `UnicodeError`."""

        loop, secure = asyncio.get_running_loop(), self.context if endpoint.secure else None
        async with asyncio.timeout(self.settings.connect_timeout):
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(self, endpoint),
                endpoint.address or await found(endpoint),
                endpoint.port,
                ssl=secure,
                server_hostname=endpoint.tls_name if secure is not None else None,
            )
        return connection

    @property
    def ready(self) -> bool:
        """Whether a candidate may be asked: one whose health is checked only when a check says so."""
        return self.settings.health is None or any(endpoint.ready for endpoint in self.endpoints)

    @property
    def checked(self) -> bool:
        """Whether a health check has ended."""
        return any(endpoint.ready or endpoint.failed_checks for endpoint in self.endpoints)

    def release(self, connection: PooledConnection) -> None:
        """A connection has done its leg well: the next one waiting gets it, else it is idle."""
        if connection.endpoint.gone:
            connection.drop()
            return
        if self._waiting:
            leg = next(iter(self._waiting))
            del self._waiting[leg]
            connection.start(leg)
            return
        if self.closing:
            connection.drop()
        else:
            connection.endpoint.free()
            connection.endpoint.idle[connection] = None

    def lost(self, connection: PooledConnection) -> None:
        """A connection is gone, for whatever reason. May be called twice."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        self.stalled.pop(connection, None)
        if connection in connection.endpoint.idle:
            del connection.endpoint.idle[connection]
        else:
            connection.endpoint.free()
        self.open -= 1
        self._wake()

    def _wake(self) -> None:
        """There is room for one more connection: open it for the first leg that waits."""
        if self._waiting and self.open < self.settings.max_connections:
            leg = next(iter(self._waiting))
            del self._waiting[leg]
            self.submit(leg)

    def close(self) -> None:
        """The upstream is no longer configured: idle connections go now, the others after their leg."""
        self.closing = True
        self._addresses.close()
        for endpoint in self.endpoints:
            for connection in list(endpoint.idle):
                connection.drop()

    def abort(self) -> None:
        """Close every connection now, whatever it carries."""
        self.closing = True
        self._addresses.close()
        for task in [task for tasks in self._opening.values() for task in tasks]:
            task.cancel()
        for connection in list(self._all):
            connection.drop()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections idle and busy, and legs waiting for one."""
        idle = sum(len(endpoint.idle) for endpoint in self.endpoints) if self.open else 0
        return idle, self.open - idle, len(self._waiting)

    @property
    def rows(self) -> list[list[str | int]]:
        """Each endpoint as a report has it: address, state, then requests, errors and ejections since it is known."""
        now = monotonic()
        return [[e.where, e.state(now), e.requests, e.errors, e.ejected] for e in self.endpoints]
