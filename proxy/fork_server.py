"""`python -m proxy.fork_server FD MODULE…`: starts the processes of the tree as forks of itself.

Imports are most of what it costs to start a process, and most of the memory that it then takes. This process has
imported what the others need: a fork of it has the same pages, and begins at once, with the code that its supervisor
began with, whatever has been installed since.

Each message over the socket FD is an order (`forks.ForkServer`): what to run as `python -m` would, and, with the
message, the descriptors that it is to have under the numbers that the order names, behind one to which its exit code
is written when it has ended, and one from which a byte comes when the answer has been heard: it begins then. The answer
is a process id and, with it, a handle of the process (`pidfd_open(2)`), where there are none a pipe that it holds for
as long as it lives; or why there is no process.

Invariants
- One thread and no event loop: a fork has what was there, and nothing that was about to happen.
- A fork has no descriptor but the standard streams and those that came with its order.
- It ends with its supervisor, when the socket does.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import setproctitle

MOST = 64
"""Descriptors that come with an order: a few for each port, and the standard streams."""
LONGEST = 1 << 16
"""Bytes of an order or of an answer."""


class Orders:
    """The orders, and those of its forks that have not ended."""

    def __init__(self, orders: socket.socket, modules: Iterable[str]) -> None:
        self._orders, self._modules = orders, list(modules)
        self._events = selectors.PollSelector()  # has no descriptor of its own
        self._events.register(orders, selectors.EVENT_READ)
        self._has_handles = _has_handles()

    def run(self) -> None:
        """Take orders until there are no more. The first module is imported before the first of them, the others while
        there is none."""
        self._import()
        while True:
            ready = self._events.select(0.0 if self._modules else None)
            if not ready:
                self._import()
            for key, _ in ready:
                if key.data is not None:
                    self._has_ended(key.fd, *key.data)
                elif not self._take():
                    return

    def _import(self) -> None:
        name = self._modules.pop(0)
        importlib.import_module(name)
        del sys.modules[name]  # runs as if for the first time: `runpy` warns of one that is there

    def _take(self) -> bool:
        """One order; `False` when there will be none any more."""
        order, descriptors, _, _ = socket.recv_fds(self._orders, LONGEST, MOST)
        if not order:
            return False
        status, gate, *given = descriptors
        try:
            pid, handle = self._fork(status, gate, given, **json.loads(order))
            answer = {"pid": pid, "is_handle": self._has_handles}
            socket.send_fds(self._orders, [json.dumps(answer).encode()], [handle])
        except OSError as error:
            os.close(status)
            self._orders.send(json.dumps({"errno": error.errno, "error": error.strerror}).encode())
        for one in (gate, *given):
            os.close(one)
        return True

    def _fork(
        self, status: int, gate: int, given: Sequence[int], argv: list[str], numbers: list[int]
    ) -> tuple[int, int]:
        gc.freeze()  # a fork that looks for garbage would write to, and so copy, all that it shares
        alive = None if self._has_handles else os.pipe()
        pid = os.fork()
        if pid == 0:
            self._orders.close()  # or it would seem that the server is there for as long as this waits
            if not os.read(gate, 1):  # nobody has the answer, and another may be started in its place
                os._exit(1)
            descriptors = dict(zip(numbers, given, strict=True))
            if alive is not None:
                descriptors[max((2, *numbers)) + 1] = alive[1]
            run_as(argv, descriptors)
        if alive is not None:
            os.close(alive[1])
        handle = os.pidfd_open(pid) if alive is None else alive[0]
        self._events.register(handle, selectors.EVENT_READ, (pid, status))
        return pid, handle

    def _has_ended(self, handle: int, pid: int, status: int) -> None:
        self._events.unregister(handle)
        os.close(handle)
        _, code = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it
            os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
        os.close(status)


def _has_handles() -> bool:
    """Whether processes have them here: Linux before 5.3 has none, nor have some sandboxes (gVisor)."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def run_as(argv: Sequence[str], descriptors: Mapping[int, int]) -> NoReturn:
    """Within a fork: be what `python -m` with these arguments would be, to its end."""
    code: object = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        keep(descriptors)
        setproctitle.setproctitle(f"understudy: {argv[0]}")
        sys.argv[:] = argv
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)  # noqa: T201 - as Python does
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def keep(descriptors: Mapping[int, int]) -> None:
    """Have these, under the numbers that they are given for, and the standard streams, and no others."""
    above = max((*descriptors.keys(), *descriptors.values(), 2)) + 1
    moved = {number: fcntl.fcntl(held, fcntl.F_DUPFD_CLOEXEC, above) for number, held in descriptors.items()}
    for number, held in moved.items():
        os.dup2(held, number, inheritable=number <= 2)
    kept = sorted({0, 1, 2, *moved})
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for one, after in zip(kept, [*kept[1:], most if most != resource.RLIM_INFINITY else 1 << 20], strict=True):
        os.closerange(one + 1, after)


def open_standard_streams() -> None:
    """Have those that the supervisor has closed: a fork is given others under their numbers, and writes to them."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(lowest)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def main(orders: socket.socket, modules: Sequence[str]) -> None:
    """Serve until the supervisor lets go."""
    setproctitle.setproctitle("understudy: fork server")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the supervisor
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # at an upgrade it holds them back
    open_standard_streams()
    Orders(orders, modules).run()


if __name__ == "__main__":
    gc.disable()
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
