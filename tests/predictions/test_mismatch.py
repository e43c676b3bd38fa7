"""Promise: two answers differ when one refuses, their class of status, emptiness or media type is another, and equal
answers never do; which arm is named first makes no difference."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.statuses import REFUSALS
from proxy.model import Mismatch, Outcome
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from proxy.predictions.mismatch import mismatch
from tests.predictions.pairs import pair

POST, HEAD = b"POST /p HTTP/1.1\r\nhost: m\r\n\r\n", b"HEAD /p HTTP/1.1\r\nhost: m\r\n\r\n"
JSON, HTML = "application/json", "text/html; charset=utf-8"
GRPC, PROTO = "application/grpc", "application/grpc+proto"
EMPTY_MESSAGE, MESSAGE = bytes(5), b"\0\0\0\0\1x"


def said(status: int = 200, body: bytes = b"{}", media: str = JSON, *lines: str) -> Outcome:
    """A whole answer."""
    listed = [f"HTTP/1.1 {status} Fine", *([f"Content-Type: {media}"] if media else []), *lines, "", ""]
    return Outcome(status, head="\r\n".join(listed).encode(), body=body)


GOOD = said()
DIFFERENT = [
    (GOOD, said(307, b"", ""), "status_class"),
    (GOOD, said(204, b"", ""), "empty"),
    (GOOD, said(200, b""), "empty"),
    (GOOD, said(200, b"<html>", HTML), "media_type"),
    (GOOD, said(404), "refusal"),
    (GOOD, said(401), "refusal"),
    (GOOD, said(400), "status_class"),
    (said(307, b"", ""), said(404, b"", ""), "refusal"),
    (said(307, b"", ""), said(400, b"", ""), "status_class"),
    (said(400), said(422), "refusal"),
    (said(404), said(404, b"<html>", HTML), "media_type"),
    (said(404), said(403, b""), "empty"),
    (said(304, b"", ""), said(307, b"", ""), "status_class"),
    (GOOD, said(304, b"", ""), "status_class"),
    (said(304, b"", ""), said(410, b"", ""), "refusal"),
    (GOOD, said(media=""), "media_type"),
    (GOOD, said(200, gzip.compress(b""), JSON, "Content-Encoding: gzip"), "empty"),
    (said(200, MESSAGE, GRPC), said(200, EMPTY_MESSAGE, GRPC), "empty"),
    (said(200, MESSAGE, GRPC), said(200, b"", GRPC), "empty"),
    (said(200, MESSAGE, GRPC), said(404, b"", GRPC, "grpc-status: 5"), "refusal"),
    (said(200, MESSAGE, GRPC), said(200, MESSAGE, "application/grpc+json"), "media_type"),
    (said(200, b"data: 1\n\n", "text/event-stream"), said(200, b"{}\n", "application/x-ndjson"), "media_type"),
]
ALIKE = [
    (GOOD, said(200, b"[]", "Application/JSON; charset=utf-8")),
    (GOOD, said(201)),
    (said(301, b"", ""), said(308, b"", "")),
    (said(204, b"", ""), said(200, b"")),
    (said(400), said(409)),
    (said(401), said(403)),
    (said(media=""), said(media="application/octet-stream")),
    (GOOD, said(200, gzip.compress(b"[]"), JSON, "Content-Encoding: gzip")),
    (GOOD, said(200, b"not gzip", JSON, "Content-Encoding: gzip")),
    (GOOD, said(200, b"\x00" * 10)),  # zeros are nothing in gRPC alone
    (said(200, MESSAGE, GRPC), said(200, MESSAGE, PROTO)),
    (said(200, EMPTY_MESSAGE * 2, GRPC), said(200, b"", GRPC)),
    (said(404, b"", GRPC, "grpc-status: 5"), said(403, b"", GRPC, "grpc-status: 7")),
]


@pytest.mark.parametrize(("live", "candidate", "word"), DIFFERENT)
def test_answers_that_differ(live: Outcome, candidate: Outcome, word: str) -> None:
    assert mismatch(POST, live, candidate) == word
    assert mismatch(POST, candidate, live) == word


@pytest.mark.parametrize(("live", "candidate"), ALIKE)
def test_answers_that_do_not(live: Outcome, candidate: Outcome) -> None:
    assert mismatch(POST, live, candidate) is Mismatch.NONE
    assert mismatch(POST, candidate, live) is Mismatch.NONE


def test_what_is_asked_by_head_has_no_body_to_compare() -> None:
    assert mismatch(HEAD, said(body=b""), said(204, b"", "")) is Mismatch.NONE
    assert mismatch(HEAD, said(body=b""), said(200, b"", HTML)) is Mismatch.MEDIA_TYPE
    assert mismatch(HEAD, said(body=b""), said(404, b"")) is Mismatch.REFUSAL


@pytest.mark.parametrize("asked", ['If-None-Match: "7"', "if-modified-since: Sun, 29 Nov 2026 01:00:00 GMT"])
def test_what_has_not_changed_stands_for_the_answer_where_that_was_asked(asked: str) -> None:
    conditional, unchanged = f"GET /p HTTP/1.1\r\nhost: m\r\n{asked}\r\n\r\n".encode(), said(304, b"", "")
    assert mismatch(conditional, GOOD, unchanged) is mismatch(conditional, unchanged, unchanged) is Mismatch.NONE
    assert mismatch(conditional, unchanged, said(307, b"", "")) is Mismatch.STATUS_CLASS
    assert mismatch(conditional, unchanged, said(404)) is Mismatch.REFUSAL


@pytest.mark.parametrize(
    "failed", [said(500), said(503), said(429), said(408), Outcome(0, Reason.TIMEOUT), Outcome(200, Reason.DISCONNECT)]
)
def test_a_failure_of_an_arms_own_is_compared_with_nothing(failed: Outcome) -> None:
    for other in (GOOD, said(404), failed):
        assert mismatch(POST, failed, other) is mismatch(POST, other, failed) is None


ANSWERS = st.builds(
    said,
    st.sampled_from([200, 201, 204, 206, 301, 304, 307, 400, *sorted(REFUSALS), 408, 409, 429, 500, 503]),
    st.sampled_from([b"", b"{}", b"<html>", EMPTY_MESSAGE, MESSAGE, gzip.compress(b"")]),
    st.sampled_from(["", JSON, HTML, "TEXT/html", GRPC, PROTO, "application/octet-stream", ";", "?"]),
    st.sampled_from(["Server: x", "Content-Encoding: gzip", "content-encoding: ?"]),
)


@given(ANSWERS, ANSWERS, st.sampled_from([POST, HEAD]))
def test_which_arm_comes_first_makes_no_difference(one: Outcome, other: Outcome, asked: bytes) -> None:
    assert mismatch(asked, one, other) is mismatch(asked, other, one)
    assert not mismatch(asked, one, one._replace(seconds=1.0))


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_no_bytes_make_it_raise(head: bytes, body: bytes, other_head: bytes, other_body: bytes) -> None:
    coded = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n" + head
    one, other = Outcome(200, head=coded, body=body), Outcome(200, head=other_head, body=other_body)
    assert mismatch(POST, one, other) is mismatch(POST, other, one)


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (said(307, b"", ""), "candidate: answered 307 where live answered 200"),
        (said(200, b""), "candidate: an empty answer where live's is not"),
        (said(200, b"<html>", HTML), "candidate: answered text/html where live answered application/json"),
    ],
)
def test_a_reading_says_in_what_they_differ(candidate: Outcome, words: str) -> None:
    reading = read_pair(None, pair(GOOD, candidate))
    assert (reading.fault, reading.live_fault, reading.detail) == (Reason.NONE, Reason.NONE, words)
    assert reading.mismatch


def test_a_mismatch_stands_beside_a_failure() -> None:
    worse, better = read_pair(None, pair(GOOD, said(404))), read_pair(None, pair(said(404), GOOD))
    assert (worse.fault, worse.mismatch) == (Reason.STATUS_4XX, Mismatch.REFUSAL)
    assert (better.live_fault, better.mismatch) == (Reason.STATUS_4XX, Mismatch.REFUSAL)
    assert read_pair(None, pair(GOOD, GOOD)).mismatch is Mismatch.NONE
    assert read_pair(None, pair(said(500), GOOD)).mismatch is None
