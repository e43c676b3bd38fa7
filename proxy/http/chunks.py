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

FEW: Final = 32
"""Chunks that `passes` looks at in one go."""

_NO_DIGIT: Final = 16
_DIGITS: Final = bytes(int(chr(one), 16) if chr(one) in "0123456789abcdefABCDEF" else _NO_DIGIT for one in range(256))
_MOST_DIGITS: Final = 15
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[^\x00-\x08\x0a-\x1f\x7f]*")
_HEAD_ONLY = re.compile(
    rb"content-length|host|transfer-encoding|forwarded|x-forwarded-.*|x-real-ip|x-request-id|x-shadow"
)
"""No trailers (RFC 9110, 6.5.1): a server that takes trailers for headers would frame or trust the message anew. With
`_` for `-` they are the same to whatever hands them on as CGI variables (PEP 3333)."""


class ChunkError(ValueError):
    """Bytes that are not chunked framing."""


def plain_chunk(data: bytes, at: int) -> tuple[int, int]:
    """Where the bytes of the chunk begin that begins at `at`, and where they end: one that is here whole, in the form
    that has but one reading, `size CRLF bytes CRLF`, and is not the last. (0, 0) of anything else.

    >>> plain_chunk(b"..3\\r\\nabc\\r\\n", 2), plain_chunk(b"3\\r\\nabc\\r", 0), plain_chunk(b"3;x\\r\\nabc\\r\\n", 0)
    ((5, 8), (0, 0), (0, 0))
    """
    end, size, begin = len(data), 0, at
    last = min(end, at + _MOST_DIGITS + 1)
    while begin < last:
        digit = _DIGITS[data[begin]]
        if digit == _NO_DIGIT:
            break
        size = 16 * size + digit
        begin += 1
    stop = begin + 2 + size
    if not size or stop + 2 > end:
        return 0, 0
    if data[begin] != 13 or data[begin + 1] != 10 or data[stop] != 13 or data[stop + 1] != 10:
        return 0, 0
    return begin + 2, stop


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
        while at < end and not self.done:
            if self._left:
                at = self._take(data, at, out)
            elif self.lines >= last:
                break
            else:
                at = self._whole(data, at, out) or self._next_line(data, at)
        return at

    def passes(self, data: bytes) -> bool:
        """Whether `data` is a few whole chunks and nothing else, which go on as they came; if so, they are counted."""
        if self._left or self._line or self._trailer:
            return False
        at, end, size, count = 0, len(data), 0, 0
        while at < end:
            begin, stop = plain_chunk(data, at)
            if not begin or count == FEW:
                return False
            at, size, count = stop + 2, size + stop - begin, count + 1
        self.size += size
        self.lines += count
        return True

    def _whole(self, data: bytes, at: int, out: list[bytes] | None) -> int:
        """Take up the chunk that begins at `at`, if it is here whole and plain: where the next begins, or 0."""
        if self._line or self._trailer:
            return 0
        begin, stop = plain_chunk(data, at)
        if not begin:
            return 0
        self.lines += 1
        self.size += stop - begin
        if out is not None:
            out.append(data[begin:stop])
        return stop + 2

    def _next_line(self, data: bytes, at: int) -> int:
        """Take up the line that begins or goes on at `at`: where it ends, or all of `data` when its end is not here."""
        stop = data.find(b"\n", at)
        line = self._line + (data[at:] if stop < 0 else data[at : stop + 1])
        if len(line) + self._trailer > 2 * MAX_LINE:
            raise ChunkError("chunk line or trailers too long")
        if stop < 0:
            self._line = line
            return len(data)
        self._line = b""
        self.lines += 1
        if not line.endswith(b"\r\n"):
            raise ChunkError("bare LF in chunked framing")
        if not self._trailer:
            self._size_line(line)
        elif line == b"\r\n":
            self.done = True
        else:
            self._trailer_line(line)
        return stop + 1

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
