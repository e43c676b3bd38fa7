"""Connections to one gRPC upstream: each carries as many calls as the server takes at once.

Calls to an endpoint share its connections in the order in which they were opened; another is opened when all are full.
While a connection is being opened, calls wait for it, bounded in number and time; where that takes long they wait for
one to another endpoint as well, and go on what is there first (see `pool`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from proxy.fields import set_message
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.worker.timers import TICK
from proxy.worker.upstream.dialling import Settings, found, why
from proxy.worker.upstream.endpoint import Endpoint
from proxy.worker.upstream.grpc import GrpcClientConnection
from proxy.worker.upstream.grpc_health import GrpcProbe
from proxy.worker.upstream.pool import MAX_RACING, MAX_WAITING, Pool

if TYPE_CHECKING:
    import ssl

    from proxy.fields.document import JsonDocument
    from proxy.model.worker_config import HealthSpec
    from proxy.request.legs import Leg
    from proxy.resolver import Resolver
    from proxy.worker.timers import TimerWheel
    from proxy.worker.turn import TurnScheduler


@mypyc_attr(allow_interpreted_subclasses=True)
class GrpcPool(Pool):
    """Connections of one worker to one upstream."""

    def __init__(
        self,
        settings: Settings,
        wheel: TimerWheel,
        turn: TurnScheduler,
        context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        super().__init__(settings, wheel, turn, context, resolver)
        self._links: dict[Endpoint, list[GrpcClientConnection]] = {endpoint: [] for endpoint in self.endpoints}
        self._every: set[GrpcClientConnection] = set()
        self._queues: dict[Endpoint, dict[Leg, float]] = {endpoint: {} for endpoint in self.endpoints}
        self._dials: dict[Endpoint, asyncio.Task[GrpcClientConnection]] = {}

    def moved(self, endpoints: tuple[Endpoint, ...], gone: set[Endpoint]) -> None:
        """There are other endpoints from now on; connections to those that are gone end with their last call."""
        for endpoint in endpoints:
            self._links.setdefault(endpoint, [])
            self._queues.setdefault(endpoint, {})
        super().moved(endpoints, gone)
        for endpoint in gone:
            for link in self._links.pop(endpoint):
                link.retire()
            for leg in self._queues.pop(endpoint):
                if leg.is_check:
                    leg.refused(Reason.POOL_FULL)
                elif not self._waits(leg):
                    self.submit(leg)
        for endpoint, task in self._dials.items():  # those that waited for the name have one address to begin with
            asyncio.get_running_loop().call_later(self.race_after, self._slow, endpoint, task)

    # --- what it is asked ---

    def changes(self, path: bytes) -> bool:
        """Whether the messages of a call are changed: those that name a model."""
        return bool(self.set_json) and path in set_message.CALLS

    def changed(self, path: bytes, body: bytes, document: JsonDocument | None) -> bytes | None:
        """The messages of a call as they are sent here; `None` when they are compressed."""
        return set_message.changed(path, body, self.set_json)

    # --- legs in ---

    def submit(self, leg: Leg, fresh: bool = False, avoid: Endpoint | None = None) -> None:
        """Send a leg as soon as a connection has room; `avoid` has just failed."""
        endpoint = self.endpoints[0] if len(self.endpoints) == 1 else self.balancer.pick(self.endpoints, leg, avoid)
        link = self._with_room(endpoint)
        if link is None and self.open >= self.settings.max_connections and endpoint not in self._dials:
            link = next(filter(None, map(self._with_room, self.endpoints)), None)  # better than to wait for nothing
        if link is not None:
            link.start(leg)
        elif leg.optional and endpoint.unreachable and monotonic() < endpoint.dead_until:
            self.doubt(leg, endpoint, endpoint.unreachable)
            leg.refused(endpoint.unreachable)  # as a moment ago: dialling a dead URL costs more than the copy
        else:
            self._queue(endpoint, leg)

    def _with_room(self, endpoint: Endpoint) -> GrpcClientConnection | None:
        for link in self._links[endpoint]:
            if link.room:
                return link
        return None

    def probe(self, endpoint: Endpoint, leg: Leg) -> None:
        """Send a health check to this URL."""
        link = self._with_room(endpoint)
        if link is not None:
            link.start(leg)
        else:
            self._queue(endpoint, leg)

    def new_probe(self, endpoint: Endpoint, settings: HealthSpec) -> Leg:
        """One health check of one URL."""
        return GrpcProbe(self, endpoint, settings)

    def _queue(self, endpoint: Endpoint, leg: Leg) -> None:
        if sum(map(len, self._queues.values())) >= MAX_WAITING:
            leg.refused(Reason.POOL_FULL)
            return
        now = monotonic()
        leg.dials(now)
        self._queues[endpoint][leg] = now
        self.wheel.watch(self, now + self._patience)
        self._dial(endpoint)

    @property
    def _patience(self) -> float:
        """A little more than an attempt to connect may take, so that its own reason is the one that is told."""
        return self.settings.connect_timeout + 2 * TICK

    def forget(self, leg: Leg) -> None:
        """The leg is cancelled: it waits no more."""
        for queue in self._queues.values():
            queue.pop(leg, None)

    def check(self, now: float) -> float:
        """Refuse the legs that have waited too long."""
        due = 0.0
        for queue in self._queues.values():
            while queue:
                leg, since = next(iter(queue.items()))
                if now - since < self._patience:
                    due = min(due or now + self._patience, since + self._patience)
                    break
                del queue[leg]
                if not self._waits(leg):
                    leg.refused(Reason.POOL_FULL)
        return due

    def _waits(self, leg: Leg) -> bool:
        """Whether a leg waits for any endpoint's connection."""
        return any(leg in queue for queue in self._queues.values())

    # --- connections ---

    def _dial(self, endpoint: Endpoint) -> None:
        if endpoint not in self._dials and self.open < self.settings.max_connections:
            self.open += 1
            self._dials[endpoint] = task = asyncio.get_running_loop().create_task(self.connect_link(endpoint))
            # The books are kept here, not by the task: see `Pool._connect`.
            task.add_done_callback(lambda task: self._dialled(endpoint, task))
            if len(self.endpoints) > 1:
                asyncio.get_running_loop().call_later(self.race_after, self._slow, endpoint, task)

    def _slow(self, endpoint: Endpoint, task: asyncio.Task[GrpcClientConnection]) -> None:
        """An attempt has not come to anything yet: those that wait for it wait for another endpoint as well."""
        if self._dials.get(endpoint) is not task:
            return
        endpoint.tried(monotonic() + self.settings.connect_timeout)
        for leg in [leg for leg in self._queues.get(endpoint, ()) if not leg.is_check and self.may_try_more(leg)]:
            avoid = tuple(one for one, queue in self._queues.items() if leg in queue)
            other = self.balancer.pick(self.endpoints, leg, *avoid)
            if other in avoid or len(avoid) >= MAX_RACING:
                continue
            leg.tries_elsewhere()
            link = self._with_room(other)
            if link is not None:
                self.forget(leg)
                link.start(leg)
            else:
                self._queue(other, leg)

    def _dialled(self, endpoint: Endpoint, task: asyncio.Task[GrpcClientConnection]) -> None:
        """An attempt to connect has ended, well or not."""
        del self._dials[endpoint]
        if task.cancelled():
            self.open -= 1
            return
        reason = why(task.exception())
        if not reason:
            link = task.result()
            reason = link.broken
            if not reason and link.leaving:  # it takes no call: to dial it again and again helps nobody
                reason = Reason.DISCONNECT
        endpoint.reached(reason)
        if reason:
            self.open -= 1
            self._give_up(endpoint, reason)
            self._dial_for_waiting()
            return
        self._every.add(link)
        if not endpoint.gone:
            self._links[endpoint].append(link)
            self.freed(link)
        if self.closing or endpoint.gone:
            link.retire()

    async def connect_link(self, endpoint: Endpoint) -> GrpcClientConnection:
        """A connection whose server has said what it takes, or that has ended before, within `connect_timeout`; not yet
        counted. Raises `OSError` (`TimeoutError`, `ssl.SSLError`) and `UnicodeError`."""
        loop, secure = asyncio.get_running_loop(), self.context if endpoint.secure else None
        async with asyncio.timeout(self.settings.connect_timeout):
            _, link = await loop.create_connection(
                lambda: GrpcClientConnection(self, endpoint),
                endpoint.address or await found(endpoint),
                endpoint.port,
                ssl=secure,
                server_hostname=endpoint.tls_name if secure is not None else None,
            )
            try:
                await link.spoken.wait()
            except asyncio.CancelledError:
                link.abort()
                raise
        return link

    def _give_up(self, endpoint: Endpoint, reason: Reason) -> None:
        """No connection: those that wait for it try another URL, or fail."""
        if endpoint.gone:
            return
        queue, self._queues[endpoint] = self._queues[endpoint], {}
        for leg in queue:
            if not leg.ended and not self._waits(leg) and not self.elsewhere(leg, endpoint):
                self.doubt(leg, endpoint, reason)
                leg.refused(reason)

    def freed(self, link: GrpcClientConnection) -> None:
        """A connection may have room: those that wait for it go on."""
        endpoint = link.endpoint
        queue = self._queues.get(endpoint)
        while queue and link.room:
            leg = next(iter(queue))
            self.forget(leg)
            link.start(leg)
        if queue:
            self._dial(endpoint)

    def retired(self, link: GrpcClientConnection) -> None:
        """It takes no more calls."""
        links = self._links.get(link.endpoint, [])
        if link in links:
            links.remove(link)

    def lost_link(self, link: GrpcClientConnection) -> None:
        """A connection is gone. May be called twice."""
        self.retired(link)
        if link in self._every:
            self._every.discard(link)
            self.open -= 1
            self._dial_for_waiting()

    def _dial_for_waiting(self) -> None:
        """There is room for one more connection, to whichever URL is waited for."""
        for endpoint, queue in self._queues.items():
            if queue:
                self._dial(endpoint)

    def close(self) -> None:
        """The upstream is no longer configured: each connection goes with its last call."""
        self.closing = True
        self._addresses.close()
        for link in list(self._every):
            link.retire()

    def abort(self) -> None:
        """Close every connection now, whatever it carries."""
        self.closing = True
        self._addresses.close()
        for task in self._dials.values():
            task.cancel()
        for link in list(self._every):
            link.abort()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections without and with calls, and legs waiting for one."""
        busy = sum(bool(link.http2.streams) for link in self._every)
        return self.open - busy, busy, sum(map(len, self._queues.values()))
