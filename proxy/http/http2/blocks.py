"""Header blocks as they come: gathered from their frames, decoded, bounded; those that come again are known."""

from __future__ import annotations

from typing import Final

from proxy.http.http2.decoding import HeaderDecoder
from proxy.http.http2.frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    MAX_FRAME,
    PROTOCOL_ERROR,
    Headers,
    Http2Error,
)

MAX_KNOWN: Final = 32
"""Blocks that are remembered, of lists no longer than `LONGEST_KNOWN` (as `HeaderDecoder.size` counts)."""
LONGEST_KNOWN: Final = 4096

DEAR: Final = 256
"""Bytes of a block above which decoding it is expensive: up to milliseconds."""


class KnownBlock:
    """A block that has come and changed nothing of the compression: it means the same when it comes again."""

    __slots__ = ("headers", "meaning")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        """Nobody changes them."""
        self.meaning: object = None
        """What their taker has made of them, for the next time."""

    def means(self, meaning: object) -> None:
        """Keep what their taker has made of them."""
        self.meaning = meaning


class Blocks:
    """The header blocks of one connection, in the order in which they come. `open` is the stream of the one begun."""

    __slots__ = ("_decoder", "_known", "_limit", "_parts", "_size", "ended", "known", "open")

    def __init__(self, max_header: int) -> None:
        self._decoder = HeaderDecoder(max_header)
        self._limit = max_header + MAX_FRAME
        self._known: dict[bytes, KnownBlock] = {}
        self._parts: list[bytes] = []
        self._size = self.open = 0
        self.ended = False
        self.known: KnownBlock | None = None
        """The last block that was whole, unless it has changed the compression."""

    def is_dear(self, kind: int, flags: int, size: int) -> bool:
        """Whether a frame of this kind and size is the end of a block that is expensive to decode."""
        if not flags & END_HEADERS:
            return False
        return size > DEAR if kind == HEADERS else kind == CONTINUATION and self._size + size > DEAR

    def begin(self, number: int, flags: int) -> None:
        """A HEADERS frame begins a block."""
        self.open, self.ended = number, bool(flags & END_STREAM)
        self._parts, self._size = [], 0

    def more(self, flags: int, payload: bytes) -> Headers | None:
        """A piece of the block: its headers when it is the last one; raises `Http2Error`."""
        if not self.open:
            raise Http2Error(PROTOCOL_ERROR, "nothing to continue")
        self._parts.append(payload)
        self._size += len(payload) + 9  # an endless row of empty frames is no head either
        if self._size > self._limit:
            raise Http2Error(ENHANCE_YOUR_CALM, "a head longer than allowed")
        if not flags & END_HEADERS:
            return None
        self.open = 0
        block = payload if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self.known = known = self._known.get(block)
        return known.headers if known is not None else self._decoded(block)

    def _decoded(self, block: bytes) -> Headers:
        """The headers of a block that is not known. What changes the table changes what all others mean."""
        decoder = self._decoder
        headers = decoder.decode(block)
        if decoder.changed:
            self._known.clear()
            return headers
        self.known = known = KnownBlock(headers)
        if decoder.size <= LONGEST_KNOWN:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[block] = known
        return headers
