"""Promise: what two servers could read differently is never passed on. A request is refused with 400 and a closed
connection, and no model sees a byte of it; a model's answer becomes a 502. One case per line of the tables.
"""

from __future__ import annotations

import pytest

from tests.worker.rig import Model, always, ok, parsed, read_answer, rig
from tests.worker.test_conformance import CONFIG, POST

REFUSED = {
    "Content-Length with Transfer-Encoding": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two equal Content-Lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two different Content-Lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a list as Content-Length": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "a signed Content-Length": POST + b"Content-Length: +1\r\n\r\nx",
    "a hexadecimal Content-Length": POST + b"Content-Length: 0x1\r\n\r\nx",
    "a Content-Length of more zeros than a number may have": POST + b"Content-Length: " + b"0" * 4400 + b"1\r\n\r\nx",
    "a Content-Length beyond 64 bits": POST + b"Content-Length: 18446744073709551617\r\n\r\nx",
    "an empty Content-Length": POST + b"Content-Length: \r\n\r\n",
    "an unknown transfer coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "gzip before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a control byte before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a tab before chunked": POST + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "a space after chunked": POST + b"Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n",
    "more in Connection than anybody means": POST + b"Connection: " + b"a," * 64 + b"b\r\n\r\n",
    "more in Connection lines than anybody means": POST + b"Connection: a\r\n" * 65 + b"\r\n",
    "a Content-Length of many zeros": POST + b"Content-Length: " + b"0" * 19 + b"1\r\n\r\nx",
    "chunked with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunked in a list": POST + b"Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "an empty Transfer-Encoding": POST + b"Transfer-Encoding: \r\n\r\n",
    "an underscore in Transfer-Encoding": POST + b"Transfer_Encoding: chunked\r\n\r\n",
    "an underscore in Content-Length": POST + b"Content_Length: 5\r\n\r\n",
    "an underscore in a header of ours": POST + b"X-Forwarded_For: 10.0.0.1\r\n\r\n",
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
    "a space in a chunk extension": POST + b"Transfer-Encoding: chunked\r\n\r\n3; a\r\nabc\r\n0\r\n\r\n",
    "bare LF in a chunk extension": POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n",
    "bare CR in a chunk extension": POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
    "bare LF after a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
    "no CRLF after a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n",
    "bare LF after the last chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\n",
    "a chunk size beyond 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "an endless chunk extension": POST
    + b"Transfer-Encoding: chunked\r\n\r\n3;"
    + b"a" * 9000
    + b"\r\nabc\r\n0\r\n\r\n",
    "endless trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
    "a folded trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
    "Content-Length as a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    "Transfer-Encoding as a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
    "Host as a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
    "a header of ours as a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded-For: 1\r\n\r\n",
    "Content_Length as a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent_Length: 5\r\n\r\n",
    "another X-Forwarded as a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded_User: a\r\n\r\n",
    "the mark of a copy as a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Shadow: a\r\n\r\n",
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


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: ",
        b"GET / HTTP/5.6",
        b"GET / HTTP/1.1x",
        b"GET /\r\n",
        b"GET  /",
        b"\x16\x03\x01",
    ],
)
async def test_a_line_that_will_never_do_is_refused_at_once(request_head: bytes) -> None:
    """Not when the head is whole, which it will never be."""
    async with rig(CONFIG.replace("300ms", "60s"), (Model(),)) as it:
        assert parsed(await it.raw(request_head))[0] == 400


