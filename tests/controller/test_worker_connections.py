"""Keeps the links' promises: who speaks anything but frames is put out, a choked worker is not waited for, and a worker
that is replaced is forgotten only after everything it wrote has been read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.controller.worker_connections import WorkerConnections
from proxy.model import Table
from proxy.pairs import link
from proxy.pairs.link import Frame
from tests.controller.ear import Ear
from tests.controller.worker import FakeWorker, answer


@pytest.fixture
async def ear() -> Ear:
    return Ear()


@pytest.fixture
async def connections(ear: Ear, tmp_path: Path) -> AsyncIterator[WorkerConnections]:
    one = WorkerConnections(ear)
    await one.start(tmp_path)
    yield one
    await one.stop()


async def test_pairs_marks_and_counts_reach_the_listener_in_order(
    connections: WorkerConnections, ear: Ear, tmp_path: Path
) -> None:
    worker = await FakeWorker(tmp_path).connect()
    worker.good("t", 2)
    worker.mark("t")
    worker.counts("t")
    await ear.until("counts", "w0")
    said = [what for what in ear.heard if what[0] != "hello"]
    assert said == [("pair", "w0", 0), ("pair", "w0", 1), ("mark", "w0", "t", 2), ("counts", "w0")]
    worker.disconnect()


GARBAGE = [
    b"\xff" * 16,
    link.note(Frame.COUNTS, {}),  # before HELLO
    link.note(Frame.HELLO, {"slot": "x"}),
    link.note(Frame.HELLO, {"slot": 0, "pid": 1, "worker": "w"}) + link.note(Frame.TRIAL, {}),
    link.note(Frame.HELLO, {"slot": 0, "pid": 1, "worker": "w"}) + link.encode_mark(7, 1),
    link.note(Frame.HELLO, {"slot": 0, "pid": 1, "worker": "w"}) + link.frame(Frame.PAIR, b"short"),
    link.note(Frame.HELLO, {"slot": 0, "pid": 1, "worker": "w"}) + link.note(Frame.TABLE, {}),
]


@pytest.mark.parametrize("name", ["pairs.sock", "tables.sock"])
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_who_speaks_garbage_is_put_out_and_the_others_go_on(
    connections: WorkerConnections, ear: Ear, tmp_path: Path, garbage: bytes, name: str
) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / name))
    writer.write(garbage)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    worker = await FakeWorker(tmp_path, slot=1, name="w1").connect()
    await ear.until("hello", "w1")
    worker.disconnect()


async def test_a_replaced_worker_is_gone_only_when_all_it_wrote_is_read(
    connections: WorkerConnections, ear: Ear, tmp_path: Path
) -> None:
    old = await FakeWorker(tmp_path, name="old").connect()
    await ear.until("hello", "old")
    new = await FakeWorker(tmp_path, name="new").connect()
    await ear.until("hello", "new")
    assert ("gone", "old") not in ear.heard
    old.send("t", answer(1), answer(1))
    old.disconnect()
    await ear.until("gone", "old")
    assert ear.heard.index(("pair", "old", 0)) < ear.heard.index(("gone", "old"))
    assert set(connections.workers) == {"new"}
    new.disconnect()


async def test_waiting_for_acknowledgements_has_an_end(
    connections: WorkerConnections, ear: Ear, tmp_path: Path
) -> None:
    good, deaf = FakeWorker(tmp_path), FakeWorker(tmp_path, slot=1, name="deaf", acks=False)
    for worker in (good, deaf):
        await worker.connect()
        await ear.until("hello", worker.name)
    connections.publish(Table(5))
    assert await connections.acknowledged(5, 0.05) == ["deaf"]
    deaf.disconnect()
    assert await connections.acknowledged(5, 10.0) == []
    assert good.table.number == 5
    good.disconnect()


async def test_who_has_not_said_who_it_is_is_let_go_of_too(connections: WorkerConnections, tmp_path: Path) -> None:
    """A worker that came as this controller ended would wait here for ever: its pairs have no other way out."""
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "pairs.sock"))
    await asyncio.sleep(0)
    await connections.stop()
    async with asyncio.timeout(20.0):
        assert await reader.read() == b""
    writer.close()
