"""The first controller: the process that reads the configuration for a supervisor that starts, and then has its place.

To read the files takes pydantic, YAML and all that the guards import; a controller needs the same. So one process does
both, and imports it once: it answers with what it has read (`first_controller`), imports the rest while the supervisor
opens its sockets, and waits for its place: one message with the descriptors that later controllers inherit.

Invariants
- Nothing depends on it: where it has died, a controller is started like every later one.
- It leaves when the supervisor lets go of it, or ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import selectors
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from proxy import reloading
from proxy.config_file import ConfigRead
from proxy.errors import ConfigError, UnderstudyError


class Adopted:
    """A process that was started without the loop, as the loop's own processes are."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.pid, self._process = process.pid, process
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._ended.set_result, code)

    @property
    def returncode(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.returncode

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def wait(self) -> int:
        """Its exit code, when it has ended."""
        return await asyncio.shield(self._ended)


class Forerunner:
    """What was `read`, and the process that has read it; none where there is nothing to be served."""

    def __init__(
        self, read: ConfigRead, process: subprocess.Popen[Any] | None = None, place: socket.socket | None = None
    ) -> None:
        self.read, self._process, self._place = read, process, place

    def place(self, runtime: Path, descriptors: Sequence[int]) -> Adopted | None:
        """Make it the controller, once: `descriptors` are the listener, the control channel and what it only holds.
        `None` when it is not there (any more)."""
        process, place = self._process, self._place
        self._process = self._place = None
        if process is None or place is None:
            return None
        with place:
            try:
                socket.send_fds(place, [os.fsencode(runtime)], [1, 2, *descriptors])
            except OSError:
                _end(process)
                return None
        return Adopted(process)

    def close(self) -> None:
        """Let go of it."""
        process, place = self._process, self._place
        self._process = self._place = None
        if process is not None and place is not None:
            place.close()
            _end(process)


def read_first(path: Path) -> Forerunner:
    """Read the files at a start, in a process of its own; raises `UnderstudyError` where nothing can be read.

    It is in our process group, as every child is; what it writes to standard error before it has its place is told
    only where it fails.
    """
    ours, theirs = map(_above_standard, socket.socketpair())
    with theirs, contextlib.ExitStack() as undone:
        undone.enter_context(ours)
        with tempfile.TemporaryFile() as errors:
            place = theirs.fileno()
            command = reloading.our_module("proxy.first_controller", str(path), f"{place}")
            process = subprocess.Popen(
                **command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, pass_fds=[place]
            )
            undone.callback(_end, process)
            read = _read(process, ours, errors)
        if isinstance(read.meant, ConfigError):
            return Forerunner(read)
        undone.pop_all()
        return Forerunner(read, process, ours)


def _above_standard(one: socket.socket) -> socket.socket:
    """The same socket, where a child's standard streams are not laid over it: whoever has closed its own has their
    numbers to give."""
    with one:
        return socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _read(process: subprocess.Popen[Any], place: socket.socket, errors: IO[bytes]) -> ConfigRead:
    deadline = time.monotonic() + reloading.READING
    assert process.stdout is not None
    with process.stdout as output:
        written = _until_closed(output.fileno(), deadline)
    with contextlib.suppress(UnderstudyError):
        return reloading.reading_ended(0, written, b"")
    place.shutdown(socket.SHUT_RDWR)  # there is no place for a process that gives no answer: it ends
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise reloading.too_slow() from None
    errors.seek(0)
    return reloading.reading_ended(code, written, errors.read())


def _until_closed(descriptor: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            part = os.read(descriptor, 1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)
    raise reloading.too_slow()


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()
