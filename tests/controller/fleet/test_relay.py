"""Promise: what a standby's worker says reaches the leader whole and in order, over plain TCP and TLS, on both event
loops; tables come back; what is this replica's alone stays here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from proxy.model import Table
from tests.controller.fleet.replicas import eventually, fleet
from tests.controller.worker import FakeWorker

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_worker_of_a_standby_is_as_one_of_the_leaders_own(
    tmp_path: Path, tls: bool, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> None:
        async with fleet(tmp_path, "b", tls=tls) as (leader, (b,)):
            worker = await FakeWorker(b.folder).connect()
            worker.good("t", 300)
            worker.mark("t")
            worker.counts("t")
            await leader.ear.until("counts", "b/w0")
            said = [what for what in leader.ear.heard if what[0] != "hello"]
            assert said == [("pair", "b/w0", n) for n in range(300)] + [("mark", "b/w0", "t", 300), ("counts", "b/w0")]
            await leader.ear.until("hello", "b/w0")
            leader.connections.publish(Table(7))
            leader.connections.alive()
            assert await leader.connections.acknowledged(7, 10.0) == []
            assert worker.table.number == 7
            await b.ear.until("counts", "b/w0")
            await eventually(lambda: b.relay.workers["b/w0"].told)
            worker.disconnect()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
