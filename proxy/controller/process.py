"""The controller's life as a process: `python -m proxy.controller.process`, started by the supervisor.

CONFIG comes first; READY goes back when the store has been read and every socket listens. Later CONFIG frames are
reloads, answered with RESULT. DRAIN, or the end of the channel (the supervisor is gone), ends it with exit code 0 after
what is in hand has been judged and saved.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import setproctitle
import uvloop

from proxy import aiohttp_client, logs  # noqa: F401 - the first that imports aiohttp, and without what it reads
from proxy.config import Config, build
from proxy.config.including import ConfigTexts, KnownParts
from proxy.controller.controller import Controller
from proxy.controller.leading import Leading
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.controller.supervisor_link import SupervisorLink
from proxy.errors import ConfigError, StoreError
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.sockets import raise_descriptors

log = logging.getLogger("understudy.controller")

CONFIG_DEADLINE = 30.0
Reload = Callable[[Config, str, int], Awaitable[str]]
"""Take a configuration, its hash and its number; gives why not, or nothing."""


def settle_memory() -> None:
    """Leave what is there for good to itself, and look for rubbish less often: pairs make none that is circular."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class Process:
    """One controller process: the control channel, and what it starts."""

    def __init__(self, control: socket.socket, listener: socket.socket, runtime: Path) -> None:
        self._control, self._listener, self._runtime = control, listener, runtime
        self._configs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._end = asyncio.Event()
        self._channel = Channel(self._heard, lambda _: self._end.set())
        self._supervisor = SupervisorLink(self._channel)
        self._known = KnownParts()
        self._tree_told: Callable[[], object] = lambda: None

    async def run(self) -> int:
        """Serve until told to leave; the exit code."""
        gc.disable()  # until `settle`: what is read now stays
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)  # the supervisor tells what is to be done
        await loop.create_connection(lambda: self._channel, sock=self._control)
        first = await self._first()
        if first is None:
            return 1
        config, config_hash = _told(first, self._known)
        logs.setup(config.log.format, config.log.level, "controller")
        if config.fleet is not None:
            return await self._in_fleet(config, config_hash, int(first["generation"]))
        controller = Controller(config, config_hash, SqliteStore(Path(config.store.path)))
        controller.generation, controller.alive = int(first["generation"]), self._alive
        controller.alive()  # all is imported: what comes next may have to wait for the store
        leading = Leading(controller, self._supervisor)
        try:
            await leading.start(self._runtime, self._listener)
        except StoreError as error:
            logs.event(log, "store.unreadable", logging.CRITICAL, error=str(error))
            return 1
        self._tree_told = leading.tree
        settle_memory()
        await self._until_the_end(leading.reload)
        await leading.stop()
        return 0

    async def _first(self) -> dict[str, Any] | None:
        """What it begins with; `None` where the supervisor ends before it has told, or tells nothing."""
        told, ends = asyncio.create_task(self._configs.get()), asyncio.create_task(self._end.wait())
        await asyncio.wait({told, ends}, timeout=CONFIG_DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        ends.cancel()
        if told.done():
            return told.result()
        told.cancel()
        return None

    async def _in_fleet(self, config: Config, config_hash: str, generation: int) -> int:
        from proxy.controller.replica import Replica  # who has no fleet needs no driver of its store

        replica = Replica(config, config_hash, self._supervisor, self._runtime, self._listener)
        replica.generation, replica.alive = generation, self._alive
        await replica.start()
        self._tree_told = replica.tree
        settle_memory()
        taking_part = asyncio.create_task(replica.run())
        taking_part.add_done_callback(lambda _: self._end.set())
        await self._until_the_end(replica.reload)
        replica.drain()
        await taking_part
        return 0

    async def _until_the_end(self, reload: Reload) -> None:
        reloads = asyncio.create_task(self._reload(reload))
        self._channel.send(link.note(Frame.READY, {"pid": os.getpid()}))
        await self._end.wait()
        reloads.cancel()

    def _alive(self) -> None:
        self._channel.send(link.frame(Frame.ALIVE, b""))

    def _heard(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.CONFIG:
            self._configs.put_nowait(link.read_note(payload))
        elif kind is Frame.DRAIN:
            self._end.set()
        elif kind is Frame.HELLO:
            self._supervisor.told(link.read_note(payload))
            self._tree_told()
        elif kind is Frame.RESULT:
            self._supervisor.reloaded(link.read_note(payload))

    async def _reload(self, reload: Reload) -> None:
        while True:
            new = await self._configs.get()
            generation = int(new["generation"])
            try:
                error = await reload(*_told(new, self._known), generation)
            except ConfigError as mistakes:
                error = str(mistakes)
            except Exception as bug:  # a bug in a reload must not end the judging of what runs
                logs.unexpected(log, "config.reload_broke")
                error = repr(bug)
            self._channel.send(link.note(Frame.RESULT, {"generation": generation, "ok": not error, "error": error}))


def _told(note: dict[str, Any], known: KnownParts) -> tuple[Config, str]:
    """The configuration in a CONFIG, and its hash; raises `ConfigError`."""
    texts = ConfigTexts.of(note)
    return build(texts.document(os.environ, known), texts.source), str(note["hash"])


def main() -> None:
    """Run one controller; ends the process."""
    parser = argparse.ArgumentParser(prog="proxy.controller.process")
    for name in ("control-fd", "listen-fd"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--runtime", type=Path, required=True)
    given = parser.parse_args()
    setproctitle.setproctitle("understudy: controller")
    raise_descriptors()
    process = Process(socket.socket(fileno=given.control_fd), socket.socket(fileno=given.listen_fd), given.runtime)
    code = uvloop.run(process.run())
    logging.shutdown()
    os._exit(code)  # a thread that waits for a dead disk must not keep the process


if __name__ == "__main__":
    main()
