"""Promise: what one end says the other hears, however the bytes are cut and however small the windows; and a peer can
make us hold no more than it was allowed to send."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pytest
from hpack import Decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.http2 import HIGH, Headers, Http2, Http2Error, Stream
from proxy.http.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    TABLE_SIZE,
    WINDOW,
    WINDOW_UPDATE,
    Taker,
    encode_frame,
    encoded,
)
from proxy.http.http2.sending import MAX_BROKEN_OFF

HEAD: Headers = [(b":method", b"POST"), (b":path", b"/a.B/C"), (b"x-long", b"v" * 300)]


@dataclass
class Heard(Taker):
    """All that a stream's owner was told; it takes what comes unless told not to."""

    http2: Http2
    stream: Stream | None = None
    takes: bool = True
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    trailers: Headers | None = None
    ended: bool = False
    reset: int | None = None
    rooms: int = 0

    def on_headers(self, headers: Headers, ended: bool) -> None:
        self.headers, self.ended = headers, ended

    def on_data(self, data: bytes, ended: bool) -> None:
        assert not self.ended
        self.body += data
        self.ended = ended
        if self.takes:
            assert self.stream is not None
            self.http2.taken(self.stream)

    def on_trailers(self, headers: Headers) -> None:
        self.trailers, self.ended = headers, True

    def on_reset(self, code: int) -> None:
        self.reset = code

    def on_room(self) -> None:
        self.rooms += 1


class Ends:
    """A client and a server, and the wire between them."""

    def __init__(self, takes: bool = True) -> None:
        self.served: list[Heard] = []
        self.takes = takes
        self.server = Http2(True, 32_768, 10, self._opened)
        self.client = Http2(False, 32_768)
        self.settle()

    def _opened(self, stream: Stream, headers: Headers, ended: bool) -> None:
        heard = Heard(self.server, stream, self.takes, headers, ended=ended)
        stream.taker = heard
        self.served.append(heard)

    def call(self, takes: bool = True) -> Heard:
        heard = Heard(self.client, takes=takes)
        heard.stream = self.client.open(HEAD, heard)
        return heard

    def settle(self, cut: int = 1 << 20) -> None:
        """Carry bytes both ways, `cut` at a time, until neither end has anything to say."""
        while True:
            up, down = self.client.take(), self.server.take()
            if not (up or down):
                return
            for data, end in ((up, self.server), (down, self.client)):
                for at in range(0, len(data), cut):
                    end.feed(data[at : at + cut])


@settings(max_examples=40)
@given(
    pieces=st.lists(st.integers(0, 150_000), max_size=4),
    back=st.lists(st.integers(0, 150_000), max_size=4),
    cut=st.integers(500, 70_000),
)
def test_bodies_of_any_size_cut_anywhere(pieces: list[int], back: list[int], cut: int) -> None:
    ends = Ends()
    call = ends.call()
    assert call.stream is not None
    for number, size in enumerate(pieces):
        ends.client.data(call.stream, bytes([number]) * size, False)
    ends.client.data(call.stream, b"", True)
    ends.settle(cut)
    (served,) = ends.served
    assert served.headers == HEAD
    assert served.ended
    assert served.body == b"".join(bytes([number]) * size for number, size in enumerate(pieces))
    assert served.stream is not None
    ends.server.headers(served.stream, [(b":status", b"200")], False)
    for number, size in enumerate(back):
        ends.server.data(served.stream, bytes([number]) * size, False)
    ends.server.data(served.stream, b"", True, [(b"grpc-status", b"0")])
    ends.settle(cut)
    assert call.headers == [(b":status", b"200")]
    assert call.body == b"".join(bytes([number]) * size for number, size in enumerate(back))
    assert call.trailers == [(b"grpc-status", b"0")]
    assert not ends.client.streams
    assert not ends.server.streams


def test_one_byte_at_a_time() -> None:
    ends = Ends()
    call = ends.call()
    assert call.stream is not None
    ends.client.data(call.stream, b"question", True)
    ends.settle(1)
    assert (ends.served[0].body, ends.served[0].ended) == (b"question", True)


