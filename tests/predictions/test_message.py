"""Promise: headers are found in raw heads, and content codings are undone without ever inflating past the bound."""

from __future__ import annotations

import gzip
import sys
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.reasons import Reason
from proxy.predictions.bounds import MAX_BODY
from proxy.predictions.message import decoded, head_value, media_type, target_of
from proxy.predictions.unreadable import Unreadable


def head(coding: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: " + coding.encode() + b"\r\n\r\n"


def reason_of(coding: str, body: bytes) -> Reason:
    with pytest.raises(Unreadable) as caught:
        decoded(head(coding), body)
    return caught.value.reason


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@given(st.binary(max_size=2000))
def test_every_coding_is_undone(data: bytes) -> None:
    assert decoded(head("gzip"), gzip.compress(data)) == data
    assert decoded(head("X-GZIP"), gzip.compress(data)) == data
    assert decoded(head("deflate"), zlib.compress(data)) == data
    assert decoded(head("deflate, gzip"), gzip.compress(zlib.compress(data))) == data
    assert decoded(head("br"), brotli.compress(data)) == data
    assert decoded(head("zstd"), zstandard.compress(data)) == data
    assert decoded(head("zstd"), zstandard.ZstdCompressor(write_content_size=False).compress(data)) == data
    assert decoded(head("identity"), data) == data
    assert decoded(b"HTTP/1.1 200 OK\r\n\r\n", data) == data


@given(st.binary(min_size=1, max_size=2000))
def test_deflate_without_its_wrapper_is_undone_too(data: bytes) -> None:
    assert decoded(head("deflate"), raw_deflate(data)) == data


def test_every_member_of_a_gzip_body_is_read() -> None:
    assert decoded(head("gzip"), gzip.compress(b"one ") + gzip.compress(b"two")) == b"one two"


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("gzip", b"plain text", Reason.BAD_ENCODING),
        ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-9], Reason.TRUNCATED),
        ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-1] + b"?", Reason.BAD_ENCODING),
        ("gzip", gzip.compress(b"", mtime=0) * 101, Reason.BAD_ENCODING),  # each would cost a copy of the rest
        ("deflate", b"\x78\x9c\xff\xff", Reason.BAD_ENCODING),
        ("br", b"junk junk", Reason.BAD_ENCODING),
        ("br", brotli.compress(b"x" * 100)[:-2], Reason.TRUNCATED),
        ("zstd", b"plain text", Reason.BAD_ENCODING),
        ("zstd", zstandard.compress(b"one ") + zstandard.compress(b"two"), Reason.BAD_ENCODING),
        ("zstd", zstandard.compress(b"x" * 100)[:-2], Reason.BAD_ENCODING),
        ("compress", b"", Reason.BAD_ENCODING),
        ("gzip, gzip, gzip, gzip", b"", Reason.BAD_ENCODING),
    ],
)
def test_damage_has_a_word(coding: str, body: bytes, reason: Reason) -> None:
    assert reason_of(coding, body) is reason


def test_a_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(bytes(MAX_BODY + 1))
    assert len(bomb) < 20_000
    assert reason_of("gzip", bomb) is Reason.DECOMPRESSED_TOO_LARGE
    assert reason_of("gzip", gzip.compress(bytes(MAX_BODY // 2 + 1)) * 2) is Reason.DECOMPRESSED_TOO_LARGE
    assert reason_of("br", brotli.compress(bytes(MAX_BODY + 1))) is Reason.DECOMPRESSED_TOO_LARGE
    unsized = zstandard.ZstdCompressor(write_content_size=False)
    assert reason_of("zstd", zstandard.compress(bytes(MAX_BODY + 1))) is Reason.DECOMPRESSED_TOO_LARGE
    assert reason_of("zstd", unsized.compress(bytes(MAX_BODY + 1))) is Reason.DECOMPRESSED_TOO_LARGE
    assert len(decoded(head("gzip"), gzip.compress(bytes(MAX_BODY)))) == MAX_BODY
    assert len(decoded(head("br"), brotli.compress(bytes(MAX_BODY)))) == MAX_BODY
    assert len(decoded(head("zstd"), zstandard.compress(bytes(MAX_BODY)))) == MAX_BODY


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "zstandard")])
def test_a_missing_package_is_named(coding: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unreadable, match=f"understudy.{coding}"):
        decoded(head(coding), b"")


def test_headers_are_found_whatever_their_case_and_blanks() -> None:
    raw = b"GET /x?content-type:y HTTP/1.1\r\nX-Content-Type: no\r\nCONTENT-type:\t Text/CSV ; q=1 \r\nlast:\r\n\r\n"
    assert head_value(raw, "Content-Type") == "Text/CSV ; q=1"
    assert media_type(raw) == "text/csv"
    assert head_value(raw, "last") == ""
    assert head_value(raw, "absent") == ""


def test_the_target_is_a_requests_only() -> None:
    assert target_of(b"POST /v2/models/a/infer?x=1 HTTP/1.1\r\n\r\n") == "/v2/models/a/infer?x=1"
    assert target_of(b"HTTP/1.1 200 OK\r\n\r\n") == ""
    assert target_of(b"") == ""
