"""What both directions of HTTP/2 are made of: kinds of frame, codes, streams, header blocks as we write them."""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from mypy_extensions import mypyc_attr

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 64 * 1024
"""Bytes of one stream that may be under way to us and not taken."""
LINK_WINDOW = 1024 * 1024
"""The same over all streams, given back as it comes: a stream that is not taken holds up itself alone."""
HIGH = 64 * 1024
"""Bytes waiting on one stream above which its taker should wait for `on_room`."""
MAX_FRAME = 16_384
MAX_INT31 = 2**31 - 1

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME_SIZE, MAX_HEADER = 1, 2, 3, 4, 5, 6
SETTING = struct.Struct(">HI")
_HEAD: Final = struct.Struct(">HBBBI")
_LITERAL: Final = b"\x10"
_SHORT: Final[list[bytes]] = [bytes((number,)) for number in range(127)]

Headers = list[tuple[bytes, bytes]]


class Http2Error(ValueError):
    """The connection cannot go on; `code` is what the peer is told (RFC 9113, 7)."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


class FloodError(Http2Error):
    """Too much that is worth nothing, against what is worth something."""

    def __init__(self, text: str) -> None:
        super().__init__(ENHANCE_YOUR_CALM, text)


@mypyc_attr(allow_interpreted_subclasses=True)
class Taker:
    """What a stream's owner is told. Heads are not checked yet; `ended` says that nothing will follow.

    A class and not a Protocol: compiled, a call through a Protocol costs more.
    """

    def on_headers(self, headers: Headers, ended: bool) -> None:
        """The answer's head (on the calling side; on the other one it comes with `opened`)."""
        raise NotImplementedError

    def on_data(self, data: bytes, ended: bool) -> None:
        """A piece of the body; give its bytes back with `Http2.taken`."""
        raise NotImplementedError

    def on_trailers(self, headers: Headers) -> None:
        """The end, with trailers."""
        raise NotImplementedError

    def on_reset(self, code: int) -> None:
        """The stream was broken off, by the peer or by its mistake."""
        raise NotImplementedError

    def on_room(self) -> None:
        """No more than `HIGH` waits to be sent."""
        raise NotImplementedError


class Stream:
    """One stream. `waiting` counts bytes that the peer's window holds back; `room` is what that window has more (or
    less) than a new stream's, so that all of them change in one sum."""

    __slots__ = ("answered", "credit", "end", "id", "local_done", "owed", "parts", "remote_done", "room", "taker",
                 "trailers", "waiting")  # fmt: skip

    def __init__(self, number: int, taker: Taker | None) -> None:
        self.id, self.taker = number, taker
        self.credit = WINDOW
        self.room = self.owed = self.waiting = 0
        self.parts: deque[bytes | memoryview] = deque()
        self.trailers = b""
        self.end = self.local_done = self.remote_done = self.answered = False


def encode_frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def encoded(headers: Headers) -> bytes:
    """A header block of literals that nobody may index.

    >>> encoded([(b"te", b"trailers")])
    b'\\x10\\x02te\\x08trailers'
    """
    out: list[bytes] = []
    for name, value in headers:
        out += (_LITERAL, _length(len(name)), name, _length(len(value)), value)
    return b"".join(out)


def _length(number: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541, 5.1)."""
    if number < 127:
        return _SHORT[number]
    out, number = bytearray(b"\x7f"), number - 127
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def head_frames(stream: int, block: bytes, end: bool, size: int) -> list[bytes]:
    """A header block as one HEADERS frame, and CONTINUATION frames for what is beyond `size` bytes."""
    flags = END_STREAM if end else 0
    if len(block) <= size:
        return [encode_frame(HEADERS, flags | END_HEADERS, stream, block)]
    out = [encode_frame(HEADERS, flags, stream, block[:size])]
    for at in range(size, len(block), size):
        out.append(
            encode_frame(CONTINUATION, END_HEADERS if at + size >= len(block) else 0, stream, block[at : at + size])
        )
    return out


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding; raises `Http2Error`."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
