"""Promise: what one client may cost is limited in bytes, seconds and connections, and each limit says what it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from time import monotonic

import pytest

from proxy.worker.pace import GRACE
from tests.worker.rig import PATIENCE, Call, Model, always, eventually, ok, parsed, read_answer, rig
from tests.worker.test_conformance import CONFIG, POST
from tests.worker.test_pool import ONE

LIMITS = {
    "target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
    "head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431, "header_too_large"),
    "head before a body with a newline": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: " + b"a" * 9000 + b"\r\n\r\n{\n}",
        431,
        "header_too_large",
    ),
    "endless head": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000, 431, "header_too_large"),
    "length": (POST + b"Content-Length: 100001\r\n\r\n", 413, "body_too_large"),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n186A1\r\n" + b"x" * 100_001, 413, "body_too_large"),
    "slow head": (b"GET / HTT", 408, "request_timeout"),
    "slow body": (POST + b"Content-Length: 10\r\n\r\nx", 408, "request_timeout"),
}


async def test_half_a_head_behind_a_request_is_read_on_though_it_be_long() -> None:
    """Longer than what may wait behind a request in hand, for which the client is not read."""
    go = asyncio.Event()

    async def script(call: Call) -> None:
        await go.wait()
        await call.send(ok())

    model = Model(script)
    async with rig(CONFIG.replace("8KiB", "200KiB").replace("header: 300ms", "header: 5s"), (model,)) as it:
        reader, writer = await it.connect()
        head = POST + b"Content-Length: 0\r\n"
        writer.write(head + b"\r\n")
        await eventually(lambda: model.calls)
        writer.write(head + b"X: " + b"y" * 180_000)
        (client,) = it.worker.context.clients
        await eventually(lambda: not client._reading)
        writer.write(b"yyy\r\n\r\n")
        go.set()
        assert (await read_answer(reader))[0] == 200
        await eventually(lambda: client._reading)
        writer.close()


@pytest.mark.parametrize("name", LIMITS)
async def test_limits(name: str) -> None:
    request, status, reason = LIMITS[name]
    async with rig(CONFIG, (Model(),)) as it:
        got, headers, body = parsed(await it.raw(request))
        assert (got, headers["x-understudy-error"], headers["connection"]) == (status, reason, "close")
        assert reason.encode() in body
        await it.settled()
        await eventually(lambda: not it.worker.context.clients)


async def test_limits_hold_for_a_head_that_was_seen_before() -> None:
    config = CONFIG.replace("max_body: 100KB", "max_body: 1KB")
    async with rig(config, (Model(),)) as it:
        for _ in range(3):
            answer = await it.raw(POST + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001)
            assert parsed(answer)[0] == 413
        assert not it.worker.context.routes.known
        await it.raw(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, close=True)
        assert len(it.worker.context.routes.known) == 1


async def test_a_body_that_never_rests_has_to_come_in_time_all_the_same() -> None:
    config = CONFIG.replace("body: 300ms", "body: 60s, request: 300ms")
    async with rig(config, (Model(),)) as it:
        reader, writer = await it.connect()
        writer.write(b"POST / HT")
        heard = asyncio.create_task(reader.read())
        for piece in (b"TP/1.1\r\n", b"Host: a\r\nContent-Length: 100\r\n\r\n", *([b"x"] * 90)):
            writer.write(piece)
            if (await asyncio.wait({heard}, timeout=0.02))[0]:
                break
        status, headers, _ = parsed(await asyncio.wait_for(heard, PATIENCE))
        assert (status, headers["x-understudy-error"]) == (408, "request_timeout")
        writer.close()


async def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async with rig(ONE, (Model(),)) as it:
        reader, writer = await it.connect()
        writer.write(POST + b"Content-Length: 100\r\n\r\nx")
        await eventually(lambda: it.worker.context.buffered)
        (client,) = it.worker.context.clients
        now = monotonic()
        assert client.check(now + GRACE - 1) > 0  # type: ignore[attr-defined]
        client.check(now + GRACE + 1)  # type: ignore[attr-defined]
        status, headers, _ = parsed(await reader.read())
        assert (status, headers["x-understudy-error"]) == (408, "slow_client")
        assert it.worker.context.buffered == 0
        assert it.worker.context.refusals.codes == {"slow_client": 1}
        writer.close()


async def test_413_before_the_body_is_read() -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        await it.raw(POST + b"Content-Length: 100001\r\n\r\n")
        assert not model.calls


async def test_idle_connection_is_closed_without_an_answer() -> None:
    async with rig(CONFIG, (Model(),)) as it:
        assert await it.raw(b"") == b""


async def test_connection_limit() -> None:
    async with rig(CONFIG, (Model(),)) as it:
        opened = [await it.connect() for _ in range(20)]
        await eventually(lambda: len(it.worker.context.clients) == 20)
        status, headers, _ = parsed(await it.raw(b""))
        assert (status, headers["x-understudy-error"]) == (503, "too_many_connections")
        for _, writer in opened:
            writer.close()
        await eventually(lambda: not it.worker.context.clients)
        assert (await it.ask())[0] == 200


async def test_a_smaller_limit_is_not_held_against_what_was_sent_before() -> None:
    """A reload; the connection stays, and its next request is measured alone."""
    async with rig(CONFIG, (Model(),)) as it:
        reader, writer = await it.connect()
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n800\r\n" + b"x" * 2048 + b"\r\n0\r\n\r\n")
        assert (await read_answer(reader))[0] == 200
        it.worker.context.limits = replace(it.worker.context.limits, max_body=1000)
        writer.write(POST + b"Content-Length: 2\r\n\r\nab")
        assert (await read_answer(reader))[0] == 200
        writer.close()


def sent_and_heard(port: int, data: bytes) -> bytes:
    """Send everything before reading anything, as many clients do, and read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        sock.sendall(data)
        heard = b""
        while piece := sock.recv(1 << 16):
            heard += piece
        return heard


