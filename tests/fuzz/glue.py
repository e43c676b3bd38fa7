"""What lies around both parsers, under any bytes: tried by Hypothesis (`test_glue.py`) and by atheris (`run.py`).

One input becomes a client's bytes, a model's bytes, and where both are cut. The protocols run without sockets, as in
`tests/worker/test_cuts.py`. Whatever comes in:

- nothing raises;
- the client gets whole answers of HTTP/1.1 or none;
- the client is told the same whatever a turn may do (`WORKS`);
- what went out to the model is read by h11, an independent and strict parser, as exactly the requests that were
  forwarded: two servers that read one stream differently are what request smuggling is made of.
"""

from __future__ import annotations

import re

import h11

from tests.worker.test_cuts import Bench

SEEDS = (
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
    b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\nX-A: 1\r\nExpect: 100-continue\r\n\r\n",
    b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\nX-Request-Id: 1\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05Hello",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-1-2-3\r\n\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
)
Work = tuple[int, int, int]
WORKS: tuple[Work | None, ...] = (None, (1, 1, 1), (3, 2, 5), (40, 8, 16))
"""What one connection may cause at once, when it has waited, and all of them in a turn (`worker/turn.py`)."""
MARK = b"\x00|\x00"
"""Between the client's and the model's bytes of one input."""
BROKE = b"HTTP/1.1 502 "
OURS = re.compile(rb"(?:date: [^\r]*|x-request-id: id)\r\n", re.IGNORECASE)
"""What an answer of the proxy's own says of when it was made, and of whether the request had begun."""


def once(data: bytes) -> None:
    """Run one input: two bytes that say how it is cut, the client's bytes, `MARK`, the model's bytes."""
    cuts, turns = (data[0], data[1]) if len(data) > 2 else (0, 0)
    request, _, answer = data[2:].partition(MARK)
    step = cuts % 17 * 7 + 1
    work = WORKS[turns // 5 % len(WORKS)]
    places = list(range(0, len(request) + len(answer), step)) if cuts % 2 else []
    model, client = Bench(turns % 5 + 1, work=work).feed(request, answer, places, places)
    if work is not None:
        told_alike(client, Bench(turns % 5 + 1).feed(request, answer, places, places)[1])
    assert not client or client.startswith(b"HTTP/1.1 "), client
    if b"HTTP/1.1 101 " not in client:  # from there on it is not HTTP
        answers_read_alike(client, requests_read_alike(model))


def told_alike(one: bytes, other: bytes) -> None:
    """The same, but for an answer that broke: how much of it was passed on before, if any, depends on how it came."""
    one, other = OURS.sub(b"", one), OURS.sub(b"", other)
    if one.count(BROKE) == other.count(BROKE):
        assert one.startswith(other) or other.startswith(one), (one, other)


def requests_read_alike(forwarded: bytes) -> list[bytes]:
    """h11 reads what the model got without an objection, up to where it ends: the methods."""
    methods: list[bytes] = []
    while forwarded:
        other = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        other.receive_data(forwarded)
        for event in iter(other.next_event, h11.NEED_DATA):
            if isinstance(event, h11.Request):
                methods.append(event.method)
            if isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                break
        else:
            break
        forwarded = other.trailing_data[0]
    return methods


def answers_read_alike(answers: bytes, methods: list[bytes]) -> None:
    """h11 reads what the client got as answers to these requests, and then perhaps one of our own making."""
    for method in [*methods, b"GET"]:
        if not answers:
            return
        other = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        other.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        other.send(h11.EndOfMessage())
        other.receive_data(answers)
        for event in iter(other.next_event, h11.NEED_DATA):
            if isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                break
        else:
            return  # cut short, and the connection with it
        answers = other.trailing_data[0]
    assert not answers, "more answers than requests"
