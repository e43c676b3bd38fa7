"""Promise: what is found of a JSON body in one pass is what a parser finds, whatever the body and what is asked. (What
is found without such a pass: `test_skimming`.)"""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fields.document import ABSENT, PRESENT, UNKNOWN, JsonDocument, JsonReader, as_written
from proxy.http.chunks import joined_chunks
from proxy.http.request_head import read_request
from proxy.json_pointer import child

NAMES = st.sampled_from(["a", "b", "0", "1", "", "a/b", '"', "\\", "é", "\n", "model", "𝔘"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | NAMES
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
POINTERS = st.lists(st.lists(NAMES, max_size=3).map(tuple), max_size=4)
HEAD = b"POST / HTTP/1.1\r\nHost: m\r\n%b\r\n"


def found(document: JsonDocument, pointer: tuple[str, ...]) -> list[Any]:
    try:
        return [document.value(pointer)]
    except LookupError:
        return []


def expected(value: Any, pointer: tuple[str, ...]) -> list[Any]:
    try:
        return [reduce(child, pointer, value)]
    except LookupError:
        return []


@given(value=VALUES, asked=POINTERS, others=POINTERS, ascii_only=st.booleans(), indent=st.none() | st.just(1))
def test_every_pointer_leads_where_a_parser_leads(
    value: Any, asked: list[tuple[str, ...]], others: list[tuple[str, ...]], ascii_only: bool, indent: int | None
) -> None:
    """Pointers that the reader was made for, in any number and one within the other, and such that it was not."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    document = JsonReader(asked).read(text)
    assert document is not None
    read = orjson.loads(text)  # of numbers beyond 64 bits it makes floats, as the value is asked for later too
    for pointer in (*asked, *others):
        assert found(document, pointer) == expected(read, pointer)
    fresh = JsonReader(asked).read(text)
    assert fresh is not None
    for name in ("a", "model", '"'):
        known = fresh.has_member(name)
        assert known == UNKNOWN or (known == PRESENT) is (isinstance(read, dict) and name in read)


@given(value=VALUES, asked=POINTERS, other=SCALARS)
def test_it_has_what_is_equal_and_true_is_no_1(value: Any, asked: list[tuple[str, ...]], other: Any) -> None:
    text = json.dumps(value).encode()
    read = orjson.loads(text)
    for pointer in asked:
        document = JsonReader(asked).read(text)
        assert document is not None
        there = expected(read, pointer)
        alike = bool(there) and there[0] == other and isinstance(there[0], bool) is isinstance(other, bool)
        assert document.has(pointer, other, as_written(other)) is alike


SPELLINGS = st.sampled_from(['"a"', '"\\u0061"', '"b"', '"a" '])
MEMBER = st.tuples(SPELLINGS, st.sampled_from(["1", "2", '{"b":1}', "[3]", "[]"]))


@given(st.lists(MEMBER, max_size=5), POINTERS)
def test_of_names_that_stand_twice_the_last_counts(members: list[tuple[str, str]], more: list[tuple[str, ...]]) -> None:
    text = "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"
    document = JsonReader([("a",), ("b",), *more]).read(text.encode())
    nested = JsonReader([("a", "b"), ("a", "0")]).read(text.encode())
    assert document is not None
    assert nested is not None
    read = json.loads(text)
    assert document.has_member("a") in ((PRESENT if "a" in read else ABSENT), UNKNOWN)
    for pointer in (("a",), ("b",)):
        assert found(document, pointer) == expected(read, pointer)
    for pointer in (("a", "b"), ("a", "0")):
        assert found(nested, pointer) == expected(read, pointer)


def is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


@given(
    value=VALUES, cuts=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=3)), max_size=3)
)
def test_what_is_json_is_what_a_strict_parser_takes(value: Any, cuts: list[tuple[int, int, bytes]]) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    for at, size, other in cuts:
        text = text[:at] + other + text[at + size :]
    for asked in ([], [("a",)], [("a", "0", "b"), ("model",)], [()], [("0",)]):
        assert (JsonReader(asked, whole=True).read(text) is not None) is is_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"nul", b"{", b'{"a": 01}', b'{"a": 1.}', b'{"a": .5}', b'{"a": +1}', b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\x01"}', b'{"a": "\xff"}', b'{"\xff": 1}', b'{"x": ["\xed\xa0\x80"]}', b'{"a": "\\x"}', b'{"a": 1,}',
        b'{"a": 1} x', b"\xef\xbb\xbf{}", b"{'a': 1}", b'{"a" 1}', b'{"a": "\\ud800"}', b'{"x": [1 2]}', b'{"x": 0x1}',
        b"[" * 1025 + b"]" * 1025, b'{"a":' * 1025 + b"1" + b"}" * 1025,
    ],
)  # fmt: skip
def test_what_is_no_json_is_no_document(text: bytes) -> None:
    for asked in ([], [("a",)], [("x", "0")], [("a", "a")]):
        assert JsonReader(asked, whole=True).read(text) is None
        assert not is_json(text)


@pytest.mark.parametrize("text", [b"[" * 1000 + b"]" * 1000, b'{"a":' * 1000 + b"1" + b"}" * 1000, b'{"a": "\\u0000"}'])
def test_what_is_deep_is_read(text: bytes) -> None:
    assert is_json(text)
    assert JsonReader([("b",), ("a", "a", "x")]).read(text) is not None


def test_a_number_that_no_float_holds_is_not_in_the_way_and_not_found() -> None:
    document = JsonReader([("model",), ("n",)]).read(b'{"n": 1e400, "model": "x"}')
    assert document is not None
    assert found(document, ("model",)) == ["x"]
    assert found(document, ("n",)) == []
    assert not document.has(("n",), 1, as_written(1))


@pytest.mark.parametrize(
    ("line", "body", "text", "tail"),
    [
        (b"", b"[1]", b"[1]", b""),
        (b"Content-Encoding: identity\r\n", b"[1]", b"[1]", b""),
        (b"Inference-Header-Content-Length: 3\r\n", b"[1]\0\xff", b"[1]", b"\0\xff"),
        (b"Transfer-Encoding: chunked\r\n", b"2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n", b"[1]", b""),
    ],
)
def test_a_body_is_read_as_its_head_says(line: bytes, body: bytes, text: bytes, tail: bytes) -> None:
    request = read_request(HEAD % line)
    for _ in range(2):  # what a head says of bodies is looked up once
        document = JsonReader().read_body(request, body)
        assert document is not None
        assert (document.text, document.tail) == (text, tail)
    assert text + tail == (joined_chunks(body) if b"chunked" in line else body)


@pytest.mark.parametrize("line", [b"Content-Encoding: gzip", b"Inference-Header-Content-Length: 4"])
def test_a_body_that_is_not_as_its_head_says_is_no_document(line: bytes) -> None:
    assert JsonReader().read_body(read_request(HEAD % (line + b"\r\n")), b"[1]") is None


def test_pointers_need_no_order() -> None:
    asked = [("user", "id"), ("model",), ("user", "name")]
    found = JsonReader(asked).read(b'{"user":{"id":1,"name":"n"},"model":"m"}')
    assert found is not None
    assert [found.value(pointer) for pointer in asked] == [1, "m", "n"]
