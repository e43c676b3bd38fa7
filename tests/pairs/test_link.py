"""Promise: what one process writes to a link, the other reads, however the bytes were cut; garbage is refused."""

import itertools
import math
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Lane, Observation, Outcome, Pair, State, Table
from proxy.model.reasons import CODES, Reason
from proxy.pairs import link
from proxy.pairs.link import Frame, FrameReader, LinkError

seconds = st.floats(min_value=0, allow_infinity=True, allow_nan=False)
outcomes = st.builds(
    Outcome,
    status=st.integers(0, 999),
    reason=st.sampled_from(Reason),
    head=st.binary(max_size=60),
    body=st.binary(max_size=200),
    seconds=seconds,
    first=seconds,
)
pairs = st.builds(
    Pair,
    trial=st.just("route/candidate|live|1"),
    stage=st.integers(0, 2**16 - 1),
    worker=st.just("worker-1"),
    sequence=st.integers(0, 2**64 - 1),
    id=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
    time=st.floats(allow_nan=False),
    served=st.sampled_from(Arm),
    request_head=st.binary(max_size=100),
    request_body=st.binary(max_size=200),
    live=outcomes,
    candidate=outcomes,
    again=st.none() | outcomes,
    hedged=st.booleans(),
    fell_back=st.booleans(),
    latency_slot=st.booleans(),
    request_id=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=128),
    request_rest=st.just(b"") | st.binary(min_size=12, max_size=12),
)
lanes = st.builds(
    Lane,
    rollout=st.text(max_size=20),
    trial=st.text(max_size=20),
    state=st.sampled_from(State),
    weight=st.integers(0, 10_000),
    share=st.integers(0, 10_000),
    stage=st.integers(0, 1000),
)
frames = st.lists(st.tuples(st.sampled_from(Frame), st.binary(max_size=50)), max_size=12)


