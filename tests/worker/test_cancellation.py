"""Promise: whoever hangs, and wherever, when somebody gives up nothing is left: pools, counters, budgets are at 0.

The points at which a model or a candidate may hang are `HANG_AT`; before them come the queue and the attempt to connect
(`test_pool`), after them the tunnel (`test_tunnels`). Who gives up: the client, by an end or a reset, the timeout, or
the worker's own end.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from proxy.model import State
from proxy.pairs import link
from proxy.pairs.link import Frame
from tests.request.test_exchange import CANARY, LIVE, SHADOW
from tests.worker.rig import PATIENCE, Call, Model, Rig, Script, always, eventually, resets, rig

CONFIG = SHADOW.replace("url: '{0}'", "url: '{0}', timeout: 300ms").replace(
    "latency_block: 0s", "latency_block: 0s\n        fallback: {after: 20ms}"
)
PATIENT = CONFIG.replace("300ms", "60s")
HANG_AT = {
    "before reading": b"",
    "in the head": b"HTTP/1.1 200 OK\r\nCont",
    "after the head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "in the trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
    "before the close": b"HTTP/1.1 200 OK\r\n\r\nab",
    "in a stream": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "after 103": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}
ASKING = {
    "whole": b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
    "pipelined": b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" * 3,
    "half a head": b"POST /infer HT",
    "half a body": b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
    "half a chunk": b"POST /infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "no body yet": b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
}

BOOKED = {"whole": (1, 0), "half a head": (0, 0), "half a body": (0, 1), "half a chunk": (0, 1), "no body yet": (0, 1)}
"""Pairs and requests without one when the client ends: one that was asked whole waits for the models' timeout."""


def hangs(said: bytes) -> Script:
    """Say something, then nothing; ends with the connection."""

    async def script(call: Call) -> None:
        await call.send(said)
        await call.reader.read()
        while not call.reader.at_eof():
            await call.reader.read()
        raise ConnectionError

    return script


def arms(hanging: str, said: bytes) -> tuple[Model, Model]:
    """Live and candidate, of which one hangs or both do."""
    live = Model(hangs(said) if hanging != "candidate" else always(LIVE))
    candidate = Model(hangs(said) if hanging != "live" else always(LIVE))
    return live, candidate


async def at_rest(it: Rig, *models: Model) -> None:
    """Nothing is in anybody's hands, and no connection is left to a model that hung."""
    await eventually(lambda: not it.worker.context.clients, "no client")
    await it.settled()
    for pool in it.worker.pools.values():
        assert pool.open == sum(len(endpoint.idle) for endpoint in pool.endpoints)
        assert all(endpoint.busy == 0 for endpoint in pool.endpoints)
        assert not pool._opening
        assert not pool._waiting
    assert not it.worker.context.precise_timer._due
    await eventually(lambda: sum(model.open for model in models) == sum(p.open for p in it.worker.pools.values()))


@pytest.mark.parametrize("where", HANG_AT)
@pytest.mark.parametrize("reset", [False, True], ids=["ends", "resets"])
async def test_a_client_leaves_live(where: str, reset: bool) -> None:
    """With a reset the model is left at once, its own timeout would take a minute here. An end in the midst of an
    answer may be that of one side only, and then the model's timeout decides."""
    models = arms("live", HANG_AT[where])
    async with rig(PATIENT if reset else CONFIG, models) as it:
        await it.lane()
        _, writer = await it.connect()
        writer.write(ASKING["whole"])
        await eventually(lambda: models[0].calls)
        if reset:
            resets(writer)
        writer.close()
        await at_rest(it, *models)
        assert it.trial.sampled == 1
        assert it.trial.client_gone == 1 or not reset


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize("weight", [0, CANARY])
async def test_a_client_leaves_at_any_point_of_its_own(asking: str, weight: int) -> None:
    models = arms("both", b"")
    async with rig(CONFIG, models) as it:
        it.streams()
        await it.lane(weight=weight)
        _, writer = await it.connect()
        writer.write(ASKING[asking])
        await eventually(lambda: it.worker.context.clients)
        await eventually(lambda: asking == "half a head" or models[weight > 0].calls)
        writer.transport.abort()
        await at_rest(it, *models)
        books = it.trial
        assert books.sampled == books.sent + books.client_gone, "each request is booked once"
        if asking != "pipelined":  # how many of those were read before the end is the kernel's affair
            assert (books.sent, books.client_gone) == BOOKED[asking]


@pytest.mark.parametrize("where", HANG_AT)
@pytest.mark.parametrize("weight", [CANARY, 10_000])
@pytest.mark.parametrize("reset", [False, True], ids=["ends", "resets"])
async def test_a_client_leaves_a_candidate(where: str, weight: int, reset: bool) -> None:
    """Before a first byte or in the midst of a stream: then nothing is left, and a stream that hangs has failed."""
    models = arms("both", HANG_AT[where])
    async with rig(CONFIG, models) as it:
        await it.lane(weight=weight, state=State.PROMOTED if weight == 10_000 else State.CANARY)
        reader, writer = await it.connect()
        writer.write(ASKING["whole"])
        await eventually(lambda: models[1].calls)
        if where == "in a stream":
            await asyncio.wait_for(reader.readuntil(b"data: 1\n\n"), PATIENCE)
        if reset:
            resets(writer)
        writer.transport.abort()
        await at_rest(it, *models)
        assert it.trial.sampled == 1
        if where == "in a stream":
            await eventually(lambda: it.controller.pairs, "the pair")
            (pair,) = it.controller.pairs
            assert pair.candidate.reason == ("timeout" if reset else "committed")


@pytest.mark.parametrize("where", HANG_AT)
@pytest.mark.parametrize("hanging", ["live", "candidate", "both"])
@pytest.mark.parametrize("weight", [0, CANARY])
async def test_time_is_up(where: str, hanging: str, weight: int) -> None:
    """Served, hedge or copy: each has its timeout, and a client that stays hears the end."""
    models = arms(hanging, HANG_AT[where])
    async with rig(CONFIG, models) as it:
        await it.lane(weight=weight)
        reader, writer = await it.connect()
        writer.write(ASKING["whole"].replace(b"Host: a", b"Host: a\r\nConnection: close"))
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), PATIENCE)
        await at_rest(it, *models)
        writer.close()


@pytest.mark.parametrize("where", HANG_AT)
async def test_the_worker_ends(where: str) -> None:
    """After `drain` everything is released, whoever hangs."""
    models = arms("both", HANG_AT[where])
    async with rig(PATIENT.replace("server: {", "server: {timeouts: {drain: 200ms}, "), models) as it:
        await it.lane()
        _, writer = await it.connect()
        writer.write(ASKING["whole"])
        await eventually(lambda: models[0].calls)
        it.control.send(link.note(Frame.DRAIN, {"delay": 0.0}))
        await asyncio.wait_for(asyncio.shield(it.task), PATIENCE)
        await eventually(lambda: not models[0].open)
        assert not it.worker.context.clients
        writer.close()
