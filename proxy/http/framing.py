"""Where a message ends: our count of its bytes, and llhttp's opinion, which must agree.

llhttp (strict mode, no callbacks but one) sees every byte and refuses what is malformed. Where the head ends, how long
the body is and where the next message begins is counted here, because bodies pass through as bytes. At our end of a
message llhttp must have come to its own end exactly once, else `FramingError`: two readings of one message are never
both passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from proxy.http.chunks import MANY, ChunkError, ChunkScanner
from proxy.http.headers import CHUNKED, UNTIL_CLOSE

_SHORT: Final = 8192
"""Bytes up to which a copy costs less than a view."""


class FramingError(ValueError):
    """Bytes that are not HTTP/1.1 as one strict reader and another would both read it."""


class Framing:
    """One direction of one connection. For each message: `head`, then `open`, then `take` until `done`."""

    __slots__ = ("_left", "_make", "_parser", "_seen", "checked", "done", "scanner", "spent")

    def __init__(self, make: Callable[[object], HttpRequestParser | HttpResponseParser]) -> None:
        self._make = make
        self._left = 0
        self.scanner: ChunkScanner | None = None
        self.done = True
        self.checked = True
        self.spent = 0
        self.renew()

    def renew(self) -> None:
        """Start llhttp afresh: after a HEAD answer or an upgrade offer it cannot be told where it stands."""
        self._seen = 0
        self._parser = self._make(self)

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        self._seen += 1

    def head(self, head: bytes) -> None:
        """Check a whole head; raises `FramingError`."""
        if not self.checked:
            self.renew()
            self.checked = True
        self._seen = 0
        try:
            self._parser.feed_data(head)
        except HttpParserUpgrade:
            # llhttp takes the connection for a tunnel now, whatever the head says of a body.
            self.checked = False
        except HttpParserError as error:
            raise FramingError(str(error)) from None

    @property
    def left(self) -> int:
        """Bytes of the body that are still to come; not above 0 where that is not known, or none are."""
        return 0 if self.done else self._left

    def open(self, length: int) -> None:
        """Begin a body of `length` bytes, or `CHUNKED`, or `UNTIL_CLOSE`; `done` says whether there is none."""
        self._left = length
        self.scanner = ChunkScanner() if length == CHUNKED else None
        self.spent = 0
        self.done = length == 0
        if self.done and self.checked and self._seen != 1:
            raise FramingError("a body that the head does not announce")

    def take(self, data: bytes, at: int, most: int = MANY) -> int:
        """Offset just after those of this body's bytes in `data[at:]` that were taken: all, or up to `most` chunks
        (how many: `spent`); sets `done`. Raises `FramingError`."""
        left = self._left
        if left > 0:
            end = at + left
            if end > len(data):
                end = len(data)
                self._left = left - (end - at)
            else:
                self.done = True
        elif left == CHUNKED:
            scanner = self.scanner
            assert scanner is not None
            before = scanner.lines
            try:
                end = scanner.feed(data, at, None, most)
            except ChunkError as error:
                raise FramingError(str(error)) from None
            self.spent = scanner.lines - before
            self.done = scanner.done
        else:
            end = len(data)
        if self.checked:
            self._check(data, at, end)
        return end

    def passes(self, data: bytes) -> bool:
        """Whether `data` is whole chunks of this body and nothing else, in the form that has but one reading. llhttp
        stands between two chunks before and after them, so it need not see them."""
        scanner = self.scanner
        return scanner is not None and scanner.passes(data)

    def _check(self, data: bytes, at: int, end: int) -> None:
        try:
            if at == 0 and end == len(data):  # compiled, a slice is a copy, though it be of the whole
                self._parser.feed_data(data)
            elif end - at < _SHORT:
                self._parser.feed_data(data[at:end])
            else:
                self._parser.feed_data(memoryview(data)[at:end])
        except HttpParserUpgrade:
            self.checked = False
        except HttpParserError as error:
            raise FramingError(str(error)) from None
        if self._seen != self.done and self._left != UNTIL_CLOSE:
            raise FramingError("ambiguous: two readings of where the message ends")
