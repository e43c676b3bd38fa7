"""Promise: whatever takes a JSON pointer takes it as RFC 6901 says, and all of them find the same value."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.names import pointer as configured
from proxy.fields.document import JsonReader
from proxy.fields.set_json import rules, set_values
from proxy.fields.sticky import json_key
from proxy.json_pointer import NOWHERE, child, index, parse_pointer
from proxy.pairs.redaction import MASK, redact
from proxy.predictions.json_tools import value_at
from proxy.predictions.unreadable import Unreadable
from proxy.units import Unfit

# The document and the table of section 5 of RFC 6901.
RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2), ("/e^f", 3),
        ("/g|h", 4), ("/i\\j", 5), ('/k"l', 6), ("/ ", 7), ("/m~0n", 8),
    ],
)  # fmt: skip
def test_pointers_as_in_the_rfc(pointer: str, value: object) -> None:
    assert value_at(RFC, parse_pointer(pointer)) == value


@pytest.mark.parametrize("pointer", ["foo", "/a~", "/a~2", "#/a"])
def test_what_is_no_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(ValueError, match="JSON pointer"):
        parse_pointer(pointer)
    with pytest.raises(Unfit, match="JSON pointer"):
        configured(pointer)


def test_a_tilde_is_unescaped_last() -> None:
    assert parse_pointer("/~01") == ("~1",)


@pytest.mark.parametrize("token", ["", "-", "-1", "+1", "01", "1.0", " 1", "²", "٣", "1_0", "9" * 10, "9" * 5000])
def test_what_is_no_array_index_leads_nowhere_for_every_reader(token: str) -> None:
    body = b"[[1, 2, 3, 4]]"
    assert index(token) == NOWHERE
    with pytest.raises(LookupError):
        child([1, 2, 3, 4], token)
    with pytest.raises(Unreadable):
        value_at(json.loads(body), ("0", token))
    read = JsonReader([("0", token)]).read(body)
    assert read is not None
    assert json_key(read, ("0", token)) == b""
    assert set_values(read, rules({f"/0/{token}": 9})) is None
    assert json.loads(redact(body, [f"/0/{token}"]) or b"") == json.loads(body)


NAMES = st.sampled_from(["a", "a/b", "m~n", "~1", "0", "1", "01", ""])
DOCUMENTS = st.recursive(
    st.integers(1, 9), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)
)


@given(document=DOCUMENTS, tokens=st.lists(NAMES, min_size=1, max_size=3))
def test_every_reader_finds_the_same_value(document: Any, tokens: list[str]) -> None:
    pointer = "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)
    body = json.dumps(document).encode()
    assert parse_pointer(pointer) == tuple(tokens)
    masked = json.loads(redact(body, [pointer]) or b"")
    read = JsonReader([parse_pointer(pointer)]).read(body)
    assert read is not None
    try:
        found = reduce(child, tokens, document)
    except LookupError:
        assert masked == document
        assert json_key(read, parse_pointer(pointer)) == b""
        with pytest.raises(Unreadable):
            value_at(document, parse_pointer(pointer))
        return
    assert value_at(document, parse_pointer(pointer)) == found
    assert reduce(child, tokens, masked) == MASK
    assert json_key(read, parse_pointer(pointer)) == (str(found).encode() if isinstance(found, int) else b"")
    changed = set_values(read, rules({pointer: "set"}))
    assert changed is not None
    assert reduce(child, tokens, json.loads(changed)) == "set"
