"""Promise: every address behind a name is asked, left out and replaced by itself. A dead one costs its share once, one
that leaves ends with what it carries, and no request fails meanwhile; HTTP and gRPC alike."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest

from proxy.worker.upstream.endpoint import EJECT_AFTER_TIMEOUTS, Endpoint
from tests.ports import free_port, swallows
from tests.proxy.test_resolver import NameServer
from tests.worker.grpc.models import Client, GrpcModel, hangs
from tests.worker.rig import Call, Model, Rig, eventually, hang, ok, rig

CONFIG = """
server: {listen: '127.0.0.1:0', LISTEN}
upstreams: {m: {url: 'SCHEME://m.test:PORT', MORE}}
routes: [{name: all, live: m}]
"""
ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class Fleet:
    """Model servers on one port of several addresses, and the name server that knows them as `m.test`."""

    def __init__(self, kind: str) -> None:
        self.kind, self.port = kind, free_port()
        self.names = NameServer()
        self.models: dict[str, Model | GrpcModel] = {}

    async def add(self, host: str, hanging: bool = False) -> Model | GrpcModel:
        model: Model | GrpcModel
        if self.kind == "grpc":
            model = GrpcModel(hangs) if hanging else GrpcModel()
        else:
            model = Model(hang) if hanging else Model()
        model.host, model.port = host, self.port
        await model.start()
        self.models[host] = model
        return model

    def known(self, *hosts: str) -> None:
        self.names.addresses["m.test"] = hosts

    @contextlib.asynccontextmanager
    async def served(self, more: str = "") -> AsyncIterator[Rig]:
        config = (
            CONFIG.replace("SCHEME", self.kind).replace("PORT", str(self.port)).replace("MORE", more or "timeout: 60s")
        )
        config = config.replace("LISTEN", "grpc_listen: '127.0.0.1:0'" if self.kind == "grpc" else "workers: 1")
        async with rig(config, grpc=self.kind == "grpc", look_up=self.names) as it:
            await eventually(lambda: self.names.silent or it.worker.pools["m"].endpoints[0].address)
            yield it

    async def looked_up(self, it: Rig) -> None:
        await it.worker.pools["m"].resolver.name("m.test").renew().wait()

    async def stop(self) -> None:
        for model in self.models.values():
            await model.stop()

    async def ask(self, it: Rig, n: int, fresh: bool = False) -> Counter[object]:
        """What `n` requests one after the other are answered; `fresh` has each on a connection of its own."""
        seen: Counter[object] = Counter()
        client = Client(it.grpc_port) if self.kind == "grpc" else None
        for _ in range(n):
            if client is not None:
                seen[(await client.ask(b"x")).code is grpc.StatusCode.OK] += 1
            else:
                seen[(await it.ask())[0] == 200] += 1
            if fresh:
                drop_idle(it)
        if client is not None:
            client.__exit__(None, None, None)
        return seen


def drop_idle(it: Rig) -> None:
    """The next request needs a new connection."""
    pool = it.worker.pools["m"]
    for endpoint in pool.endpoints:
        for connection in list(endpoint.idle):
            connection.drop()
    for link in list(getattr(pool, "_every", ())):
        link.retire()


def endpoint_of(it: Rig, host: str) -> Endpoint:
    return next(one for one in it.worker.pools["m"].endpoints if one.address == host)


@pytest.fixture(params=["http", "grpc"])
async def fleet(request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    fleet = Fleet(request.param)
    yield fleet
    fleet.names.go.set()
    await fleet.stop()


async def test_every_address_is_asked_and_counted(fleet: Fleet) -> None:
    for host in (ONE, TWO, THREE):
        await fleet.add(host)
    fleet.known(ONE, TWO, THREE)
    async with fleet.served() as it:
        assert await fleet.ask(it, 30) == {True: 30}
        assert all(len(model.calls) > 0 for model in fleet.models.values())
        for host, model in fleet.models.items():
            assert endpoint_of(it, host).requests == len(model.calls)
        await it.settled()


async def test_one_that_refuses_costs_nobody_an_answer_and_is_left_out(fleet: Fleet) -> None:
    await fleet.add(TWO)
    fleet.known(ONE, TWO)
    async with fleet.served() as it:
        assert await fleet.ask(it, 40, fresh=True) == {True: 40}
        await eventually(lambda: endpoint_of(it, ONE).ejected >= 1)
        assert endpoint_of(it, TWO).ejected == 0
        await it.settled()


async def test_one_that_swallows_packets_is_dialled_beside_the_others(fleet: Fleet) -> None:
    """And once: while that attempt is under way no other request waits for it."""
    await fleet.add(TWO)
    fleet.known(ONE, TWO)
    with swallows(ONE, fleet.port):
        async with fleet.served("connect_timeout: 60s") as it:
            assert await fleet.ask(it, 20, fresh=True) == {True: 20}
            pool = it.worker.pools["m"]
            attempts = sum(map(len, getattr(pool, "_opening", {}).values())) + len(getattr(pool, "_dials", {}))
            assert endpoint_of(it, ONE).busy + attempts <= 2
            assert endpoint_of(it, ONE).requests == 0


@pytest.mark.parametrize("dead", ["refuses", "swallows"])
async def test_a_dead_address_first_while_requests_wait_for_the_name(fleet: Fleet, dead: str) -> None:
    await fleet.add(TWO)
    fleet.known(ONE, TWO)
    fleet.names.silent = {"m.test"}
    with swallows(ONE, fleet.port) if dead == "swallows" else contextlib.nullcontext():
        async with fleet.served("connect_timeout: 60s") as it:
            asked = asyncio.create_task(fleet.ask(it, 1))
            pool = it.worker.pools["m"]
            await eventually(lambda: pool.counts[1] + pool.counts[2])
            fleet.names.go.set()
            assert await asked == {True: 1}


async def test_one_that_hangs_is_left_out_and_its_siblings_are_not(fleet: Fleet) -> None:
    await fleet.add(ONE, hanging=True)
    await fleet.add(TWO)
    fleet.known(ONE, TWO)
    async with fleet.served("timeout: 300ms") as it:
        seen: Counter[object] = Counter()
        while not endpoint_of(it, ONE).ejected:
            seen += await fleet.ask(it, 1)
        assert seen[False] == EJECT_AFTER_TIMEOUTS
        assert endpoint_of(it, ONE).errors == EJECT_AFTER_TIMEOUTS
        assert endpoint_of(it, TWO).errors == endpoint_of(it, TWO).ejected == 0
        await it.settled()


async def test_no_request_fails_while_addresses_are_replaced(fleet: Fleet) -> None:
    """One after the other, as in a rolling update: the new one is known, then the old one ends."""
    await fleet.add(ONE)
    fleet.known(ONE)
    async with fleet.served() as it:
        seen: Counter[object] = Counter()
        running = True

        async def load() -> None:
            nonlocal seen
            while running:
                seen += await fleet.ask(it, 5)

        loads = [asyncio.create_task(load()) for _ in range(3)]
        for old, new in ((ONE, TWO), (TWO, THREE), (THREE, ONE)):
            await fleet.add(new)
            fleet.known(old, new)
            await fleet.looked_up(it)
            await eventually(lambda new=new: fleet.models[new].calls)
            fleet.known(new)
            await fleet.looked_up(it)
            await eventually(lambda old=old: it.worker.pools["m"].counts[1] == 0 or unused(it, old))
            await eventually(lambda old=old: unused(it, old))
            await fleet.models.pop(old).stop()
        running = False
        await asyncio.gather(*loads)
        assert set(seen) == {True}
        await it.settled()


def unused(it: Rig, host: str) -> bool:
    """Whether nothing is open to this address."""
    pool = it.worker.pools["m"]
    open_to = {one.endpoint.address for one in (*getattr(pool, "_all", ()), *getattr(pool, "_every", ()))}
    return host not in open_to


async def test_all_are_replaced_at_once_and_the_old_ones_are_gone_already(fleet: Fleet) -> None:
    """The name is looked up because they refuse; requests until then have nobody to answer them, and none after."""
    for host in (ONE, TWO):
        await fleet.add(host)
    fleet.known(ONE, TWO)
    async with fleet.served() as it:
        assert await fleet.ask(it, 6) == {True: 6}
        for host in (ONE, TWO):
            await fleet.models.pop(host).stop()
        await fleet.add(THREE)
        fleet.known(THREE)
        it.worker.pools["m"].resolver.name("m.test").asked -= 2.0
        await fleet.ask(it, 1)
        await eventually(lambda: [one.address for one in it.worker.pools["m"].endpoints] == [THREE])
        assert await fleet.ask(it, 10) == {True: 10}


async def test_what_an_address_carries_ends_after_it_has_left() -> None:
    fleet, go = Fleet("http"), asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await go.wait()
        await call.send(ok(b"old"))

    old = await fleet.add(ONE)
    assert isinstance(old, Model)
    old.script = script
    await fleet.add(TWO)
    fleet.known(ONE)
    async with fleet.served("timeout: 60s") as it:
        asked = asyncio.create_task(it.ask())
        await eventually(lambda: old.calls)
        fleet.known(TWO)
        await fleet.looked_up(it)
        assert (await it.ask())[2] == b"{}"
        go.set()
        assert (await asked)[2] == b"old"
        await eventually(lambda: old.open == 0)
        assert len(old.calls) == 1
        await it.settled()
    await fleet.stop()


async def test_a_candidate_stays_ready_while_its_addresses_are_replaced(fleet: Fleet) -> None:
    """A new address is taken to be as the others are until a check of its own says otherwise."""
    path = "/grpc.health.v1.Health/Check" if fleet.kind == "grpc" else "/ready"
    for host in (ONE, TWO):
        await fleet.add(host)
    if fleet.kind == "grpc":
        for model in fleet.models.values():
            model.script = lambda seen, messages: [b"\x08\x01"]  # type: ignore[assignment,union-attr]
    fleet.known(ONE)
    async with fleet.served(f"health: {{path: {path}, interval: 50ms}}") as it:
        pool = it.worker.pools["m"]
        await eventually(lambda: pool.ready)
        fleet.known(TWO)
        await fleet.looked_up(it)
        assert pool.ready
        await fleet.models[TWO].stop()
        await eventually(lambda: not pool.ready)


async def test_a_name_that_is_no_more_known_keeps_its_addresses(fleet: Fleet) -> None:
    await fleet.add(ONE)
    fleet.known(ONE)
    async with fleet.served() as it:
        fleet.names.addresses.clear()
        await fleet.looked_up(it)
        assert await fleet.ask(it, 3, fresh=True) == {True: 3}
