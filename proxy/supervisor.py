"""The process tree: starts the workers and the controller, restarts what dies, carries signals and reloads to them.

    supervisor ── control channel (a socketpair each) ──┬── worker × N
                                                        └── controller

It owns what must outlive a child: the listening sockets (one per worker slot with SO_REUSEPORT, so a replacement takes
over the connections that wait in its slot; the admin socket; no other process listens beside them), the configuration
as it was last validated, and the runtime directory of the links. It handles no request and no pair, and loads nothing
that does: the configuration is read in a process of its own (`reloading`), and every process is a fork of one that has
imported what they need (`forks`).

Invariants
- A child learns everything over its control channel, CONFIG first. When the supervisor dies the channel ends, and the
  children drain and leave: nothing is orphaned.
- A child that dies is replaced at once, then with growing pauses while it keeps dying (`pause_before_restart`). One
  that hangs is killed when it has been silent for long (`longest_silence`).
- A reload is tried on one process before the others see it; a refusal anywhere, or a death, leaves the old
  configuration in force.
- A child that cannot become ready at the first start, three times over, ends the start with exit code 1.
- Drain: readiness fails first (for `drain_delay` after SIGTERM; Ctrl-C does not wait), then workers finish what is in
  hand, and the controller leaves last, so that the last pairs are judged. A second signal ends everything at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import setproctitle

from proxy import __version__, handover, logs
from proxy.children import CONTROLLER, Child, ChildProcess, all_leave, all_set, longest_silence, start_deadline
from proxy.config_file import ConfigRead, TreeSettings
from proxy.config_watch import watch
from proxy.controller.store.sqlite.files import PATIENCE, claim
from proxy.cores import quota, worker_count
from proxy.fork_server import open_standard_streams
from proxy.forks import ForkServer, adopt_orphans
from proxy.handover import Handover, Predecessors, predecessors
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.reloading import ConfigInForce, read_again, read_first
from proxy.sockets import Listening, address_text, listen_alone

log = logging.getLogger("understudy.supervisor")

WATCH = 1.0
"""Seconds between two looks for a child that hangs."""
LAST_PAIRS = 10.0
"""Seconds the controller may take to judge and save what is in hand when it is told to drain."""
FIRST_TRIES = 3
"""Deaths before its first READY after which a child is held to be unable to start."""


class Supervisor:
    """The process tree of one configuration file."""

    def __init__(self, path: Path) -> None:
        self._path, self._forks = path, ForkServer()
        try:
            self._in_force = ConfigInForce(path, read_first(path, self._forks), self._read_again)
        except BaseException:
            self._forks.close()
            raise
        self._before = handover.take()
        self._runtime = self._before.runtime if self._before else Path(tempfile.mkdtemp(prefix="understudy-"))
        self._draining = False
        self._failed = False
        self._drain_delay = 0.0
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._predecessors = Predecessors(self._before.children if self._before else [], self._announce_tree)
        self._leaving: asyncio.Task[None] | None = None  # the last version's workers
        self._listening: dict[str, Listening] = {}
        try:
            self._workers, self._controller = self._open()
            if self._before is None:
                self._look_at_store()
        except BaseException:
            self._let_go()
            raise

    @property
    def _settings(self) -> TreeSettings:
        return self._in_force.file.tree

    @property
    def _children(self) -> list[Child]:
        return [self._controller, *self._workers]

    def _open(self) -> tuple[list[Child], Child]:
        tree, before = self._settings, self._before
        count = len(before.listening["data"].sockets) if before else worker_count(tree.workers, cores=quota())
        data, admin = self._listen("data", tree.listen, count), self._listen("admin", tree.admin_listen)
        grpc = self._listen("grpc", tree.grpc_listen, count) if tree.grpc_listen is not None else None
        calls = grpc.sockets if grpc is not None else (None,) * count
        runtime = ["--runtime", str(self._runtime)]
        workers = [
            Child(
                f"worker {slot}",
                ["proxy.worker", "--slot", f"{slot}", "--workers", f"{count}", *runtime],
                sock,
                call,
            )
            for slot, (sock, call) in enumerate(zip(data.sockets, calls, strict=True))
        ]
        self.data_address, self.admin_address = data.where, admin.where
        self.grpc_address = grpc.where if grpc is not None else None
        return workers, Child(CONTROLLER, ["proxy.behind", "proxy.controller.process", *runtime], admin.sockets[0])

    def _look_at_store(self) -> None:
        """Refuse to start beside another Understudy on the same file; the controller takes the lock."""
        store = self._settings.store
        found = claim(Path(store), PATIENCE) if store is not None else None
        if found is not None:
            found.close()

    async def _read_again(self, path: Path) -> ConfigRead:
        return await read_again(path, self._forks)

    def _listen(self, name: str, address: str, count: int = 1) -> Listening:
        found = self._before.listening[name] if self._before else listen_alone(address, count)
        self._listening[name] = found
        return found

    # --- one child ---------------------------------------------------------------------------------------------------

    async def _start(self, child: Child) -> None:
        ours, theirs = socket.socketpair()
        child.starts()
        child.process = None
        self._runtime.mkdir(mode=0o700, exist_ok=True)  # what cleans up temporary folders may have taken it
        with theirs, contextlib.ExitStack() as undone:
            undone.enter_context(ours)
            child.process = await self._begin_process(child, theirs.fileno())
            undone.pop_all()
        child.started, child.control = time.time(), ours
        loop = asyncio.get_running_loop()
        _, child.channel = await loop.create_connection(
            lambda: Channel(lambda *heard: self._heard(child, *heard)), sock=ours
        )
        child.send(self._in_force.frame(child))
        if self._draining:  # all were told before this one could hear
            child.send(self._drain_frame())
        self._announce_tree()

    async def _begin_process(self, child: Child, control: int) -> ChildProcess:
        """A process for a child, from now on."""
        fds = [child.listener.fileno(), control]
        held = [one.family.fileno() for one in self._listening.values() if one.family is not None]
        argv = [*child.arguments, "--listen-fd", f"{fds[0]}", "--control-fd", f"{fds[1]}"]
        if child.grpc is not None:
            fds.append(child.grpc.fileno())
            argv += ["--grpc-fd", f"{fds[2]}"]
        descriptors = {one: one for one in (*fds, *held)}
        return await asyncio.to_thread(self._forks.start, *argv, descriptors=descriptors)

    def _drain_frame(self) -> bytes:
        return link.note(Frame.DRAIN, {"delay": self._drain_delay})

    def _heard(self, child: Child, channel: Channel, kind: Frame, payload: bytes) -> None:
        child.heard(kind, payload)
        if kind is Frame.RELOAD:
            self._spawn(self._reload_for(channel, link.read_note(payload)))

    async def _keep(self, child: Child) -> None:
        """Start the child and start it again whenever it dies, until the drain begins."""
        while not self._draining:
            code = await self._live(child)
            pause = child.died(time.monotonic())
            if self._draining:
                return
            logs.event(log, "process.died", logging.ERROR, name=child.name, code=code, restart_in=pause)
            self._announce_tree()
            if not child.was_ready and child.restarts >= FIRST_TRIES:
                self._failed = True
                self._stop.set()
                return
            await asyncio.sleep(pause)

    async def _live(self, child: Child) -> int | None:
        """From start to end of a process; its exit code, `None` when there could not be one (no memory, no files)."""
        try:
            await self._start(child)
        except Exception:  # a child that is not started now is started later, like one that dies
            logs.unexpected(log, "process.not_started", name=child.name)
            child.kill()
        if child.process is None:
            return None
        watchdog = self._spawn(self._expect_ready(child))
        code = await child.process.wait()
        watchdog.cancel()
        return code

    async def _expect_ready(self, child: Child) -> None:
        longest = start_deadline(child.stuck)
        try:
            await asyncio.wait_for(child.ready.wait(), longest)
            child.stuck = 0
            logs.event(log, "process.ready", name=child.name, pid=child.pid)
        except TimeoutError:
            child.stuck += 1
            logs.event(log, "process.stuck", logging.ERROR, name=child.name, seconds=longest)
            child.kill()

    async def _watch(self) -> None:
        """End children that hang: nothing else would ever replace them."""
        while not self._draining:
            await asyncio.sleep(WATCH)
            longest = longest_silence(self._settings.controller_lost)
            try:
                for child in self._children:
                    if child.hangs(WATCH, longest):
                        fields = {"name": child.name, "pid": child.pid, "seconds": longest}
                        logs.event(log, "process.silent", logging.ERROR, **fields)
                        child.kill()
            except Exception:
                logs.unexpected(log, "process.watch_broke")

    def _announce_tree(self) -> None:
        tree = {
            "supervisor": os.getpid(),
            "controller": self._controller.pid,
            "workers": [{"slot": n, "pid": w.pid, "started": w.started} for n, w in enumerate(self._workers)],
            "restarts": {child.name: child.restarts for child in self._children},
            "leaving": self._predecessors.pids,
            "draining": self._draining,
            "config": self._in_force.shown(),
        }
        self._controller.send(link.note(Frame.HELLO, tree))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- reload ------------------------------------------------------------------------------------------------------

    async def _reload_for(self, channel: Channel, asked: dict[str, Any]) -> None:
        """Answer a RELOAD to the process that asked (one that takes its place has not)."""
        try:
            error = await self.reload(str(asked.get("by", "")))
        except Exception as bug:
            logs.unexpected(log, "config.reload_broke")
            error = repr(bug)
        result = {"number": asked.get("number"), "ok": not error, "error": error}
        channel.send(link.note(Frame.RESULT, {**result, "generation": self._in_force.generation}))

    async def reload(self, by: str) -> str:
        """Read the files again and hand them to every process; what stands in the way in words, empty when it is done.
        One worker first (it opens certificates), then the controller (it judges), then all the others."""
        error = await self._in_force.reload(by, [*self._workers[:1], self._controller, *self._workers[1:]])
        self._announce_tree()
        return error

    def _watch_files(self) -> Coroutine[Any, Any, None]:
        """Read the files again when they change, while `server.watch` says so."""
        mine = self._in_force
        return watch(lambda: mine.watched, mine.changes, lambda: self._settings.watch, lambda: self.reload("watch"))

    # --- a new version ----------------------------------------------------------------------------------------------

    async def _upgrade(self) -> None:
        """Become the version that is installed by now, if that can go on where this one is."""
        async with self._in_force.lock:
            goes, now = self._before is None and not self._stop.is_set(), self._settings.fixed
            try:
                problem = await handover.become_next(self._path, now, self._left, self._stop) if goes else "not now"
            except Exception as bug:
                logs.unexpected(log, "upgrade.broke")
                problem = repr(bug)
            self._forks.reopen()
        logs.event(log, "upgrade.refused", logging.ERROR, error=problem)

    def _left(self) -> Handover:
        self._forks.close()  # what it would start from now on would be nobody's
        return Handover(self._runtime, self._listening, predecessors(self._children))

    async def _begin(self) -> None:
        """Start everything. Where there was a last version, its controller saves what it has and leaves, and ours takes
        that up; its workers leave when ours are ready, and until then send our controller their pairs."""
        old = self._predecessors
        if self._before is None:
            self._start_keeping(self._children)
            return
        await old.connect()
        if not self._stop.is_set():
            self._start_keeping([self._controller])
            await all_set([self._controller.spoke], self._stop)  # it only waits for the store now
        await old.leave(self._controller.name, 0.0, LAST_PAIRS)
        await all_set([self._controller.ready], self._stop)
        if not self._stop.is_set():
            self._start_keeping(self._workers)
            await all_set([worker.ready for worker in self._workers], self._stop)
        delay, drain = self._settings.drain_delay, self._settings.drain
        self._leaving = self._spawn(old.leave("worker", delay, delay + drain + 5.0))
        self._leaving.add_done_callback(self._upgraded)

    def _upgraded(self, _: object) -> None:
        self._before = None
        logs.event(log, "upgrade.done", version=__version__)

    # --- the whole tree ----------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve until a signal; the exit code."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(handover.threads())
        loop.add_signal_handler(signal.SIGTERM, lambda: self._on_stop(self._settings.drain_delay))
        loop.add_signal_handler(signal.SIGINT, lambda: self._on_stop(0.0))
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload("SIGHUP")))
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._spawn(self._upgrade()))
        handover.unblock()
        try:
            self._spawn(self._watch())
            self._spawn(self._watch_files())
            grpc = {"grpc": address_text(self.grpc_address)} if self.grpc_address is not None else {}
            logs.event(
                log, "listening", data=address_text(self.data_address), **grpc, admin=address_text(self.admin_address)
            )
            await self._begin()
            await self._stop.wait()
            return await self._drain()
        finally:
            self._close()

    def _start_keeping(self, children: list[Child]) -> None:
        self._keepers += [asyncio.create_task(self._keep(child)) for child in children]

    def _on_stop(self, delay: float) -> None:
        if self._stop.is_set():
            self._kill([*self._children, self._predecessors])
        self._drain_delay = delay
        self._stop.set()

    async def _drain(self) -> int:
        self._draining = True
        self._announce_tree()
        delay, longest = self._drain_delay, self._settings.drain
        logs.event(log, "draining", delay=delay, longest=longest)
        clean = await all_leave(self._workers, self._drain_frame(), delay + longest + 5.0)
        if self._leaving is not None:
            await asyncio.wait([self._leaving])
        clean = await all_leave([self._controller], self._drain_frame(), LAST_PAIRS) and clean
        self._forks.close()  # a keeper may wait for one that hangs
        await asyncio.gather(*self._keepers, return_exceptions=True)
        logs.event(log, "stopped", clean=clean)
        return 0 if clean and not self._failed else 1

    def _kill(self, children: Iterable[Child | Predecessors]) -> None:
        for child in children:
            child.kill()

    def _close(self) -> None:
        for task in (*self._keepers, *self._tasks):
            task.cancel()
        self._kill([*self._children, self._predecessors])
        self._let_go()

    def _let_go(self) -> None:
        self._forks.close()
        for listening in self._listening.values():
            listening.close()
        shutil.rmtree(self._runtime, ignore_errors=True)


def run(path: Path) -> int:
    """Run the proxy from a configuration file until it is told to stop; the exit code.

    Raises `ConfigError` for a bad file and `AddressError` for an address that is taken, `StoreError` for a store that
    is in use, before anything is started. One that is told to stop before that ends as one that serves does.
    """
    setproctitle.setproctitle("understudy: supervisor")
    stops = (signal.SIGTERM, signal.SIGINT)  # SIGINT too: what a shell starts with `&` ignores it
    before = [signal.signal(stop, signal.default_int_handler) for stop in stops]
    adopt_orphans()
    open_standard_streams()  # else a socket has their numbers, and children write their logs to it
    try:
        supervisor = Supervisor(path)
        logs.setup(supervisor._settings.log_format, supervisor._settings.log_level, "supervisor")
        return asyncio.run(supervisor.run())
    except KeyboardInterrupt:
        return 0
    finally:
        for stop, handler in zip(stops, before, strict=True):
            signal.signal(stop, handler)
