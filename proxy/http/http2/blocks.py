"""Header blocks as they come: gathered from their frames, decoded, bounded."""

from __future__ import annotations

from hpack import Decoder, HPACKError, OversizedHeaderListError

from proxy.http.http2.frames import (
    COMPRESSION_ERROR,
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

MAX_KNOWN = 64
"""Blocks of nothing but indices that are remembered."""


DEAR = 256
"""Bytes of a block above which decoding it is expensive: up to milliseconds."""


class Blocks:
    """The header blocks of one connection, in the order in which they come. `open` is the stream of the one begun."""

    __slots__ = ("_decoder", "_known", "_limit", "_parts", "_size", "ended", "open")

    def __init__(self, max_header: int) -> None:
        self._decoder = Decoder(max_header_list_size=max_header)
        self._limit = max_header + MAX_FRAME
        self._known: dict[bytes, Headers] = {}
        self._parts: list[bytes] = []
        self._size = self.open = 0
        self.ended = False

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
        return self._decoded(b"".join(self._parts))

    def _decoded(self, block: bytes) -> Headers:
        """The headers of a block. One of nothing but indices, as a peer writes that repeats itself, means the same
        until the table changes, and is read once."""
        plain = bool(block) and min(block) >= 0x80 and 0xFF not in block
        if plain and block in self._known:
            return list(self._known[block])
        try:
            headers: Headers = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise Http2Error(ENHANCE_YOUR_CALM, "a head longer than allowed") from None
        except HPACKError as error:
            raise Http2Error(COMPRESSION_ERROR, str(error)) from None
        if not plain:
            self._known.clear()
        elif len(self._known) < MAX_KNOWN:
            self._known[block] = list(headers)
        return headers
