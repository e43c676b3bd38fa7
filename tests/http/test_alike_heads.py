"""Promise: a head that is taken for one like another means what llhttp and the reader make of it, whatever differs."""

from __future__ import annotations

import pytest
from httptools import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.alike_heads import read_alike
from proxy.http.framing import Framing, FramingError
from proxy.http.headers import HeadError
from proxy.http.request_head import MEANT, Request, read_request, request_scanner

SCANNER = request_scanner({b"x-tenant", b"x-user"})
FIXED = MEANT | {b"x-tenant"}
NAMES = [
    b"X-User", b"x_user", b"X-Tenant", b"Authorization", b"Cookie", b"traceparent", b"Accept", b"Content-Length",
    b"Content-Encoding", b"Inference-Header-Content-Length", b"x-forwarded_for", b"q",
]  # fmt: skip
MORE = [b"Host", b"Connection", b"Transfer-Encoding", b"X-Request-Id", b"Expect", b"X-Forwarded-For", b"Forwarded", b""]
VALUES = [b"", b"a", b"A b", b"3", b"gzip", b"close", b"x-forwarded-for: 1", b"\x80\xff", b"\tb ", b"100-continue"]
NASTY = [b"a\x00", b"a\rb", b"a\nb", b"\r\nhost: c", b"\r\n folded", b"\x7f", b"a\r\n\r\nb", b"\r", b"\n"]
LINE = st.tuples(st.sampled_from(NAMES), st.sampled_from([b":", b": "]), st.sampled_from(VALUES))
CHANGE = st.tuples(
    st.integers(0, 8), st.none() | st.sampled_from([*NAMES, *MORE]),
    st.sampled_from([b":", b": ", b" : ", b""]), st.sampled_from([*VALUES, *NASTY]),
)  # fmt: skip
SAID = (
    "head", "length", "claims", "found", "host", "keep", "low", "method", "named", "offers", "old", "path", "plain",
    "rebuild", "target", "upgrade",
)  # fmt: skip


def written(lines: list[tuple[bytes, bytes, bytes]], first: bytes = b"POST /a?b HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: m", *map(b"".join, lines), b"", b""])


def read(head: bytes) -> Request | None:
    try:
        Framing(HttpRequestParser).head(head)
        return read_request(head, SCANNER)
    except (FramingError, HeadError):
        return None


def means(request: Request) -> list[object]:
    return [*(getattr(request, name) for name in SAID), request.body_form(), request.bare(), request.lines()]


@given(st.lists(LINE, max_size=6), st.lists(CHANGE, min_size=1, max_size=2), st.booleans())
def test_what_is_alike_means_the_same(
    lines: list[tuple[bytes, bytes, bytes]], changes: list[tuple[int, bytes | None, bytes, bytes]], first: bool
) -> None:
    last = read(written(lines))
    if last is None:
        return
    other = list(lines)
    for at, name, colon, value in changes:
        if at < len(other):
            other[at] = (other[at][0], other[at][1], value) if name is None else (name, colon, value)
        elif name is not None:
            other.append((name, colon, value))
    head = written(other, b"POST /a?b HTTP/1.1" if first else b"POST /c HTTP/1.1")
    head = head[: head.find(b"\r\n\r\n") + 4]
    found = read_alike(head, last, FIXED)
    if found is not None:
        there = read(head)
        assert there is not None
        assert means(found) == means(there)


HEAD = written([(name, b": ", b"1") for name in NAMES if b"_" not in name])


@pytest.mark.parametrize("name", [b"X-User", b"Authorization", b"Cookie", b"traceparent", b"Accept", b"q"])
@pytest.mark.parametrize("value", [b"", b"2", b" Two words ", b"\xc3\xa9"])
def test_another_user_token_or_trace_is_alike(name: bytes, value: bytes) -> None:
    last = read(HEAD)
    assert last is not None
    found = read_alike(HEAD.replace(b"\r\n%b: 1" % name, b"\r\n%b: %b" % (name, value)), last, FIXED)
    assert found is not None
    assert found.value(b"x-user") == (value.strip() if name == b"X-User" else b"1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Host: m", b"Host: n"), (b"/a?b", b"/a?c"), (b"POST", b"PUT"), (b"Content-Length: 1", b"Content-Length: 2"),
        (b"X-Tenant: 1", b"X-Tenant: 2"), (b"q: 1", b"Q: 1"), (b"q: 1", b"q: 1\r\nr: 1"), (b"q: 1\r\n", b""),
        (b"q: 1", b"q: 1\x00"), (b"q: 1", b"q: \n"), (b"HTTP/1.1", b"HTTP/1.0"),
    ],
)  # fmt: skip
def test_what_decides_something_is_not(old: bytes, new: bytes) -> None:
    last = read(HEAD)
    assert last is not None
    assert read_alike(HEAD.replace(old, new), last, FIXED) is None


def test_one_that_is_rebuilt_has_none_alike() -> None:
    head = b"GET / HTTP/1.1\r\nHost: m\r\nConnection: close\r\nX: 1\r\n\r\n"
    assert read_alike(head.replace(b"X: 1", b"X: 2"), read_request(head), FIXED) is None
