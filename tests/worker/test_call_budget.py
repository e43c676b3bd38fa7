"""Promise: calls over HTTP/2 cost nobody else a turn either, whatever their frames are worth, on both sides; what comes
of them is the same, however they are cut. Work is counted here, not timed, as in `test_budget.py`."""

from __future__ import annotations

import gc
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.built import DATA_PATH
from proxy.http.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WINDOW_UPDATE,
    encode_frame,
    encoded,
)
from proxy.http.http2.sending import CALM
from proxy.model.reasons import Reason
from proxy.worker.downstream.grpc import GrpcServerConnection
from proxy.worker.downstream.grpc_stream import GrpcServerStream
from proxy.worker.turn import AT_ONCE, PER_TURN, SLICE
from proxy.worker.upstream.grpc import GrpcClientStream
from tests.worker.calls import ANSWER, CALL, START, Calls, answered, called, told
from tests.worker.test_cuts import BODIES, CUTS, WORK, Wire
from tests.worker.turns import turns

NOISE = {
    "ping": encode_frame(PING, 0, 0, bytes(8)),
    "settings": encode_frame(SETTINGS, 0, 0),
    "narrow": encode_frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 3)),
    "wide": encode_frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 100_000)),
    "window": encode_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "unknown": encode_frame(0x77, 0, 0, b"x"),
    "priority": encode_frame(PRIORITY, 0, 1, bytes(5)),
    "flood": encode_frame(PING, 0, 0, bytes(8)) * 1100,
    "mistake": encode_frame(PING, 0, 0, bytes(7)),
}
CONVERSATION = st.lists(
    st.tuples(BODIES, st.integers(1, 40), st.booleans(), st.lists(st.sampled_from(sorted(NOISE)), max_size=2)),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(CONVERSATION, CUTS, CUTS, WORK, st.booleans())
def test_calls_cut_anywhere_in_turns_of_any_size(
    calls: list[tuple[bytes, int, bool, list[str]]], cuts: list[int], back: list[int], work: Any, noisy: bool
) -> None:
    """gRPC on both sides: what is told, how it ends, and in which order calls begin."""
    sent, answers = START, b""
    for number, (body, size, interim, names) in enumerate(calls):
        noise = [NOISE[name] for name in names]
        sent += called(2 * number + 1, body, size) + (b"" if noisy else b"".join(noise))
        answers += (b"".join(noise) if noisy else b"") + answered(2 * number + 1, body[::-1], size, interim)
    answers += encode_frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 65_535))
    whole = Calls((1 << 30, 1, 1)).talk(sent, answers, [], [])
    heard = Calls(work).talk(sent, answers, cuts, back)
    of_whom = 0 if noisy else 1
    if whole[of_whom][2]:  # where one side is thrown out, what was under way comes to an end, sooner or later
        assert heard[of_whom][1:] == whole[of_whom][1:]
    else:
        assert heard == whole


def opened(streams: int, flags: int = END_HEADERS) -> bytes:
    return b"".join(encode_frame(HEADERS, flags, 2 * n + 1, encoded(CALL)) for n in range(streams))


WORTHLESS = {
    "PING": encode_frame(PING, 0, 0, bytes(8)),
    "PING that answers none": encode_frame(PING, ACK, 0, bytes(8)),
    "SETTINGS": encode_frame(SETTINGS, 0, 0),
    "SETTINGS that answer none": encode_frame(SETTINGS, ACK, 0),
    "empty DATA": encode_frame(DATA, 0, 1),
    "padding": encode_frame(DATA, 8, 1, b"\1\0"),
    "PRIORITY": encode_frame(PRIORITY, 0, 1, bytes(5)),
    "unknown": encode_frame(0x77, 0, 0, bytes(8)),
    "window of a stream": encode_frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
    "window of the connection": encode_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "GOAWAY": encode_frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4)),
}


