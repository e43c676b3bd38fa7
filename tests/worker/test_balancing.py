"""Promise: `balance: {hash: …}` sends requests that belong together to one endpoint, whatever asks: serving, copies,
hedges, HTTP and gRPC; a request without a key, or whose body is not here, goes to the less loaded, and is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import grpc
import pytest

from proxy.worker.upstream.affinity import load_bound
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.rig import Call, Model, eventually, hang, ok, rig

CONFIG = """
server: {listen: '127.0.0.1:0', limits: {buffer: 1KiB}}
upstreams:
  v1: {urls: ['{0}', '{1}', '{2}'], balance: HASH}
  v2: {urls: ['{3}', '{4}', '{5}'], balance: HASH}
routes:
  - name: m
    live: v1
    rollouts: [{candidate: v2, shadow: 100%, fallback: {after: 20ms}, mirror: {max_body: 8KiB}}]
"""
USERS = [f"user-{n}" for n in range(12)]


def by_user(call: Call) -> str:
    return str(json.loads(call.body)["user"])


def by_session(call: Call) -> str:
    return call.headers["x-session"]


def asked_by(models: list[Model], of: Callable[[Call], str]) -> dict[str, set[int]]:
    """Which of the models each user's requests reached."""
    found: dict[str, set[int]] = {}
    for at, model in enumerate(models):
        for call in model.calls:
            found.setdefault(of(call), set()).add(at)
    return found


@pytest.mark.parametrize(
    ("rule", "of"),
    [("{hash: {header: x-session}}", by_session), ("{hash: {json: /user}}", by_user), ("{hash: prefix}", by_user)],
)
async def test_served_requests_and_copies_stay_together(rule: str, of: Callable[[Call], str]) -> None:
    models = [Model() for _ in range(6)]
    async with rig(CONFIG.replace("HASH", rule), models) as it:
        await it.lane()
        for turn in range(3):
            for user in USERS:
                turns = [
                    {"role": "user", "content": user},
                    *({"role": "assistant", "content": "x"} for _ in range(turn)),
                ]
                body = json.dumps({"user": user, "messages": turns}).encode()
                assert (await it.ask(body, b"X-Session: " + user.encode()))[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 3 * len(USERS))
        for arm in (models[:3], models[3:]):
            where = asked_by(arm, of)
            assert where.keys() == set(USERS)
            assert all(len(places) == 1 for places in where.values())
            assert len(set.union(*where.values())) > 1, "not all in one place"
        assert it.worker.pools["v1"].balancer.unhashed == it.worker.pools["v2"].balancer.unhashed == 0
        await it.settled()


async def test_a_header_that_copies_do_not_carry_decides_all_the_same() -> None:
    """Cookies and credentials of a client are not for a candidate's eyes; where its session lives is."""
    models = [Model() for _ in range(6)]
    async with rig(CONFIG.replace("HASH", "{hash: {cookie: sid}}"), models) as it:
        await it.lane()
        for _ in range(8):
            assert (await it.ask(b"{}", b"Cookie: sid=ann"))[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 8)
        assert all("cookie" not in call.headers for model in models[3:] for call in model.calls)
        for arm in (models[:3], models[3:]):
            assert sum(bool(model.calls) for model in arm) == 1


async def test_canaries_and_live_in_their_place_too() -> None:
    models = [*(Model() for _ in range(3)), *(Model(hang) for _ in range(3))]
    async with rig(CONFIG.replace("HASH", "{hash: {header: x-session}}"), models) as it:
        await it.lane(9_999)
        for _ in range(2):
            for user in USERS:
                assert (await it.ask(b"{}", b"X-Session: " + user.encode()))[0] == 200
        live, candidate = asked_by(models[:3], by_session), asked_by(models[3:], by_session)
        assert all(len(places) == 1 for places in live.values())
        assert candidate.keys() == set(USERS)


