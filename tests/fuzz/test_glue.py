"""Promise: no bytes make the proxy raise, and what it forwards is read alike by an independent parser (see `glue`)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.glue import ANSWERS, MARK, SEEDS, once, requests_read_alike
from tests.worker.test_cuts import Bench, damaged

PUT = st.sampled_from(
    (b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\x80", b",", b";", b"Content-Length: 5\r\n", b"Host: q\r\n",
     b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0", b"#", b"@", b"0")
)  # fmt: skip
DAMAGE = st.lists(st.tuples(st.integers(0, 400), PUT, st.integers(0, 3)), max_size=4)


@settings(max_examples=300)
@given(
    st.sampled_from(SEEDS),
    st.integers(1, 2),
    DAMAGE,
    st.sampled_from(ANSWERS),
    DAMAGE,
    st.binary(min_size=2, max_size=2),
)
def test_damaged_messages(seed: bytes, times: int, damage: list, answer: bytes, back: list, cuts: bytes) -> None:
    once(cuts + damaged(seed * times, damage) + MARK + damaged(answer, back))


@pytest.mark.parametrize("before", [b"\r", b"\n", b"\r\r\n", b"\n\n"])
def test_nothing_but_an_empty_line_before_a_request(before: bytes) -> None:
    """Found by fuzzing: llhttp skips it, and the head would have been forwarded with it."""
    model, client = Bench().feed(before + SEEDS[0], b"", [], [])
    assert model == b""
    assert client.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("reason", [b"\0", b"O\x01K", b"O\x7f"])
def test_a_reason_phrase_has_no_control_bytes(reason: bytes) -> None:
    """Found by fuzzing: llhttp takes any bytes for it, and the client would have got them."""
    _, client = Bench().feed(SEEDS[0], b"HTTP/1.1 200 " + reason + ANSWERS[0][15:], [], [])
    assert client.startswith(b"HTTP/1.1 502 ")


def test_trailers_behind_an_upgrade_offer_are_checked() -> None:
    """Found by fuzzing: llhttp stops reading at an offer to upgrade, and only the scanner saw the trailers."""
    head = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: we\r\nTransfer-Encoding: chunked\r\n\r\n"
    model, client = Bench().feed(head + b"0\r\nT: v\rGET /y HTTP/1.1\r\n\r\n", ANSWERS[0], [], [])
    assert b"/y" not in model
    assert client.startswith(b"HTTP/1.1 400 ")


def test_the_second_reader_objects() -> None:
    with pytest.raises(Exception, match="request line"):
        requests_read_alike(b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n")
