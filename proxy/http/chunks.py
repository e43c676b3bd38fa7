"""Where a chunked message ends (RFC 9112, 7.1), and what it says without its framing.

llhttp validates the bytes; this scanner counts them. Both see every byte and must agree on where the message ends,
else the connection is closed: two parsers that disagree are what request smuggling is made of. The scanner is as
strict as llhttp's strict mode: CRLF only, no space around the size, extensions skipped, trailers passed over.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LINE = 4096
"""Bytes of one size line with its extensions, and of all trailers together twice this: nobody sends more in earnest."""
MANY: Final = 1 << 30
"""Lines that nobody counts."""

_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[^\x00-\x08\x0a-\x1f\x7f]*")
_HEAD_ONLY = re.compile(
    rb"content-length|host|transfer-encoding|forwarded|x-forwarded-.*|x-real-ip|x-request-id|x-shadow"
)
"""No trailers (RFC 9110, 6.5.1): a server that takes trailers for headers would frame or trust the message anew. With
`_` for `-` they are the same to whatever hands them on as CGI variables (PEP 3333)."""


class ChunkError(ValueError):
    """Bytes that are not chunked framing."""


class ChunkScanner:
    """Finds the end of one chunked body, however the stream was cut.

    `size` is the number of body bytes seen so far, framing left out; `lines` of lines (of chunks, then of trailers);
    `done` says that the message has ended.

    >>> it = ChunkScanner()
    >>> it.feed(b"3;x=y\\r\\nabc\\r\\n0\\r\\n\\r\\nGET /"), it.done
    (17, True)
    >>> it = ChunkScanner()
    >>> it.feed(b"3\\r\\nab"), it.done
    (5, False)
    >>> ChunkScanner().feed(b"1\\r\\na\\r\\n1\\r\\nb\\r\\n", most=1)
    6
    """

    __slots__ = ("_left", "_line", "_trailer", "done", "lines", "size")

    def __init__(self) -> None:
        self._left = 0  # bytes of the current chunk still to come, its CRLF included
        self._line = b""  # a line that was cut
        self._trailer = 0  # bytes of the trailer section seen, 0 before it
        self.size = self.lines = 0
        self.done = False

    def feed(self, data: bytes, at: int = 0, out: list[bytes] | None = None, most: int = MANY) -> int:
        """Offset just after what was taken: all that is here, or up to the message's end (`done`), or no more than
        `most` lines.

        Body bytes are appended to `out` when it is given. Raises `ChunkError`.
        """
        end, last = len(data), self.lines + most
        while at < end:
            if self._left:
                at = self._take(data, at, out)
                continue
            if self.lines >= last:
                break
            stop = data.find(b"\n", at)
            line = self._line + (data[at:] if stop < 0 else data[at : stop + 1])
            if len(line) + self._trailer > 2 * MAX_LINE:
                raise ChunkError("chunk line or trailers too long")
            if stop < 0:
                self._line = line
                return end
            self._line = b""
            self.lines += 1
            at = stop + 1
            if not line.endswith(b"\r\n"):
                raise ChunkError("bare LF in chunked framing")
            if not self._trailer:
                self._size_line(line)
            elif line == b"\r\n":
                self.done = True
                break
            else:
                self._trailer_line(line)
        return at

    def _size_line(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line, 0, len(line) - 2)
        if match is None or len(line) > MAX_LINE:
            raise ChunkError(f"not a chunk size: {line[:40]!r}")
        size = int(match[1], 16)
        if size:
            self.size += size
            self._left = size + 2
        else:
            self._trailer = 1

    def _trailer_line(self, line: bytes) -> None:
        match = _TRAILER.fullmatch(line, 0, len(line) - 2)
        if match is None or _HEAD_ONLY.fullmatch(match[1].lower().replace(b"_", b"-")) is not None:
            raise ChunkError(f"not a trailer: {line[:40]!r}")
        self._trailer += len(line)

    def _take(self, data: bytes, at: int, out: list[bytes] | None) -> int:
        """Pass over the rest of a chunk, or as much of it as is here."""
        left = self._left
        take = min(left, len(data) - at)
        self._left = left - take
        if out is not None and left > 2:
            out.append(data[at : at + min(take, left - 2)])
        stop = at + take
        tail = take - max(left - 2, 0)  # how many of the closing CRLF's bytes are here
        if tail > 0 and data[stop - tail : stop] != b"\r\n"[2 - min(left, 2) :][:tail]:
            raise ChunkError("a chunk longer than its size")
        return stop


def joined_chunks(raw: bytes) -> bytes:
    """The body of a whole chunked message; raises `ChunkError` when it is not whole.

    >>> joined_chunks(b"3\\r\\nabc\\r\\n2\\r\\nde\\r\\n0\\r\\n\\r\\n")
    b'abcde'
    """
    out: list[bytes] = []
    scanner = ChunkScanner()
    if scanner.feed(raw, 0, out) != len(raw) or not scanner.done:
        raise ChunkError("not one whole chunked body")
    return b"".join(out)
