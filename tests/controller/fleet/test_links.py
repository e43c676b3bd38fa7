"""Promise: the leader's port takes in who has a certificate of the fleet and speaks its language, tells everybody else
why not, and tells a replica that is cut off from one that is gone."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.controller.fleet import links as module
from proxy.controller.fleet.clock import ClockOffset
from proxy.controller.fleet.dialling import LeaderAddress, NotTakenError, dial
from proxy.controller.fleet.tls import LinkContexts, trouble_with
from proxy.pairs import link
from proxy.pairs.link import Frame
from proxy.pairs.replicas import ReplicaHello
from tests.controller.controllers import eventually
from tests.controller.fleet.replicas import Leader, Standby, authority, contexts, fleet
from tests.controller.worker import FakeWorker


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority(folder, "leader", "b")
    authority(folder, "stranger", ca="other")
    return folder


@pytest.fixture
async def secured(certificates: Path, tmp_path: Path) -> AsyncIterator[Leader]:
    one = await Leader(tmp_path, contexts(certificates, "leader")).start()
    yield one
    await one.stop()


async def call(leader: Leader, context: ssl.SSLContext | None, hello: ReplicaHello) -> str:
    """How the leader answers somebody: empty when it takes it in."""
    try:
        one, _ = await dial(LeaderAddress(leader.address, 0, context), hello, lambda *_: None, lambda _: None)
    except (OSError, TimeoutError) as error:
        return trouble_with(error)
    one.close()
    return ""


def without_certificate(ends: LinkContexts) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_who_has_no_certificate_of_the_fleet_is_refused_and_both_ends_say_why(
    secured: Leader, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    hello = ReplicaHello("b", "1")
    own = contexts(certificates, "b")
    strange = contexts(certificates, "stranger", ca="other")
    assert await call(secured, own.client, hello) == ""
    assert "It may not take our certificate" in await call(secured, without_certificate(own), hello)
    assert (await call(secured, strange.client, hello)).startswith(
        "the other end's certificate is not of our authority: "
    )
    strange.client.verify_mode = ssl.CERT_NONE
    assert "It may not take our certificate" in await call(secured, strange.client, hello)
    await eventually(lambda: +secured.links.refused == {"tls": 2, "ended": 1})  # who does not trust us just leaves
    said = [record.fields for record in caplog.records if record.message == "link.refused"]  # type: ignore[attr-defined]
    assert said[0]["why"] == "no certificate"
    assert said[0]["reason"] == "tls"
    assert said[0]["peer"] == "127.0.0.1"


async def test_who_speaks_no_tls_is_refused_at_once(secured: Leader, tmp_path: Path) -> None:
    assert await call(secured, None, ReplicaHello("b", "1")) != ""
    await eventually(lambda: secured.links.refused["tls"])


@pytest.mark.parametrize(
    ("says", "why"), [(b"", "silent"), (link.note(Frame.HELLO, {"slot": 0, "pid": 1, "worker": "w"}), "garbage")]
)
async def test_who_says_nothing_for_a_while_or_is_no_replica_is_put_out(
    says: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELLO", 60.0 if says else 0.05)
    leader = await Leader(tmp_path).start()
    host, _, port = leader.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(says)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    assert +leader.links.refused == {why: 1}
    await leader.stop()


async def test_connections_that_have_not_said_who_they_are_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GREETING", 2)
    leader = await Leader(tmp_path).start()
    host, _, port = leader.address.partition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    await eventually(lambda: leader.links.refused["full"] == 1)
    for _, writer in silent:
        writer.close()
    await eventually(lambda: leader.links._greeting == 0)
    assert await call(leader, None, ReplicaHello("b", "1")) == ""
    await leader.stop()


REFUSED = [
    (ReplicaHello("b", "1", link_version=3), "link version 3: the leader speaks 1", "version"),
    (ReplicaHello("b", "1", term_seen=5), "term 1 of this leader is over: 5 has begun", "term"),
    (ReplicaHello("leader", "1"), "another replica is called leader", "name"),
    (ReplicaHello("b", "1", link="pairs"), "the link of the replica itself comes first", "unknown"),
]


@pytest.mark.parametrize(("hello", "why", "word"), REFUSED, ids=[word for *_, word in REFUSED])
async def test_who_cannot_be_taken_in_is_told_why(tmp_path: Path, hello: ReplicaHello, why: str, word: str) -> None:
    leader = await Leader(tmp_path).start()
    ranks: list[int] = []
    leader.links.outranked = ranks.append
    assert f"leader refuses this replica: {why}" in await call(leader, None, hello)
    assert +leader.links.refused == {word: 1}
    assert ranks == ([5] if word == "term" else [])
    assert leader.links.peers == {}
    await leader.stop()


async def test_a_neighbour_version_is_taken_in(tmp_path: Path) -> None:
    leader = await Leader(tmp_path).start()
    assert await call(leader, None, ReplicaHello("b", "1", link_version=2)) == ""
    await leader.stop()


async def test_a_leader_of_an_older_term_is_left_alone(tmp_path: Path) -> None:
    leader = await Leader(tmp_path).start()
    with pytest.raises(NotTakenError, match="leader leads term 1, which is over: 4 has begun"):
        await dial(LeaderAddress(leader.address, 4, None), ReplicaHello("b", "1"), lambda *_: None, lambda _: None)
    await leader.stop()


async def test_a_replica_with_another_configuration_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leader = await Leader(tmp_path).start()
    leader.links.config_hash = lambda: "a" * 64
    try:
        for config_hash in ("a" * 64, "b" * 64):
            one = await Standby(tmp_path / config_hash[0], f"r-{config_hash[0]}").start()
            one.config_hash = config_hash
            one.relay.follow(leader.address, leader.term)
            await eventually(lambda one=one: one.relay.leader is not None)
            one.relay.announce()
            one.pids = (1, 2)
            one.relay.announce()
            await eventually(lambda one=one: len(leader.links.peers[one.name].hello.workers) == 2)
            await one.relay.stop()
    finally:
        await leader.stop()
    said = [record.fields for record in caplog.records if record.message == "replica.configured_otherwise"]  # type: ignore[attr-defined]
    assert said == [{"replica": "r-b", "its": "b" * 12, "ours": "a" * 12}]


async def test_a_second_replica_of_a_name_is_refused_while_the_first_is_there(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        heard = await call(leader, None, ReplicaHello("b", "2"))
        assert "another replica is called b: each has a name of its own" in heard
        assert b.relay.leader is not None


# --- cut off, gone ---------------------------------------------------------------------------------------------------


async def worker_of(b: Standby, leader: Leader) -> FakeWorker:
    worker = await FakeWorker(b.folder).connect()
    await leader.ear.until("hello", "b/w0")
    return worker


async def test_one_that_is_cut_off_may_come_back_and_its_accounts_wait(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await worker_of(b, leader)
        assert leader.connections.over("b/dead") is b.connected
        b.relay.follow(None, 0)
        await eventually(lambda: not leader.links.peers["b"].connected)
        await worker.ended()
        await eventually(lambda: not leader.connections.workers["b/w0"].connected)
        assert not leader.connections.over("b/dead")
        assert ("gone", "b/w0") not in leader.ear.heard
        b.relay.follow(leader.address, 1)
        await eventually(lambda: leader.links.peers["b"].connected)
        await worker.connect()
        await eventually(lambda: leader.connections.workers["b/w0"].connected)
        assert leader.connections.over("b/dead")
        worker.disconnect()


async def test_one_that_says_goodbye_is_gone_when_all_its_workers_wrote_is_read(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await worker_of(b, leader)
        worker.good("t", 200)
        await leader.ear.until("pair", "b/w0", 199)
        worker.disconnect()
        await b.relay.stop(goodbye=True)
        await leader.ear.until("gone", "b/w0")
        assert leader.links.peers == {}
        assert leader.connections.over("b/w0")


async def test_another_process_under_its_name_ends_what_was_before(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        await worker_of(b, leader)
        b.relay.follow(None, 0)
        await eventually(lambda: not leader.links.peers["b"].connected)
        b.boot = "2"
        b.relay.follow(leader.address, 1)
        await leader.ear.until("gone", "b/w0")


async def test_one_that_stays_away_is_gone_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AWAY", 0.05)
    monkeypatch.setattr(module, "PING", 0.02)
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await worker_of(b, leader)
        b.relay.follow(None, 0)
        await leader.ear.until("gone", "b/w0")
        await worker.ended()


async def test_its_process_list_says_which_workers_are_gone(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        worker = await worker_of(b, leader)
        await eventually(lambda: leader.connections.over("b/dead"))
        worker.disconnect()
        b.pids = (7,)
        b.relay.announce()
        await leader.ear.until("gone", "b/w0")
        assert not leader.connections.over("b/dead")  # who that is has not been heard of


async def test_of_two_replicas_slots_and_processes_are_their_own(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b", "c") as (leader, standbys):
        workers = [await FakeWorker(one.folder).connect() for one in standbys]
        for one in standbys:
            await leader.ear.until("hello", f"{one.name}/w0")
        leader.connections.expect([1])
        own = await FakeWorker(leader.folder).connect()
        await leader.ear.until("hello", "leader/w0")
        leader.connections.expect([3])
        await eventually(lambda: "leader/w0" not in leader.connections.workers or own.disconnect())
        assert {"b/w0", "c/w0"} <= set(leader.connections.workers)
        for worker in workers:
            worker.disconnect()


async def test_one_that_answers_no_ping_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING", 0.02)
    leader = await Leader(tmp_path).start()
    ended = asyncio.Event()
    to = LeaderAddress(leader.address, 0, None)
    await dial(to, ReplicaHello("b", "1"), lambda *_: None, lambda _: ended.set())
    await eventually(lambda: "b" in leader.links.peers)
    async with asyncio.timeout(20):
        await ended.wait()
    assert not leader.links.peers["b"].connected
    await leader.stop()


async def test_a_certificate_that_has_changed_holds_for_those_who_come_next(
    secured: Leader, certificates: Path
) -> None:
    strange = contexts(certificates, "stranger", ca="other")
    assert await call(secured, strange.client, ReplicaHello("b", "1")) != ""
    secured.links.renew(strange.server)
    assert await call(secured, strange.client, ReplicaHello("b", "1")) == ""


# --- clocks ----------------------------------------------------------------------------------------------------------


async def test_requests_are_timed_by_the_leaders_clock(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b") as (leader, (b,)):
        await eventually(lambda: leader.links.peers["b"].clock.middle is not None)
        worker = await worker_of(b, leader)
        worker.good("t", 1)
        await leader.ear.until("pair", "b/w0", 0)
        assert leader.ear.pairs[0].time == 1000.0  # clocks that agree are not corrected
        b.ahead = 5.0
        await eventually(lambda: leader.links.peers["b"].clock.correction > 1.0)
        worker.good("t", 1)
        await leader.ear.until("pair", "b/w0", 1)
        assert leader.ear.pairs[1].time == pytest.approx(1001.0 - 5.0, abs=1.0)
        assert leader.links.peers["b"].lag(0.0) < 60.0
        worker.disconnect()


async def test_times_by_a_clock_that_is_not_known_say_nothing_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING", 3600.0)
    async with fleet(tmp_path, "b") as (leader, (b,)):
        await eventually(lambda: leader.links.peers["b"].clock.middle is not None)  # the one PING of the beginning
        worker, now = await worker_of(b, leader), time.monotonic()
        for low, high in ((-math.inf, math.inf), (-0.02, 0.026), (-0.02, 0.02)):
            leader.connections.set_clock("b", ClockOffset(low, high, now))
            worker.good("t", 2, slot=True)
            worker.good("t", 1)
            await leader.ear.until("pair", "b/w0", worker.sequence("t") - 1)
        assert [pair.latency_slot for pair in leader.ear.pairs] == [*[False] * 6, True, True, False]
        assert leader.connections.untimed == {"t": 4}
        worker.disconnect()
