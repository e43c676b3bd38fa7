"""HTTP/2 (RFC 9113) as far as gRPC needs it: bytes in, calls out, bytes out. No I/O, no clock, no tasks.

    http2.feed(data)      what the peer sent, as far as `work` goes; calls `opened` for a new stream, the stream's
                          `taker` for the rest, and `refused` with the code when one ends by the peer's mistake
    http2.take()          what is to be written to the peer now

Header compression goes one way (`decoding`): what the peer compressed is decoded, and our own heads are sent as
literals that nobody may index (RFC 7541, 7.1.3), because most of what passes differs per call and much of it is secret.

Invariants
- A peer can make this hold at most `WINDOW` bytes per stream that its taker has not taken, one header block of
  `max_header` bytes and `max_streams` streams. What waits to be sent is bounded by the takers: they are told when more
  than `HIGH` waits, and again when there is room.
- No frame costs more than its size and the streams that it is for: windows change in one sum (`Stream.room`), and what
  that sets free goes on once per `feed`. Control or empty frames (`calm`) end the connection when they are many.
- Every header block is decoded, wanted or not: the two ends share the state of the compression.
- After `ended`, `on_trailers` or `on_reset` a taker hears nothing more of its stream's answer.
- A mistake that ends the connection raises `Http2Error`, and nothing that follows it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.http.http2.blocks import DEAR, Blocks
from proxy.http.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    LINK_WINDOW,
    MAX_FRAME,
    MAX_INT31,
    MAX_STREAMS,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Headers,
    Http2Error,
    Stream,
    encode_frame,
    unpadded,
)
from proxy.http.http2.sending import Sending

MANY: Final = 1 << 30
"""Work that nobody counts."""
FRAME_WORK: Final = 2
"""Work (about a microsecond each) of a frame,"""
SHORT: Final = 256
SHORT_WORK: Final = 6
"""of a piece of a body that is shorter than this, besides,"""
BYTES_OF_HEAD: Final = 4
"""and of so many bytes of a header block."""
INTERIM: Final = 8.0
"""An interim answer, which gRPC has no use for, is as bad as so many frames."""
SETTINGS_OF_ONE: Final = 8
"""So many settings in one frame are as good as one frame more."""


class Http2(Sending):
    """One connection, on the side that is called (`server`) or the side that calls."""

    def __init__(
        self,
        server: bool,
        max_header: int,
        max_streams: int = 0,
        opened: Callable[[Stream, Headers, bool], None] | None = None,
        refused: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(server, max_header, max_streams)
        self._opened = opened
        self._refused = refused
        self.peer_streams = 100
        """How many streams the peer takes at once; this many until it says."""
        self.goaway = -1
        """Streams above this one were not taken by the peer, which takes no new ones; -1 while it does."""
        self.refusing = False
        """New streams are refused."""
        self._owed = 0
        self.blocks = Blocks(max_header)
        self._rest = b""
        self.work = 0
        self.rests = self._begun = self.settled = False
        """`rests`: the next frame is expensive, and was not wanted. `settled`: the peer has said what it takes, and so
        speaks HTTP/2."""

    def refuse_streams(self) -> None:
        """Say, and see to it, that no new streams are taken."""
        self.refusing = True
        self.say_goodbye()

    def feed(self, data: bytes, work: int = MANY, dear: bool = True) -> int:
        """Take bytes, cut anywhere, as far as `work` goes: how many were taken; the others are to be given again.

        What is left of `work` is in `work`. Without `dear` an expensive header block is not begun: `rests`.
        Raises `Http2Error`.
        """
        before = len(self._rest)
        if before:
            data = self._rest + data
        self.work, self.rests = work, False
        at, end = 0, len(data)
        if not self._begun:
            at = self._preface(data)
            if not self._begun:
                return end - before
        half = False  # what is left is less than a frame
        while self.work > 0:
            stop = at + 9
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2] if stop <= end else 0
            if size > MAX_FRAME:
                raise Http2Error(FRAME_SIZE_ERROR, "a frame longer than allowed")
            stop += size
            if stop > end:
                half = True
                break
            kind, flags = data[at + 3], data[at + 4]
            if not dear and (size > DEAR or kind == CONTINUATION) and self.blocks.is_dear(kind, flags, size):
                self.rests = True
                break
            number = (data[at + 5] & 127) << 24 | data[at + 6] << 16 | data[at + 7] << 8 | data[at + 8]
            self._take(kind, flags, number, data[at + 9 : stop])
            at = stop
        if self._widened:
            self._widen()
        if half:
            self._rest, at = data[at:], end
        elif at:
            self._rest = b""
        return max(0, at - before)

    def _preface(self, data: bytes) -> int:
        """Where the first frame begins, once what comes before it is here (`_begun`)."""
        if self.server:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise Http2Error(PROTOCOL_ERROR, "not HTTP/2")
            if len(data) < len(PREFACE):
                self._rest = data
                return 0
        self._begun, self._rest = True, b""
        return len(PREFACE) if self.server else 0

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if not self.settled:
            if kind != SETTINGS or flags & ACK:
                raise Http2Error(PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self.settled = True
        if self.blocks.open and (kind != CONTINUATION or number != self.blocks.open):
            raise Http2Error(PROTOCOL_ERROR, "a header block is broken off")
        self.work -= FRAME_WORK
        if kind == DATA:  # a compiled call, where one through the table is not
            self._on_data(flags, number, payload)
        elif kind == HEADERS:
            self._on_headers(flags, number, payload)
        elif (take := _TAKES.get(kind)) is not None:
            take(self, flags, number, payload)
        else:
            self.worthless()  # means nothing (RFC 9113, 4.1)

    def _wanted(self, number: int) -> Stream | None:
        """An open stream, `None` for one that has ended; raises for one that never began."""
        stream = self.streams.get(number)
        if stream is None and self._is_idle(number):
            raise Http2Error(PROTOCOL_ERROR, "a frame on a stream that never began")
        return stream

    def _is_idle(self, number: int) -> bool:
        if number == 0:
            return True
        ours = number % 2 == (0 if self.server else 1)
        return number >= self._next if ours and not self.server else number > self.last or ours

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._owed += size
        if self._owed >= LINK_WINDOW // 2:
            self._out.append(encode_frame(WINDOW_UPDATE, 0, 0, self._owed.to_bytes(4, "big")))
            self._owed = 0
        stream = self._wanted(number)
        data = unpadded(flags, payload)
        if stream is None and not self.is_broken_off(number):
            raise Http2Error(STREAM_CLOSED, "more of a body that has ended")
        ended = bool(flags & END_STREAM)
        if size < SHORT:
            self.work -= SHORT_WORK
        taker = stream.taker if stream is not None else None
        if stream is None or taker is None:
            self._too_late()
            return
        if not data and not ended:
            self.worthless()
        stream.credit -= size
        stream.owed += size
        if stream.remote_done:
            self._fail(stream, STREAM_CLOSED)
        elif stream.credit < 0:
            self._fail(stream, FLOW_CONTROL_ERROR)
        elif not self.server and not stream.answered:
            self._fail(stream, PROTOCOL_ERROR)
        else:
            if ended:
                self._remote_done(stream)
            if data:
                self.calm += 1.0
            taker.on_data(data, ended)

    def _fail(self, stream: Stream, code: int) -> None:
        """The peer's mistake ends this stream only."""
        taker = stream.taker
        self._refuse(stream, code)
        if taker is not None:
            taker.on_reset(code)

    def _refuse(self, stream: Stream, code: int) -> None:
        self.reset(stream, code)
        if self._refused is not None:
            self._refused(code)

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if number == 0:
            raise Http2Error(PROTOCOL_ERROR, "a head without a stream")
        payload = unpadded(flags, payload)
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise Http2Error(FRAME_SIZE_ERROR, "a priority is five bytes")
            payload = payload[5:]
        self.blocks.begin(number, flags)
        self._on_more(flags, number, payload)

    def _on_more(self, flags: int, number: int, payload: bytes) -> None:
        self.work -= len(payload) // BYTES_OF_HEAD
        if not payload:
            self.worthless()
        headers = self.blocks.more(flags, payload)
        if headers is not None:
            self._on_head(number, headers, self.blocks.ended)

    def _on_head(self, number: int, headers: Headers, ended: bool) -> None:
        stream = self.streams.get(number)
        if stream is not None:
            self._on_answer(stream, headers, ended)
        elif self.is_broken_off(number):
            self._too_late()
        elif not self._is_idle(number):  # ended by the peer, or passed over when it began a higher one (5.1.1)
            raise Http2Error(PROTOCOL_ERROR, "a head on a stream that has ended")
        elif not self.server or number % 2 == 0:
            raise Http2Error(PROTOCOL_ERROR, "a stream that the peer may not open")
        else:
            self.last = number
            self._on_request(Stream(number, None), headers, ended)

    def _on_request(self, stream: Stream, headers: Headers, ended: bool) -> None:
        self.streams[stream.id] = stream
        if self.refusing or len(self.streams) > self.max_streams:
            self._refuse(stream, REFUSED_STREAM)
            self.worthless()
            return
        stream.remote_done = ended
        assert self._opened is not None
        self._opened(stream, headers, ended)

    def _on_answer(self, stream: Stream, headers: Headers, ended: bool) -> None:
        """An answer's head, or trailers on either side."""
        taker = stream.taker
        if stream.remote_done or taker is None:
            self._fail(stream, STREAM_CLOSED)
        elif self.server or stream.answered:
            if not ended:
                self._fail(stream, PROTOCOL_ERROR)
                return
            self._remote_done(stream)
            taker.on_trailers(headers)
        elif headers and headers[0][0] == b":status" and headers[0][1].startswith(b"1"):
            self.worthless(INTERIM)
            if ended:
                self._fail(stream, PROTOCOL_ERROR)  # an interim answer is never the last; gRPC has no use for one
        else:
            stream.answered = True
            if ended:
                self._remote_done(stream)
            taker.on_headers(headers, ended)

    def _on_rst(self, _flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(FRAME_SIZE_ERROR, "RST_STREAM is four bytes")
        if (stream := self._wanted(number)) is None:
            self.worthless()
        else:
            self._was_reset(stream, int.from_bytes(payload, "big"))

    def _was_reset(self, stream: Stream, code: int) -> None:
        """The peer does no more for a stream."""
        del self.streams[stream.id]
        self._forget(stream)
        stream.local_done = stream.remote_done = True
        stream.parts = None
        taker, stream.taker = stream.taker, None
        if taker is not None:
            taker.on_reset(code)

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6 or (flags & ACK and payload):
            raise Http2Error(FRAME_SIZE_ERROR if not number else PROTOCOL_ERROR, "not SETTINGS")
        self.worthless(1 + (many := len(payload) // (6 * SETTINGS_OF_ONE)))
        self.work -= many
        if flags & ACK:
            return
        for key, value in SETTING.iter_unpack(payload):
            if key == MAX_STREAMS:
                self.peer_streams = value
            elif key == ENABLE_PUSH and value > 1:
                raise Http2Error(PROTOCOL_ERROR, "push is on or off")
            else:
                self._keep_to(key, value)
        self._out.append(encode_frame(SETTINGS, ACK, 0))

    def _widen(self) -> None:
        """The window that all streams have in common has grown: those that waited for it go on."""
        self._widened = False
        self.work -= len(self._narrow) // 2
        for stream in list(self._narrow):
            self._more_room(stream)

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) != 8:
            raise Http2Error(PROTOCOL_ERROR if number else FRAME_SIZE_ERROR, "not PING")
        self.worthless()
        if not flags & ACK:
            self._out.append(encode_frame(PING, ACK, 0, payload))

    def _on_goaway(self, _flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) < 8:
            raise Http2Error(PROTOCOL_ERROR if number else FRAME_SIZE_ERROR, "not GOAWAY")
        self.worthless()
        self.goaway = int.from_bytes(payload[:4], "big") & MAX_INT31
        if not self.server:
            for stream in [one for one in self.streams.values() if one.id > self.goaway]:
                self._was_reset(stream, REFUSED_STREAM)

    def _on_window(self, _flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(FRAME_SIZE_ERROR, "WINDOW_UPDATE is four bytes")
        more = (payload[0] & 127) << 24 | payload[1] << 16 | payload[2] << 8 | payload[3]
        self.worthless()
        stream = self._wanted(number) if number else None
        if stream is not None:
            stream.room += more
            if more == 0 or self._initial + stream.room > MAX_INT31:
                self._fail(stream, FLOW_CONTROL_ERROR if more else PROTOCOL_ERROR)
            else:
                self._highest = max(self._highest, stream.room)
                self._more_room(stream)
        elif not number:
            self._room += more
            if more == 0 or self._room > MAX_INT31:
                raise Http2Error(FLOW_CONTROL_ERROR if more else PROTOCOL_ERROR, "not a window")
            self._go_on()

    def _on_priority(self, _flags: int, number: int, payload: bytes) -> None:
        if not number or len(payload) != 5:
            raise Http2Error(FRAME_SIZE_ERROR if number else PROTOCOL_ERROR, "not PRIORITY")
        self.worthless()

    def _on_push(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise Http2Error(PROTOCOL_ERROR, "server push is disabled")


_TAKES: Final[dict[int, Callable[[Http2, int, int, bytes], None]]] = {
    PRIORITY: Http2._on_priority,
    RST_STREAM: Http2._on_rst,
    SETTINGS: Http2._on_settings,
    PUSH_PROMISE: Http2._on_push,
    PING: Http2._on_ping,
    GOAWAY: Http2._on_goaway,
    WINDOW_UPDATE: Http2._on_window,
    CONTINUATION: Http2._on_more,
}