@pytest.mark.parametrize("kind", WORTHLESS)
def test_frames_that_are_worth_nothing_end_the_connection_of_a_client(kind: str) -> None:
    bench = Calls()
    bench.of_client.hear(START + opened(1) + WORTHLESS[kind] * 900)
    bench.loop.turn()
    assert not bench.of_client.closed
    bench.of_client.hear(WORTHLESS[kind] * 200)
    bench.loop.turn()
    assert told(bench.of_client)[1:] == ([b"\0\0\0\x0b"], True)  # ENHANCE_YOUR_CALM
    assert bench.context.refusals.codes == {Reason.FLOOD: 1}


@pytest.mark.parametrize("kind", [*WORTHLESS, "interim answers"])
def test_frames_that_are_worth_nothing_end_the_connection_of_a_model(kind: str) -> None:
    """Its calls fail, under that reason, and the client is told by a status."""
    bench = Calls()
    bench.of_client.hear(START + called(1, b"x", 100))
    bench.loop.turn()
    begins = b"" if kind == "interim answers" else encode_frame(HEADERS, END_HEADERS, 1, encoded(ANSWER))
    again = WORTHLESS.get(kind) or encode_frame(HEADERS, END_HEADERS, 1, encoded([(b":status", b"103")]))
    bench.of_model.hear(begins + again * (100 if kind == "interim answers" else 900))
    bench.loop.turn()
    assert not bench.of_model.closed
    bench.of_model.hear(again * 300)
    bench.loop.turn()
    assert bench.of_model.closed
    (route,) = bench.context.calls.all
    assert route.meters.served.codes == {Reason.FLOOD: 1}
    assert b"grpc-status" in bench.of_client.out


def test_a_connection_that_works_may_say_a_lot_of_little_worth() -> None:
    """Windows and pings go with what is sent and received; and time passes."""
    bench = Calls()
    bench.of_client.hear(START)
    for number in range(400):
        again = encode_frame(PING, 0, 0, bytes(8)) + encode_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
        bench.of_client.hear(called(2 * number + 1, b"x", 100) + again)
        bench.loop.turn()
        bench.of_model.hear(answered(2 * number + 1, b"x", 100, False) + again)
        bench.loop.turn()
    assert len(told(bench.of_client)[0]) == 400
    bench.client.http2.calm = 0.0
    bench.client.heard -= CALM
    bench.of_client.hear(encode_frame(PING, 0, 0, bytes(8)) * 900)
    bench.loop.turn()
    assert not bench.of_client.closed


def test_frames_wait_their_turn() -> None:
    bench = Calls()
    ping = encode_frame(PING, ACK, 0, b"12345678")
    bench.of_client.hear(START + encode_frame(PING, 0, 0, b"12345678") * 900)
    bench.loop.step()
    answers = bench.of_client.out.count(ping)
    assert 0 < answers <= AT_ONCE // 2 + PER_TURN // 2 + 1
    each = turns(bench, bench.of_client, ping)
    assert sum(each) == 900 - answers
    assert max(each) <= (PER_TURN + SLICE) // 2


def test_calls_that_are_none_wait_their_turn_and_end_the_connection() -> None:
    bench = Calls()
    head = encoded([*CALL, (b"connection", b"x")])
    bench.of_client.hear(START + b"".join(encode_frame(HEADERS, END_HEADERS | 1, 2 * n + 1, head) for n in range(1200)))
    bench.loop.step()
    each = turns(bench, bench.of_client, encode_frame(RST_STREAM, 0, 0)[:5])
    assert max(each) <= 6
    assert told(bench.of_client)[1:] == ([b"\0\0\0\x0b"], True)


