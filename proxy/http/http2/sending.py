"""The half of an HTTP/2 connection that sends: heads at once, bodies as far as the peer's windows allow."""

from __future__ import annotations

from collections import deque
from typing import Final

from proxy.http.http2.frames import (
    DATA_END,
    DATA_ON,
    ENABLE_PUSH,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    HIGH,
    INITIAL_WINDOW,
    LINK_WINDOW,
    MAX_FRAME,
    MAX_FRAME_SIZE,
    MAX_HEADER,
    MAX_INT31,
    MAX_STREAMS,
    NO_ERROR,
    PREFACE,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTING,
    SETTINGS,
    TABLE_SIZE,
    WINDOW,
    WINDOW_UPDATE,
    FloodError,
    Headers,
    Http2Error,
    Stream,
    Taker,
    add_frame,
    add_head,
    encode_frame,
    encoded,
)

MAX_BROKEN_OFF: Final = 1024
"""Streams that we have reset which are remembered one by one."""
CALM: Final = 1000.0
"""Control or empty frames that a peer may send at once; per second `CALM_PER_SECOND` (see `Http2.calm`)."""
CALM_PER_SECOND: Final = 50.0
EARNED: Final = 4.0
"""More of them that are to be expected (windows, pings) after a piece of a body that we sent."""
LATE: Final = 100
"""Frames that may be under way to us on a stream that we break off."""
PIECE: Final = 512
"""Bytes of a piece that earns, if the peer's window has cut it off what followed."""
_NO_TABLE: Final = b"\x20"
"""At the beginning of a header block: the table is of no bytes from here on."""


