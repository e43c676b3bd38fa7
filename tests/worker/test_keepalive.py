"""Promise: a request that may not be sent twice is never written into a connection that its server is about to close
for being idle; and one is sent twice only where the method or the route says that it may be."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.worker.upstream.http1 import UpstreamConnection
from proxy.worker.upstream.keepalive import ASSUMED, BELIEVED, MARGIN, SHORTEST, KeepAlive, before
from tests.request.test_exchange import SHADOW
from tests.worker.rig import Call, Model, Rig, eventually, ok, rig

PLAIN = """
server: {listen: '127.0.0.1:0'}
upstreams: {m: {url: '{0}', timeout: 2s}}
routes: [{name: all, live: m}]
"""


def idle_of(it: Rig, upstream: str = "m") -> list[UpstreamConnection]:
    return list(it.worker.pools[upstream].endpoints[0].idle)


def grow_older(it: Rig, seconds: float) -> None:
    """Every idle connection was used last so much earlier."""
    for connection in idle_of(it):
        connection._since -= seconds


# --- what is learned ---

AGES = st.floats(0.0, 100.0)
SEEN = st.lists(st.tuples(st.booleans(), AGES), max_size=30)


@given(st.floats(1.0, 60.0), SEEN)
def test_a_server_with_one_limit_is_never_met_at_it(limit: float, seen: list[tuple[bool, float]]) -> None:
    """Whatever is seen of a server that closes at `limit`: open before it, closed at it, or before, by a restart."""
    keep, now = KeepAlive(40.0), 0.0
    for restarts, age in seen:
        now += 10.0
        if age >= limit:
            keep.seen_closed(limit, now)
        elif restarts:
            keep.seen_closed(age, now)
        else:
            keep.seen_open(age, now)
        assert SHORTEST <= keep.safe <= max(SHORTEST, limit - min(MARGIN, limit / 2))
        assert keep.safe <= keep.usable <= keep.longest == 40.0


@given(AGES)
def test_used_for_the_last_time_well_before_the_end(age: float) -> None:
    assert before(age) <= max(SHORTEST, age - MARGIN, age / 2)


def test_what_a_restart_has_taught_is_forgotten() -> None:
    keep = KeepAlive(4.0)
    keep.seen_open(3.9, 1.0)
    keep.seen_closed(0.01, 2.0)
    assert (keep.safe, keep.usable) == (SHORTEST, SHORTEST)
    keep.seen_open(3.9, 2.0 + BELIEVED / 2)
    assert keep.safe == SHORTEST
    keep.seen_open(3.9, 2.0 + BELIEVED)
    assert (keep.safe, keep.usable) == (3.9 - MARGIN, 4.0)


def test_the_shorter_of_two_servers_behind_one_address_counts() -> None:
    keep = KeepAlive(60.0)
    for now in (1.0, 11.0, 21.0):
        keep.seen_open(59.0, now)
        keep.seen_closed(1.0, now + 1.0)
        keep.seen_closed(30.0, now + 2.0)
    assert keep.safe == keep.usable == ASSUMED - MARGIN


@pytest.mark.parametrize(
    ("said", "longest", "safe"),
    [
        (b"timeout=2", 1.5, 1.5),
        (b"max=100, timeout=2", 1.5, 1.5),
        (b'timeout = "2"', 1.5, 1.5),
        (b"timeout=300", 4.0, 4.0),
        (b"timeout=0", SHORTEST, SHORTEST),
        (b"max=100", 4.0, 0.5),
        (b"timeout=-1", 4.0, 0.5),
        (b"timeout=" + b"9" * 5000, 4.0, 4.0),
    ],
)
def test_what_the_server_says_counts(said: bytes, longest: float, safe: float) -> None:
    keep = KeepAlive(4.0)
    keep.announced(said)
    assert (keep.longest, keep.usable, keep.safe) == (longest, longest, safe)


# --- what is done about it ---


@pytest.mark.parametrize(
    ("method", "config", "connections"),
    [
        (b"POST", PLAIN, 2),
        (b"GET", PLAIN, 1),
        (b"POST", PLAIN.replace("live: m", "live: m, idempotent: true"), 1),
    ],
)
async def test_only_what_may_be_sent_twice_uses_a_connection_of_unproven_age(
    method: bytes, config: str, connections: int
) -> None:
    model = Model()
    async with rig(config, (model,)) as it:
        assert (await it.ask(method=method))[0] == 200
        grow_older(it, ASSUMED)
        assert (await it.ask(method=method))[0] == 200
        assert model.connections == connections
        assert len(idle_of(it)) == connections  # the old one stays: it shows how long the server keeps it


async def test_an_age_at_which_another_connection_was_open_is_proven() -> None:
    model = Model()
    async with rig(PLAIN, (model,)) as it:
        await it.ask()
        (first,) = idle_of(it)
        grow_older(it, 3.0)
        it.worker.context.wheel.watch(first, monotonic())
        await eventually(lambda: it.worker.pools["m"].endpoints[0].keep.safe > 2.0)
        grow_older(it, -1.5)
        await it.ask()
        assert model.connections == 1
        grow_older(it, 2.9)
        await it.ask()
        assert model.connections == 2


async def test_an_age_at_which_the_server_closed_one_is_kept_clear_of() -> None:
    """Requests that may be sent twice keep clear of it too: to be sent twice costs time."""
    go = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(ok())
        if model.connections == 2:
            await go.wait()
            raise ConnectionError

    model = Model(script)
    async with rig(PLAIN, (model,)) as it:
        await it.ask(method=b"GET")
        first = idle_of(it)
        grow_older(it, ASSUMED)
        await it.ask()
        (second,) = [one for one in idle_of(it) if one not in first]
        second._since -= 2.0 - MARGIN
        go.set()
        await eventually(lambda: len(idle_of(it)) == 1)
        keep = it.worker.pools["m"].endpoints[0].keep
        assert 1.0 <= keep.safe == keep.usable < 2.0
        model.script = model.answer
        grow_older(it, 1.0)  # to 2.0 and a little
        await it.ask(method=b"GET")
        assert model.connections == 3


async def test_a_server_that_says_how_long_it_waits_is_believed() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(ok(b"{}", b"Keep-Alive: timeout=2, max=100"))

    model = Model(script)
    async with rig(PLAIN, (model,)) as it:
        await it.ask()
        grow_older(it, 1.2)
        await it.ask()
        assert model.connections == 1
        grow_older(it, 1.5)
        await it.ask()
        assert model.connections == 2


@pytest.mark.parametrize(("given", "open_after"), [("", 1), (", idle_timeout: 500ms", 0)])
async def test_unused_connections_are_closed_after_idle_timeout(given: str, open_after: int) -> None:
    model = Model()
    async with rig(PLAIN.replace("timeout: 2s", f"timeout: 2s{given}"), (model,)) as it:
        await it.ask()
        (connection,) = idle_of(it)
        grow_older(it, 1.0)
        it.worker.context.wheel.watch(connection, monotonic())
        await eventually(lambda: connection.slot == 0 or it.worker.pools["m"].endpoints[0].keep.safe > 0)
        await eventually(lambda: it.worker.pools["m"].open == open_after)


async def test_a_full_pool_closes_its_oldest_connection_for_a_new_one() -> None:
    model = Model()
    async with rig(PLAIN.replace("timeout: 2s", "timeout: 2s, max_connections: 1"), (model,)) as it:
        for _ in range(3):
            assert (await it.ask())[0] == 200
            grow_older(it, ASSUMED)
        assert model.connections == 3
        await eventually(lambda: model.open == 1)
        assert it.worker.pools["m"].counts == (1, 0, 0)


# --- and what is sent twice ---


@pytest.mark.parametrize(
    ("config", "status"),
    [
        (PLAIN, 502),
        (PLAIN.replace("live: m", "live: m, idempotent: true"), 200),
        (PLAIN.replace("routes: [{name: all, live: m}]", "default: {live: m}"), 502),
        (PLAIN.replace("routes: [{name: all, live: m}]", "default: {live: m, idempotent: true}"), 200),
        (SHADOW.replace("timeout: 300ms", "timeout: 2s"), 200),
        (SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        fallback: off"), 502),
        (
            SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        fallback: off").replace(
                "live: v1", "live: v1\n    idempotent: true"
            ),
            200,
        ),
    ],
)
async def test_a_post_is_sent_twice_only_where_its_route_says_so(config: str, status: int) -> None:
    """The server takes the second request of a connection and closes it without a byte."""

    async def script(call: Call) -> None:
        await call.read_body()
        if len(model.calls) == 2:
            raise ConnectionError
        await call.send(ok())

    model, candidate = Model(script), Model()
    async with rig(config, (model, candidate)) as it:
        assert (await it.ask())[0] == 200
        assert (await it.ask())[0] == status
        await it.settled()