def test_dear_heads_are_decoded_one_after_the_other_with_rests_between() -> None:
    """However many connections they come on: no more than a third of the time goes into them."""
    bench = Calls()
    links = []
    for _ in range(5):
        link = GrpcServerConnection(bench.context, b"http")
        wire: Any = Wire(link, bench.loop)
        link.connection_made(wire)
        links.append(wire)
    head = encoded([*CALL, *((b"x%d" % n, b"y" * 40) for n in range(20))])
    for wire in links:
        wire.hear(START + b"".join(encode_frame(HEADERS, END_HEADERS, 2 * n + 1, head) for n in range(40)))
    bench.context.turn.was_dear(0.1)
    began, decoded = bench.loop.now, 0
    assert not bench.context.turn.may_be_dear()
    bench.loop.turn()
    decoded = (
        sum(link.http2.last // 2 + 1 for link in bench.context.clients if isinstance(link, GrpcServerConnection)) - 1
    )
    assert decoded == 200
    assert bench.loop.now - began > 0.1


@pytest.mark.skipif(DATA_PATH == "compiled", reason="stands in for a method, which a compiled class does not allow")
def test_windows_change_in_one_sum() -> None:
    """However many streams wait, a frame that changes all of their windows, or the connection's, touches none."""
    bench = Calls()
    bench.of_client.hear(START + encode_frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 0)))
    for number in range(100):
        bench.of_client.hear(called(2 * number + 1, b"x", 100))
        bench.loop.turn()
        bench.of_model.hear(answered(2 * number + 1, b"x" * 50, 100, False))
        bench.loop.turn()
    http2 = bench.client.http2
    assert len(http2._narrow) == len(http2.streams) == 100
    touched = 0
    push = type(http2)._push

    class Counted(type(http2)):  # type: ignore[misc]
        def _push(self, stream: Any) -> None:
            nonlocal touched
            touched += 1
            push(self, stream)

    http2.__class__ = Counted
    bench.of_client.hear(encode_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 300)
    bench.loop.turn()
    assert touched == 0
    up_and_down = b"".join(SETTING.pack(INITIAL_WINDOW, size) for size in (1, 0))
    bench.of_client.hear(encode_frame(SETTINGS, 0, 0, up_and_down * 100) * 3)
    bench.loop.turn()
    assert touched <= 2 * 100
    assert b"grpc-status" not in bench.of_client.out
    bench.of_client.hear(encode_frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 60)))
    bench.loop.turn()
    assert bench.of_client.out.count(b"grpc-status") == 100


def test_a_window_that_grows_too_large_by_settings_is_a_mistake() -> None:
    """RFC 9113, 6.9.2, whatever the streams' own windows were."""
    for more, size, closed in (
        (1 << 30, 1 << 30, False),
        ((1 << 30) + 1, (1 << 30) - 1, False),
        (1 << 30, 3 << 29, True),
    ):
        bench = Calls()
        update = encode_frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", more - 65_535))
        bench.of_client.hear(START + opened(1) + update)
        bench.of_client.hear(encode_frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, size)))
        bench.loop.turn()
        assert bench.of_client.closed == closed


@pytest.mark.parametrize("end", ["answered", "broken off", "without a route", "lost"])
def test_calls_leave_nothing_for_the_garbage_collector(end: str) -> None:
    """It comes after thousands of objects, and each call may hold a head of `max_header` bytes three times."""
    bench = Calls()
    numbers = range(1, 20, 2)
    elsewhere = [*CALL[:2], (b":path", b"/no.R/Oute"), *CALL[3:]]
    sent = {
        "broken off": b"".join(called(n, b"x", 9) + encode_frame(RST_STREAM, 0, n, bytes(4)) for n in numbers),
        "without a route": b"".join(
            encode_frame(HEADERS, END_HEADERS | END_STREAM, n, encoded(elsewhere)) for n in numbers
        ),
    }.get(end) or b"".join(called(n, b"x", 9) for n in numbers)
    back = b"".join(answered(n, b"y", 9, False) for n in numbers) if end == "answered" else b""
    gc.collect()
    gc.disable()
    try:
        bench.talk(START + sent, back, [], [])
        if end == "lost":
            bench.client.connection_lost(None)
            bench.loop.turn()
        assert not [one for one in gc.get_objects() if isinstance(one, GrpcServerStream | GrpcClientStream)]
    finally:
        gc.enable()
