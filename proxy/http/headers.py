"""Heads of HTTP/1.1 messages: what those of requests and of answers have in common.

A head gets here only after llhttp has accepted it in strict mode, so every line is `name: value` ended by CRLF, without
folding or control bytes. What llhttp lets pass and another server might read differently is refused (`HeadError`).

Most heads need no change: they are forwarded as they came, byte for byte, with our lines appended. One is rebuilt only
when it carries something that must not travel on (RFC 9110, 7.6.1): hop-by-hop headers, headers that `Connection`
names, an absolute-form target, headers that we set ourselves.

Cost is why one regular expression (`scanning`) reads the lower-cased head instead of a callback per header: 1 µs
against 2.
"""

from __future__ import annotations

import re
from typing import Final

CHUNKED: Final = -1
"""Length of a message in chunked framing."""
UNTIL_CLOSE: Final = -2
"""Length of an answer that ends when the connection is closed."""
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te",
     b"upgrade")
)  # fmt: skip
FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})
CHUNKED_LINE = re.compile(rb"\r\ntransfer-encoding:( *)chunked\r\n")
"""No tab and nothing behind it: the oldest way to have one of two servers overlook it. With more than one space before
it, it is written anew."""
TRANSFER_ENCODING = frozenset({b"transfer-encoding"})
CODED_LINE = b"transfer-encoding: chunked\r\n"
_MAX_DIGITS = 19
"""Of a length: what 63 bits hold. Zeros in front are legal, but how many of them a server reads is its own affair."""
_MAX_TOKENS = 64
"""In `Connection`: nobody names more in earnest, and each is looked for in every line."""
VERSIONS = {b"HTTP/1.1": False, b"HTTP/1.0": True}
VIA = b"via: 1.1 understudy\r\n"


class HeadError(ValueError):
    """A head that is refused although llhttp accepts it; the text says why."""


def original(head: bytes, low: bytes, name: bytes) -> bytes:
    """The value of the header `name` (lower case) as it was written; the first one, or nothing.

    >>> head = b"GET / HTTP/1.1\\r\\nX-User: Ann\\r\\n\\r\\n"
    >>> original(head, head.lower(), b"x-user")
    b'Ann'
    """
    at = low.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    return head[at : head.find(b"\r\n", at)].strip(b" \t")


class Http1Message:
    """What requests and answers have: the head as it came, and how long the body is (`CHUNKED`: framed so)."""

    __slots__ = ("head", "length")

    head: bytes
    length: int


def check_repeats(pairs: list[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in pairs]
    for name in FRAMING:
        if names.count(name) > 1:
            raise HeadError(f"more than one {name.decode()}")


def content_length(length: bytes) -> int:
    """A Content-Length of which llhttp has seen that it has digits only; zeros in front may still be without end."""
    if len(length) > _MAX_DIGITS:
        raise HeadError("a Content-Length that is too large")
    return int(length)


def connection_tokens(pairs: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    listed = b",".join(value for name, value in pairs if name == b"connection")
    if listed.count(b",") >= _MAX_TOKENS:
        raise HeadError("too many tokens in Connection")
    return frozenset(token.strip(b" \t") for token in listed.split(b","))


def without(head: bytes, drop: frozenset[bytes] | set[bytes]) -> bytes:
    """The head's lines, first line included, that are not headers named in `drop`; ends after the last line's CRLF.

    >>> without(b"GET / HTTP/1.1\\r\\nA: 1\\r\\nb: 2\\r\\n\\r\\n", {b"a"})
    b'GET / HTTP/1.1\\r\\nb: 2\\r\\n'
    """
    first, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].lower() not in drop]
    return b"\r\n".join([first, *kept, b""])


def all_values(message: Http1Message, name: bytes) -> bytes:
    lines = message.head.split(b"\r\n")[1:]
    split = (line.partition(b":") for line in lines)
    return b", ".join(value.strip(b" \t") for key, _, value in split if key.lower() == name)


def has_bare_lf(data: bytes, known: int = 0) -> bool:
    """Whether part of a head has a line that does not end in CRLF, so that the whole will be refused. The first `known`
    bytes have none.

    >>> has_bare_lf(b"GET / HTTP/1.1\\r\\nHost: a\\r"), has_bare_lf(b"GET / HTTP/1.1\\n")
    (False, True)
    >>> has_bare_lf(b"GET / HTTP/1.1\\r\\n", 15), has_bare_lf(b"GET / HTTP/1.1\\n", 14)
    (False, True)
    """
    at = known - 1 if known and data[known - 1] == 13 else known
    return data.count(b"\n", at) != data.count(b"\r\n", at)
