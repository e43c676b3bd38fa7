"""Promise: JSON from strangers becomes a value or a reason word, pointers follow RFC 6901, and depth is bounded."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.json_pointer import parse_pointer
from proxy.model.reasons import Reason
from proxy.predictions.json_tools import parse_json, remove, value_at
from proxy.predictions.unreadable import Unreadable

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def reason_of(body: bytes) -> Reason:
    with pytest.raises(Unreadable) as caught:
        parse_json(body)
    return caught.value.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EMPTY),
        (b" \n", Reason.EMPTY),
        (b"<html>", Reason.NOT_JSON),
        (b'{"a": 1', Reason.TRUNCATED),
        (b'{"a": "x', Reason.TRUNCATED),
        (b'"\xff\xfe"', Reason.BAD_ENCODING),
        (b'"\xed\xa0\x80"', Reason.BAD_ENCODING),
        (b"[" * 5000 + b"]" * 5000, Reason.TOO_DEEP),
        (b"[" * 50_000 + b"NaN" + b"]" * 50_000, Reason.TOO_DEEP),
        (b"[1e999]", Reason.NOT_FINITE),
        (b"[NaN", Reason.NOT_JSON),
        (b'[NaN, "\xed\xa0\x80"]', Reason.BAD_ENCODING),
    ],
)
def test_what_is_wrong_has_a_word(body: bytes, reason: Reason) -> None:
    assert reason_of(body) is reason


def test_nan_as_tensorflow_serving_writes_it_is_read() -> None:
    value = parse_json(b'{"predictions": [NaN, Infinity, -Infinity]}')["predictions"]
    assert math.isnan(value[0])
    assert value[1:] == [math.inf, -math.inf]


def test_integers_beyond_64_bits_are_floats_either_way() -> None:
    for text in (b"[%d]", b"[%d, NaN]"):
        assert parse_json(text % 10**30)[0] == 1e30
        assert type(parse_json(text % 10**30)[0]) is float


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), -(2**53) - 1, 10**18, -(10**18)])
def test_integers_of_64_bits_are_exact_beside_what_is_no_number(number: int) -> None:
    for beside in ("NaN", "Infinity", "-Infinity", "0.5"):
        found = parse_json(b'{"a": [%d], "b": %s}' % (number, beside.encode()))["a"]
        assert (found, type(found[0])) == ([number], int)


NUMBERS = st.integers(-(2**70), 2**70) | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
LEAVES = NUMBERS | st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
NESTED = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)


@given(st.lists(NESTED, min_size=1, max_size=5), st.data(), st.sampled_from(["NaN", "Infinity", "-Infinity"]))
def test_one_nan_changes_no_other_value(values: list[object], data: st.DataObject, beside: str) -> None:
    at = data.draw(st.integers(0, len(values)))
    parts = [json.dumps(value) for value in values]
    plain = parse_json(f"[{','.join(parts)}]".encode())
    odd = parse_json(f"[{','.join([*parts[:at], beside, *parts[at:]])}]".encode())
    assert not math.isfinite(odd.pop(at))
    assert repr(odd) == repr(plain)  # `repr`, since 1 == 1.0
    exact = parse_json(f"[{','.join(parts)}]".encode(), exact=True)
    assert exact == json.loads(f"[{','.join(parts)}]")


@given(JSON)
def test_reads_what_the_standard_library_reads(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


# The document and the table of section 5 of RFC 6901.
RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        ("/fo", "`fo` is missing at the top; found `foo`, ``, `a/b`, `c%d`, `e^f` and 5 more"),
        ("/foo/2", "`2` is missing at /foo; found an array of 2"),
        ("/foo/-", "`-` is missing at /foo"),
        ("/foo/01", "`01` is missing at /foo"),
        ("/foo/²", "`²` is missing at /foo"),
        ("/foo/99999999999999999999", "is missing at /foo"),
        ("/foo/0/x", "`x` is missing at /foo/0; found text"),
    ],
)
def test_a_pointer_to_nowhere_says_what_is_there(pointer: str, words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        value_at(RFC, parse_pointer(pointer))
    assert caught.value.reason is Reason.MISSING_OUTPUT
    assert words in caught.value.detail


def test_drop_keeps_the_places_of_other_elements() -> None:
    document = {"id": 1, "rows": [{"at": 5, "x": 1}, 2]}
    for pointer in ("/id", "/rows/0/at", "/rows/1", "/rows/9", "/nowhere/1", "", "/rows/x"):
        remove(document, parse_pointer(pointer))
    assert document == {"rows": [{"x": 1}, None]}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b"\xef\xbb\xbf[1, Infinity]", [1, float("inf")]),
        (b'["\\ud800", "\\uDC00x", "\\ud83d\\ude00"]', ["\ufffd", "\ufffdx", "\U0001f600"]),
        (b'["\\ud800\\ud83d\\ude00", "\\\\ud800"]', ["\ufffd\U0001f600", "\\ud800"]),
        (b'["\\ud800", Infinity]', ["\ufffd", float("inf")]),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_a_mark_is_passed_over_and_half_a_character_is_none(body: bytes, value: object, exact: bool) -> None:
    assert parse_json(body, exact=exact) == value
