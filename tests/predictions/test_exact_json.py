"""Promise: whole numbers are read and written digit by digit, `NaN` beside them or not, and nothing that is no JSON
text is let in with them."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.pairs.redaction import redact
from proxy.predictions import exact_json

EDGES = [0, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18, 10**19, 10**20, 10**300]
whole = st.sampled_from(EDGES) | st.integers(-(2**70), 2**70)


@given(whole)
def test_within_64_bits_it_reads_what_orjson_reads(number: int) -> None:
    text = str(number)
    found, expected = exact_json.as_orjson(text), orjson.loads(text)
    assert (found, type(found)) == (expected, type(expected))
    assert exact_json.fits_64_bits(number) == (type(expected) is int)


@given(st.recursive(whole | st.text(), lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside)))
def test_what_is_written_is_read_again_whatever_its_digits(value: Any) -> None:
    written = exact_json.dumps(value)
    assert exact_json.loads(written) == json.loads(written) == value


@pytest.mark.parametrize("body", [b"\xff\xfe1\x00", b'["\xed\xa0\x80"]', b'["\\ud800"]', b"\xef\xbb\xbf1", b"[1", b""])
def test_what_is_no_json_text_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"codec|BOM|surrogates|line 1"):
        exact_json.loads(body)


@pytest.mark.parametrize("beside", ["NaN", "123456789012345678901", "-Infinity"])
def test_a_redacted_body_keeps_its_other_values(beside: str) -> None:
    body = b'{"id":1790000000000000001,"x":%s,"secret":"s","f":1e30}' % beside.encode()
    redacted = redact(body, ["/secret"])
    assert redacted is not None
    expected = json.loads(body) | {"secret": "[redacted]"}
    assert repr(json.loads(redacted)) == repr(expected)
    assert (beside == "NaN") == any(isinstance(v, float) and math.isnan(v) for v in json.loads(redacted).values())
