"""Promise: a client whose request cannot go anywhere yet is held back or helped on, and costs the others nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.request.test_exchange import CANARY, GOOD, LIVE, PLAIN, SHADOW
from tests.worker.rig import PATIENCE, Call, Model, always, eventually, hang, ok, read_answer, rig

EXPECTING = (
    b"POST /infer HTTP/1.1\r\nHost: m\r\nContent-Length: 3\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\n\r\n"
)


async def test_an_upload_without_a_connection_is_held_back() -> None:
    """The pool's only connection hangs: what the next client sends waits in the kernel, not in our memory."""
    config = PLAIN.replace("'{0}'", "'{0}', max_connections: 1, connect_timeout: 5s, timeout: 20s")
    async with rig(config, (Model(hang),)) as it:
        _, first = await it.connect()
        first.write(b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 0\r\n\r\n")
        pool = next(iter(it.worker.pools.values()))
        await eventually(lambda: pool.counts[1] == 1)
        _, second = await it.connect()
        second.write(b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 60000000\r\n\r\n" + b"x" * 60_000_000)
        clients = it.worker.context.clients
        await eventually(lambda: any(client.exchange and not client._reading for client in clients))
        waiting = next(client.exchange.first for client in clients if client.exchange and not client._reading)
        assert waiting._waiting_size < 1_000_000
        second.transport.abort()
        first.transport.abort()
        await eventually(lambda: not clients)


async def failing(call: Call) -> None:
    await call.send(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("weight", [CANARY, 10_000])
@pytest.mark.parametrize("script", [failing, hang], ids=["fails at once", "is silent"])
async def test_a_body_kept_back_for_100_is_asked_for_when_a_candidate_serves(script: object, weight: int) -> None:
    """Live must be able to answer in the candidate's place, and for that it needs the body."""
    live, candidate = Model(always(LIVE)), Model(script)  # type: ignore[arg-type]
    async with rig(SHADOW, (live, candidate)) as it:
        await it.lane(weight=weight)
        reader, writer = await it.connect()
        writer.write(EXPECTING)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        status, headers, body = await asyncio.wait_for(read_answer(reader), PATIENCE)
        assert (status, headers["x-served-by"], body) == (200, "v1", b'{"a":1}')
        assert live.calls[0].body == b"abc"
        assert "expect" not in live.calls[0].headers
        writer.close()


async def test_live_in_the_candidates_place_is_not_asked_whether_it_wants_the_body() -> None:
    """It is here already, and nobody waits for the 100."""
    live = Model(always(LIVE))
    async with rig(SHADOW, (live, Model(failing))) as it:
        await it.lane(weight=CANARY)
        reader, writer = await it.connect()
        writer.write(EXPECTING + b"abc")
        assert (await asyncio.wait_for(read_answer(reader), PATIENCE))[0] == 200
        assert live.calls[0].body == b"abc"
        assert "expect" not in live.calls[0].headers
        writer.close()


async def test_interim_answers_of_a_canary_do_not_reach_the_client() -> None:
    """Live may still answer in its place, and a candidate's hints would speak for live's answer."""

    async def hinting(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + GOOD)

    async with rig(SHADOW, (Model(always(LIVE)), Model(hinting))) as it:
        await it.lane(weight=CANARY)
        status, headers, body = await it.ask(b"abc")
        assert (status, headers["x-served-by"], body) == (200, "v2", b'{"a":2}')


async def test_endless_interim_answers_are_no_answer() -> None:
    async def flooding(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + ok(b"late"))

    async with rig(PLAIN, (Model(flooding),)) as it:
        answer = await it.raw(b"POST / HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert answer.count(b"HTTP/1.1 103") <= 16
        assert b"HTTP/1.1 502" in answer
        assert b"x-understudy-error: bad_reply" in answer