def payload(data: bytes) -> bytes:
    """The payload of the only frame in `data`."""
    ((_, found),) = FrameReader().feed(data)
    return found


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """`data` cut at the given places."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return (data[start:stop] for start, stop in itertools.pairwise(edges))


@given(pairs, st.integers(0, 2**16 - 1))
def test_a_pair_comes_back_as_it_was(pair: Pair, index: int) -> None:
    assert link.decode_pair(payload(link.encode_pair(pair, index)), {index: pair.trial}, pair.worker) == pair


def test_a_reader_that_does_not_know_of_bodies_that_are_cut_still_reads_the_pair() -> None:
    """An older leader, in the middle of an upgrade: what stands for the rest is the end of the body to it."""
    body = bytes(range(256)) * 1000
    sent = payload(link.pack_pair(0, 1, 0, 0.0, link.CUT, b"id", b"", link.cut_request(body), 2 * link.NO_OUTCOME))
    flags = struct.calcsize("<HHQd")
    older = sent[:flags] + bytes([sent[flags] & ~link.CUT]) + sent[flags + 1 :]
    new, old = (link.decode_pair(one, {0: "t"}, "w") for one in (sent, older))
    assert (new.request_body, new.request_size) == (body[: link.KEPT], len(body))
    assert (old.request_body, old.request_rest) == (new.request_body + new.request_rest, b"")


def test_timings_that_were_never_taken_stay_unknown() -> None:
    pair = Pair("t", 1, "w", 0, "id", 0.0, Arm.LIVE, b"", b"", Outcome(0, Reason.CONNECT), Outcome(200))
    back = link.decode_pair(payload(link.encode_pair(pair, 0)), {0: "t"}, "w")
    assert math.isnan(back.live.seconds)
    assert math.isnan(back.candidate.first)


@given(outcomes, st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 2**16 - 1), st.sampled_from(Arm))
def test_an_observation_comes_back_as_it_was_and_part_of_one_is_refused(
    live: Outcome, head: bytes, body: bytes, index: int, served: Arm
) -> None:
    flags = link.CANDIDATE_SERVED if served is Arm.CANDIDATE else 0
    packed = link.pack_outcome(live.status, CODES[live.reason], live.seconds, live.first, live.head, live.body)
    sent = payload(link.pack_observation(index, 7.5, flags, head, body, packed))
    assert link.decode_observation(sent, {index: "r"}, "w") == Observation("r", "w", 7.5, served, head, body, live)
    for wrong in (sent[:-1], sent + b"x", b""):
        with pytest.raises(LinkError):
            link.decode_observation(wrong, {index: "r"}, "w")
    with pytest.raises(LinkError):
        link.decode_observation(sent, {}, "w")


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1))
def test_a_mark_comes_back_as_it_was(trial: int, sequence: int) -> None:
    assert link.decode_mark(payload(link.encode_mark(trial, sequence))) == link.Mark(trial, sequence)


numbers = st.integers(0, 2**53)


read = st.lists(st.text(max_size=9), max_size=2).map(tuple)
tables = st.builds(
    Table, number=numbers, lanes=st.lists(lanes, max_size=4).map(tuple), term=numbers, whole_requests=read
)


@given(tables)
def test_a_table_comes_back_as_it_was(table: Table) -> None:
    assert link.decode_table(payload(link.encode_table(table))) == table


def test_a_table_of_a_controller_that_knows_no_terms_is_of_term_0() -> None:
    assert link.decode_table(b'{"number": 3, "lanes": [], "secret": ""}') == Table(3)


@given(st.lists(st.builds(Table, number=st.integers(0, 3), term=st.integers(1, 3)), max_size=20))
def test_who_takes_no_older_table_never_goes_back(tables: list[Table]) -> None:
    held, taken = Table(0), [(0, 0)]
    for table in tables:
        if not table.is_older_than(held):
            held = table
            taken.append((table.term, table.number))
    assert taken == sorted(taken)


@given(frames, st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_do_not_depend_on_how_the_stream_was_cut(sent: list[tuple[Frame, bytes]], cuts: list[int]) -> None:
    reader = FrameReader()
    stream = b"".join(link.frame(kind, data) for kind, data in sent)
    assert [frame for piece in pieces(stream, cuts) for frame in reader.feed(piece)] == sent


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(1, 40))
def test_whoever_stops_amid_frames_gets_the_rest_from_the_next_call(takes: list[int], size: int) -> None:
    """Compiled, too: there a generator that is released runs no `finally`."""
    sent = [(Frame.PAIR, bytes([number]) * size) for number in range(30)]
    stream = b"".join(link.frame(kind, payload) for kind, payload in sent)
    reader, found = FrameReader(), []
    for data, most in [(stream[:100], 1), (stream[100:], 2), *((b"", n) for n in takes), (b"", 30)]:
        for frame in reader.feed(data):
            found.append(frame)
            most -= 1
            if not most:
                break
    assert found == sent


def test_frames_before_garbage_are_still_given_out() -> None:
    stream = FrameReader().feed(link.frame(Frame.DRAIN, b"x") + struct.pack("<IB", 0, 255))
    assert next(stream) == (Frame.DRAIN, b"x")
    with pytest.raises(LinkError, match="unknown kind of frame: 255"):
        next(stream)


def test_a_length_that_no_frame_has_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(LinkError, match="at most"):
        list(FrameReader().feed(struct.pack("<IB", link.MAX_FRAME + 1, Frame.PAIR)))


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_is_raised(garbage: bytes) -> None:
    for decode in (
        lambda: list(FrameReader().feed(garbage)),
        lambda: link.decode_pair(garbage, {0: "t"}, "w"),
        lambda: link.decode_observation(garbage, {0: "r"}, "w"),
        lambda: link.decode_mark(garbage),
        lambda: link.decode_table(garbage),
        lambda: link.read_note(garbage),
    ):
        try:
            decode()
        except LinkError:
            continue


@given(pairs, st.integers(1, 40))
def test_a_pair_that_was_cut_short_is_refused(pair: Pair, missing: int) -> None:
    data = payload(link.encode_pair(pair, 0))
    with pytest.raises(LinkError):
        link.decode_pair(data[: max(0, len(data) - missing)], {0: pair.trial}, pair.worker)


@given(pairs)
def test_a_pair_with_bytes_left_over_is_refused(pair: Pair) -> None:
    with pytest.raises(LinkError, match="in a frame of"):
        link.decode_pair(payload(link.encode_pair(pair, 0)) + b"x", {0: pair.trial}, pair.worker)


def test_a_pair_of_a_trial_that_nobody_named_is_refused() -> None:
    pair = Pair("t", 1, "w", 0, "id", 0.0, Arm.LIVE, b"", b"", Outcome(200), Outcome(200))
    with pytest.raises(LinkError):
        link.decode_pair(payload(link.encode_pair(pair, 7)), {0: "t"}, "w")


@pytest.mark.parametrize(
    "note",
    [b"[]", b"1", b"{", b'{"number": 1}', b'{"number": 1, "lanes": [{}]}', b'{"number": 1, "lanes": [7]}',
     b'{"number": 1, "lanes": [{"state": "nowhere"}]}', b'{"number": 1, "lanes": 5}'],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(note: bytes) -> None:
    with pytest.raises(LinkError):
        link.decode_table(note)


def test_every_reason_fits_into_its_byte() -> None:
    assert len(Reason) <= 256
