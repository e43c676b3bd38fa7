"""Promise: what a standby's worker says reaches the leader whole and in order, over plain TCP and TLS, on both event
loops; tables come back; what is this replica's alone stays here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from proxy.controller.fleet import links
from proxy.controller.fleet.dialling import QUEUE, LeaderAddress
from proxy.model import Table
from proxy.pairs import link
from proxy.pairs.link import Frame
from proxy.pairs.replicas import ReplicaHello
from tests.controller.controllers import eventually
from tests.controller.fleet.replicas import Leader, fleet
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


async def test_a_worker_that_was_let_in_as_the_relay_let_go_is_sent_away(tmp_path: Path) -> None:
    """Its connection is accepted, and made in a later turn of the loop: in between the leader may be lost."""
    async with fleet(tmp_path, "b") as (leader, (b,)):
        to = LeaderAddress(leader.address, leader.term, None)
        one = b.relay._let_in("pairs", to, ReplicaHello("b", "1", "pairs"))
        one.close()
        server = await asyncio.get_running_loop().create_unix_server(lambda: one, str(tmp_path / "late.sock"))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "late.sock"))
        try:
            async with asyncio.timeout(20.0):
                assert await reader.read() == b""
        finally:
            writer.close()
            server.close()


async def test_what_only_this_replica_wants_stays_here(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await FakeWorker(b.folder).connect()
        worker.say(link.frame(Frame.REQUESTS, b'{"request_log":[]}'))
        worker.counts("t")
        await leader.ear.until("counts", "b/w0")
        await b.ear.until("entries", 0)
        assert ("entries", 0) not in leader.ear.heard
        worker.disconnect()


async def test_a_leader_that_is_held_up_holds_up_the_worker_and_loses_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await FakeWorker(b.folder).connect()
        worker.good("t", 1)
        await leader.ear.until("pair", "b/w0", 0)
        leader.connections.hold_up(True)
        size = len(link.encode_pair(leader.ear.pairs[0], 0))
        most = 0
        while worker.waiting < 1 << 20:  # the kernel's buffers and the relay's are full
            worker.good("t", 200)
            await asyncio.sleep(0)
            (one,) = (relayed.pairs for relayed in b.relay.workers.values())
            assert one is not None
            most = max(most, one.waiting)
        assert most < 2 * QUEUE
        sent = worker.sequence("t")
        assert sent * size > worker.waiting
        worker.counts("t")
        leader.connections.hold_up(False)
        await leader.ear.until("counts", "b/w0")
        assert [pair.sequence for pair in leader.ear.pairs] == list(range(sent))
        worker.disconnect()


async def test_a_ping_is_answered_between_frames_and_never_amid_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "PING", 0.02)
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await FakeWorker(b.folder).connect()
        worker.good("t", 1)
        await leader.ear.until("pair", "b/w0", 0)
        frame = link.encode_pair(leader.ear.pairs[0]._replace(sequence=1), 0)
        (one,) = (relayed.pairs for relayed in b.relay.workers.values())
        assert one is not None
        for sequence in (1, 2, 3):
            frame = link.encode_pair(leader.ear.pairs[0]._replace(sequence=sequence), 0)
            worker.say(frame[:60])
            await eventually(lambda one=one: one.owes)
            worker.say(frame[60:])
            await leader.ear.until("pair", "b/w0", sequence)
            await eventually(lambda one=one: not one.owes)
        worker.disconnect()


async def test_who_speaks_garbage_is_put_out_and_the_others_go_on(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        for garbage in (b"\xff" * 16, link.note(Frame.COUNTS, {}), link.note(Frame.HELLO, {"slot": "x"})):
            reader, writer = await asyncio.open_unix_connection(str(b.folder / "pairs.sock"))
            writer.write(garbage)
            async with asyncio.timeout(20):
                assert await reader.read() == b""
            writer.close()
        worker = await FakeWorker(b.folder, slot=1, name="w1").connect()
        await leader.ear.until("hello", "b/w1")
        worker.disconnect()


async def test_another_leader_hears_what_is_in_force_and_the_old_one_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (old, (b,)):
        (tmp_path / "new").mkdir()
        new = await Leader(tmp_path / "new", name="new", term=2).start()
        worker = await FakeWorker(b.folder).connect()
        await old.ear.until("hello", "b/w0")
        old.connections.publish(Table(9))
        assert await old.connections.acknowledged(9, 10.0) == []
        b.relay.follow(new.address, 2)
        await worker.ended()
        await eventually(lambda: b.relay.leader is not None and b.relay.leader.name == "new")
        await worker.connect()
        await new.ear.until("hello", "b/w0")
        assert new.ear.hellos["b/w0"]["table"]["number"] == 9
        assert not old.connections.workers["b/w0"].connected
        worker.disconnect()
        await new.stop()


async def test_nobody_is_let_in_without_a_leader(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (_, (b,)):
        worker = await FakeWorker(b.folder).connect()
        await eventually(lambda: b.connected)
        b.relay.follow(None, 1)
        await worker.ended()
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await FakeWorker(b.folder).connect()
        assert b.relay.leader is None


async def test_it_is_the_leader_that_is_served_by_the_same_sockets_afterwards(tmp_path: Path) -> None:
    """A standby that takes over: its relay ends, its own controller listens, and its workers come to that."""
    async with fleet(tmp_path, "b") as (_, (b,)):
        worker = await FakeWorker(b.folder).connect()
        await eventually(lambda: b.connected)
        await b.relay.stop()
        await worker.ended()
        own = await Leader(b.folder, name="b", term=2).start()
        await worker.connect()
        await own.ear.until("hello", "b/w0")
        worker.disconnect()
        await own.stop()


async def test_a_worker_whose_process_ends_is_gone_at_both_ends_after_all_it_wrote(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await FakeWorker(b.folder).connect()
        worker.good("t", 50)
        worker.disconnect()
        b.pids = (2,)
        await eventually(lambda: "b/w0" in b.relay.workers or ("gone", "b/w0") in b.ear.heard)
        b.relay.expect({2})
        await leader.ear.until("gone", "b/w0")
        await b.ear.until("gone", "b/w0")
        said = [what for what in leader.ear.heard if what[0] != "hello"]
        assert said == [*(("pair", "b/w0", n) for n in range(50)), ("gone", "b/w0")]
