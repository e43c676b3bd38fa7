"""A worker process: the data plane on its listening sockets (HTTP, perhaps gRPC), told what to do by supervisor and
controller.

    python -m proxy.worker --slot N --workers COUNT --listen-fd FD [--grpc-fd FD] --control-fd FD --runtime DIR

    control fd     CONFIG, DRAIN down; READY, RESULT, ALIVE up   supervisor
    tables.sock    TABLE, ALIVE down; HELLO, ACK up              controller
    pairs.sock     HELLO, TRIAL, PAIR, MARK, COUNTS up           controller

Invariants
- The configuration comes from CONFIG, decisions come only by TABLE; a lane of a trial that is not in the configuration
  waits until it is. A rollout without a lane has weight 0 and is not sampled.
- Tables never go back: one of a lower term than the last, or of a lower number in the same term, is refused, and who
  sent it does not count as a controller that is there.
- Losing the controller changes nothing for `controller_lost` seconds; then unjudged candidates serve nobody, whatever
  is reloaded, until a TABLE comes. A controller that is silent that long is lost too, though its socket be open.
- Losing the supervisor is the same as being told to drain.
- Clients are served from the first moment, by live alone until the first TABLE; READY, and `/-/readyz`, come after it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import ssl
import time
import uuid
from collections.abc import Coroutine, Iterable
from pathlib import Path

from proxy import logs
from proxy.model import Lane, Table
from proxy.model.config_pieces import StepsTo, finish, read_config_note
from proxy.model.worker_config import WorkerConfig
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.request.compiling import CompiledRoute
from proxy.request.rollouts import Trial, tell_users_again
from proxy.request.routes import is_unjudged
from proxy.resolver import LookUp, system
from proxy.worker.books import TrialBooks
from proxy.worker.context import WorkerContext
from proxy.worker.downstream.http1 import DownstreamConnection
from proxy.worker.downstream.listener import Listener, for_calls
from proxy.worker.in_force import InForce, in_slices
from proxy.worker.limits import ClientLimits
from proxy.worker.links import OnChannel, OnFrame, keep_connected
from proxy.worker.report import WorkerReports
from proxy.worker.timers import TICK
from proxy.worker.tls import for_clients
from proxy.worker.upstream.pool import Pool
from proxy.worker.upstream.pools import PoolMaker

log = logging.getLogger("understudy.worker")

REPORT_EVERY = 1.0
COLLECT = (10_000, 20, 50)
"""Thresholds of the garbage collector. Requests leave no cycles behind, so it has little to find; at Python's default
of 700 it would look thousands of times a second."""
FIRST_TABLE = 10.0
"""Seconds that a worker which starts waits for a controller before it calls itself ready all the same."""
SILENCE = 3.0
"""Seconds without ALIVE (it comes twice a second) before which a controller that is connected is not held for lost."""
_PLAIN: tuple[ssl.SSLContext | None, ssl.SSLContext | None] = (None, None)
"""TLS contexts of the listeners for HTTP and for gRPC."""
QUIET = 0.2
"""Seconds without a client after which a draining worker leaves."""


class Worker:
    """One worker process."""

    def __init__(
        self, slot: int, workers: int, runtime: Path, loop: asyncio.AbstractEventLoop, look_up: LookUp = system
    ) -> None:
        self.slot, self.workers, self.runtime, self.loop = slot, workers, runtime, loop
        self.incarnation = uuid.uuid4().hex
        self.context = WorkerContext(loop)
        self._books = TrialBooks(self.context.publisher)
        self._maker = PoolMaker(self.context, (slot, workers), look_up)
        self._in_force = InForce(self.context, self._books, self._maker, (slot, workers))
        self._reports = WorkerReports(self.context, self._books, self._in_force, lambda: self._maker.resolvers)
        self._reloads = asyncio.Lock()
        self._table, self._taken = Table(0), b""
        self._told, self._linked = asyncio.Event(), asyncio.Event()
        self._tables: Channel | None = None
        self._deposed: Channel | None = None  # the link on which a table came that was too old
        self._control: Channel | None = None
        self._controller_heard = time.monotonic()
        self._lost = False
        self._contexts = _PLAIN
        self._listeners: list[Listener] = []
        self._patience = 0.0
        self._drain_delay, self._replaced = 0.0, False
        self.stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # --- configuration ---

    @property
    def pools(self) -> dict[str, Pool]:
        """Of the configuration in force, by upstream."""
        return self._in_force.pools

    @property
    def trials(self) -> dict[str, Trial]:
        """Of the configuration in force, by name."""
        return self._in_force.trials

    def configure(self, config: WorkerConfig) -> None:
        """Take a configuration at once; raises `OSError`, `ssl.SSLError` and leaves the old one in force."""
        finish(self._take_up(config))

    def _take_up(self, config: WorkerConfig) -> StepsTo[None]:
        """Take a configuration, in steps; raises as `configure` does."""
        tls = config.data_port.tls
        contexts = _PLAIN if tls is None else (for_clients(tls), for_clients(tls, "h2"))
        while not self._in_force.holds(draft := (yield from self._in_force.draft(config, self._table)), self._table):
            self._in_force.discard(draft)  # a routing table came that asks for another one
        gone = self._in_force.switch(draft)
        self._apply(draft.new)
        self._contexts = contexts
        logs.setup(config.log_format, config.log_level, f"worker {self.slot}")
        self._patience = config.data_port.controller_lost
        self.context.configure(config, ClientLimits.of(config.data_port, (self.slot, self.workers)))
        yield
        for pool in gone:
            pool.close()
            yield

    def _make_anew(self, asked: WorkerConfig) -> None:
        """Make of the configuration what the last routing table asks for. Where that cannot be, trials that are new
        with it get nothing."""
        try:
            gone = self._in_force.switch(finish(self._in_force.draft(asked, self._table)))
        except (OSError, ssl.SSLError) as error:
            logs.event(log, "versions.refused", logging.ERROR, error=str(error))
            gone = []
        self._apply()
        for pool in gone:
            pool.close()

    # --- decisions ---

    def _apply(self, some: Iterable[CompiledRoute] | None = None) -> None:
        """Put the last routing table into force, on all routes or on some, but without unjudged candidates while the
        controller is lost."""
        lanes: dict[str, Lane] = {lane.trial: lane for lane in self._table.lanes}
        secret = bytes.fromhex(self._table.secret)
        for one in self._in_force.compiled if some is None else some:
            for trial in one.route.trials:
                trial.draw_with(secret)
                trial.apply(lanes.get(trial.settings.trial), read=trial.settings.trial in self._table.whole_requests)
                if self._lost and is_unjudged(trial):
                    trial.weight = 0
            one.route.refresh()

    def _on_tables(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.TABLE and not self._has(payload) and not self._take(link.decode_table(payload)):
            self._deposed = channel
        elif kind is Frame.TABLE:
            self._deposed, self._taken = None, payload
            channel.send(link.note(Frame.ACK, {"number": self._table.number, "term": self._table.term}))
        if channel is not self._deposed:  # one whose tables are too old to take is as good as none
            self._controller_heard = time.monotonic()

    def _has(self, payload: bytes) -> bool:
        """Whether this very table is in force: after a reload it is most often the last one again."""
        return payload == self._taken and not self._lost and self._in_force.is_of(self._table, self._table)

    def _take(self, table: Table) -> bool:
        """Put a routing table into force, unless the one that is is newer; whether it was."""
        if table.is_older_than(self._table):
            self._reports.refused()
            refused, held = ({"term": one.term, "number": one.number} for one in (table, self._table))
            logs.event(log, "table.refused", logging.WARNING, refused=refused, held=held)
            return False
        before, self._table, self._lost = self._table, table, False
        self._books.tell({lane.trial for lane in table.lanes} - {lane.trial for lane in before.lanes})
        if self._in_force.asked is None or self._in_force.is_of(table, before):
            self._apply()
        else:
            self._make_anew(self._in_force.asked)
        self.context.told = True
        self._told.set()
        return True

    def _look_for_controller(self, now: float) -> None:
        """Take the weight of unjudged candidates away when nothing was heard of the controller for too long."""
        silence = now - self._controller_heard
        if self._lost or silence <= (self._patience if self._tables is None else max(self._patience, SILENCE)):
            return
        self._lost = True
        self._apply()
        if self._tables is not None:
            # It may hear again on this very link: only a new HELLO tells it that the weight was taken away.
            self._tables.abort()

    def _hello(self) -> bytes:
        who = {"slot": self.slot, "pid": os.getpid(), "worker": self.incarnation}
        return link.note(Frame.HELLO, {**who, "table": self._table, "lost": self._lost})

    # --- links to the controller ---

    def _tables_open(self, channel: Channel) -> None:
        self._tables = channel
        channel.send(self._hello())

    def _tables_closed(self, channel: Channel) -> None:
        self._tables = None

    def _pairs_open(self, channel: Channel) -> None:
        channel.send(self._hello())
        self.context.publisher.connected(channel)
        self._books.tell_all()
        tell_users_again(self.trials.values())
        self._linked.set()

    def _pairs_closed(self, channel: Channel) -> None:
        self.context.publisher.connected(None)

    def _link(
        self, name: str, on_frame: OnFrame, on_open: OnChannel, on_close: OnChannel
    ) -> Coroutine[None, None, None]:
        return keep_connected(self.runtime / name, on_frame, on_open, on_close, lambda: self.context.ready)

    # --- the clock ---

    def _tick(self) -> None:
        self._timers["tick"] = self.loop.call_later(TICK, self._tick)  # first: what breaks below must not end it
        self.context.wheel.sweep(time.monotonic())
        self.context.look_at_clock()
        if turned := self._in_force.turned:
            self._apply(turned)  # a candidate's health check began to succeed, or to fail
            self._spawn(self._reports.send_in_slices(self._show_life))  # which a rollout waits for
        self._books.mark()
        self.context.request_log.send(self.context.publisher)

    def _report(self) -> None:
        self._timers["report"] = self.loop.call_later(REPORT_EVERY, self._report)
        self._books.turn()
        self._spawn(self._reports.send_in_slices(self._show_life))

    def _send_report(self) -> None:
        self._reports.send()
        self._show_life()

    def _show_life(self) -> None:
        self._look_for_controller(time.monotonic())
        if self._control is not None:
            self._control.send(link.frame(Frame.ALIVE, b""))

    # --- the process ---

    async def run(self, listener: socket.socket, control: socket.socket, grpc: socket.socket | None = None) -> None:
        """Serve until told to drain; `grpc` is the listening socket for gRPC, if there is one."""
        started = asyncio.Event()

        def on_control(channel: Channel, kind: Frame, payload: bytes) -> None:
            if kind is Frame.CONFIG:
                self._on_config(channel, payload)
                started.set()
            elif kind is Frame.DRAIN:
                note = link.read_note(payload)
                self._drain_delay = float(note.get("delay", 0.0))
                self._replaced = bool(note.get("replaced"))
                self.stopped.set()

        channel = self._control = Channel(on_control, lambda _: self.stopped.set())
        await self.loop.create_connection(lambda: channel, sock=control)
        await self._either(started, self.stopped)
        if self._in_force.config is None:
            return
        self._listeners = [Listener(listener, lambda scheme: DownstreamConnection(self.context, scheme))]
        if grpc is not None:
            self._listeners.append(for_calls(grpc, self.context))
        await self._open_listeners()
        self._spawn(self._link("tables.sock", self._on_tables, self._tables_open, self._tables_closed))
        self._spawn(self._link("pairs.sock", lambda *_: None, self._pairs_open, self._pairs_closed))
        self._tick()
        self._report()
        # What is here now stays: the collector need not look at it again, nor look often at what requests leave behind.
        gc.enable()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        self._spawn(self._become_ready(channel))
        try:
            await self.stopped.wait()
            await self._drain()
        finally:
            for one in self._listeners:
                one.close()
            self._close()
            channel.close()

    async def _become_ready(self, channel: Channel) -> None:
        """Ready means that the first routing table is in force, and that pairs have a way: only then does a request
        count for a rollout. The port is open before. Without a controller live is served all the same."""
        asked = self._in_force.asked
        assert asked is not None
        try:
            async with asyncio.timeout(FIRST_TABLE if asked.has_rollouts else 0.0):
                await self._told.wait()
                await self._linked.wait()
        except TimeoutError:
            if asked.has_rollouts:
                logs.event(log, "table.missing", logging.WARNING, seconds=FIRST_TABLE, serves="live alone")
        self.context.ready = True
        channel.send(link.note(Frame.READY, {"pid": os.getpid()}))

    async def _open_listeners(self) -> None:
        for one, context in zip(self._listeners, self._contexts, strict=False):
            await one.open(context, self.context.limits.header)

    @staticmethod
    async def _either(*events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_config(self, channel: Channel, payload: bytes) -> None:
        """The first one is taken at once, for nobody is served yet, a later one between requests."""
        if self._in_force.asked is not None:
            self._spawn(self._reload(channel, payload))
            return
        try:
            self.configure(finish(self._in_force.read(read_config_note(payload)[1])))
        except (OSError, ssl.SSLError, ValueError) as problem:
            log.error("configuration refused: %s", problem)

    async def _reload(self, channel: Channel, payload: bytes) -> None:
        """Take a configuration in the place of the one in force; one after the other, in the order in which they came.
        RESULT says what became of it."""
        async with self._reloads:
            error, before, generation = "", self._contexts, -1
            try:
                generation, text = read_config_note(payload)
                config = await in_slices(self._in_force.read(text))
                await self._in_force.read_certificates(config, self._table)
                await in_slices(self._take_up(config))
                if self._contexts is not before:  # new connections are made with its certificate before it is said
                    await self._open_listeners()
            except (OSError, ssl.SSLError, ValueError) as problem:
                error = str(problem)
                log.error("configuration refused: %s", error)
            except Exception as bug:  # the supervisor is answered all the same
                logs.unexpected(log, "config.reload_broke")
                error = repr(bug)
            channel.send(link.note(Frame.RESULT, {"generation": generation, "ok": not error, "error": error}))

    def _close(self) -> None:
        """Let go of everything."""
        for timer in self._timers.values():
            timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        for client in list(self.context.clients):
            client.abort()
        for pool in self.pools.values():
            pool.abort()

    async def _drain(self) -> None:
        """Readiness fails first; then every answer says `Connection: close`; leave when nobody is left. One whose place
        is taken takes in nobody, and stays as ready as its successor."""
        config = self._in_force.config
        assert config is not None
        drain = config.data_port.drain
        self.context.drains(replaced=self._replaced)
        for one in self._listeners if self._replaced else ():
            one.close()
        await asyncio.sleep(self._drain_delay)
        quiet_since = time.monotonic()
        deadline = quiet_since + drain
        while time.monotonic() < deadline:
            now = time.monotonic()
            for client in list(self.context.clients):
                client.leave(now)
            if self.context.clients or self._books.pending:
                quiet_since = now
            elif now - quiet_since >= QUIET:
                break
            await asyncio.sleep(TICK)
        self._books.mark()
        self.context.request_log.send(self.context.publisher)
        self._send_report()  # or what has happened since the last one would be pending for ever
        await asyncio.sleep(TICK)
