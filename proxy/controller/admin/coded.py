"""Bodies in a coding (`Content-Encoding`), decoded here: to aiohttp a gzip stream that was cut off is a whole one."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator

from aiohttp import web

PIECE = 1 << 16
"""Bytes that are decoded before others have their turn of the loop."""
_GZIP, _ZLIB, _BARE = 31, 15, -15
"""Forms of a stream, as `zlib` numbers them; "deflate" means the second, and some send the third."""


async def decoded_body(request: web.Request) -> AsyncIterator[bytes]:
    """The body in pieces, decoded. Raises `RequestPayloadError` where it is not in its coding or ends too early."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        async for chunk in request.content.iter_any():
            yield chunk
        return
    if coding not in ("gzip", "deflate"):
        raise web.RequestPayloadError(f"{coding[:40]!r} is not known; gzip and deflate are")
    stream = _Stream(coding)
    async for chunk in request.content.iter_any():
        for piece in stream.pieces(chunk):
            yield piece
            await asyncio.sleep(0)
    if not stream.whole:
        raise web.RequestPayloadError("it ends too early")


async def whole_body(request: web.Request) -> bytes:
    """All of the body, decoded; `HTTPRequestEntityTooLarge` where that is more than the application takes."""
    body, most = bytearray(), request.client_max_size
    async for piece in decoded_body(request):
        body += piece
        if most and len(body) > most:
            raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=len(body))
    return bytes(body)


class _Stream:
    """One after the other the members of a gzip stream, or the only one of deflate."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._member: zlib._Decompress | None = None

    @property
    def whole(self) -> bool:
        """Whether no member is open: also where nothing came."""
        return self._member is None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What these bytes add, `PIECE` at a time."""
        full = False
        while chunk or full:
            if self._member is None:
                bare = self._coding == "deflate" and chunk[0] & 15 != 8
                self._member = zlib.decompressobj(_BARE if bare else _ZLIB if self._coding == "deflate" else _GZIP)
            try:
                piece = self._member.decompress(chunk, PIECE)
            except zlib.error as error:
                raise web.RequestPayloadError(str(error)) from error
            chunk, full = self._member.unconsumed_tail, len(piece) == PIECE
            if self._member.eof:
                chunk, full, self._member = self._member.unused_data, False, None
            if piece:
                yield piece