class Sending:
    """What one connection has to say."""

    _table = 4096
    """Bytes that the peer keeps for us as far as it knows: we never use them."""
    _begins = b""
    """What the next header block is to begin with."""

    def __init__(self, server: bool, max_header: int, max_streams: int) -> None:
        self.server, self.max_streams = server, max_streams
        self.streams: dict[int, Stream] = {}
        self.last = 0
        """The highest stream that the peer has opened."""
        self.stopped = False
        """Nothing more of a body may be sent until `go_on`: what was sent has not been written yet."""
        self._next = 1
        self._room = self._initial = 65_535
        self._frame_size = MAX_FRAME
        self._held_up: dict[Stream, None] = {}
        """Streams that wait for the connection: for its window, or for what was sent to be written."""
        self._narrow: dict[Stream, None] = {}
        """Those that wait for their own window; `_widened`: what is common to all windows has grown."""
        self._widened = False
        self._highest = 0
        """No stream's `room` is above."""
        self._late = 0
        self.calm = CALM
        """How much the peer may send that is worth nothing, `CALM` at most. Falls with each such frame, rises with what
        is worth something, and with time."""
        self._broken_off: dict[int, None] = {}
        """Streams that we have reset, on which the peer may not know it yet; those up to `_forgotten` count as such."""
        self._forgotten = 0
        of_one = (MAX_STREAMS, max_streams) if server else (ENABLE_PUSH, 0)
        settings = [(INITIAL_WINDOW, WINDOW), (MAX_HEADER, max_header), of_one]
        self._out: list[bytes | memoryview] = [
            b"" if server else PREFACE,
            encode_frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*one) for one in settings)),
            encode_frame(WINDOW_UPDATE, 0, 0, (LINK_WINDOW - 65_535).to_bytes(4, "big")),
        ]

    def take(self) -> bytes:
        """What is to be written now; empty when there is nothing."""
        out, self._out = b"".join(self._out), []
        return out

    @property
    def speaks(self) -> bool:
        """Whether something is to be written."""
        return bool(self._out)

    @property
    def spent(self) -> bool:
        """Whether no stream can be begun any more: the numbers have run out (RFC 9113, 5.1.1)."""
        return self._next > MAX_INT31

    def open(self, headers: Headers, taker: Taker) -> Stream:
        """Begin a stream with a head; there must be room for one (`peer_streams`, `goaway`, `spent`)."""
        return self.open_with(encoded(headers), taker)

    def open_with(self, block: bytes, taker: Taker) -> Stream:
        """The same with a head that is `encoded`."""
        stream = Stream(self._next, taker)
        self._next += 2
        self.streams[stream.id] = stream
        self._head(stream, block, False)
        return stream

    def headers(self, stream: Stream, headers: Headers, end: bool) -> None:
        """Answer with a head; `end` when nothing follows."""
        self.headers_with(stream, encoded(headers), end)

    def headers_with(self, stream: Stream, block: bytes, end: bool) -> None:
        """The same with a head that is `encoded`."""
        self._head(stream, block, end)
        if end:
            self._local_done(stream)

    def data(self, stream: Stream, data: bytes, end: bool, trailers: Headers | None = None, block: bytes = b"") -> None:
        """Send a piece of the body as far as the peer has room, the rest later; `trailers` end the stream too, and so
        does a `block` of them that is `encoded`."""
        if stream.local_done or stream.end:
            return
        if block or trailers is not None:
            stream.trailers, stream.end = block or encoded(trailers or []), True
        elif end:
            stream.end = True
        size = len(data)
        if stream.waiting or (size and not self._has_room(stream, size)):
            if size:
                stream.wait(data)
            self._push(stream)
            return
        if size:
            self._send(stream, data, size)
        if stream.end and not stream.local_done:
            self._end(stream)

    def _has_room(self, stream: Stream, size: int) -> bool:
        """Whether so much goes in one frame now: the usual case, in which nothing is put by."""
        return (
            not self.stopped and size <= self._frame_size and size <= self._room and size <= self._initial + stream.room
        )

    def reset(self, stream: Stream, code: int) -> None:
        """Break a stream off; its taker is not told. Nothing where both sides have ended it."""
        if stream.local_done and stream.remote_done:
            return
        if self.streams.pop(stream.id, None) is not None:
            self._forget(stream)
            if stream.taker is not None and not stream.remote_done:
                self._late += LATE
            self._broken_off[stream.id] = None
            if len(self._broken_off) > MAX_BROKEN_OFF:
                oldest = next(iter(self._broken_off))
                del self._broken_off[oldest]
                self._forgotten = max(self._forgotten, oldest)
            stream.local_done = stream.remote_done = True
            stream.taker = None
            stream.parts = None
            self._out.append(encode_frame(RST_STREAM, 0, stream.id, code.to_bytes(4, "big")))

    def is_broken_off(self, number: int) -> bool:
        """Whether a stream that is not there was ended by us, so that more of it may be under way."""
        return number in self._broken_off or number <= self._forgotten

    def taken(self, stream: Stream) -> None:
        """All that came on this stream so far is taken: the peer may send more."""
        if stream.owed >= WINDOW // 2 and not stream.remote_done:
            self._out.append(encode_frame(WINDOW_UPDATE, 0, stream.id, stream.owed.to_bytes(4, "big")))
            stream.credit += stream.owed
            stream.owed = 0

    def go_on(self) -> None:
        """What was sent has been written."""
        self.stopped = False
        self._go_on()

    def hold(self) -> None:
        """The transport is full: nothing is sent until `go_on`."""
        self.stopped = True

    def abandon(self) -> list[Taker]:
        """The connection has ended: the takers of all its streams, which will hear no more of them."""
        streams, self.streams = self.streams, {}
        takers = []
        for stream in streams.values():
            taker, stream.taker = stream.taker, None
            if taker is not None:
                takers.append(taker)
        return takers

    def say_goodbye(self, code: int = NO_ERROR, last: int | None = None) -> None:
        """GOAWAY: streams above `last` (those seen so far when absent) are not taken (RFC 9113, 6.8)."""
        number = self.last if last is None else last
        self._out.append(encode_frame(GOAWAY, 0, 0, number.to_bytes(4, "big") + code.to_bytes(4, "big")))

    def _head(self, stream: Stream, block: bytes, end: bool) -> None:
        if self._begins:
            block, self._begins = self._begins + block, b""
        add_head(self._out, stream, block, end, self._frame_size)

    def worth(self, much: float) -> None:
        """The peer did something that is worth so many control or empty frames."""
        self.calm += much

    def worthless(self, much: float = 1.0) -> None:
        """It sent a control or empty frame; raises `FloodError` when that was too often."""
        self.calm = min(CALM, self.calm) - much
        if self.calm < 0.0:
            raise FloodError("too many control or empty frames")

    def _too_late(self) -> None:
        """A frame came on a stream that we had broken off."""
        if self._late:
            self._late -= 1
        else:
            self.worthless()

    def _push(self, stream: Stream) -> None:
        """Send what the windows allow."""
        parts = stream.parts
        while parts:
            own = self._initial + stream.room
            if own <= 0:
                self._held_up.pop(stream, None)
                self._narrow[stream] = None
                return
            if self._room <= 0 or self.stopped:
                self._narrow.pop(stream, None)
                self._held_up[stream] = None
                return
            self._push_one(stream, parts, min(own, self._room, self._frame_size))
        self._forget(stream)
        if stream.end and not stream.local_done:
            self._end(stream)

    def _push_one(self, stream: Stream, parts: deque[bytes | memoryview], room: int) -> None:
        """Send one frame of the body, of `room` bytes at most."""
        piece = parts[0]
        if len(piece) > room:
            view = memoryview(piece)  # what is left is not copied for every frame that is cut off it
            parts[0], piece = view[room:], view[:room]
        else:
            parts.popleft()
        size = len(piece)
        stream.waiting -= size
        self._send(stream, piece, size)

    def _send(self, stream: Stream, piece: bytes | memoryview, size: int) -> None:
        """One frame of the body; the last one if nothing waits and no trailers follow."""
        stream.room -= size
        self._room -= size
        if size >= PIECE or not stream.waiting:
            self.calm += EARNED
        last = stream.end and not stream.waiting and not stream.trailers
        add_frame(self._out, DATA_END if last else DATA_ON, stream, piece)
        if last:
            self._local_done(stream)

    def _end(self, stream: Stream) -> None:
        """All of the body is sent: what ends it."""
        if stream.trailers:
            self._head(stream, stream.trailers, True)
        else:
            add_frame(self._out, DATA_END, stream, b"")
        self._local_done(stream)

    def _forget(self, stream: Stream) -> None:
        """It waits for no window."""
        if self._held_up:
            self._held_up.pop(stream, None)
        if self._narrow:
            self._narrow.pop(stream, None)

    def _local_done(self, stream: Stream) -> None:
        stream.local_done = True
        self._forget(stream)
        if stream.remote_done:
            self._over(stream)

    def _remote_done(self, stream: Stream) -> None:
        stream.remote_done = True
        if stream.local_done:
            self._over(stream)

    def _over(self, stream: Stream) -> None:
        """Both sides have ended it. It releases its taker, which knows it: what a call held is freed with the call,
        not when the garbage collector comes."""
        self.streams.pop(stream.id, None)
        stream.taker = None

    def _go_on(self) -> None:
        """There is room on the connection: those that wait for it go on, in turn, as far as it goes."""
        waiting = self._held_up
        while waiting and self._room > 0 and not self.stopped:
            stream = next(iter(waiting))
            del waiting[stream]
            self._more_room(stream)

    def _more_room(self, stream: Stream) -> None:
        before, taker = stream.waiting, stream.taker
        if stream.parts:
            self._push(stream)
            if before > HIGH >= stream.waiting and taker is not None:
                taker.on_room()

    def _resize(self, value: int) -> None:
        """How large the peer's windows are at first; raises `Http2Error` where that makes one too large."""
        if value > MAX_INT31:
            raise Http2Error(FLOW_CONTROL_ERROR, "a window too large")
        if value + self._highest > MAX_INT31:
            self._highest = max([0, *(stream.room for stream in self.streams.values())])
            if value + self._highest > MAX_INT31:
                raise Http2Error(FLOW_CONTROL_ERROR, "a window too large")
        if value > self._initial and self._narrow:
            self._widened = True
        self._initial = value

    def _keep_to(self, key: int, value: int) -> None:
        """The peer bounds what we send; raises `Http2Error` where it may not bound it so."""
        if key == INITIAL_WINDOW:
            self._resize(value)
        elif key == MAX_FRAME_SIZE:
            if not MAX_FRAME <= value < 1 << 24:
                raise Http2Error(PROTOCOL_ERROR, "no size for a frame")
            self._frame_size = min(value, 1 << 17)
        elif key == TABLE_SIZE and value < self._table:  # it waits to be told that we go along (RFC 7541, 4.2)
            self._table, self._begins = 0, _NO_TABLE
