"""Promise: messages begin and end where RFC 9112 has it, on both sides, whatever the peer's version and habits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.worker.rig import PATIENCE, Call, Model, always, eventually, hang, ok, parsed, resets, rig

CONFIG = """
server:
  listen: '127.0.0.1:0'
  limits: {max_header: 8KiB, max_body: 100KB, max_connections: 20}
  timeouts: {header: 300ms, body: 300ms, idle: 300ms}
upstreams: {m: {url: '{0}', timeout: 500ms}}
routes: [{name: all, live: m}]
"""
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


OVERRIDE = CONFIG.replace(
    "[{name: all, live: m}]",
    "[{name: r, match: {path: /infer}, live: m, override: {header: x-arm}, rollouts: [{candidate: m2, shadow: 100%}]}]",
).replace("{m: {", "{m2: {url: '{0}'}, m: {")


async def test_body_framings_pass_verbatim() -> None:
    model = Model()
    chunked = b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"

    async def script(call: Call) -> None:
        call.body = await call.reader.readuntil(b"Trailer: x\r\n\r\n")
        await call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)

    model.script = script
    async with rig(CONFIG, (model,)) as it:
        answer = await it.raw(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunked)
        assert model.calls[0].body == chunked
        assert answer.endswith(b"\r\n\r\n" + chunked)
        assert b"trailer" not in model.calls[0].head.lower()


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(call: Call) -> None:
        body = await call.read_body()
        await asyncio.sleep(0.02 if body == b"1" else 0)
        await call.send(ok(b"<" + body + b">"))

    async with rig(CONFIG, (Model(script),)) as it:
        requests = b"".join(POST + b"Content-Length: 1\r\n\r\n%d" % n for n in range(1, 6))
        answer = await it.raw(requests + b"GET /-/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert [answer.index(b"<%d>" % n) for n in range(1, 6)] == sorted(
            answer.index(b"<%d>" % n) for n in range(1, 6)
        )
        assert answer.endswith(b"ok\n")


PATIENT = CONFIG.replace("300ms", "60s").replace("500ms", "60s")


async def test_half_closed_client_gets_its_answers_and_then_the_end() -> None:
    async with rig(PATIENT, (Model(always(ok(b"late"))),)) as it:
        got = await it.raw((POST + b"Content-Length: 0\r\n\r\n") * 3, close=True)
        assert got.count(b"late") == 3
        await eventually(lambda: not it.worker.context.clients)


async def test_half_closed_client_that_hears_nothing_has_perhaps_left() -> None:
    """An end of one side looks like an end of both: the model is not kept busy for it."""
    model = Model(hang)
    async with rig(PATIENT, (model,)) as it:
        assert await it.raw(POST + b"Content-Length: 0\r\n\r\n", close=True) == b""
        await eventually(lambda: model.calls and not model.open)
        await it.settled()


async def test_interim_answers_are_nothing_that_http_1_0_knows() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok(b"ab")
    async with rig(CONFIG, (Model(always(answer)),)) as it:
        got = await it.raw(b"GET / HTTP/1.0\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert got.endswith(b"\r\n\r\nab")


@pytest.mark.parametrize(
    ("request_head", "answer", "body"),
    [
        (b"HEAD / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HEAD / HTTP/1.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (b"HEAD / HTTP/1.1", b"HTTP/1.1 200 OK\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok(b"ab"), b"ab"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"ab"), b"ab"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", b"ab"),
    ],
)
async def test_answers_without_bodies_keep_the_connection(request_head: bytes, answer: bytes, body: bytes) -> None:
    model = Model(always(answer))
    async with rig(CONFIG, (model,)) as it:
        one = request_head + b"\r\nHost: a\r\n"
        got = await it.raw(one + b"\r\n" + one + b"Connection: close\r\n\r\n")
        assert len(model.calls) == 2
        assert model.connections == 1
        assert got.count(b"x-served-by: m\r\n") == 2
        assert got.endswith(b"\r\n\r\n" + body)
        if b" 204 " in answer:
            assert b"content-length" not in got.lower()
        if b" 103 " in answer:
            assert got.count(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n") == 2
        await it.settled()


@pytest.mark.parametrize(
    ("path", "status"), [(b"/elsewhere", b"404"), (b"/infer", b"403"), (b"/-/healthz", b"200"), (b"/-/other", b"404")]
)
async def test_answers_of_our_own_to_head_have_no_body(path: bytes, status: bytes) -> None:
    """Else what follows on the connection is read as the next answer."""
    async with rig(OVERRIDE, (Model(),)) as it:
        await it.lane()
        one = b" HTTP/1.1\r\nHost: a\r\nX-Arm: candidate\r\n"
        got = await it.raw(b"HEAD " + path + one + b"\r\nGET /-/healthz" + one + b"Connection: close\r\n\r\n")
        first, second = got.split(b"\r\n\r\n", 1)
        assert first.startswith(b"HTTP/1.1 " + status)
        assert second.startswith(b"HTTP/1.1 200 OK\r\n")
        assert second.endswith(b"\r\n\r\nok\n")


async def test_answer_ended_by_close() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await call.send(b"def")
        raise ConnectionError

    async with rig(CONFIG, (Model(script),)) as it:
        status, headers, body = parsed(await it.raw(POST + b"Content-Length: 0\r\n\r\n"))
        assert (status, headers["connection"], body) == (200, "close", b"abcdef")
        await it.settled()


async def test_http_1_0_gets_no_chunks() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with rig(CONFIG, (Model(always(chunked)),)) as it:
        answer = await it.raw(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        assert answer.endswith(b"\r\n\r\nabcde")
        assert b"transfer-encoding" not in answer.lower()


@pytest.mark.parametrize("path", [b"/infer", b"/-/healthz", b"/-/other", b"/elsewhere"])
async def test_http_1_0_keep_alive(path: bytes) -> None:
    """It is said of our own answers too: without it such a client waits for the connection to end."""
    async with rig(OVERRIDE, (Model(),)) as it:
        one = b"GET %b HTTP/1.0\r\nHost: a\r\n" % path
        answer = await it.raw(one + b"Connection: keep-alive\r\n\r\n" + one + b"\r\n")
        assert answer.count(b"connection: keep-alive") == 1
        assert answer.count(b"connection: close") == 1


async def test_expect_100_continue_is_answered_by_the_model() -> None:
    """Where the body is not waited for anyhow."""
    go = asyncio.Event()

    async def script(call: Call) -> None:
        assert call.headers["expect"] == "100-continue"
        await go.wait()
        await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await call.read_body()
        await call.send(ok(call.body))

    model = Model(script)
    async with rig(CONFIG, (model,)) as it:
        it.worker.context.limits = replace(it.worker.context.limits, buffer=2)
        reader, writer = await it.connect()
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n")
        await eventually(lambda: model.calls)
        go.set()
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.read()).endswith(b"abc")
        writer.close()


async def test_early_answer_ends_the_upload() -> None:
    async def script(call: Call) -> None:
        await call.send(ok(b"enough", status=b"403 Forbidden"))
        await call.reader.read()

    model = Model(script)
    async with rig(CONFIG, (model,)) as it:
        it.streams()
        reader, writer = await it.connect()
        writer.write(POST + b"Content-Length: 90000\r\n\r\n" + b"x" * 1000)
        status, headers, body = parsed(await reader.read())
        assert (status, headers["connection"], body) == (403, "close", b"enough")
        writer.close()
        await it.settled()
        assert (await it.ask())[0] == 403
        assert model.connections == 2, "the first still waits for the rest of a body"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
async def test_model_that_breaks_off(sent: bytes) -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(sent)
        raise ConnectionError

    async with rig(CONFIG, (Model(script),)) as it:
        answer = await it.raw(POST + b"Content-Length: 0\r\n\r\n")
        if b"\r\n\r\n" in sent:  # the client has the head already: it must see that the rest is missing
            assert answer.endswith(b"ab")
        else:
            assert (parsed(answer)[0], parsed(answer)[1]["x-understudy-error"]) == (502, "disconnect")
        await it.settled()


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        (b"1", b"HTTP/1.1 200 OK\r\n\r\nab"),
        (b"0", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
    ],
)
async def test_an_answer_ended_by_close_that_breaks_off_does_not_look_whole(version: bytes, answer: bytes) -> None:
    """Its client has no length to count by: it gets a reset where an orderly end would be a whole answer."""

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(answer)
        await eventually(lambda: any(client._is_answering() for client in it.worker.context.clients))
        resets(call.writer)
        raise ConnectionError

    async with rig(CONFIG, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(b"GET / HTTP/1.%b\r\nHost: a\r\n\r\n" % version)
        assert (await reader.readuntil(b"\r\n\r\nab")).startswith(b"HTTP/1.1 200 OK\r\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        await it.settled()


async def test_timeout_is_504() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        await call.reader.read()

    async with rig(CONFIG, (Model(script),)) as it:
        status, headers, _ = await it.ask()
        assert (status, headers["x-understudy-error"]) == (504, "timeout")
        await it.settled()


async def test_stream_passes_chunk_by_chunk() -> None:
    more = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await call.send(b"6\r\ndata:1\r\n")
        await more.wait()
        await call.send(b"6\r\ndata:2\r\n0\r\n\r\n")

    async with rig(CONFIG, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(POST + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        assert b"data:1" in await asyncio.wait_for(reader.readuntil(b"data:1\r\n"), PATIENCE)
        more.set()
        assert (await reader.read()).endswith(b"data:2\r\n0\r\n\r\n")
        writer.close()