async def test_one_key_that_everybody_sends_is_bounded() -> None:
    go, most = asyncio.Event(), [0]

    async def script(call: Call) -> None:
        await call.read_body()
        busy = [endpoint.busy for endpoint in it.worker.pools["v1"].endpoints]
        most[0] = max(most[0], *(one - load_bound(sum(busy) - 1, 3) for one in busy))
        await go.wait()
        await call.send(ok())

    models = [Model(script) for _ in range(6)]
    async with rig(CONFIG.replace("HASH", "{hash: {header: x-session}}"), models) as it:
        asked = [asyncio.create_task(it.ask(b"{}", b"X-Session: everybody")) for _ in range(30)]
        await eventually(lambda: sum(len(model.calls) for model in models[:3]) == 30)
        assert sorted(endpoint.busy for endpoint in it.worker.pools["v1"].endpoints)[-1] <= load_bound(29, 3)
        assert most[0] <= 0
        go.set()
        assert {status for status, _, _ in await asyncio.gather(*asked)} == {200}


async def test_a_request_without_a_key_is_counted_and_answered() -> None:
    models = [Model() for _ in range(6)]
    async with rig(CONFIG.replace("HASH", "{hash: {json: /user}}"), models) as it:
        for body in (b"{}", b"no json", b'{"user": 0}'):
            assert (await it.ask(body))[0] == 200
        assert it.worker.pools["v1"].balancer.unhashed == 3
        await eventually(lambda: ["v1", 3] in it.controller.counts.get("unhashed", ()))


async def test_a_body_in_pieces_is_waited_for_as_far_as_it_may_be() -> None:
    """Up to `mirror.max_body`, or `server.limits.buffer` where that is more; a longer one goes on."""
    models = [Model() for _ in range(6)]
    async with rig(CONFIG.replace("HASH", "{hash: {json: /user}}"), models) as it:
        pool = it.worker.pools["v1"]
        for size, unhashed in ((6_000, 0), (9_000, 1)):
            body = json.dumps({"user": "ann", "rest": "x" * size}).encode()
            reader, writer = await it.connect()
            writer.write(b"POST /m HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
            for at in range(0, len(body), 1_500):
                writer.write(body[at : at + 1_500])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
            assert pool.balancer.unhashed == unhashed
        await it.settled()


async def test_its_endpoint_is_left_out_like_any_other_and_gets_its_keys_back() -> None:
    models = [Model() for _ in range(6)]
    async with rig(CONFIG.replace("HASH", "{hash: {header: x-session}}"), models) as it:
        where = {}

        async def ask(user: str) -> int:
            before = [len(model.calls) for model in models[:3]]
            assert (await it.ask(b"{}", b"X-Session: " + user.encode()))[0] == 200
            return next(at for at in range(3) if len(models[at].calls) > before[at])

        for user in USERS:
            where[user] = await ask(user)
        lost = where[USERS[0]]
        await models[lost].stop()
        for connection in list(it.worker.pools["v1"].endpoints[lost].idle):
            connection.drop()
        for user in USERS:
            now = await ask(user)
            assert now != lost
            assert now == where[user] or where[user] == lost, "only its keys have moved"
        await models[lost].start()
        it.worker.pools["v1"].endpoints[lost]._out_until = 0.0
        for user in USERS:
            assert await ask(user) == where[user]


async def test_grpc_by_metadata_and_by_prefix() -> None:
    for rule in ("{hash: {header: x-session}}", "{hash: prefix}"):
        models = [GrpcModel() for _ in range(3)]
        config = (
            "server: {listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'}\n"
            f"upstreams: {{m: {{urls: ['{{0}}', '{{1}}', '{{2}}'], balance: {rule}}}}}\n"
            "routes: [{name: all, live: m}]"
        )
        async with rig(config, models, grpc=True) as it:
            with Client(it.grpc_port) as client:
                for user in USERS[:6] * 3:
                    told = await client.ask(user.encode(), metadata=[("x-session", user)])
                    assert told.code == grpc.StatusCode.OK
            where: dict[bytes, set[int]] = {}
            for at, model in enumerate(models):
                for call in model.calls:
                    where.setdefault(call.messages[0], set()).add(at)
            assert len(where) == 6
            assert all(len(places) == 1 for places in where.values())
            assert it.worker.pools["m"].balancer.unhashed == 0
