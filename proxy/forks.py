"""The supervisor's side of the fork server: has processes started, waits for them, ends them.

Invariants
- A server that has died or does not answer is replaced at the next start; those that it has started go on, and their
  end is seen, though nobody knows their exit code any more.
- What is done to a process is done to it or to nobody: its number may be another's by then, its handle never.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.children import ENVIRONMENT
from proxy.errors import UnderstudyError
from proxy.fork_server import LONGEST
from proxy.handover import PACKAGE_PARENT, VARIABLE

MODULES = ("proxy.config_reader", "proxy.worker.__main__")
"""What forks have imported: what reads the configuration, as the first controller does; then what workers are."""
ANSWER = 30.0
"""Seconds that the server may take to start a process; at its own start it imports for half of one."""
UNKNOWN = 255
"""The exit code of a process whose server has ended before it."""


class ServerGoneError(UnderstudyError):
    """The fork server has ended, or answers nothing that is understood."""


class ForkedProcess:
    """A process that the fork server has started: a handle of it, and the pipe to which its exit code is written."""

    def __init__(self, pid: int, handle: int, status: int) -> None:
        self.pid, self._handle, self._status = pid, handle, status
        self.returncode: int | None = None
        for held in (handle, status):  # not before, so that whoever ends it meanwhile, in another thread, ends no other
            weakref.finalize(self, os.close, held)
        self._ended: asyncio.Future[int] | None = None

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, when it has ended."""
        if self.returncode is not None:
            return self.returncode
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            loop.add_reader(self._status, self._told)
        return await asyncio.shield(self._ended)

    def wait_now(self, seconds: float | None = None) -> int:
        """The same without a loop; raises `TimeoutError`."""
        if self.returncode is None:
            if not _readable(self._status, seconds):
                raise TimeoutError
            told = os.read(self._status, LONGEST)
            if not told and not _readable(self._handle, seconds):
                raise TimeoutError
            self._ends(told)
        assert self.returncode is not None
        return self.returncode

    def _told(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._status)
        told = os.read(self._status, LONGEST)
        if told:
            self._ends(told)
        else:  # the server has ended before it
            loop.add_reader(self._handle, self._gone)

    def _gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        self._ends(b"")

    def _ends(self, told: bytes) -> None:
        self.returncode = int(told) if told else UNKNOWN
        if self._ended is not None:
            self._ended.set_result(self.returncode)


class ForkServer:
    """The process that starts all others; it is started when it is needed and not there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def start(self, *argv: str, descriptors: Mapping[int, int]) -> ForkedProcess:
        """A process of `python -m` with these arguments, with descriptors of ours under the numbers that they are
        given for; raises `UnderstudyError` where there can be none."""
        try:
            with self._lock:
                try:
                    return self._ask(argv, descriptors)
                except ServerGoneError:
                    self._end()
                    return self._ask(argv, descriptors)
        except OSError as error:
            raise UnderstudyError(f"no process can be started: {error}") from error

    def close(self) -> None:
        """Let go of the server; what it has started goes on."""
        with self._lock:
            self._end()

    def _ask(self, argv: Sequence[str], descriptors: Mapping[int, int]) -> ForkedProcess:
        orders = self._orders or self._begin()
        order = json.dumps({"argv": argv, "numbers": list(descriptors)}).encode()
        status, told = os.pipe()
        try:
            pid, handle = self._answer(orders, order, [told, *descriptors.values()])
            return ForkedProcess(pid, handle, status)
        except BaseException:
            os.close(status)
            raise
        finally:
            os.close(told)

    def _answer(self, orders: socket.socket, order: bytes, descriptors: Sequence[int]) -> tuple[int, int]:
        try:
            socket.send_fds(orders, [order], descriptors)
            text, handles, _, _ = socket.recv_fds(orders, LONGEST, 1)
            answer = dict(json.loads(text))
        except (OSError, ValueError) as error:
            raise ServerGoneError(f"the fork server does not answer: {error!r}") from error
        if not handles:
            raise OSError(answer["errno"], answer["error"])
        os.set_inheritable(handles[0], False)
        return int(answer["pid"]), handles[0]

    def _begin(self) -> socket.socket:
        ours, theirs = map(above_standard, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        with theirs:
            starts = our_module("proxy.fork_server", f"{theirs.fileno()}", *MODULES)
            try:
                self._process = subprocess.Popen(**starts, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        ours.settimeout(ANSWER)
        self._orders = ours
        return ours

    def _end(self) -> None:
        process, orders = self._process, self._orders
        self._process = self._orders = None
        if process is not None and orders is not None:
            orders.close()
            process.kill()
            process.wait()


def _readable(descriptor: int, seconds: float | None) -> bool:
    """Wait for it, without a loop."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000.0 * seconds))


def above_standard(one: socket.socket) -> socket.socket:
    """The same socket, where a child's standard streams are not laid over it: whoever has closed its own has their
    numbers to give."""
    with one:
        return socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def our_module(*arguments: str) -> dict[str, Any]:
    """What starts a module of ours as a process of the tree."""
    # -P: a folder named `proxy` in the user's directory must not shadow the package.
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": PACKAGE_PARENT}
    environment.pop(VARIABLE, None)  # an upgrade is the supervisor's
    return {"args": (sys.executable, "-P", "-m", *arguments), "env": environment}
