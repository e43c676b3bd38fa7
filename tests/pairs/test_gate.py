"""Promise: what goes through the gate is what came, in order, less the frames that are kept, however it was cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.pairs import gate as module
from proxy.pairs.gate import FrameGate
from proxy.pairs.link import Frame, FrameReader, LinkError, frame

NOTED, KEPT = {Frame.COUNTS, Frame.HELLO, Frame.REQUESTS}, {Frame.REQUESTS}
SENT = st.sampled_from([Frame.PAIR, Frame.MARK, Frame.TRIAL, *NOTED])


@given(
    st.lists(st.tuples(SENT, st.binary(max_size=40)), max_size=30),
    st.lists(st.integers(1, 60), min_size=1, max_size=50),
)
def test_what_goes_on_is_what_came_less_what_is_kept(frames: list[tuple[Frame, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frame(kind, payload) for kind, payload in frames)
    one, on, notes, at, n = FrameGate(NOTED, KEPT), bytearray(), list[tuple[Frame, bytes]](), 0, 0
    while at < len(stream):
        size = cuts[n % len(cuts)]
        parts, found = one.feed(stream[at : at + size])
        on += b"".join(parts)
        notes += found
        at, n = at + size, n + 1
    assert list(FrameReader().feed(bytes(on))) == [one for one in frames if one[0] not in KEPT]
    assert notes == [one for one in frames if one[0] in NOTED]


@given(st.binary(min_size=200, max_size=400), st.integers(1, 399))
def test_a_frame_goes_on_before_it_is_complete(payload: bytes, cut: int) -> None:
    one, whole = FrameGate(NOTED, KEPT), frame(Frame.PAIR, payload)
    on, _ = one.feed(whole[:cut])
    assert sum(map(len, on)) == (min(cut, len(whole)) if cut >= 5 else 0)
    assert b"".join([*on, *one.feed(whole[cut:])[0]]) == whole


def test_a_read_of_pairs_is_not_copied() -> None:
    data = frame(Frame.PAIR, b"x" * 100) * 50
    assert FrameGate(NOTED, KEPT).feed(data)[0][0] is data


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 16, b"\x00\x00\x00\x00\xee", (module.MAX_FRAME + 1).to_bytes(4, "little") + b"\x03"]
)
def test_what_is_no_frame_is_refused(garbage: bytes) -> None:
    with pytest.raises(LinkError):
        FrameGate(NOTED, KEPT).feed(garbage)


def test_what_is_gathered_is_bounded() -> None:
    head = (module.MAX_NOTE + 1).to_bytes(4, "little")
    FrameGate(NOTED, KEPT).feed(head + bytes([Frame.PAIR]))
    with pytest.raises(LinkError, match="COUNTS of 67108865 bytes, at most 67108864"):
        FrameGate(NOTED, KEPT).feed(head + bytes([Frame.COUNTS]))
