"""Promise: no bytes on either side of the gRPC listener make the proxy raise, and what it sends is HTTP/2 to an
independent implementation (see `calls`)."""

from __future__ import annotations

import pytest
from h2.exceptions import ProtocolError
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.hostile.attacks import START
from proxy.http.http2.frames import DATA, HEADERS, WINDOW_UPDATE
from tests.fuzz.calls import MARK, OF_CLIENT, OF_MODEL, SEEDS, CallBench, built, frames, once, read_as_server
from tests.fuzz.calls import settings as said

NUMBERS = st.integers(0, 255)
FRAMES = st.lists(
    st.one_of(
        st.tuples(st.just(16), NUMBERS, st.sampled_from((1, 1, 3, 5))),
        st.tuples(st.integers(0, 15), NUMBERS, st.sampled_from((0, 1, 3)), st.just(0)),
        st.tuples(st.integers(0, 15), NUMBERS, st.sampled_from((0, 1, 3)), st.just(4), *[NUMBERS] * 4),
    ),
    max_size=12,
)
CUTS = st.lists(st.integers(0, 5000), max_size=8)


def flat(rows: list[tuple[int, ...]]) -> bytes:
    return bytes(number for row in rows for number in row)


@pytest.mark.parametrize("seed", SEEDS)
def test_conversations(seed: bytes) -> None:
    once(seed)


@settings(max_examples=100, deadline=None)
@given(FRAMES, FRAMES, NUMBERS, NUMBERS)
def test_frames_in_any_order(client: list[tuple[int, ...]], model: list[tuple[int, ...]], cuts: int, how: int) -> None:
    once(bytes((cuts, how | 1)) + flat(client) + MARK + flat(model))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200), NUMBERS)
def test_bytes_in_any_order(client: bytes, model: bytes, cuts: int) -> None:
    once(bytes((cuts, 0)) + START + client + MARK + said() + model)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SEEDS), CUTS, CUTS, st.integers(1, 5))
def test_cuts_do_not_matter(seed: bytes, cuts: list[int], back: list[int], together: int) -> None:
    """What is said on each stream. Window updates come when there is room, and a call that was answered before it had
    ended is broken off behind its answer: both depend on the turn."""
    calls, _, answers = seed[2:].partition(MARK)
    if seed[1] & 1:
        calls, answers = START + built(calls, OF_CLIENT), said() + built(answers, OF_MODEL)
    whole = [said_on_streams(side) for side in CallBench().feed(calls, answers, [], [])]
    pieces = [said_on_streams(side) for side in CallBench(together).feed(calls, answers, cuts, back)]
    assert pieces[1] == whole[1]


def said_on_streams(data: bytes) -> dict[int, tuple[bytes, list[int]]]:
    """Of each stream: the body, and the kinds of its other frames up to its end."""
    found: dict[int, tuple[bytes, list[int]]] = {}
    ended, at = set(), 24 if data.startswith(b"PRI") else 0
    for kind, stream, flags in frames(data):
        size = 9 + int.from_bytes(data[at : at + 3], "big")
        body, kinds = found.get(stream, (b"", []))
        if kind == DATA:
            body += data[at + 9 : at + size]
        elif kind != WINDOW_UPDATE and stream not in ended:
            kinds = [*kinds, kind]
        if stream and kind in (DATA, HEADERS) and flags & 1:
            ended.add(stream)
        found[stream] = (body, kinds)
        at += size
    return found


def test_the_second_reader_objects() -> None:
    with pytest.raises(ProtocolError):
        read_as_server(START + b"\0\0\4\3\0\0\0\0\5\0\0\0\0")
