"""Content codings undone, each within the same bound: gzip and deflate always, br and zstd where their package is.

A package that is missing is no error at start-up: an answer in that coding is then `bad_encoding`, and says so. It is
asked for once and only when needed, since most never are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from proxy.model.reasons import Reason
from proxy.predictions.unreadable import Unreadable

MAX_MEMBERS = 100
"""Members of one compressed body: what is left after each is copied, so many tiny ones take time by the square."""

MAX_WINDOW = 8 << 20
"""Bytes that a zstd frame may look back (RFC 9659, section 3)."""

MAX_CODINGS = 3
"""Codings on one body; RFC 9110 allows any number, nobody sends more than one."""


def _bomb(most: int) -> Unreadable:
    return Unreadable(
        Reason.DECOMPRESSED_TOO_LARGE, f"the compressed body grows over {most:,} bytes (`mirror.max_body`)"
    )


def _inflate(body: bytes, window: int, most: int) -> bytes:
    """Inflate every member of a deflate stream, never holding more than the bound."""
    parts: list[bytes] = []
    room = most
    rest = body
    try:
        while rest:
            if len(parts) == MAX_MEMBERS:
                raise Unreadable(Reason.BAD_ENCODING, f"the compressed body has more than {MAX_MEMBERS} members")
            stream = zlib.decompressobj(window)
            part = stream.decompress(rest, room + 1)
            parts.append(part)
            room -= len(part)
            if room < 0:
                raise _bomb(most)
            if not stream.eof:
                raise Unreadable(Reason.TRUNCATED, "the compressed body breaks off")
            rest = stream.unused_data
    except zlib.error as error:
        raise Unreadable(Reason.BAD_ENCODING, f"the compressed body is damaged: {error}") from None
    return b"".join(parts)


def _gzip(body: bytes, most: int) -> bytes:
    return _inflate(body, 31, most)


def _deflate(body: bytes, most: int) -> bytes:
    """`deflate` means zlib's format, but some servers send the bare stream: told apart by zlib's header checksum."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflate(body, 15 if is_zlib else -15, most)


def _brotli(body: bytes, most: int) -> bytes:
    try:
        import brotli
    except ImportError:
        raise Unreadable(Reason.BAD_ENCODING, "`br` needs a package: pip install 'understudy[br]'") from None
    stream = brotli.Decompressor()
    try:
        found: bytes = stream.process(body, output_buffer_limit=most + 1)
    except brotli.error as error:
        raise Unreadable(Reason.BAD_ENCODING, f"the compressed body is damaged: {error}") from None
    if len(found) > most:
        raise _bomb(most)
    if not stream.is_finished():
        raise Unreadable(Reason.TRUNCATED, "the compressed body breaks off")
    return found


def _zstd(body: bytes, most: int) -> bytes:
    try:
        import zstandard
    except ImportError:
        raise Unreadable(Reason.BAD_ENCODING, "`zstd` needs a package: pip install 'understudy[zstd]'") from None
    try:
        # The frame may state its size, and the library would allocate whatever it states; -1 is "not stated".
        if zstandard.frame_content_size(body) > most:
            raise _bomb(most)
        # A second frame is refused, not left out: a body must not be read short. No server is known to send two.
        plain = zstandard.ZstdDecompressor(max_window_size=max(MAX_WINDOW, most))
        if zstandard.frame_content_size(body) < 0 and len(plain.stream_reader(body).read(most + 1)) > most:
            raise _bomb(most)
        return plain.decompress(body, max_output_size=most, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Unreadable(Reason.BAD_ENCODING, f"the compressed body cannot be read: {error}") from None


def _identity(body: bytes, most: int) -> bytes:
    return body


CODINGS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
    "identity": _identity,
}
"""What undoes each content coding that can be read here, up to a number of bytes; raises `Unreadable`."""
