"""The supervisor's side of the fork server: has processes started, waits for them, ends them.

Invariants
- A server that has died or does not answer is replaced at the next start; those that it has started go on, and their
  end is seen, though nobody knows their exit code any more.
- What is done to a process is done to it or to nobody: its number may be another's by then, its handle never. (Where
  there are no handles, numbers have to do.)
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.children import ENVIRONMENT
from proxy.errors import UnderstudyError
from proxy.fork_server import LONGEST
from proxy.handover import PACKAGE_PARENT, VARIABLE

MODULES = ("proxy.config_reader", "proxy.worker.__main__")
"""What forks have imported: what reads the configuration, as the controller does too; then what workers are."""
ANSWER = 30.0
"""Seconds that the server may take to start a process; at its own start it imports for half of one."""
TO_STOP = 10.0
"""The same for whoever has been told to stop."""
LOOK = 0.2
"""Seconds between two looks for that."""
PR_SET_CHILD_SUBREAPER = 36
TOLD = 5.0
"""Seconds after the end of a process within which its server tells the exit code; it may have to import meanwhile."""
UNKNOWN = 255
"""The exit code of a process whose server has ended before it, or tells nothing."""


def adopt_orphans() -> None:
    """Have what a fork server leaves behind given to this process, as the first of a container has it: who is nobody's
    child leaves no exit code, and no version that takes over can wait for it (`prctl(2)`)."""
    with contextlib.suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class ServerGoneError(UnderstudyError):
    """The fork server has ended, or answers nothing that is understood."""


class ForkedProcess:
    """A process that the fork server has started: a handle of it (or what stands for one), which tells its end whatever
    the server does, and the pipe to which its exit code is written."""

    def __init__(self, pid: int, handle: int, is_handle: bool, status: int) -> None:
        self.pid, self._handle, self._is_handle, self._status = pid, handle, is_handle, status
        self.returncode: int | None = None
        for held in (handle, status):  # not before, so that whoever ends it meanwhile, in another thread, ends no other
            weakref.finalize(self, os.close, held)
        self._ended: asyncio.Future[int] | None = None

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                if self._is_handle:
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)
                else:
                    os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, when it has ended."""
        if self.returncode is not None:
            return self.returncode
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            loop.add_reader(self._handle, self._gone)
        return await asyncio.shield(self._ended)

    def wait_now(self, seconds: float | None = None) -> int:
        """The same without a loop; raises `TimeoutError`."""
        if self.returncode is None:
            if not _readable(self._handle, seconds):
                raise TimeoutError
            self._ends(os.read(self._status, LONGEST) if _readable(self._status, TOLD) else b"")
        assert self.returncode is not None
        return self.returncode

    def reap(self) -> int:
        """Its exit code where it has ended and was left to us (`adopt_orphans`), else `UNKNOWN`."""
        with contextlib.suppress(ChildProcessError):
            which = (os.P_PIDFD, self._handle) if self._is_handle else (os.P_PID, self.pid)
            ended = os.waitid(*which, os.WEXITED | os.WNOHANG)
            if ended is not None:
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return UNKNOWN

    def _gone(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._handle)
        late = loop.call_later(TOLD, self._told, None)
        loop.add_reader(self._status, self._told, late)

    def _told(self, late: asyncio.TimerHandle | None) -> None:
        asyncio.get_running_loop().remove_reader(self._status)
        if late is not None:
            late.cancel()
        self._ends(os.read(self._status, LONGEST) if late is not None else b"")

    def _ends(self, told: bytes) -> None:
        self.returncode = int(told) if told else self.reap()
        if self._ended is not None:
            self._ended.set_result(self.returncode)


class ForkServer:
    """The process that starts all others; it is started when it is needed and not there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._closed = False
        self._started: list[ForkedProcess] = []

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
        """Let go of the server, and start nothing any more; what it has started goes on."""
        self._closed, process = True, self._process
        if process is not None:
            process.kill()  # before all: another thread may wait for its answer
        with self._lock:
            self._end()

    def reopen(self) -> None:
        """What was closed is needed all the same."""
        self._closed = False

    def _ask(self, argv: Sequence[str], descriptors: Mapping[int, int]) -> ForkedProcess:
        if self._closed:
            raise OSError("the fork server is closed")
        orders = self._orders or self._begin()
        order = json.dumps({"argv": argv, "numbers": list(descriptors)}).encode()
        (status, told), (gate, begins) = os.pipe(), os.pipe()
        try:
            answer = self._answer(orders, order, [told, gate, *descriptors.values()])
            with contextlib.suppress(BrokenPipeError):  # it has ended already
                os.write(begins, b"1")  # one whose answer is lost never does: another has the same descriptors
        except BaseException:
            os.close(status)
            raise
        finally:
            for one in (told, gate, begins):
                os.close(one)
        started = ForkedProcess(*answer, status)
        self._started = [*(one for one in self._started if one.returncode in (None, UNKNOWN)), started]
        return started

    def _answer(self, orders: socket.socket, order: bytes, descriptors: Sequence[int]) -> tuple[int, int, bool]:
        try:
            socket.send_fds(orders, [order], descriptors)
            _await_answer(orders.fileno())
            text, handles, _, _ = socket.recv_fds(orders, LONGEST, 1)
            answer = dict(json.loads(text))
        except (OSError, ValueError) as error:
            raise ServerGoneError(f"the fork server does not answer: {error!r}") from error
        if not handles:  # or none that there is room for here: what was started hears that its channel has ended
            raise OSError(answer.get("errno", errno.EMFILE), answer.get("error", "no descriptor is left"))
        os.set_inheritable(handles[0], False)
        return int(answer["pid"]), handles[0], bool(answer["is_handle"])

    def _begin(self) -> socket.socket:
        ours, theirs = map(above_standard, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        with theirs:
            starts = our_module("proxy.fork_server", f"{theirs.fileno()}", *MODULES)
            try:
                self._process = subprocess.Popen(**starts, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        self._orders = ours
        if self._closed:  # meanwhile
            self._process.kill()
        return ours

    def _end(self) -> None:
        process, orders = self._process, self._orders
        self._process = self._orders = None
        if process is not None and orders is not None:
            orders.close()
            process.kill()
            process.wait()
            for one in self._started:
                one.reap()
            self._started = [one for one in self._started if one.returncode is None]


def _readable(descriptor: int, seconds: float | None) -> bool:
    """Wait for it, without a loop."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000.0 * seconds))


def _await_answer(descriptor: int) -> None:
    """Wait until it can be read; raises `TimeoutError` after `ANSWER`, and `UnderstudyError` after `TO_STOP` where this
    thread holds back a signal to stop: whoever does so while something is started is not deaf to it for long."""
    began = time.monotonic()
    while not _readable(descriptor, LOOK):
        stops, waited = signal.sigpending() & {signal.SIGINT, signal.SIGTERM}, time.monotonic() - began
        if stops and waited > TO_STOP:
            raise UnderstudyError("told to stop while the fork server hangs")
        if waited > ANSWER:
            raise TimeoutError


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
