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
from pathlib import Path
from typing import Any

import setproctitle
import uvloop

from proxy import logs
from proxy.config import parse
from proxy.controller import admin
from proxy.controller.controller import Controller
from proxy.controller.service import ControllerService
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.controller.webhooks.outbox import Sender
from proxy.errors import ConfigError, StoreError
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.sockets import raise_descriptors

log = logging.getLogger("understudy.controller")

NICE = 5
CONFIG_DEADLINE = 30.0
ADMIN_DRAIN = 1.0
"""Seconds that requests to the admin API may take to finish at the end."""


def settle() -> None:
    """Leave what is there for good to itself, and look for rubbish less often: pairs make none that is circular."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class Process:
    """One controller process: the control channel, and what it starts."""

    def __init__(self, control: socket.socket, listener: socket.socket, runtime: Path) -> None:
        self._control, self._listener, self._runtime = control, listener, runtime
        self._configs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._end = asyncio.Event()
        self._service: ControllerService | None = None
        self._tree: dict[str, Any] = {}

    async def run(self) -> int:
        """Serve until told to leave; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)  # the supervisor tells what is to be done
        channel = Channel(self._heard, lambda _: self._end.set())
        await loop.create_connection(lambda: channel, sock=self._control)
        first = await asyncio.wait_for(self._configs.get(), CONFIG_DEADLINE)
        config = parse(first["text"], first["source"], directory=first["directory"])
        logs.setup(config.log.format, config.log.level, "controller")
        controller = Controller(config, first["text"], SqliteStore(Path(config.store.path)))
        controller.generation = int(first["generation"])
        controller.admin_port = self._listener.getsockname()[1]
        controller.alive = lambda: channel.send(link.frame(Frame.ALIVE, b""))
        controller.alive()  # all is imported: what comes next may have to wait for the store
        try:
            await controller.start(self._runtime)
        except StoreError as error:
            logs.event(log, "store.unreadable", logging.CRITICAL, error=str(error))
            return 1
        self._service = ControllerService(controller, channel)
        self._service.tree(self._tree)
        settle()
        await self._serve(controller, self._service, channel)
        return 0

    async def _serve(self, controller: Controller, service: ControllerService, channel: Channel) -> None:
        sender = Sender(service)
        port = admin.Port(admin.application(service, sender), ADMIN_DRAIN, controller.config.admin)
        await port.start(self._listener)
        sender.start()
        reloads = asyncio.create_task(self._reload(controller, channel, port))
        channel.send(link.note(Frame.READY, {"pid": os.getpid()}))
        await self._end.wait()
        service.draining = True
        reloads.cancel()
        await sender.stop()
        await port.close()
        await controller.stop()

    def _heard(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.CONFIG:
            self._configs.put_nowait(link.read_note(payload))
        elif kind is Frame.DRAIN:
            self._end.set()
        elif kind is Frame.HELLO:
            self._tree = link.read_note(payload)
            if self._service is not None:
                self._service.tree(self._tree)
        elif kind is Frame.RESULT and self._service is not None:
            self._service.reloaded(link.read_note(payload))

    async def _reload(self, controller: Controller, channel: Channel, port: admin.Port) -> None:
        while True:
            new = await self._configs.get()
            generation = int(new["generation"])
            try:
                config = parse(new["text"], new["source"], directory=new["directory"])
                error = await controller.reload(config, new["text"], generation)
                port.admin = controller.config.admin
            except ConfigError as mistakes:
                error = str(mistakes)
            except Exception as bug:  # a bug in a reload must not end the judging of what runs
                logs.unexpected(log, "config.reload_broke")
                error = repr(bug)
            channel.send(link.note(Frame.RESULT, {"generation": generation, "ok": not error, "error": error}))


def main() -> None:
    """Run the controller; ends the process."""
    parser = argparse.ArgumentParser(prog="proxy.controller.process")
    for name in ("control-fd", "listen-fd"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--runtime", type=Path, required=True)
    arguments = parser.parse_args()
    setproctitle.setproctitle("understudy: controller")
    raise_descriptors()
    os.nice(NICE)
    control, listener = socket.socket(fileno=arguments.control_fd), socket.socket(fileno=arguments.listen_fd)
    code = uvloop.run(Process(control, listener, arguments.runtime).run())
    logging.shutdown()
    os._exit(code)  # a thread that waits for a dead disk must not keep the process


if __name__ == "__main__":
    main()
