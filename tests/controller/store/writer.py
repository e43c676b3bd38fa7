"""A controller that saves one change after the other, as a process that can be killed at any moment.

    python -m tests.controller.store.writer PLACE ACKS TIMES SEED

Each of `TIMES` children opens the store at `PLACE` (a path or a URL), goes on from the last entry, and appends the
number of each change to the file `ACKS` once it is saved; it is killed a random moment after its first one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from proxy.config.postgres_url import read_target
from proxy.controller.store.interface import RolloutStore
from proxy.controller.store.postgres.lease import Lease
from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from proxy.controller.store.postgres.store import PostgresStore
from proxy.controller.store.sqlite.store import SqliteStore
from tests.controller.store.stores import change

LATE = 60.0


async def opened(place: str) -> RolloutStore:
    """The store, in this process' hands."""
    if not place.startswith("postgresql:"):
        return SqliteStore(Path(place))
    target = read_target(place)
    session = await Session.connect(target)
    await bring_up_to_date(session)
    lease = Lease(session)
    term, until = None, time.monotonic() + LATE
    while term is None:  # the server has not seen the last one's end yet
        assert time.monotonic() < until
        term = await lease.take(0, "writer", "", 60.0)
    store = PostgresStore(target)
    store.lead(session, term)
    return store


async def write(place: str, acks: int, told: int) -> None:
    """Save until killed."""
    store = await opened(place)
    await store.load(["r/c"])
    last = await store.journal("r/c", 1)
    number = last[0]["detail"]["n"] if last else 0
    while True:
        number += 1
        await store.save(change(number, "http://a", evidence=b"%d" % number * 1000))
        os.write(acks, b"%d\n" % number)
        os.write(told, b".")


def main(place: str, acks: str, times: str, seed: str) -> None:
    """Start and kill writers one after the other."""
    draw = random.Random(int(seed))
    file = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for _ in range(int(times)):
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                asyncio.run(write(place, file, told))
            os._exit(1)
        os.close(told)
        os.read(heard, 1)  # the first change is saved, or the child has ended
        time.sleep(draw.random() * 0.02)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(heard)
        if not os.WIFSIGNALED(status):
            sys.exit("a writer ended by itself")


if __name__ == "__main__":
    main(*sys.argv[1:])
