"""Promise: a client that takes its answer slowly holds memory that is counted, not a connection to its model; one that
takes next to nothing is cut off, which is its own fault; and one that waits for its model is not timed at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model.reasons import Reason
from proxy.request.legs import Leg
from proxy.worker.downstream.http1 import DownstreamConnection
from proxy.worker.downstream.listener import UNSENT
from proxy.worker.pace import GRACE, HURRY, LOOK
from proxy.worker.taking import _in_kernel
from proxy.worker.timers import TICK
from tests.request.test_exchange import SHADOW
from tests.worker.configs import for_worker
from tests.worker.rig import PATIENCE, Call, Model, Rig, always, eventually, ok, rig
from tests.worker.test_cuts import CUTS, PLAIN, Bench, Wire, cut
from tests.worker.test_pool import GET, ONE

LONG = 8 << 20
SHORT = 200_000
"""More than a transport holds before it says so, less than the buffer."""


def slow(it: Rig) -> int:
    """Clients that were cut off."""
    return it.worker.context.refusals.codes.get(Reason.SLOW_CLIENT, 0)


@contextlib.asynccontextmanager
async def reader(
    it: Rig, request: bytes = GET, kernel: bool = False
) -> AsyncIterator[tuple[socket.socket, DownstreamConnection]]:
    """A client that has asked and does not read, once we are full of its answer. Of that little fits into the kernel,
    or as much as it likes (`kernel`)."""
    before = set(it.worker.context.clients)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", it.port))
    await eventually(lambda: it.worker.context.clients - before)
    (client,) = it.worker.context.clients - before
    assert isinstance(client, DownstreamConnection)
    if not kernel:
        client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock.send(request)
    await eventually(lambda: client.blocked, "a client that is full")
    yield sock, client
    sock.close()
    await eventually(lambda: client.closed)


async def take(sock: socket.socket, size: int) -> int:
    """Read so much."""
    got = 0
    while got < size:
        piece = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65536), PATIENCE)
        assert piece
        got += len(piece)
    return got


async def test_a_short_answer_holds_no_connection_though_nobody_reads_it() -> None:
    whole = ok(bytes(SHORT), b"Date: x")
    async with rig(ONE, (Model(always(whole)),)) as it, reader(it) as (sock, client):
        await eventually(lambda: it.worker.pools["m"].counts[:2] == (1, 0), "a connection that is free again")
        assert not it.worker.pools["m"].stalled
        assert SHORT - 50_000 < it.worker.context.buffered <= SHORT + 1000
        await take(sock, SHORT)
        await eventually(lambda: not it.worker.context.buffered)
        assert not client.blocked


async def test_the_kernel_holds_little_for_who_does_not_read() -> None:
    """Left to itself it takes three megabytes and more on loopback."""
    async with rig(ONE, (Model(always(ok(bytes(LONG)))),)) as it:
        _, writer = await it.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET)
        await eventually(lambda: any(client.blocked for client in it.worker.context.clients))
        (client,) = it.worker.context.clients
        number = client.transport.get_extra_info("socket").fileno()
        assert 0 < _in_kernel(number) < 2 * UNSENT
        writer.transport.abort()


@pytest.mark.parametrize("limits", ["buffer: 100KiB", "max_memory: 80KiB"])
async def test_of_a_long_answer_no_more_is_taken_than_fits(limits: str) -> None:
    config = ONE.replace("server: {", f"server: {{limits: {{{limits}}}, ")
    async with rig(config, (Model(always(ok(bytes(LONG)))),)) as it:
        async with reader(it) as (sock, _):
            pool = it.worker.pools["m"]
            await eventually(lambda: pool.stalled, "a model that is not read")
            assert it.worker.context.buffered < 1 << 20  # what one read brings is on top
            await take(sock, LONG)
            await eventually(lambda: not it.worker.context.buffered and not pool.stalled)
        await it.settled()


@pytest.mark.parametrize("weight", [0, 9_999])
async def test_who_takes_next_to_nothing_is_cut_off_and_it_is_nobody_elses_fault(weight: int) -> None:
    async with rig(SHADOW, [Model(always(ok(bytes(LONG)))) for _ in range(2)]) as it:
        await it.lane(weight=weight)
        async with reader(it, b"GET /infer HTTP/1.1\r\nHost: a\r\n\r\n") as (_, client):
            now = monotonic()
            assert client.check(now + GRACE / 2) > 0
            assert slow(it) == 0
            client.check(now + 3 * GRACE)
            assert slow(it) == 1
        await it.settled()
        assert (it.trial.sampled, it.trial.client_gone + it.trial.too_large) == (1, 1)
        assert not any(endpoint.failures for pool in it.worker.pools.values() for endpoint in pool.endpoints)
        assert it.worker.context.buffered == 0


async def test_who_takes_enough_is_not_cut_off() -> None:
    """Though it be a while until the kernel has room again."""
    async with rig(ONE, (Model(always(ok(bytes(LONG)))),)) as it, reader(it, kernel=True) as (sock, client):
        now = monotonic()
        for seconds in range(5, 100, 5):
            await take(sock, 10_000)  # twice the least rate
            assert client.check(now + seconds) > 0
        assert slow(it) == 0


async def test_a_client_that_waits_for_its_model_is_not_timed() -> None:
    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await call.reader.read()

    async with rig(ONE, (Model(script),)) as it:
        stream, writer = await it.connect()
        writer.write(GET)
        await asyncio.wait_for(stream.readuntil(b"data: 1\n\n"), PATIENCE)
        (client,) = it.worker.context.clients
        assert client.check(monotonic() + 1000) > 0  # type: ignore[attr-defined]
        assert slow(it) == 0
        writer.close()


async def long_for_some(call: Call) -> None:
    await call.send(ok(bytes(LONG) if b"/long" in call.head else b"{}"))


@pytest.mark.parametrize("behind", [0.0, 2 * HURRY])
async def test_who_is_slow_gives_way_to_who_waits_for_its_connection(behind: float) -> None:
    """Both of the two connections that are allowed are held by clients that do not read."""
    async with rig(ONE, (Model(long_for_some),)) as it:
        asked = GET.replace(b" / ", b" /long ")
        async with reader(it, asked) as (_, one), reader(it, asked) as (_, other):
            await eventually(lambda: len(it.worker.pools["m"].stalled) == 2)
            for client in (one, other):
                assert client._taking is not None
                client._taking.begin(monotonic() - behind)
            assert (await it.ask())[0] == (200 if behind else 503)
            assert slow(it) == (1 if behind else 0)
            assert (await it.ask())[0] == (200 if behind else 503)
            assert slow(it) == (1 if behind else 0), "the connection that was made free serves the next one too"
        await it.settled()


async def test_who_falls_behind_while_others_wait_gives_way_to_them() -> None:
    """Nobody is slow yet when they begin to wait: as soon as somebody is, and not when their patience has ended."""
    patient = ONE.replace("connect_timeout: 300ms", "connect_timeout: 1h")
    async with rig(patient, (Model(long_for_some),)) as it:
        asked, pool = GET.replace(b" / ", b" /long "), it.worker.pools["m"]
        async with reader(it, asked) as (_, one), reader(it, asked) as (_, other):
            await eventually(lambda: len(pool.stalled) == 2)
            answers = [asyncio.create_task(it.ask()) for _ in range(2)]
            await eventually(lambda: pool.counts[2] == 2)
            assert slow(it) == 0
            for client in (one, other):
                assert client._taking is not None
                client._taking.begin(monotonic() - 2 * HURRY)
            assert pool.slot - 1 <= (monotonic() + LOOK) / TICK, "and when it is looked at next"
            pool.check(monotonic())
            assert [status for status, _, _ in await asyncio.gather(*answers)] == [200, 200]
            assert slow(it) == 2
        await it.settled()


@pytest.mark.parametrize("behind", [0.0, 2 * HURRY])
async def test_a_slow_upload_gives_way_too(behind: float) -> None:
    config = ONE.replace("server: {", "server: {limits: {buffer: 8B}, ")
    async with rig(config, (Model(),)) as it:
        pool = it.worker.pools["m"]
        opened = [await it.connect() for _ in range(2)]
        for _, writer in opened:
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n123456789")
        await eventually(lambda: len(pool.stalled) == 2)
        for client in it.worker.context.clients:
            client._receiving._pace.begin(monotonic() - behind)  # type: ignore[union-attr]
        assert (await it.ask(b""))[0] == (200 if behind else 503)
        heard = [asyncio.create_task(stream.read()) for stream, _ in opened]
        if behind:
            done, _ = await asyncio.wait(heard, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
            assert b"408 Request Timeout" in done.pop().result()
        assert slow(it) == (1 if behind else 0)
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*heard)
        await it.settled()
        assert not pool.stalled


@pytest.mark.parametrize("behind", [0.0, 2 * HURRY])
async def test_a_client_that_was_told_to_go_on_and_does_not_gives_way_too(behind: float) -> None:
    async def script(call: Call) -> None:
        if "expect" in call.headers:
            await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await call.read_body()
        await call.send(ok())

    config = ONE.replace("server: {", "server: {limits: {buffer: 8B}, ")
    async with rig(config, (Model(script),)) as it:
        pool = it.worker.pools["m"]
        opened = [await it.connect() for _ in range(2)]
        for stream, writer in opened:
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
            await asyncio.wait_for(stream.readuntil(b"100 Continue\r\n\r\n"), PATIENCE)
        assert len(pool.stalled) == 2
        now = monotonic()
        for client in it.worker.context.clients:
            assert client._receiving.behind(now) < HURRY  # type: ignore[union-attr]
            client._receiving._pace.begin(now - behind)  # type: ignore[union-attr]
        assert (await it.ask(b""))[0] == (200 if behind else 503)
        assert slow(it) == (1 if behind else 0)
        for _, writer in opened:
            writer.close()
        await it.settled()
        assert not pool.stalled


class Quiet(Leg):
    """One that only wants to know how it ends."""

    def head(self, piece: bytes, done: bool) -> None:
        pass

    body = head

    def failed(self, reason: Reason) -> None:
        pass


@pytest.mark.parametrize("optional", [True, False])
async def test_copies_take_no_place_of_a_client(optional: bool) -> None:
    config = ONE.replace("max_connections: 2", "max_connections: 1")
    async with rig(config, (Model(always(ok(bytes(LONG)))),)) as it, reader(it) as (_, client):
        pool = it.worker.pools["m"]
        await eventually(lambda: pool.stalled)
        assert client._taking is not None
        client._taking.begin(monotonic() - 2 * HURRY)
        leg = Quiet(pool, 1.0)
        leg.optional, leg.opening = optional, GET
        pool.submit(leg)
        await eventually(lambda: leg.ended or leg.began, "a place, or none")
        assert slow(it) == (0 if optional else 1)
        assert leg.reason == (Reason.POOL_FULL if optional else Reason.NONE)
        leg.cancel()


class Full(Wire):
    """A client's transport that holds what its peer does not take, and says when that is much and when it is little."""

    held = b""
    full = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.held += data
        if len(self.held) > 64 and not self.full:
            self.full = True
            self.protocol.pause_writing()

    def take(self, size: int) -> None:
        self.out += self.held[:size]
        self.held = self.held[size:]
        if self.full and len(self.held) <= 16:
            self.full = False
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.held)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=2000), CUTS, st.lists(st.integers(1, 300), max_size=20), st.integers(0, 900), st.integers(0, 900)
)
def test_what_a_slow_client_gets_does_not_depend_on_the_buffer(
    body: bytes, cuts: list[int], takes: list[int], buffer: int, memory: int
) -> None:
    bench = Bench(config=for_worker(f"server: {{limits: {{buffer: {buffer}B, max_memory: {memory}B}}}}\n{PLAIN}"))
    context, wire, model = bench.client.context, Full(bench.client, bench.loop), bench.model.transport
    assert isinstance(model, Wire)
    bench.client.transport = wire  # type: ignore[assignment]
    answer = ok(body, b"Date: now")
    bench.client.data_received(GET)
    bench.loop.turn()
    left: list[Any] = [*takes, *([10_000] * 50)]
    for piece in cut(answer, cuts):
        while not model.reading:
            wire.take(left.pop(0))
            bench.loop.turn()
        model.hear(piece)
        bench.loop.turn()
        assert context.buffered <= max(len(wire.held), 0)
    while wire.held:
        wire.take(left.pop(0))
        bench.loop.turn()
    assert wire.out.partition(b"\r\n\r\n")[2] == body
    assert context.buffered == 0
    assert bench.client._reading
