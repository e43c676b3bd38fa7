"""Promise: a header block means here what it means to the package `hpack`, valid or not, and one that comes again is
known only as long as it means the same."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.http2 import Headers, Http2Error
from proxy.http.http2.blocks import MAX_KNOWN, Blocks
from proxy.http.http2.decoding import HeaderDecoder, unhuffed
from proxy.http.http2.frames import COMPRESSION_ERROR, END_HEADERS, ENHANCE_YOUR_CALM

LIMIT = 2_000
NAMES = st.sampled_from([b":path", b":status", b"te", b"x-user-id", b"grpc-timeout", b"x-long-name-of-ours"])
VALUES = st.one_of(st.sampled_from([b"200", b"trailers", b"/a.B/C"]), st.binary(max_size=40), st.just(b"v" * 900))
FIELD = st.tuples(NAMES, VALUES, st.booleans())
PLAIN = st.sampled_from(
    [b"\x82", b"\x88", b"\xbe", b"\xbf", b"\xc0", b"\xff\x01", b"\x20", b"\x3f\xe1\x1f", b"\x3f\x00"]
)
"""Indices into both tables, and sizes of the dynamic one."""


def said(decode: Decoder | HeaderDecoder, block: bytes) -> Headers | int:
    """The headers, or the code of the mistake."""
    try:
        if isinstance(decode, HeaderDecoder):
            return decode.decode(block)
        return [(bytes(name), bytes(value)) for name, value in decode.decode(block, raw=True)]
    except Http2Error as error:
        return error.code
    except OversizedHeaderListError:
        return ENHANCE_YOUR_CALM
    except HPACKError:
        return COMPRESSION_ERROR


@given(st.lists(st.tuples(st.lists(FIELD, max_size=8), st.booleans(), st.sampled_from([None, 0, 60, 300, 4096]))))
def test_what_an_encoder_writes(blocks: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]]) -> None:
    """Row by row on one connection: the tables stay the same."""
    encoder, ours, theirs = Encoder(), HeaderDecoder(LIMIT), Decoder(LIMIT)
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        found = said(theirs, block)
        assert said(ours, block) == found
        if isinstance(found, int):
            return


@given(st.lists(st.one_of(st.binary(max_size=12), PLAIN), max_size=12), st.booleans())
def test_any_bytes(pieces: list[bytes], together: bool) -> None:
    ours, theirs = HeaderDecoder(LIMIT), Decoder(LIMIT)
    for block in [b"".join(pieces)] if together else pieces:
        found = said(theirs, block)
        assert said(ours, block) == found
        if isinstance(found, int):
            return


@given(st.binary(max_size=40))
def test_any_string(data: bytes) -> None:
    block = b"\x10\x01x" + bytes((0x80 | len(data),)) + data
    found = said(Decoder(LIMIT), block)
    if isinstance(found, int):
        with pytest.raises(Http2Error):
            unhuffed(data)
    else:
        assert [(b"x", unhuffed(data))] == found


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # beyond the table
        b"\x40",
        b"\x40\x01",
        b"\x40\x01a\x05b",
        b"\x82\x20",  # a size amid headers
        b"\x3f\xe2\x1f",  # 4097
        b"\xff\x80\x80\x80\x80\x80\x00",  # an integer without end
        b"\x10\x01a\x84\xff\xff\xff\xff",  # the end of a string within it
        b"\x10\x01a\x81\x00",  # half a symbol
        b"\x10\x01a\x82\x1f\xff",  # padding of eight bits
    ],
)
def test_what_is_no_block(block: bytes) -> None:
    assert said(HeaderDecoder(LIMIT), block) == COMPRESSION_ERROR == said(Decoder(LIMIT), block)


def test_the_table_holds_no_more_than_it_may() -> None:
    decoder = HeaderDecoder(1 << 20)
    for number in range(2_000):
        decoder.decode(b"\x40\x02%c%c\x00" % (number // 256, number % 256))
        assert sum(32 + len(name) + len(value) for name, value in decoder._entries) == decoder._held <= 4096
    decoder.decode(b"\x40\x01a\x7f\xa1\x1f" + bytes(4_128))  # longer than the table: it is empty now
    assert decoder._held == 0


# --- blocks that are known ---


def one(blocks: Blocks, block: bytes) -> Headers:
    blocks.begin(1, END_HEADERS)
    headers = blocks.more(END_HEADERS, block)
    assert headers is not None
    return headers


def test_a_block_that_changes_nothing_is_read_once() -> None:
    blocks = Blocks(LIMIT)
    block = b"\x83" + b"\x10\x01a\x01b" + b"\x00\x01c\x01d"
    headers = one(blocks, block)
    known = blocks.known
    assert known is not None
    assert headers == [(b":method", b"POST"), (b"a", b"b"), (b"c", b"d")]
    one(blocks, b"\x82")
    assert blocks.known is not known
    one(blocks, block)
    assert blocks.known is known


def test_a_block_is_not_known_once_the_table_has_changed() -> None:
    blocks = Blocks(LIMIT)
    assert one(blocks, b"\x40\x01a\x01b") == [(b"a", b"b")]
    assert blocks.known is None
    assert one(blocks, b"\xbe") == [(b"a", b"b")]
    assert blocks.known is not None
    one(blocks, b"\x40\x01c\x01d")
    assert one(blocks, b"\xbe") == [(b"c", b"d")]
    one(blocks, b"\x20\x82")  # the table is emptied
    with pytest.raises(Http2Error):
        one(blocks, b"\xbe")


def test_no_more_blocks_are_known_than_are_of_use() -> None:
    blocks = Blocks(1 << 20)
    for number in range(10 * MAX_KNOWN):
        one(blocks, b"\x10\x01a\x02%c%c" % (number // 256, number % 256))
    one(blocks, b"\x10\x01a\x7f\xa1\x1f" + bytes(4_128))
    assert len(blocks._known) == MAX_KNOWN
    assert max(map(len, blocks._known)) < 10