def test_what_is_not_taken_stops_at_the_window_and_holds_up_nobody_else() -> None:
    ends = Ends(takes=False)
    stuck = ends.call()
    assert stuck.stream is not None
    ends.client.data(stuck.stream, bytes(1_000_000), True)
    ends.settle()
    assert len(ends.served[0].body) == WINDOW
    assert stuck.stream.waiting == 1_000_000 - WINDOW > HIGH
    ends.takes = True
    for _ in range(20):  # more than the connection's window in all
        other = ends.call()
        assert other.stream is not None
        ends.client.data(other.stream, bytes(100_000), True)
        ends.settle()
        assert len(ends.served[-1].body) == 100_000
        assert ends.served[-1].stream is not None
        ends.server.headers(ends.served[-1].stream, [(b":status", b"200")], True)
        ends.settle()
    first = ends.served[0]
    assert first.stream is not None
    first.takes = True
    ends.server.taken(first.stream)
    ends.settle()
    assert (len(first.body), first.ended, stuck.rooms) == (1_000_000, True, 1)


@pytest.mark.parametrize("sizes", [[0], [4095], [100, 4096], [0, 70_000]])
def test_a_peer_that_keeps_a_smaller_table_is_told_so_once(sizes: list[int]) -> None:
    ends = Ends()
    peer = Decoder()
    for size in sizes:
        ends.client.feed(encode_frame(SETTINGS, 0, 0, SETTING.pack(TABLE_SIZE, size)))
        peer.header_table_size = 4096
        peer.max_allowed_table_size = min(sizes)
    ends.client.take()
    for begins in (b"\x20", b""):
        ends.call()
        block = ends.client.take()[9:]
        assert block == begins + encoded(HEAD)
        assert peer.decode(block, raw=True) == HEAD


def test_what_was_not_written_yet_is_followed_by_nothing() -> None:
    ends = Ends()
    call = ends.call()
    assert call.stream is not None
    ends.client.stopped = True
    ends.client.data(call.stream, b"body", True)
    ends.settle()
    assert ends.served[0].body == b""
    ends.client.go_on()
    ends.settle()
    assert (ends.served[0].body, ends.served[0].ended) == (b"body", True)


def test_more_streams_than_allowed_are_refused() -> None:
    ends = Ends()
    calls = [ends.call() for _ in range(12)]
    ends.settle()
    assert [call.reset for call in calls] == [None] * 10 + [7, 7]


def test_goaway_gives_back_what_was_not_taken() -> None:
    ends = Ends()
    calls = [ends.call() for _ in range(3)]
    ends.settle()
    ends.server.say_goodbye(last=3)
    ends.settle()
    assert [call.reset for call in calls] == [None, None, 7]
    assert ends.client.goaway == 3


def server() -> Http2:
    """A server that has heard the client's greeting, and a call that it does not take from."""

    def opened(stream: Stream, headers: Headers, ended: bool) -> None:
        stream.taker = Heard(http2, stream, takes=False, headers=headers, ended=ended)

    http2 = Http2(True, 1_000, 10, opened)
    http2.feed(PREFACE + encode_frame(SETTINGS, 0, 0) + encode_frame(HEADERS, END_HEADERS, 1, encoded(HEAD)))
    return http2


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (encode_frame(DATA, 0, 1, bytes(16_385)), 6),
        (encode_frame(DATA, 0, 0, b"x"), 1),
        (encode_frame(DATA, 0, 3, b"x"), 1),  # a stream that never began
        (encode_frame(DATA, 8, 1, b"\x05abc"), 1),  # more padding than frame
        (encode_frame(HEADERS, END_HEADERS, 0), 1),
        (encode_frame(HEADERS, END_HEADERS, 2), 1),  # even streams are the server's
        (encode_frame(HEADERS, END_HEADERS | 8, 3, b"\x05ab"), 1),
        (encode_frame(HEADERS, END_HEADERS, 3, encoded([(b"x", b"y" * 1_000)])), 11),
        (encode_frame(HEADERS, END_HEADERS, 3, b"\xff" * 6), 9),  # no header block
        (encode_frame(HEADERS, END_HEADERS, 3, b"\x3f\xff\xff\x03"), 9),  # a table larger than allowed
        (encode_frame(HEADERS, 0, 3) + encode_frame(CONTINUATION, END_HEADERS, 5), 1),  # broken off by another stream's
        (encode_frame(CONTINUATION, END_HEADERS, 0), 1),
        (encode_frame(CONTINUATION, END_HEADERS, 1), 1),  # nothing to continue
        (encode_frame(PRIORITY, 0, 0, bytes(5)), 1),
        (encode_frame(PRIORITY, 0, 1), 6),
        (encode_frame(RST_STREAM, 0, 0, bytes(4)), 1),
        (encode_frame(RST_STREAM, 0, 1, bytes(3)), 6),
        (encode_frame(RST_STREAM, 0, 9, bytes(4)), 1),
        (encode_frame(SETTINGS, 0, 1), 1),
        (encode_frame(SETTINGS, 0, 0, bytes(5)), 6),
        (encode_frame(SETTINGS, ACK, 0, b"123456"), 6),
        (encode_frame(SETTINGS, 0, 0, SETTING.pack(ENABLE_PUSH, 2)), 1),
        (encode_frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 1 << 31)), 3),
        (encode_frame(SETTINGS, 0, 0, SETTING.pack(MAX_FRAME_SIZE, 1)), 1),
        (encode_frame(SETTINGS, 0, 0, SETTING.pack(MAX_FRAME_SIZE, 1 << 24)), 1),
        (encode_frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)), 1),
        (encode_frame(PING, 0, 1, bytes(8)), 1),
        (encode_frame(PING, 0, 0, bytes(6)), 6),
        (encode_frame(GOAWAY, 0, 1, bytes(8)), 1),
        (encode_frame(GOAWAY, 0, 0, bytes(7)), 6),
        (encode_frame(WINDOW_UPDATE, 0, 0, bytes(3)), 6),
        (encode_frame(WINDOW_UPDATE, 0, 0, bytes(4)), 1),  # a window of nothing
        (encode_frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (encode_frame(WINDOW_UPDATE, 0, 3, b"\0\0\0\1"), 1),
        (encode_frame(RST_STREAM, 0, 1, bytes(4)) + encode_frame(DATA, 0, 1, b"x"), 5),  # the peer has ended it (5.1)
        (encode_frame(RST_STREAM, 0, 1, bytes(4)) + encode_frame(HEADERS, END_HEADERS, 1, encoded(HEAD)), 1),
        (
            encode_frame(HEADERS, END_HEADERS, 5, encoded(HEAD)) + encode_frame(HEADERS, END_HEADERS, 3, encoded(HEAD)),
            1,
        ),  # 5.1.1
    ],
)
def test_a_mistake_ends_the_connection(sent: bytes, code: int) -> None:
    """RFC 9113, 4 to 6: the cases of h2spec that end a connection, in the order of the frames."""
    http2 = server()
    with pytest.raises(Http2Error) as found:
        http2.feed(sent)
    assert found.value.code == code


