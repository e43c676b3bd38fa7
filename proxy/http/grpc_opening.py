"""Heads of calls as models get them: HTTP/1.1, as the exchange has written it, as a header block of HTTP/2.

Nothing in a block refers to the peer's table, so that a block is the same for every connection of a scheme, and the
beginning of a head that many calls have is written once (`Request.plain`).
"""

from __future__ import annotations

from proxy.http.http2.frames import Headers, encoded
from proxy.http.known_heads import LONGEST

MAX_KNOWN_STARTS = 256
"""Beginnings of heads that are remembered, each of `LONGEST` bytes at most."""


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

    __slots__ = ("_known", "_scheme")

    def __init__(self, scheme: bytes) -> None:
        self._scheme = scheme
        self._known: dict[bytes, bytes] = {}

    def block(self, head: bytes, plain: bytes) -> bytes:
        """The block of a head; `plain` are whole lines that it begins with, if many heads begin so."""
        begins, ends = len(plain), len(head) - 4
        if 0 < begins < ends and head.startswith(plain):
            more: Headers = []
            for line in head[begins:ends].split(b"\r\n"):
                name, _, value = line.partition(b":")
                name = name.lower()
                if name == b"host":  # which comes before all others
                    return encoded(call_headers(head, self._scheme))
                more.append((name, value.strip(b" \t")))
            start = self._known.get(plain)
            return (self._remembered(plain) if start is None else start) + encoded(more)
        return encoded(call_headers(head, self._scheme))

    def _remembered(self, plain: bytes) -> bytes:
        start = encoded(call_headers(plain + b"\r\n", self._scheme))
        if len(plain) <= LONGEST:
            if len(self._known) >= MAX_KNOWN_STARTS:
                self._known.clear()
            self._known[plain] = start
        return start
