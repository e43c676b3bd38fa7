"""Promise: a candidate's name server that hangs or fails is the candidate's affair: live is found and answers, HTTP and
gRPC alike, and nothing piles up. And a name that leads to several addresses works when one of them does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest

from tests.proxy.test_resolver import NameServer, threads_of
from tests.worker.configs import config_frame
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.rig import Model, Served, eventually, rig

HTTP = """
server: {listen: '127.0.0.1:0'}
upstreams:
  v1: {url: '{0}', max_connections: 4}
  v2: {url: 'http://candidate.test:9', connect_timeout: 50ms, health: {path: /ready, interval: 20ms}}
routes: [{name: m, live: v1, rollouts: [{candidate: v2, shadow: 100%}]}]
"""
GRPC = (
    HTTP.replace("http://", "grpc://")
    .replace("/ready", "/grpc.health.v1.Health/Check")
    .replace("server: {", "server: {grpc_listen: '127.0.0.1:0', ")
)


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer(**{"live.test": ("127.0.0.1",), "both.test": ("::1", "127.0.0.1")})
    server.silent = {"candidate.test"}
    yield server
    server.go.set()


def by_name(model: Served, name: str = "live.test") -> Served:
    """The same model, known by a name."""

    class Named:
        url = property(lambda self: model.url.replace("127.0.0.1", name))
        start, stop = model.start, model.stop

    return Named()


async def test_live_answers_while_the_candidates_name_server_hangs(server: NameServer) -> None:
    model = Model()
    async with rig(HTTP, [by_name(model)], look_up=server) as it:
        await it.lane()
        for _ in range(12):
            assert (await it.ask())[0] == 200
            for connection in list(it.worker.pools["v1"].endpoints[0].idle):
                connection.drop()  # each request on a connection of its own
        await eventually(lambda: it.worker.pools["v2"].endpoints[0].failed_checks > 3)
        assert server.asked.count("candidate.test") == threads_of("candidate.test") == 1
        assert server.asked.count("live.test") == 1, "it is known"
        await it.settled(probed="v2")


async def test_a_held_answer_falls_back_while_the_name_server_hangs(server: NameServer) -> None:
    model = Model()
    unchecked = HTTP.replace(", health: {path: /ready, interval: 20ms}", "")  # or it would not be asked at all
    async with rig(unchecked, [by_name(model)], look_up=server) as it:
        await it.lane(5_000)
        answers = [await it.ask() for _ in range(12)]
        assert {(status, headers["x-served-by"]) for status, headers, _ in answers} == {(200, "v1")}
        await it.settled()


async def test_grpc_too(server: NameServer) -> None:
    model = GrpcModel()
    async with rig(GRPC, [by_name(model)], grpc=True, look_up=server) as it:
        await it.lane()
        with Client(it.grpc_port) as client:
            for _ in range(5):
                assert (await client.ask(b"x")).code == grpc.StatusCode.OK
        await eventually(lambda: it.worker.pools["v2"].endpoints[0].failed_checks > 3)
        assert server.asked.count("candidate.test") == threads_of("candidate.test") == 1
        assert it.worker.pools["v2"].open <= 1
        await it.settled(probed="v2")


async def test_reloads_do_not_pile_lookups_up(server: NameServer) -> None:
    """Each reload with another timeout is another pool; the name and its one lookup are the same."""
    model = Model()
    async with rig(HTTP, [by_name(model)], look_up=server) as it:
        config = HTTP.replace("{0}", by_name(model).url)
        for number in range(2, 7):
            asked = it.worker.pools["v2"]
            await eventually(lambda asked=asked: asked.endpoints[0].failed_checks)
            text = config.replace("50ms", f"{number}00ms")
            it.control.send(config_frame(number, text))
            await eventually(lambda number=number: it.replies[-1][1].get("generation") == number)
        text = config.replace("candidate.test", "live.test")
        it.control.send(config_frame(7, text))
        await eventually(lambda: it.replies[-1][1].get("generation") == 7)
        assert server.asked.count("candidate.test") == threads_of("candidate.test") == 1


async def test_a_name_with_addresses_of_both_families_and_a_server_on_one(server: NameServer) -> None:
    model = Model()
    async with rig(HTTP, [by_name(model, "both.test")], look_up=server) as it:
        for _ in range(4):
            assert (await it.ask(b"{}"))[0] == 200
            for connection in list(it.worker.pools["v1"].endpoints[0].idle):
                connection.drop()
        assert it.worker.pools["v1"].endpoints[0].healthy


async def test_a_server_that_has_moved_is_found(server: NameServer) -> None:
    """Its old address refuses: the name is looked up again before its time."""
    model = Model()
    server.addresses["moved.test"] = ("127.1.2.3",)
    async with rig(HTTP, [by_name(model, "moved.test")], look_up=server) as it:
        assert (await it.ask())[1]["x-understudy-error"] == "connect"
        server.addresses["moved.test"] = ("127.0.0.1",)
        it.worker.pools["v1"].resolver.name("moved.test").asked -= 2.0
        name = it.worker.pools["v1"].resolver.name("moved.test")
        await it.ask()  # it is refused once more, and that has the name looked up
        await eventually(lambda: name.addresses == ("127.0.0.1",))
        assert (await it.ask())[0] == 200


async def test_names_are_looked_up_again_at_intervals(server: NameServer) -> None:
    model = Model()
    config = HTTP.replace("max_connections: 4", "resolve: {every: 20ms}")
    async with rig(config, [by_name(model)], look_up=server) as it:
        await eventually(lambda: server.asked.count("live.test") >= 3)
        server.addresses.pop("live.test")
        await eventually(lambda: it.worker.pools["v1"].resolver.failures >= 2)
        assert (await it.ask())[0] == 200
        await eventually(lambda: ["v1", 0] not in it.controller.counts.get("lookups", [["v1", 0]]))


def test_the_name_server_of_these_tests_hangs() -> None:
    """Or they could not fail."""
    server = NameServer(a=("1.1.1.1",))
    server.silent = {"a"}
    thread = threading.Thread(target=server, args=("a",))
    thread.start()
    assert thread.is_alive()
    server.go.set()
    thread.join()
