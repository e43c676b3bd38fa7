"""Heads of calls as models get them: HTTP/1.1, as the exchange has written it, as a header block of HTTP/2.

Nothing in a block refers to the peer's table, so that a block is the same for every connection of a scheme, and the
beginning of a head that many calls have is written once (`Request.plain`).
"""

from __future__ import annotations

from typing import Final

from proxy.http.http2.frames import Headers, encoded, encoded_name, encoded_value
from proxy.http.known_heads import LONGEST

MAX_KNOWN_STARTS: Final = 256
"""Beginnings of heads that are remembered, each of `LONGEST` bytes at most; and as many other lines."""

_ID: Final = b"\r\nx-request-id: "
_ID_NAME: Final = encoded_name(b"x-request-id")


def call_headers(head: bytes, scheme: bytes) -> Headers:
    """What a model gets: the headers of an HTTP/1.1 head as HTTP/2 wants them.

    >>> call_headers(b"POST /a.B/C HTTP/1.1\\r\\nhost: m\\r\\nx-user: ann\\r\\n\\r\\n", b"http")[2:]
    [(b':path', b'/a.B/C'), (b':authority', b'm'), (b'te', b'trailers'), (b'x-user', b'ann')]
    """
    first, *lines = head[:-4].split(b"\r\n")
    method, path, _ = first.split(b" ")
    headers = [(b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", b""), (b"te", b"trailers")]
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"host":
            headers[3] = (b":authority", value)
        else:
            headers.append((name, value))
    return headers


class CallOpenings:
    """Header blocks for models of one scheme.

    >>> openings = CallOpenings(b"http")
    >>> plain = b"POST /a.B/C HTTP/1.1\\r\\nhost: m\\r\\n"
    >>> head = plain + b"x-request-id: 1\\r\\n\\r\\n"
    >>> openings.block(head, plain) == encoded(call_headers(head, b"http")) == openings.block(head, b"")
    True
    """

    __slots__ = ("_known", "_lines", "_scheme")

    def __init__(self, scheme: bytes) -> None:
        self._scheme = scheme
        self._known: dict[bytes, bytes] = {}
        self._lines: dict[bytes, bytes] = {}
        """Lines before and behind the id that many calls have; empty for what must be read with the rest."""

    def block(self, head: bytes, plain: bytes) -> bytes:
        """The block of a head; `plain` are whole lines that it begins with, if many heads begin so."""
        begins, ends = len(plain), len(head) - 4
        if 0 < begins < ends and head.startswith(plain):
            start = self._known.get(plain)
            at = head.find(_ID, begins, ends)
            more = _block_of(head[begins:ends]) if at < 0 else self._with_id(head, begins, at, ends)
            if more:
                return (self._remembered(plain) if start is None else start) + more
        return encoded(call_headers(head, self._scheme))

    def _with_id(self, head: bytes, begins: int, at: int, ends: int) -> bytes:
        """The lines from `begins` on, of which the one behind `at` gives the request's id and differs each time."""
        before, behind = self._known_lines(head[begins:at]), b""
        at += len(_ID)
        stop = head.find(b"\r\n", at)
        if stop < ends:
            behind = self._known_lines(head[stop + 2 : ends])
        if not before or (stop < ends and not behind):
            return b""
        return b"".join((before, _ID_NAME, encoded_value(head[at:stop].strip(b" \t")), behind))

    def _known_lines(self, lines: bytes) -> bytes:
        block = self._lines.get(lines)
        if block is None:
            block = _block_of(lines)
            if len(lines) <= LONGEST:
                if len(self._lines) >= MAX_KNOWN_STARTS:
                    self._lines.clear()
                self._lines[lines] = block
        return block

    def _remembered(self, plain: bytes) -> bytes:
        start = encoded(call_headers(plain + b"\r\n", self._scheme))
        if len(plain) <= LONGEST:
            if len(self._known) >= MAX_KNOWN_STARTS:
                self._known.clear()
            self._known[plain] = start
        return start


def _block_of(lines: bytes) -> bytes:
    """The block of whole lines; empty where one of them must come before all others: `host`."""
    more: Headers = []
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"host":
            return b""
        more.append((name, value.strip(b" \t")))
    return encoded(more)
