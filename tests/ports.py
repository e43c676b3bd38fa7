"""Ports of this process's own, for whoever may stop listening before its test ends.

A port that the kernel has chosen is anybody's as soon as it is closed, and tests that run at the same time open some at
every moment: a model that is to be dead would now and then be another test's, and alive. These lie below the kernel's
range (`ip_local_port_range`), and each process of pytest-xdist has a part of them to itself.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice

FIRST, PARTS, EACH = 12_000, 16, 1_250

_part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PARTS
_mine = range(FIRST + _part * EACH, FIRST + (_part + 1) * EACH)
_ports = cycle(random.sample(_mine, EACH))  # in an order of its own: somebody else's run may use the same


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is given for a while."""
    for port in islice(_ports, EACH):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("every port is taken")


@contextmanager
def swallows(host: str, port: int) -> Iterator[int]:
    """A port on which nobody accepts, and what comes is dropped: the backlog is full. Port 0 is any."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield full.getsockname()[1]
