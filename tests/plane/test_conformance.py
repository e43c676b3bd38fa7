"""Promise: HTTP/1.1 as RFC 9110 and 9112 have it, against odd and hostile peers. One case per line of the tables.

What is refused is refused with 400 and a closed connection, and no model ever sees a byte of it.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.plane.rig import Call, Model, always, eventually, ok, parsed, rig

CONFIG = """
server:
  listen: '127.0.0.1:0'
  limits: {max_header: 2KiB, max_body: 100KB, max_connections: 20}
  timeouts: {header: 300ms, body: 300ms, idle: 300ms}
upstreams: {m: {url: '{0}', timeout: 500ms}}
routes: [{name: all, live: m}]
"""
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    "Content-Length with Transfer-Encoding": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two equal Content-Lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two different Content-Lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a list as Content-Length": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "a signed Content-Length": POST + b"Content-Length: +1\r\n\r\nx",
    "a hexadecimal Content-Length": POST + b"Content-Length: 0x1\r\n\r\nx",
    "an empty Content-Length": POST + b"Content-Length: \r\n\r\n",
    "an unknown transfer coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "gzip before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a control byte before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "space before Content-Length's colon": POST + b"Content-Length : 1\r\n\r\nx",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "a folded first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "bare LF in the head": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    "a control byte in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
    "DEL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
    "an empty header name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte above ASCII in the target": b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment in the target": b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target without a slash": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk for GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target of another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "user information in the target": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "a Host that is a list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a Host with user information": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "a lower-case version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "RTSP": b"GET / RTSP/1.0\r\nHost: a\r\n\r\n",
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "two empty lines first": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare LF after a chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
    "a space after a chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "a negative chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "an endless chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 17 + b"\r\nabc\r\n0\r\n\r\n",
    "an empty chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "a trailer that is no header": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_smuggling_is_refused(name: str) -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        answer = await it.raw(REFUSED[name] + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        status, headers, _ = parsed(answer)
        assert (status, headers["connection"]) == (400, "close")
        assert headers["x-understudy-error"] == "bad_request"
        assert answer.count(b"HTTP/1.1 ") == 1
        assert all(b"smuggled" not in call.head for call in model.calls)
        await it.settled()


ACCEPTED = {
    "plain": (b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a?b=c HTTP/1.1\r\n"),
    "an empty line first": (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n"),
    "absolute-form": (b"GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x?y HTTP/1.1\r\nhost: b:1\r\n"),
    "absolute-form without a path": (b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nhost: b\r\n"),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n"),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\n"),
    "HTTP/1.0 without Host": (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nhost: \r\n"),
    "an IPv6 Host": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"GET / HTTP/1.1\r\n"),
    "bytes above ASCII in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n", b"GET / HTTP/1.1\r\n"),
    "spaces around Content-Length": (POST + b"Content-Length:   2  \r\n\r\nxy", POST),
    "an encoded slash stays": (b"GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a%2Fb HTTP/1.1\r\n"),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_accepted_and_forwarded(name: str) -> None:
    model = Model()
    request, forwarded = ACCEPTED[name]
    async with rig(CONFIG, (model,)) as it:
        status, _, _ = parsed(await it.raw(request, close=True))
        assert status == 200
        assert model.calls[0].head.startswith(forwarded)
        assert model.calls[0].head.lower().count(b"\r\nhost:") == 1


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


async def test_half_closed_client_gets_its_answer() -> None:
    async with rig(CONFIG, (Model(always(ok(b"late"))),)) as it:
        assert (await it.raw(POST + b"Content-Length: 0\r\n\r\n", close=True)).endswith(b"late")


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


async def test_http_1_0_keep_alive() -> None:
    async with rig(CONFIG, (Model(),)) as it:
        one = b"GET / HTTP/1.0\r\nHost: a\r\n"
        answer = await it.raw(one + b"Connection: keep-alive\r\n\r\n" + one + b"\r\n")
        assert answer.count(b"connection: keep-alive") == 1
        assert answer.count(b"connection: close") == 1


async def test_expect_100_continue_is_answered_by_the_model() -> None:
    go = asyncio.Event()

    async def script(call: Call) -> None:
        assert call.headers["expect"] == "100-continue"
        await go.wait()
        await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await call.read_body()
        await call.send(ok(call.body))

    model = Model(script)
    async with rig(CONFIG, (model,)) as it:
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

    async with rig(CONFIG, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(POST + b"Content-Length: 90000\r\n\r\n" + b"x" * 1000)
        status, headers, body = parsed(await reader.read())
        assert (status, headers["connection"], body) == (403, "close", b"enough")
        writer.close()
        await it.settled()


LIMITS = {
    "target": (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
    "head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 3000 + b"\r\n\r\n", 431, "header_too_large"),
    "head before a body with a newline": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: " + b"a" * 3000 + b"\r\n\r\n{\n}",
        431,
        "header_too_large",
    ),
    "endless head": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000, 431, "header_too_large"),
    "length": (POST + b"Content-Length: 100001\r\n\r\n", 413, "body_too_large"),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n186A1\r\n" + b"x" * 100_001, 413, "body_too_large"),
    "slow head": (b"GET / HTT", 408, "request_timeout"),
    "slow body": (POST + b"Content-Length: 10\r\n\r\nx", 408, "request_timeout"),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_limits(name: str) -> None:
    request, status, reason = LIMITS[name]
    async with rig(CONFIG, (Model(),)) as it:
        got, headers, body = parsed(await it.raw(request))
        assert (got, headers["x-understudy-error"], headers["connection"]) == (status, reason, "close")
        assert reason.encode() in body
        await it.settled()
        await eventually(lambda: not it.worker.plane.clients)


async def test_limits_hold_for_a_head_that_was_seen_before() -> None:
    config = CONFIG.replace("max_body: 100KB", "max_body: 1KB")
    async with rig(config, (Model(),)) as it:
        for _ in range(3):
            answer = await it.raw(POST + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001)
            assert parsed(answer)[0] == 413
        assert not it.worker.plane.routes.known
        await it.raw(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, close=True)
        assert len(it.worker.plane.routes.known) == 1


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
        await eventually(lambda: len(it.worker.plane.clients) == 20)
        status, headers, _ = parsed(await it.raw(b""))
        assert (status, headers["x-understudy-error"]) == (503, "too_many_connections")
        for _, writer in opened:
            writer.close()
        await eventually(lambda: not it.worker.plane.clients)
        assert (await it.ask())[0] == 200


BAD_REPLIES = {
    "garbage": b"\x00\x01\x02 nonsense\r\n\r\n",
    "no HTTP": b"220 smtp.example ESMTP\r\n",
    "Content-Length with Transfer-Encoding": ok(b"x", b"Transfer-Encoding: chunked"),
    "two Content-Lengths": ok(b"x", b"Content-Length: 2"),
    "a folded header": ok(b"x", b"A: b\r\n c"),
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    "NUL in a value": ok(b"x", b"A: \x00"),
    "a two-digit status": b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx",
    "an unknown transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
}


@pytest.mark.parametrize("name", BAD_REPLIES)
async def test_bad_replies(name: str) -> None:
    async with rig(CONFIG, (Model(always(BAD_REPLIES[name])),)) as it:
        status, headers, _ = await it.ask()
        assert (status, headers["x-understudy-error"]) == (502, "bad_reply")
        await it.settled()


async def test_surplus_bytes_after_an_answer_are_never_another_answer() -> None:
    model = Model(always(ok(b"a") + ok(b"poison")))
    async with rig(CONFIG, (model,)) as it:
        for _ in range(3):
            assert (await it.ask())[2] == b"a"
        assert model.connections == 3


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
        assert b"data:1" in await asyncio.wait_for(reader.readuntil(b"data:1\r\n"), 5)
        more.set()
        assert (await reader.read()).endswith(b"data:2\r\n0\r\n\r\n")
        writer.close()


async def test_upgrade_is_a_tunnel() -> None:
    async def script(call: Call) -> None:
        assert call.headers["upgrade"] == "echo"
        assert call.headers["connection"] == "upgrade"
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
        while data := await call.reader.read(100):
            await call.send(data.upper())

    async with rig(CONFIG, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nconnection: upgrade\r\nupgrade: echo\r\n" in head
        assert await reader.readexactly(7) == b"hiEARLY"
        writer.write(b"more")
        assert await reader.readexactly(4) == b"MORE"
        writer.close()
        await it.settled()
        await eventually(lambda: not it.worker.plane.clients)


async def test_h2c_offer_is_not_taken_up_and_its_body_passes() -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        status, _, _ = await it.ask(
            b"body", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"
        )
        assert status == 200
        assert model.calls[0].body == b"body"
        assert b"h2c" not in model.calls[0].head
        assert b"http2-settings" not in model.calls[0].head.lower()


async def test_hop_by_hop_headers_stay_here() -> None:
    model = Model(
        always(ok(b"x", b"Connection: keep-alive, X-Secret", b"Keep-Alive: timeout=5", b"X-Secret: 1", b"Via: 1.1 m"))
    )
    async with rig(CONFIG, (model,)) as it:
        _, headers, _ = await it.ask(
            b"", b"Connection: X-Hop, Host, Content-Length", b"X-Hop: 1", b"TE: trailers", b"Proxy-Authorization: x",
            b"Keep-Alive: 1", b"Via: 1.0 other",
        )  # fmt: skip
        seen = model.calls[0].headers
        assert not {"x-hop", "te", "proxy-authorization", "keep-alive", "connection"} & set(seen)
        assert seen["host"] == "test"
        assert seen["content-length"] == "0"
        assert "x-secret" not in headers
        assert "keep-alive" not in headers
        assert headers["via"] == "1.1 m"


async def test_forwarding_headers() -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        await it.ask(b"", b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: 5.6.7.8", b"X-Forwarded-Proto: https")
        seen = model.calls[0].headers
        assert seen["x-forwarded-for"] == "1.2.3.4, 5.6.7.8, 127.0.0.1"
        assert seen["x-forwarded-proto"] == "https"
        assert seen["x-forwarded-host"] == "test"


@pytest.mark.parametrize(
    ("given", "kept"), [(b"abc-1", True), (b"x" * 129, False), (b"a b", False), (b"\xc3\xa9", False)]
)
async def test_request_ids(given: bytes, kept: bool) -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        _, headers, _ = await it.ask(b"", b"X-Request-Id: " + given)
        assert (headers["x-request-id"] == given.decode("latin-1")) is kept
        assert model.calls[0].headers["x-request-id"] == headers["x-request-id"]
        assert model.calls[0].head.lower().count(b"x-request-id") == 1


async def test_trace_is_continued_with_a_new_span() -> None:
    model = Model()
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with rig(CONFIG, (model,)) as it:
        await it.ask(b"", b"Traceparent: 00-%b-b7ad6b7169203331-01" % trace.encode(), b"Tracestate: a=b")
        await it.ask(b"", b"Traceparent: nonsense", b"Tracestate: a=b")
        first, second = (call.headers for call in model.calls)
        assert first["traceparent"].split("-")[1] == trace
        assert first["traceparent"].split("-")[2] != "b7ad6b7169203331"
        assert first["tracestate"] == "a=b"
        assert second["traceparent"].startswith("00-")
        assert "tracestate" not in second


async def test_own_paths() -> None:
    async with rig(CONFIG, (Model(),)) as it:
        assert (await it.ask(path=b"/-/healthz", method=b"GET"))[0] == 200
        assert (await it.ask(path=b"/-/readyz", method=b"GET"))[0] == 200
        assert (await it.ask(path=b"/-/other", method=b"GET"))[0] == 404