async def test_after_a_refusal_nothing_is_read_as_a_request() -> None:
    """Not even one that was served a moment ago, byte for byte."""
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        reader, writer = await it.connect()
        good = POST + b"Content-Length: 0\r\n\r\n"
        writer.write(good)
        assert (await read_answer(reader))[0] == 200
        writer.write(REFUSED["no Host"])
        assert parsed(await reader.read())[0] == 400
        for _ in range(3):
            writer.write(good)
            await it.ask(path=b"/other")  # which comes after what was written before it
        assert sum(call.head.startswith(b"POST / ") for call in model.calls) == 1
        writer.close()


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
    "chunked in capitals": (
        POST + b"TRANSFER-ENCODING: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        POST + b"TRANSFER-ENCODING: Chunked\r\n",
    ),
    "spaces before chunked": (
        POST + b"Transfer-Encoding:   chunked\r\nX: y\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\nX: y\r\ntransfer-encoding: chunked\r\n",
    ),
    "no space before chunked": (
        POST + b"Transfer-Encoding:chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:chunked\r\n",
    ),
    "underscores in other names": (POST + b"X_User: a\r\n\r\n", POST + b"X_User: a\r\n"),
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


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_REPLIES = {
    "garbage": b"\x00\x01\x02 nonsense\r\n\r\n",
    "no HTTP": b"220 smtp.example ESMTP\r\n",
    "HTTP/2.0": ok(b"x").replace(b"HTTP/1.1", b"HTTP/2.0"),
    "HTTP/0.9": b"<html>\r\n\r\n",
    "a lower-case version": ok(b"x").replace(b"HTTP/1.1", b"http/1.1"),
    "an empty line first": b"\r\n" + ok(b"x"),
    "a two-digit status": b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx",
    "a four-digit status": b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx",
    "two spaces before the status": b"HTTP/1.1  200 OK\r\nContent-Length: 1\r\n\r\nx",
    "Content-Length with Transfer-Encoding": ok(b"x", b"Transfer-Encoding: chunked"),
    "two different Content-Lengths": ok(b"x", b"Content-Length: 2"),
    "two equal Content-Lengths": ok(b"x", b"Content-Length: 1"),
    "a list as Content-Length": ok(b"x").replace(b": 1", b": 1, 1"),
    "a signed Content-Length": ok(b"x").replace(b": 1", b": +1"),
    "a Content-Length of more zeros than a number may have": ok(b"x").replace(b": 1", b": " + b"0" * 4400 + b"1"),
    "a Content-Length of many zeros": ok(b"x").replace(b": 1", b": " + b"0" * 90 + b"1"),
    "more in Connection than anybody means": ok(b"x", b"Connection: " + b"a," * 6500 + b"b"),
    "space before the colon": ok(b"x", b"A : b"),
    "space before Content-Length's colon": ok(b"x").replace(b"Length:", b"Length :"),
    "a folded header": ok(b"x", b"A: b\r\n c"),
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    "bare LF after a header": ok(b"x", b"A: b\nSet-Cookie: c"),
    "bare CR in a value": ok(b"x", b"A: b\rSet-Cookie: c"),
    "NUL in a value": ok(b"x", b"A: \x00"),
    "NUL in a name": ok(b"x", b"A\x00: b"),
    "a control byte in a value": ok(b"x", b"A: \x01"),
    "an empty header name": ok(b"x", b": b"),
    "a line without a colon": ok(b"x", b"Set-Cookie"),
    "an unknown transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    "a tab before chunked": CHUNKS.replace(b": c", b":\tc") + b"0\r\n\r\n",
    "a space after chunked": CHUNKS.replace(b"chunked", b"chunked ") + b"0\r\n\r\n",
    "gzip before chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": ok(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "chunked in HTTP/1.0": CHUNKS.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "chunked with 204": b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked with 103": b"HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ok(b"x"),
    "a bad chunk": CHUNKS + b"zz\r\n",
    "bare LF after a chunk size": CHUNKS + b"1\nx\r\n0\r\n\r\n",
    "bare LF in a chunk extension": CHUNKS + b"1;a\nx\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKS + b"1\r\nxy\r\n0\r\n\r\n",
    "a trailer that is no header": CHUNKS + b"0\r\nno colon\r\n\r\n",
    "Transfer-Encoding as a trailer": CHUNKS + b"0\r\nTransfer-Encoding: x\r\n\r\n",
    "Content_Length as a trailer": CHUNKS + b"0\r\nContent_Length: 5\r\n\r\n",
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
