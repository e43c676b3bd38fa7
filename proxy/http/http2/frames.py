"""What both directions of HTTP/2 are made of: kinds of frame, codes, streams, header blocks as we write them."""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from mypy_extensions import mypyc_attr

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW: Final = 64 * 1024
"""Bytes of one stream that may be under way to us and not taken."""
LINK_WINDOW: Final = 1024 * 1024
"""The same over all streams, given back as it comes: a stream that is not taken holds up itself alone."""
HIGH: Final = 64 * 1024
"""Bytes waiting on one stream above which its taker should wait for `on_room`."""
MAX_FRAME: Final = 16_384
MAX_INT31: Final = 2**31 - 1

# One line each: compiled code has the number itself, and looks up what is no single Final by its name each time.
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
HAS_PRIORITY: Final = 32

TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_STREAMS: Final = 3
INITIAL_WINDOW: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER: Final = 6
SETTING: Final = struct.Struct(">HI")
_HEAD: Final = struct.Struct(">HBBBI")
_NAME: Final = struct.Struct(">I")
_LITERAL: Final = b"\x10"
_SHORT: Final[list[bytes]] = [bytes((number,)) for number in range(127)]
_MANY: Final = 512
_SIZES: Final[list[bytes]] = [number.to_bytes(3, "big") for number in range(_MANY)]
"""Lengths of frames as they are written."""

DATA_ON: Final = b"\0\0"
DATA_END: Final = b"\0\1"
HEAD_ON: Final = b"\1\4"
HEAD_END: Final = b"\1\5"
"""Kind and flags of the usual frames: a body that goes on or ends its stream, a whole header block that does."""

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
    less) than a new stream's, so that all of them change in one sum. `name` is the number as frames have it; `parts`
    are what waits, `None` until something does."""

    __slots__ = ("answered", "credit", "end", "id", "local_done", "name", "owed", "parts", "remote_done", "room",
                 "taker", "trailers", "waiting")  # fmt: skip

    def __init__(self, number: int, taker: Taker | None) -> None:
        self.id, self.taker, self.name = number, taker, _NAME.pack(number)
        self.credit = WINDOW
        self.room = self.owed = self.waiting = 0
        self.parts: deque[bytes | memoryview] | None = None
        self.trailers = b""
        self.end = self.local_done = self.remote_done = self.answered = False

    def wait(self, data: bytes) -> None:
        """Keep a piece of the body until there is room for it."""
        if self.parts is None:
            self.parts = deque()
        self.parts.append(data)
        self.waiting += len(data)


def encode_frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def add_frame(out: list[bytes | memoryview], kind: bytes, stream: Stream, payload: bytes | memoryview) -> None:
    """Add a frame of a stream to what is to be joined and written; `kind` and flags are two bytes.

    In pieces: the payload is copied once, and nothing is made for the frame itself.

    >>> out: list[bytes | memoryview] = []; add_frame(out, DATA_END, Stream(1, None), b"abcde")
    >>> b"".join(out) == encode_frame(DATA, END_STREAM, 1, b"abcde")
    True
    """
    length = len(payload)
    out.append(_SIZES[length] if length < _MANY else length.to_bytes(3, "big"))
    out.append(kind)
    out.append(stream.name)
    out.append(payload)


def encoded(headers: Headers) -> bytes:
    """A header block of literals that nobody may index.

    >>> encoded([(b"te", b"trailers")])
    b'\\x10\\x02te\\x08trailers'
    """
    out: list[bytes] = []
    for name, value in headers:
        out += (_LITERAL, _length(len(name)), name, _length(len(value)), value)
    return b"".join(out)


def encoded_name(name: bytes) -> bytes:
    """The name of a header, whose `encoded_value` is to follow.

    >>> encoded_name(b"te") + encoded_value(b"trailers") == encoded([(b"te", b"trailers")])
    True
    """
    return b"".join((_LITERAL, _length(len(name)), name))


def encoded_value(value: bytes) -> bytes:
    """The value of a header."""
    return _length(len(value)) + value


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


def add_head(out: list[bytes | memoryview], stream: Stream, block: bytes, end: bool, size: int) -> None:
    """Add a header block as one HEADERS frame, and CONTINUATION frames for what is beyond `size` bytes."""
    if len(block) <= size:
        add_frame(out, HEAD_END if end else HEAD_ON, stream, block)
        return
    out.append(encode_frame(HEADERS, END_STREAM if end else 0, stream.id, block[:size]))
    for at in range(size, len(block), size):
        flags = END_HEADERS if at + size >= len(block) else 0
        out.append(encode_frame(CONTINUATION, flags, stream.id, block[at : at + size]))


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding; raises `Http2Error`."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
