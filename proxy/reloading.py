"""The configuration in force, and how another one takes its place in all processes, or in none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxy import logs
from proxy.answers import last_line
from proxy.children import Child
from proxy.config_file import UNREADABLE, ConfigFile, ConfigRead
from proxy.config_watch import Changes
from proxy.errors import ConfigError, UnderstudyError
from proxy.forks import ForkServer
from proxy.handover import needs_restart

log = logging.getLogger("understudy.supervisor")


READING = 60.0
"""Seconds that the files may take to be read; hundreds of routes take a good half second."""
Read = Callable[[Path], Awaitable[ConfigRead]]
"""Read the files; raises `UnderstudyError` where there is nothing to be read."""


class FileReading:
    """The files being read beside the workers, by a process of its own, from now on."""

    def __init__(self, path: Path, forks: ForkServer) -> None:
        self._deadline = time.monotonic() + READING
        output, written = os.pipe()
        with contextlib.ExitStack() as undone, open(written, "wb"):
            self._output = undone.enter_context(open(output, "rb"))
            self._errors = undone.enter_context(tempfile.TemporaryFile())
            descriptors = {1: written, 2: self._errors.fileno()}
            self._process = forks.start("proxy.behind", "proxy.config_reader", str(path), descriptors=descriptors)
            undone.pop_all()

    def end(self) -> ConfigRead:
        """Wait for it; raises `UnderstudyError` where nothing can be read."""
        with self._output, self._errors:
            try:
                written = _until_closed(self._output.fileno(), self._deadline)
                code = self._process.wait_now(max(0.0, self._deadline - time.monotonic()))
            except TimeoutError:
                raise UnderstudyError(f"the configuration was not read within {READING:g} s") from None
            finally:
                self.stop()
            self._errors.seek(0)
            return _reading_ended(code, written, self._errors.read())

    def stop(self) -> None:
        """End it at once: whoever waits hears that it has ended."""
        self._process.kill()

    def close(self) -> None:
        """The same where nobody waits, nor will."""
        self.stop()
        self._output.close()
        self._errors.close()


def _until_closed(descriptor: int, deadline: float) -> bytes:
    parts, poll = list[bytes](), select.poll()
    poll.register(descriptor, select.POLLIN)
    while poll.poll(1000.0 * max(0.0, deadline - time.monotonic())):
        part = os.read(descriptor, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    raise TimeoutError


def read_first(path: Path, forks: ForkServer) -> ConfigRead:
    """Read the files before there is a loop; raises `UnderstudyError` where nothing can be read."""
    stops = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # who is told to stop meanwhile would leave it behind
    with contextlib.ExitStack() as undone:
        undone.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        reading = FileReading(path, forks)
        undone.callback(reading.close)  # before a signal is let in that interrupts us
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return reading.end()


async def read_again(path: Path, forks: ForkServer) -> ConfigRead:
    """The same within a loop."""
    reading = await asyncio.to_thread(FileReading, path, forks)
    try:
        return await asyncio.to_thread(reading.end)
    finally:
        reading.stop()


def _reading_ended(code: int, out: bytes, errors: bytes) -> ConfigRead:
    """What a process has read that ended with `code`; raises `UnderstudyError`."""
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

    def __init__(self, path: Path, first: ConfigRead, read: Read) -> None:
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
