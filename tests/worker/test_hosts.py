"""Promise: `host` says which Host a model server is asked under, whatever asks: serving, copies, hedges, health checks,
HTTP/1.1 and gRPC; without it the client's passes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from proxy.worker.upstream.endpoint import Endpoint
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.rig import Call, Model, eventually, hang, rig
from tests.worker.test_tls import CONFIG, Secure

TWO = """
server: {listen: '127.0.0.1:0'}
upstreams:
  v1: {url: '{0}', host: LIVE}
  v2: {url: '{1}', host: CANDIDATE, health: {path: /ready, interval: 50ms}}
routes: [{name: m, live: v1, rollouts: [{candidate: v2, shadow: 100%, fallback: {after: 20ms}}]}]
"""


def two(live: str = "client", candidate: str = "client") -> str:
    return TWO.replace("LIVE", live).replace("CANDIDATE", candidate)


def hosts(model: Model, checks: bool = False) -> set[str]:
    return {call.headers["host"] for call in model.calls if call.head.startswith(b"GET /ready ") is checks}


async def test_copies_and_health_checks_carry_the_host_that_is_given() -> None:
    live, candidate = Model(), Model()
    async with rig(two(candidate="Fraud-V2.models:81"), (live, candidate)) as it:
        await it.lane()
        await eventually(lambda: it.trial.ready)
        for _ in range(3):
            assert (await it.ask(b"host: body"))[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 3)
        await eventually(lambda: hosts(candidate, checks=True))
        assert hosts(live) == {"test"}
        assert hosts(candidate) == hosts(candidate, checks=True) == {"fraud-v2.models:81"}
        copies = [call for call in candidate.calls if "x-shadow" in call.headers]
        assert {call.headers["x-forwarded-host"] for call in copies} == {"test"}
        assert {call.body for call in copies} == {b"host: body"}
        assert all(call.head.lower().count(b"\r\nhost:") == 1 for call in copies)


async def test_serving_and_hedges_too() -> None:
    live, candidate = Model(), Model(hang)
    config = two("url", "b.models").replace(", health: {path: /ready, interval: 50ms}", "")
    async with rig(config, (live, candidate)) as it:
        await it.lane(5_000)
        for _ in range(12):
            assert (await it.ask())[0] == 200
        assert hosts(candidate) == {"b.models"}
        assert hosts(live) == {live.url.removeprefix("http://")}
        assert any("x-shadow" not in call.headers for call in candidate.calls)


async def test_the_clients_passes_when_nothing_is_said() -> None:
    live, candidate = Model(), Model()
    async with rig(two(), (live, candidate)) as it:
        await it.lane()
        await eventually(lambda: it.trial.ready)
        await it.ask()
        await eventually(lambda: it.controller.pairs)
        assert (hosts(live), hosts(candidate)) == ({"test"}, {"test"})


async def test_a_tunnel_begins_under_it() -> None:
    seen: list[str] = []

    async def script(call: Call) -> None:
        seen.append(call.headers["host"])
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        await call.reader.read()

    config = "upstreams: {m: {url: '{0}', host: a.models}}\nroutes: [{name: all, live: m}]"
    async with rig("server: {listen: '127.0.0.1:0'}\n" + config, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.close()
    assert seen == ["a.models"]


async def test_grpc_carries_it_as_authority() -> None:
    seen: list[str] = []

    def script(call, messages):  # type: ignore[no-untyped-def]
        seen.append(call.context._rpc_event.call_details.host.decode())
        yield from messages

    config = "upstreams: {m: {url: '{0}', host: a.models}}\nroutes: [{name: all, live: m}]"
    async with rig(
        "server: {listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'}\n" + config, [GrpcModel(script)], grpc=True
    ) as it:
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x")).code == grpc.StatusCode.OK
    assert seen == ["a.models"]


async def test_one_that_is_given_is_the_name_in_tls(certificates: Path) -> None:
    """The certificate is the name's, not the address's that is dialled."""
    secure = Secure(certificates, "one")
    server = await asyncio.start_server(secure.model._serve, "127.0.0.1", 0, ssl=secure.context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = CONFIG.replace("URL'", f"{url}', host: 'localhost:1'").replace("TLS", f"ca: {certificates}/one.pem")
    async with rig(config) as it:
        assert (await it.ask())[0] == 200
        assert secure.called == ["localhost"]
        assert secure.model.calls[0].headers["host"] == "localhost:1"
    await secure.model.stop_tasks()
    server.close()


@pytest.mark.parametrize(
    ("url", "host", "own", "name"),
    [
        ("https://a:1", "client", b"", "a"),
        ("https://a", "url", b"a", "a"),
        ("http://[::1]:80", "url", b"[::1]:80", "::1"),
        ("https://a:1", "b:2", b"b:2", "b"),
        ("https://a:1", "[::1]:2", b"[::1]:2", "::1"),
    ],
)
def test_what_it_comes_to(url: str, host: str, own: bytes, name: str) -> None:
    endpoint = Endpoint(url, host=host)
    assert (endpoint.own_host, endpoint.tls_name) == (own, name)
