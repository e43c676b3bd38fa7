"""What all connections of a worker share: routes, limits, clocks, counters, the way to the controller."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

from proxy.http.ids import uuid7_tails, uuid7_time
from proxy.model import LegKind
from proxy.pairs.key_forms import known_keys
from proxy.request.counts import Counts
from proxy.request.driver import RequestFactory
from proxy.request.ports import RequestContext, Timed, Watched
from proxy.worker.publisher import Publisher
from proxy.worker.request_log import RequestLog
from proxy.worker.timers import PreciseTimer, TimerWheel
from proxy.worker.turn import TurnScheduler

if TYPE_CHECKING:
    from proxy.model.worker_config import WorkerConfig
    from proxy.request.rollouts import Trial
    from proxy.request.routes import Routes
    from proxy.worker.limits import ClientLimits

_ENTROPY = 4096


class Downstream(Protocol):
    """A client connection, as the worker that stops sees it."""

    def leave(self, now: float) -> None:
        """The worker is about to stop: end as soon as what is under way has ended. Called again and again."""

    def abort(self) -> None:
        """End at once."""


class WorkerContext(RequestContext):
    """A worker's shared state."""

    routes: Routes
    calls: Routes
    """The routes of the gRPC listener."""
    limits: ClientLimits
    buffered = 0
    """Bytes that are held for clients that are slow, of requests and answers."""
    draining = False
    replaced = False
    """Whether another worker, which is ready, takes in the clients of this one's socket."""
    ready = False

    def drains(self, *, replaced: bool) -> None:
        """It is told to leave; with `replaced` another worker has its place."""
        self.draining, self.replaced = True, replaced

    @property
    def open_for_more(self) -> bool:
        """What the health paths say: whether a balancer may send more clients to this address."""
        return self.ready and (self.replaced or not self.draining)

    keys: tuple[bytes, ...] = ()
    _known_keys: tuple[bytes, ...] = ()
    """Secrets that upstreams get in headers, which are kept out of pairs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.wheel = TimerWheel()
        self.turn = TurnScheduler(loop)
        self.precise_timer = PreciseTimer(loop, time.monotonic)
        self.counts = Counts()
        self.publisher = Publisher(loop)
        self.request_log = RequestLog()
        self.requests = RequestFactory()
        """Makes what requests become: `request_log` does where some are logged."""
        self.clients: set[Downstream] = set()
        self.refusals = self.counts.meter("", "", LegKind.SERVED)
        """Requests that were refused before an upstream was asked."""
        self.epoch = time.time() - time.monotonic()
        self._random = ""
        self._at = 0
        self._tails: list[bytes] = []
        self._ms = -1
        self._time = b""
        self._dated = -1
        self.date = b""
        """The time of day as a line of a head (RFC 9110, 6.6.1): for our own answers, and a model's without one."""
        self.look_at_clock()

    def configure(self, config: WorkerConfig, limits: ClientLimits) -> None:
        """Take the limits and keys of this configuration, and log requests as it asks."""
        self.limits = limits
        self._known_keys, _ = known_keys((key.encode("latin-1") for key in config.keys), self._known_keys)
        self.keys = tuple(sorted(self._known_keys, key=len, reverse=True))
        self.request_log.configure(config)
        self.requests = self.request_log if self.request_log.wanted else RequestFactory()

    def route(self, routes: Routes, calls: Routes) -> None:
        """Requests go by these routes from now on, calls of the gRPC listener by the others."""
        self.routes, self.calls = routes, calls

    # --- what requests ask for ---

    @property
    def buffer(self) -> int:
        """Bytes of a slow body that are held before a model is asked (`server.limits.buffer`)."""
        return self.limits.buffer

    @property
    def max_body(self) -> int:
        """Bytes of the longest body that is taken (`server.limits.max_body`)."""
        return self.limits.max_body

    @property
    def backlog(self) -> int:
        """Bytes that wait for the controller."""
        return self.publisher.backlog

    @property
    def room(self) -> int:
        """The part of the pairs that the link to the controller has room for now, basis points."""
        return self.publisher.room

    def later(self, work: Callable[[], None]) -> None:
        """Do `work` at the end of the turn, behind what clients wait for."""
        self.turn.later(work)

    def call_at(self, what: Timed, due: float) -> None:
        """Call `what.late()` soon after `due`, unless it is cancelled before."""
        self.precise_timer.add(what, due)

    def cancel(self, what: Timed) -> None:
        """Do not call it."""
        self.precise_timer.discard(what)

    def watch(self, what: Watched, due: float) -> None:
        """See to it that `what.check` is called within a tick after `due`."""
        self.wheel.watch(what, due)

    def unwatch(self, what: Watched) -> None:
        """Do not check it any more."""
        self.wheel.forget(what)

    def publish(
        self, trial: Trial, sequence: int, stage: int, time: float, flags: int,
        name: bytes, head: bytes, body: bytes, outcomes: bytes, given: bytes, failed: bool,
    ) -> None:  # fmt: skip
        """Send a pair to the controller, or count it as `link_full`. A model that repeats its key tells nobody."""
        for key in self.keys:
            if key in outcomes:
                outcomes = outcomes.replace(key, b"*" * len(key))  # as long as it was: lengths stand before the bodies
        self.publisher.pair(trial, sequence, stage, time, flags, name, head, body, outcomes, given, failed)

    def observe(
        self, observer: Trial, sequence: int, time: float, flags: int, head: bytes, body: bytes, outcome: bytes
    ) -> None:
        """Send what was observed of a request to the controller, or count it as `link_full`."""
        for key in self.keys:
            if key in outcome:
                outcome = outcome.replace(key, b"*" * len(key))
        self.publisher.observation(observer, sequence, time, flags, head, body, outcome)

    # --- ids and clocks ---

    def _hex(self, digits: int) -> str:
        """Random hex digits; the kernel is asked once per hundreds of requests."""
        at = self._at
        if at + digits > len(self._random):
            self._random, at = os.urandom(_ENTROPY).hex(), 0
        self._at = at + digits
        return self._random[at : at + digits]

    def new_id(self, now: float) -> bytes:
        """A request id: UUID version 7 of a monotonic time. Its random part is drawn hundreds at a time."""
        milliseconds = int((now + self.epoch) * 1000)
        if milliseconds != self._ms:
            self._ms = milliseconds
            self._time = uuid7_time(milliseconds)
        if not self._tails:
            self._tails = uuid7_tails(os.urandom(_ENTROPY))
        return self._time + self._tails.pop()

    def charge(self, size: int) -> bool:
        """Count `size` bytes more (or less) that are held for a slow client; whether there is room for them."""
        self.buffered += size
        return self.buffered <= self.limits.max_memory

    def look_at_clock(self) -> None:
        """Write `date` anew once a second has passed. Asked at every tick, so that no request has to look."""
        wall = time.time()
        now = int(wall)
        if now != self._dated:
            self._dated = now
            self.epoch = wall - time.monotonic()  # the wall clock may have been set
            self.date = b"date: %b\r\n" % formatdate(now, usegmt=True).encode()

    def span(self) -> tuple[bytes, bytes]:
        """A span id and a trace id (W3C Trace Context), of which the second is used for a new trace only."""
        return self._hex(16).encode(), self._hex(32).encode()