async def test_a_client_that_goes_on_sending_hears_why_it_is_refused() -> None:
    """Closing at once would reset the connection under the answer (RFC 9112, 9.6)."""
    async with rig(CONFIG, (Model(),)) as it:
        request = POST + b"Content-Length: 8000000\r\n\r\n" + bytes(8_000_000)
        assert parsed(await asyncio.to_thread(sent_and_heard, it.port, request))[0] == 413


async def test_nobody_is_listened_to_for_long_after_a_refusal() -> None:
    """Neither one who sends without end nor one who does not close."""
    async with rig(CONFIG, (Model(),)) as it:
        request = POST + b"Content-Length: 100000000\r\n\r\n" + bytes(100_000_000)
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(sent_and_heard, it.port, request)
        reader, writer = await it.connect()
        writer.write(b"nonsense\r\n\r\n")
        assert parsed(await reader.read())[0] == 400
        await eventually(lambda: not it.worker.context.clients)
        writer.close()


async def test_a_client_that_reads_nothing_of_its_answer_is_left() -> None:
    async with rig(CONFIG, (Model(always(ok(bytes(64 << 20)))),)) as it:
        _, writer = await it.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(POST + b"Content-Length: 0\r\n\r\n")
        await eventually(lambda: any(client.blocked for client in it.worker.context.clients))
        await eventually(lambda: not it.worker.context.clients)
        await it.settled()
        writer.close()


async def test_more_connections_than_can_be_told_so_are_closed() -> None:
    """Twice the limit: those who are refused cost a connection too, for as long as they take to hear it."""
    async with rig(CONFIG, (Model(),)) as it:
        opened = [await it.connect() for _ in range(40)]
        await eventually(lambda: len(it.worker.context.clients) == 40)
        with contextlib.suppress(ConnectionError):
            assert await it.raw(b"") == b""
        for _, writer in opened:
            writer.close()
        await eventually(lambda: not it.worker.context.clients)
