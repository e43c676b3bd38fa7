"""The configuration in force, and how another one takes its place in all processes, or in none."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxy import logs
from proxy.answers import last_line
from proxy.children import ENVIRONMENT, Child
from proxy.config_file import UNREADABLE, ConfigFile, ConfigRead
from proxy.config_watch import Changes
from proxy.errors import ConfigError, UnderstudyError
from proxy.handover import PACKAGE_PARENT, VARIABLE, needs_restart, what_it_wrote

log = logging.getLogger("understudy.supervisor")


READING = 60.0
"""Seconds that the files may take to be read; hundreds of routes take a good half second."""
Read = Callable[[Path], Awaitable[ConfigRead]]
"""Read the files; raises `UnderstudyError` where there is nothing to be read."""


def our_module(*arguments: str) -> dict[str, Any]:
    """What starts a module of ours as a process of the tree."""
    # -P: a folder named `proxy` in the user's directory must not shadow the package.
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": PACKAGE_PARENT}
    environment.pop(VARIABLE, None)  # an upgrade is the supervisor's
    return {"args": (sys.executable, "-P", "-m", *arguments), "env": environment}


async def read_again(path: Path) -> ConfigRead:
    """Read the files beside the workers, in a process of its own; raises `UnderstudyError` where nothing can be
    read."""
    starts, pipe = our_module("proxy.behind", "proxy.config_reader", str(path)), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *starts["args"],
        env=starts["env"],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,  # Ctrl-C is for the supervisor, which ends it
    )
    try:
        out, errors = await what_it_wrote(process, READING)
    except TimeoutError:
        raise too_slow() from None
    return reading_ended(await process.wait(), out, errors)


def too_slow() -> UnderstudyError:
    """The process that reads has taken too long."""
    return UnderstudyError(f"the configuration was not read within {READING:g} s")


def reading_ended(code: int, out: bytes, errors: bytes) -> ConfigRead:
    """What a process has read that ended with `code`, or is there still (0); raises `UnderstudyError`."""
    if code:
        said = errors.decode("utf-8", "replace").strip()[-2000:]
        if code == UNREADABLE and said:
            raise UnderstudyError(said)
        why = said.rpartition("\n")[2]  # of a traceback, the error
        raise UnderstudyError(f"the process that reads the configuration ended with {code}{why and f': {why}'}")
    try:
        return ConfigRead.load(last_line(out))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UnderstudyError(
            f"the process that reads the configuration gave another answer than was expected ({error!r}): another "
            "version may have been installed, which SIGUSR2 or a restart puts in this one's place"
        ) from error


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

    def __init__(self, path: Path, first: ConfigRead, read: Read = read_again) -> None:
        """`first` is what was read at the start; raises `ConfigError` where that has mistakes."""
        self._path, self._read = path, read
        self.file = first.file()
        self.watched = first.watched
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
            try:
                error = await self._try(children)
            except Exception as bug:  # whoever asked is answered, and the next one is read as ever
                logs.unexpected(log, "config.reload_broke")
                error = f"the reload broke: {bug!r}"
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
            read = await self._read(self._path)
        except (OSError, UnderstudyError) as error:
            return str(error)
        if read.watched != self.watched:
            self.watched, self.changes.read = read.watched, read.watched.signature()
        if isinstance(read.meant, ConfigError):
            return str(read.meant)
        file = read.meant
        changed = needs_restart(self.file.tree.fixed, file.tree.fixed)
        if changed:
            return f"{' and '.join(changed)} needs a restart"
        return await self._hand_out(file, children)

    async def _hand_out(self, file: ConfigFile, children: Sequence[Child]) -> str:
        before, self.file = self.file, file
        self.generation += 1
        told: list[Child] = []
        for child in children:
            told.append(child)
            refusal = await self._apply(child)
            if refusal:
                self.file = before
                self.generation += 1
                for one in told:
                    await self._apply(one)
                return f"{child.name}: {refusal}"
        return ""

    async def _apply(self, child: Child) -> str:
        try:
            return await child.apply(self.frame(child), self.generation)
        except Exception as bug:  # the others are to have the same as this one all the same
            logs.unexpected(log, "config.apply_broke", name=child.name)
            return repr(bug)
