"""Promise: any replica of a fleet answers for it: a standby's admin port asks the leader what the leader knows, and
says in words when that cannot be had."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestClient

from proxy.controller.admin import PassingOn, Port, application
from proxy.controller.admin.handlers import MAX_BODY
from proxy.controller.admin.passing_on import REPLICA, LeaderAt
from proxy.sockets import address_text
from tests.controller.admin.clients import TOKEN, Client, Served, problem
from tests.controller.fake_service import NAME, FakeSender, FakeService

ABORT = {"reason": "too slow"}
BEARER = {"authorization": f"Bearer {TOKEN}"}


class _Door(asyncio.Protocol):
    """Where a leader takes connections: the first bytes decide, and here they are always of a request."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._port.take_over(self._transport, data)


@dataclass
class _Fleet:
    leader: FakeService
    standby: FakeService
    client: Client
    at: LeaderAt | None


@asynccontextmanager
async def _fleet(token: str | None = None, admin: str = "") -> AsyncIterator[_Fleet]:
    leader, standby = FakeService(token, admin=admin), FakeService(token, admin=admin)
    standby.all = []
    port = Port(application(leader, FakeSender()), 1.0)
    await port.start(socket.create_server(("127.0.0.1", 0)))
    door = await asyncio.get_running_loop().create_server(lambda: _Door(port), "127.0.0.1", 0)
    host, number = door.sockets[0].getsockname()
    passing_on = PassingOn(lambda: fleet.at, lambda: None)
    async with TestClient(Served(application(standby, FakeSender(), passing_on))) as client:
        fleet = _Fleet(leader, standby, client, LeaderAt("host-1", f"{host}:{number}"))
        try:
            yield fleet
        finally:
            door.close()
            await port.close()


@pytest.fixture
async def fleet() -> AsyncIterator[_Fleet]:
    async with _fleet() as found:
        yield found


async def test_what_concerns_rollouts_is_the_leaders_answer_and_says_so(fleet: _Fleet) -> None:
    answer = await fleet.client.get("/api/v1/rollouts")
    assert [one["name"] for one in (await answer.json())["rollouts"]] == [NAME]
    assert answer.headers[REPLICA] == "host-1"
    page = await fleet.client.get(f"/api/v1/rollouts/{NAME}/journal?limit=3")
    assert len((await page.json())["journal"]) == 3
    assert (await (await fleet.client.get("/api/v1/fleet")).json())["leader"]["name"] == "host-1"


async def test_an_abort_through_a_standby_is_carried_out_by_the_leader(fleet: _Fleet) -> None:
    answer = await fleet.client.post(f"/api/v1/rollouts/{NAME}/abort", json=ABORT)
    assert (await answer.json())["state"] == "rolled_back"
    assert fleet.leader.acts == [(NAME, "abort", "too slow", "anonymous", False)]
    assert fleet.standby.acts == []


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_a_body_in_a_coding_comes_to_the_leader_as_it_was_meant(fleet: _Fleet, kind: str) -> None:
    one = {"key": "u", "name": "conversion", "value": 1}
    headers = {"content-type": kind, "content-encoding": "gzip"}
    answer = await fleet.client.post("/api/v1/outcomes", data=gzip.compress(orjson.dumps(one)), headers=headers)
    assert (answer.status, fleet.leader.given) == (200, [one])


