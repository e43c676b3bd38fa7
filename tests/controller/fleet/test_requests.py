"""Promise: the port where a leader takes links takes the requests that standbys pass on too, behind the same TLS, and
neither is taken for the other."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp.test_utils import TestClient, TestServer

from proxy.controller.admin import PassingOn, Port, application
from proxy.controller.admin.fleet_view import ReplicaView
from proxy.controller.admin.passing_on import REPLICA, LeaderAt
from proxy.controller.fleet.view import others
from tests.controller.admin.clients import problem
from tests.controller.controllers import eventually
from tests.controller.fake_service import NAME, FakeSender, FakeService
from tests.controller.fleet.replicas import Leader, contexts, fleet
from tests.controller.worker import FakeWorker

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


async def _serve(leader: Leader) -> Port:
    port = Port(application(FakeService(), FakeSender()), 1.0)
    await port.start(socket.create_server(("127.0.0.1", 0)))
    leader.links.requests = port.take_over
    return port


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_requests_and_links_come_by_one_port(
    tmp_path: Path, tls: bool, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> None:
        async with fleet(tmp_path, "b", tls=tls) as (leader, (b,)):
            port = await _serve(leader)
            context = contexts(tmp_path, "b").client if tls else None
            passing_on = PassingOn(lambda: LeaderAt("leader", leader.address), lambda: context)
            async with TestClient(TestServer(application(FakeService(), FakeSender(), passing_on))) as client:
                await FakeWorker(b.folder).connect()
                for _ in range(3):
                    answer = await client.get(f"/api/v1/rollouts/{NAME}")
                    assert (await answer.json())["name"] == NAME
                    assert answer.headers[REPLICA] == "leader"
                await eventually(lambda: len(leader.connections.workers) == 1)
            await port.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


async def test_who_has_no_certificate_of_the_fleet_asks_in_vain(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b", tls=True) as (leader, _):
        port = await _serve(leader)
        stranger = ssl.create_default_context()
        stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"https://{leader.address}/api/v1/rollouts", ssl=stranger) as answer:
                    await answer.read()
        assert leader.links.refused["tls"] >= 1  # aiohttp asks once more
        passing_on = PassingOn(lambda: LeaderAt("leader", leader.address), lambda: stranger)
        async with TestClient(TestServer(application(FakeService(), FakeSender(), passing_on))) as client:
            await problem(await client.get("/api/v1/rollouts"), 502)
        await port.close()


async def test_a_leader_shows_who_follows_it(tmp_path: Path) -> None:
    async with fleet(tmp_path, "b", "c") as (leader, (b, _)):

        def seen() -> dict[str, ReplicaView]:
            return {one.name: one for one in others(leader.links, time.monotonic())}

        await eventually(lambda: all(one.clock_offset_seconds is not None for one in seen().values()))
        assert seen().keys() == {"b", "c"}
        assert all(one.role == "standby" and one.connected for one in seen().values())
        assert abs(seen()["b"].clock_offset_seconds or 0.0) < 1.0
        await b.relay.stop()
        await eventually(lambda: not seen()["b"].connected)
        assert seen()["b"].link_lag_seconds is None
        assert seen()["c"].connected
