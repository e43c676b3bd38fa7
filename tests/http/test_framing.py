"""Promise: where our count of a message and llhttp's opinion differ, nothing is passed on.

Both are strict, and no bytes are known that they read differently; so a parser that errs stands in for llhttp here.
"""

from __future__ import annotations

import pytest
from httptools import HttpResponseParser
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.http.chunks import FEW
from proxy.http.framing import Framing, FramingError
from proxy.http.headers import CHUNKED, UNTIL_CLOSE


class Erring:
    """Says that a message is complete after so many feeds, the head being the first."""

    def __init__(self, protocol: Framing, ends_at: int) -> None:
        self.protocol, self.ends_at = protocol, ends_at

    def feed_data(self, data: bytes) -> None:
        self.ends_at -= 1
        if not self.ends_at:
            self.protocol.on_message_complete()


def framing(ends_at: int) -> Framing:
    one = Framing(lambda protocol: Erring(protocol, ends_at))  # type: ignore[arg-type, return-value]
    one.head(b"")
    return one


@pytest.mark.parametrize("ends_at", [2, 0])
def test_a_message_without_a_body_that_llhttp_expects_one_of(ends_at: int) -> None:
    framing(1).open(0)
    with pytest.raises(FramingError):
        framing(ends_at).open(0)


@pytest.mark.parametrize(("length", "pieces"), [(4, (b"ab", b"cd")), (CHUNKED, (b"2\r\nab\r\n", b"0\r\n\r\n"))])
def test_a_body_that_llhttp_ends_elsewhere(length: int, pieces: tuple[bytes, bytes]) -> None:
    for ends_at in (2, 3, 4):
        one = framing(ends_at)
        one.open(length)
        if ends_at == 2:
            with pytest.raises(FramingError):
                one.take(pieces[0], 0)
            continue
        one.take(pieces[0], 0)
        if ends_at == 4:
            with pytest.raises(FramingError):
                one.take(pieces[1], 0)
        else:
            one.take(pieces[1], 0)
            assert one.done


def test_a_body_ended_by_close_has_no_end_of_its_own() -> None:
    one = framing(0)
    one.open(UNTIL_CLOSE)
    assert one.take(b"abc", 0) == 3
    assert not one.done


SIZE_LINES = st.sampled_from(
    (b"3\r\n", b"03\r\n", b"3;x=y\r\n", b"3\n", b"3 \r\n", b"\r\n", b"0\r\n", b"g\r\n", b"fffffffffffffffff\r\n")
)
CHUNKS = st.lists(
    st.tuples(SIZE_LINES, st.sampled_from((b"abc\r\n", b"abc\n\r", b"abcd\r\n", b"ab\r\n", b"abc\r"))),
    min_size=1,
    max_size=4,
)


def streamed() -> Framing:
    """In front of a chunked answer's first chunk."""
    one = Framing(HttpResponseParser)
    one.head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    one.open(CHUNKED)
    return one


@given(CHUNKS)
@example([(b"3\r\n", b"abc\r\n")] * 3)
def test_chunks_that_pass_are_what_both_would_have_read_and_the_rest_is_read_by_both(
    chunks: list[tuple[bytes, bytes]],
) -> None:
    data = b"".join(line + body for line, body in chunks)
    plain = all(line in (b"3\r\n", b"03\r\n") and body == b"abc\r\n" for line, body in chunks)
    one, both = streamed(), streamed()
    assert one.passes(data) is plain
    if not plain:
        assert one.scanner is not None
        assert one.scanner.size == one.scanner.lines == 0, "nothing of it is counted"
        return
    assert both.take(data, 0) == len(data)
    assert one.scanner is not None
    assert both.scanner is not None
    assert (one.scanner.size, one.scanner.lines) == (both.scanner.size, both.scanner.lines)
    for each in (one, both):
        each.take(b"4\r\nab", 0)
        assert not each.passes(b"3\r\nabc\r\n"), "in the middle of a chunk nothing passes"
        each.take(b"cd\r\n0\r\n\r\n", 0)
        assert each.done
    assert not one.passes(b"3\r\nabc\r\n"), "nor after the last"


def test_no_more_than_a_few_chunks_pass_in_one_go() -> None:
    one = streamed()
    assert one.passes(b"1\r\nx\r\n" * FEW)
    assert not one.passes(b"1\r\nx\r\n" * (FEW + 1))