async def test_outcomes_one_a_line_are_passed_on_whatever_their_length(fleet: _Fleet) -> None:
    line = orjson.dumps({"key": "u" * 1000, "name": "conversion", "value": 1}) + b"\n"
    body = line * (2 * MAX_BODY // len(line))
    answer = await fleet.client.post(
        "/api/v1/outcomes", data=io.BytesIO(body), headers={"content-type": "application/x-ndjson"}
    )
    assert (await answer.json())["joined"] == len(fleet.leader.given) == body.count(b"\n")
    await problem(await fleet.client.post("/api/v1/outcomes", data=io.BytesIO(body)), 413)


@pytest.mark.parametrize("path", ["/api/v1/traffic", "/api/v1/upstreams", "/api/v1/fleet"])
async def test_what_is_the_fleets_is_answered_by_the_leader(fleet: _Fleet, path: str) -> None:
    answer = await fleet.client.get(path)
    assert answer.headers[REPLICA]
    assert "replicas" in await answer.json()


@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/api/v1/processes", "/"])
async def test_what_is_each_replicas_own_is_answered_by_it(fleet: _Fleet, path: str) -> None:
    fleet.at = None
    answer = await fleet.client.get(path)
    assert answer.status == 200
    assert REPLICA not in answer.headers


async def test_a_refusal_of_the_leader_comes_as_it_is(fleet: _Fleet) -> None:
    said = await problem(await fleet.client.get("/api/v1/rollouts/credit/nobody"), 404)
    assert "nobody" in said["detail"]
    await problem(await fleet.client.post(f"/api/v1/rollouts/{NAME}/retry", json=ABORT), 409)
    await problem(await fleet.client.post(f"/api/v1/rollouts/{NAME}/abort", data=b"{"), 400)


async def test_events_of_the_leader_come_as_they_happen_and_end_with_it(fleet: _Fleet) -> None:
    async with fleet.client.get("/api/v1/events") as answer:
        assert await answer.content.readline() == b"retry: 1000\n"
        await answer.content.readline()
        fleet.leader.emit("rollout.changed", {"rollout": NAME})
        assert await answer.content.readline() == b"event: rollout.changed\n"


async def test_the_token_is_wanted_by_both_and_a_page_of_ours_may_act(fleet: _Fleet) -> None:
    async with _fleet(TOKEN) as guarded:
        await problem(await guarded.client.get("/api/v1/rollouts"), 401)
        assert (await guarded.client.get("/api/v1/rollouts", headers=BEARER)).status == 200
    own = str(fleet.client.make_url("/")).rstrip("/")
    act = f"/api/v1/rollouts/{NAME}/pause"
    assert (await fleet.client.post(act, json=ABORT, headers={"origin": own})).status == 200
    await problem(await fleet.client.post(act, json=ABORT, headers={"origin": "https://elsewhere.example"}), 403)
    await problem(await fleet.client.get("/api/v1/rollouts", headers={"host": "rebound.example"}), 403)


async def test_no_leader_and_one_that_does_not_answer_are_told_in_words(fleet: _Fleet) -> None:
    at, fleet.at = fleet.at, None
    answer = await fleet.client.get("/api/v1/rollouts")
    assert answer.headers["retry-after"] == "1"
    assert "leads" in (await problem(answer, 503))["detail"]
    with socket.create_server(("127.0.0.1", 0)) as gone:
        fleet.at = LeaderAt("host-9", address_text(gone.getsockname()))
    said = await problem(await fleet.client.post(f"/api/v1/rollouts/{NAME}/abort", json=ABORT), 502)
    assert "host-9" in said["detail"]
    assert "not known" not in said["detail"]  # nothing was sent
    fleet.at = at
    assert (await fleet.client.get("/api/v1/rollouts")).status == 200


async def test_a_leader_that_dies_over_a_request_leaves_open_whether_it_was_carried_out(fleet: _Fleet) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    dying = await asyncio.start_server(die, "127.0.0.1", 0)
    async with dying:
        fleet.at = LeaderAt("host-1", address_text(dying.sockets[0].getsockname()))
        said = await problem(await fleet.client.post(f"/api/v1/rollouts/{NAME}/abort", json=ABORT), 502)
        assert "not known" in said["detail"]


async def test_an_answer_that_breaks_off_at_the_leader_breaks_off_here(fleet: _Fleet) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    halving = await asyncio.start_server(half, "127.0.0.1", 0)
    async with halving:
        fleet.at = LeaderAt("host-1", address_text(halving.sockets[0].getsockname()))
        with pytest.raises(aiohttp.ClientError, match=r"(?i)payload|closed|disconnected|not completed"):
            await (await fleet.client.get("/api/v1/rollouts")).read()


TOKENS = ", tokens: [{name: ops, token: an-operator, role: operate}, {name: reader, token: a-reader, role: view}]"


async def test_who_acts_is_proven_to_the_leader_too() -> None:
    async with _fleet(admin=TOKENS) as fleet:
        act = f"/api/v1/rollouts/{NAME}/abort"
        await problem(await fleet.client.post(act, json=ABORT, headers={"authorization": "Bearer a-reader"}), 403)
        assert fleet.leader.acts == []
        answer = await fleet.client.post(act, json=ABORT, headers={"authorization": "Bearer an-operator"})
        assert answer.status == 200
        assert fleet.leader.acts == [(NAME, "abort", "too slow", "token:ops", False)]


async def test_the_leader_believes_no_standby_whose_file_has_another_token() -> None:
    async with _fleet(admin=TOKENS) as fleet:
        fleet.leader.config = FakeService(admin=TOKENS.replace("an-operator", "a-new-one")).config
        act = f"/api/v1/rollouts/{NAME}/abort"
        await problem(await fleet.client.post(act, json=ABORT, headers={"authorization": "Bearer an-operator"}), 401)
        assert fleet.leader.acts == []
