"""Promise: what `make bench-hostile` sends is what its table says, and it calls good only what is within the bounds."""

from __future__ import annotations

import pytest

from loadtests.bench_hostile import LATER, PARTS, TIMES, Seen, Times, rows
from loadtests.hostile.attacker import Peer, Share, has_call, moved, turn
from loadtests.hostile.attacks import (
    ATTACKS,
    CLIENT,
    GRPC,
    HTTP,
    MODEL,
    MODELS,
    START,
    Attack,
    call,
    calls,
    frame,
    settings,
    text,
)
from proxy.http.http2 import Http2, Http2Error, Stream
from proxy.http.http2.frames import Headers
from tests.fuzz.calls import frames


def test_no_two_rows_are_the_same() -> None:
    named = {(one.side, one.protocol, one.name) for one in ATTACKS}
    assert len(named) == len(ATTACKS) == sum(map(len, PARTS.values()))
    assert len(rows(list(MODELS))) == 2 * len(MODELS)


@pytest.mark.parametrize("attack", [one for one in ATTACKS if one.protocol == GRPC], ids=lambda one: one.name)
def test_what_is_sent_over_http2_are_whole_frames(attack: Attack) -> None:
    assert attack.first.startswith(START) is (attack.side == CLIENT)
    kinds = frames(attack.first) + frames(attack.again)
    assert {kind for kind, *_ in kinds} <= {*range(10), 0x77}


def test_calls_are_read_as_calls() -> None:
    told: list[tuple[int, Headers, bool]] = []

    def opened(stream: Stream, headers: Headers, ended: bool) -> None:
        told.append((stream.id, headers, ended))

    http2 = Http2(True, 32_768, 128, opened)
    http2.feed(START + calls(3, "/x.Y/Z", text(b"x", b"v" * 15_000)))
    assert [(number, dict(head)[b":path"], len(dict(head)[b"x"])) for number, head, _ in told] == [
        (number, b"/x.Y/Z", 15_000) for number in (1, 3, 5)
    ]


def test_an_interim_head_without_end_is_no_mistake_of_the_table() -> None:
    with pytest.raises(Http2Error):
        Http2(True, 32_768, 128, lambda *_: None).feed(START + b"\0\0\1\6\0\0\0\0\0x")


def test_a_call_is_noticed_wherever_it_is_cut() -> None:
    whole = START + settings((3, 1)) + call(1)
    heads = [size for size in range(len(whole) + 1) if has_call(whole[:size])]
    assert heads == list(range(len(START + settings((3, 1))) + 9, len(whole) + 1))
    assert not has_call(START + frame(6, 0, 0, bytes(8)))


def test_calls_in_a_row_have_numbers_of_their_own() -> None:
    two = calls(2)
    assert [number for _, number, _ in frames(two + moved(two, 4))] == [1, 1, 3, 3, 5, 5, 7, 7]
    assert moved(two + settings((3, 1)), 4).endswith(settings((3, 1)))
    for one in ATTACKS:
        if one.stride:
            assert max(number for _, number, _ in frames(one.again)) == one.stride - 1


class Socket:
    """Takes seven bytes at a time, and says what it is told to."""

    def __init__(self, *says: bytes) -> None:
        self.says, self.out = list(says), b""

    def setblocking(self, _: bool) -> None: ...

    def setsockopt(self, *_: object) -> None: ...

    def send(self, data: bytes) -> int:
        self.out += bytes(data[:7])
        return min(7, len(data))

    def recv(self, _: int) -> bytes:
        return self.says.pop(0)


def test_a_client_says_the_first_and_then_the_other_without_end() -> None:
    share, sock = Share(), Socket()
    peer = Peer(sock, Attack(CLIENT, HTTP, "x", b"first ", b"again "), share)  # type: ignore[arg-type]
    for _ in range(5):
        assert turn(peer, 2)
    assert sock.out == b"first again again again again "[: len(sock.out)]
    assert share.sent == len(sock.out) > 20


def test_a_model_waits_until_it_is_asked() -> None:
    sock = Socket(b"GET / HTTP/1.1\r\n\r\n", b"")
    peer = Peer(sock, Attack(MODEL, HTTP, "x", b"first"), Share())  # type: ignore[arg-type]
    assert peer.events == 1
    assert turn(peer, 1)
    assert peer.events == 3
    assert not turn(peer, 2), "and closes when it has said all"
    assert sock.out == b"first"


@pytest.mark.parametrize(
    ("under", "good"),
    [
        (Times(3.0, 30.0, 0, 0), True),
        (Times(3.1, 30.0, 0, 0), False),
        (Times(3.0, 30.1, 0, 0), False),
        (Times(1.0, 10.0, 1, 0), False),
        (Times(1.0, 10.0, 0, 1), False),
    ],
)
def test_what_is_good(under: Times, good: bool) -> None:
    assert (TIMES, LATER) == (3.0, 20.0)
    seen = Seen(Times(1.0, 10.0, 0, 0), under, 1.0, 1, 0.0)
    assert seen.good is good
    assert ("**" in str(seen)) is not good
