"""Promise: a request id is one visible word, and one that we make is a UUID version 7 of its time."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.ids import uuid7_tails, uuid7_time, valid_id


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=40))
def test_uuid7(milliseconds: int, random: bytes) -> None:
    tails = uuid7_tails(random)
    assert len(tails) == len(random) // 10
    made = uuid.UUID((uuid7_time(milliseconds) + tails[0]).decode())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == milliseconds


@given(st.binary(max_size=200))
def test_valid_ids_are_visible_ascii(value: bytes) -> None:
    assert valid_id(value) == (0 < len(value) <= 128 and all(0x21 <= byte <= 0x7E for byte in value))