def test_what_was_under_way_on_a_stream_that_we_broke_off_is_no_mistake() -> None:
    http2 = server()
    count = MAX_BROKEN_OFF + 5
    for number in range(1, 2 * count, 2):
        if number > 1:
            http2.feed(encode_frame(HEADERS, END_HEADERS, number, encoded(HEAD)))
        http2.reset(http2.streams[number], 8)
    for number in range(1, 2 * count, 2):
        http2.feed(encode_frame(DATA, 0, number, b"x") + encode_frame(HEADERS, END_HEADERS | 1, number, encoded(HEAD)))
    assert not http2.streams
    assert len(http2._broken_off) == MAX_BROKEN_OFF


def test_a_mistake_on_one_stream_ends_that_stream() -> None:
    for sent, code in (
        (encode_frame(WINDOW_UPDATE, 0, 1, bytes(4)), 1),
        (encode_frame(DATA, 0, 1, bytes(16_384)) * 5, 3),
        (encode_frame(DATA, 1, 1, b"a") + encode_frame(DATA, 0, 1, b"b"), 5),
        (encode_frame(HEADERS, END_HEADERS, 1, b""), 1),  # trailers that do not end it
    ):
        http2 = server()
        heard = http2.streams[1].taker
        http2.feed(sent)
        assert isinstance(heard, Heard)
        assert heard.reset == code
        assert http2.take().endswith(encode_frame(RST_STREAM, 0, 1, code.to_bytes(4, "big")))
        http2.feed(encode_frame(DATA, 0, 1, b"late"))  # what was under way is not held against it


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(noise: bytes) -> None:
    for begin in (b"", PREFACE, PREFACE + encode_frame(SETTINGS, 0, 0)):
        http2 = Http2(True, 1_000, 10, lambda *_: None)
        with contextlib.suppress(Http2Error):
            http2.feed(begin + noise)


def test_a_long_body_costs_what_it_is_long() -> None:
    """Frames are cut off a body without copying the rest of it: the same memory from the first to the last."""
    http2 = Ends().client
    stream = http2.open(HEAD, Heard(http2))
    stream.room = http2._room = 1 << 30
    body = bytes(1 << 22)
    http2.data(stream, body, False)
    assert sum(map(len, http2._out)) >= len(body)
    stream.room = 1
    http2.data(stream, body, False)
    assert stream.parts is not None
    rest = stream.parts[0]
    assert isinstance(rest, memoryview)
    assert rest.obj is body
