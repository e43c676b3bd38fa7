"""The configuration in force, and how another one takes its place in all processes, or in none."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxy import logs
from proxy.children import Child
from proxy.config_file import ConfigFile, ConfigRead
from proxy.config_watch import Changes, WatchedFiles
from proxy.errors import ConfigError
from proxy.handover import fixed, needs_restart

log = logging.getLogger("understudy.supervisor")


def _behind_others() -> None:
    """On Linux priorities are those of threads: this one's reading is to take no core from the workers."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


_READER = ThreadPoolExecutor(1, "config", initializer=_behind_others)
"""Reads files, for as long as it takes; hundreds of routes take a good half second."""


def _read(path: Path) -> tuple[WatchedFiles, ConfigFile | ConfigError]:
    """Which files there are to be looked at, and what they mean, or why they mean nothing."""
    read = ConfigRead.load(path)
    try:
        return read.watched, read.meant()
    except ConfigError as error:
        return read.watched, error


@dataclass(frozen=True, slots=True)
class Refusal:
    """An attempt to load that changed nothing: why, when (epoch seconds), and who asked for it."""

    error: str
    at: float
    by: str


class ConfigInForce:
    """What every process has, when it was loaded and by whom, and why a later one was not.

    `by` is `start`, `SIGHUP`, `watch`, or the actor who asked the admin port.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        read = ConfigRead.load(path)
        self.file = read.meant()
        self.watched = read.watched
        """What to look at to see whether there is something to be read: the files of the last attempt, refused or not,
        since it is these in which somebody mends something."""
        self.changes = Changes(self.watched.signature())
        self.generation = 1
        self.lock = asyncio.Lock()
        """Held while processes are told of another one, or replaced."""
        self._taken = self._said("start")
        self._refusal: Refusal | None = None

    def frame(self, child: Child) -> bytes:
        """CONFIG for a process."""
        return (self.file.for_controller if child.is_controller else self.file.for_worker)(self.generation)

    def shown(self) -> dict[str, Any]:
        """What the controller is told of it."""
        one = self._refusal
        return {**self._taken, "refused": None if one is None else asdict(one)}

    def _said(self, by: str) -> dict[str, Any]:
        """Of a configuration that all processes have taken."""
        return {
            "hash": self.file.hash,
            "generation": self.generation,
            "loaded": time.time(),
            "by": by,
            "source": str(self._path),
            "files": [{"name": name, "owner": owner} for name, owner in self.file.owners],
        }

    async def reload(self, by: str, children: Sequence[Child]) -> str:
        """Read the files again and hand them to these processes, one after the other; what stands in the way in words,
        empty when it is done."""
        async with self.lock:
            error = await self._try(children)
            if error:
                self._refusal = Refusal(error, time.time(), by)
            else:
                self._taken, self._refusal = self._said(by), None
        name, level = ("config.refused", logging.ERROR) if error else ("config.reloaded", logging.INFO)
        why = {"error": error} if error else {}
        logs.event(log, name, level, path=str(self._path), generation=self.generation, by=by, **why)
        return error

    async def _try(self, children: Sequence[Child]) -> str:
        self.changes.read = self.watched.signature()
        try:
            watched, file = await asyncio.get_running_loop().run_in_executor(_READER, _read, self._path)
        except (OSError, UnicodeDecodeError) as error:
            return str(error)
        if watched != self.watched:
            self.watched, self.changes.read = watched, watched.signature()
        if isinstance(file, ConfigError):
            return str(file)
        changed = needs_restart(fixed(self.file.config), fixed(file.config))
        if changed:
            return f"{' and '.join(changed)} needs a restart"
        before, self.file = self.file, file
        self.generation += 1
        told: list[Child] = []
        for child in children:
            told.append(child)
            refusal = await child.apply(self.frame(child), self.generation)
            if refusal:
                self.file = before
                self.generation += 1
                for one in told:
                    await one.apply(self.frame(one), self.generation)
                return f"{child.name}: {refusal}"
        return ""
