"""Promise: `set_json` changes the value it names and not one other byte, whatever JSON surrounds it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fields.document import JsonReader
from proxy.fields.set_json import rewritten, rules, set_values

names = st.text(max_size=6) | st.sampled_from(["model", "a/b", "m~n", '"', "\\", "{", "é\n"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
documents = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(names, v, max_size=4), max_leaves=20
)
written = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def pointer(*tokens: Any) -> str:
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def changed(text: bytes, asked: dict[str, Any]) -> bytes | None:
    """The same whether the members were looked for when the document was read, or are found in its bytes alone."""
    compiled = rules(asked)
    readers = (
        JsonReader(),
        JsonReader([tokens[:1] for tokens, _ in compiled]),
        JsonReader([tokens for tokens, _ in compiled]),
    )
    documents = [reader.read(text) for reader in readers]
    made = {None if document is None else set_values(document, compiled) for document in documents}
    assert len(made) == 1
    return made.pop()


@given(document=st.dictionaries(names, documents, max_size=5), how=written, value=documents, data=st.data())
def test_a_value_anywhere_is_replaced_and_nothing_else(document: Any, how: Any, value: Any, data: Any) -> None:
    """The oracle is the standard library: parse, set, compare; and the bytes around the place are the same."""
    at, tokens = document, []
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from([*keys, "new"]) if isinstance(at, dict) else st.sampled_from(keys))
        tokens.append(key)
        deeper = at[key] if key in at or isinstance(at, list) else None
        if not (isinstance(deeper, dict | list) and deeper and data.draw(st.booleans())):
            break
        at = deeper
    text = json.dumps(document, **how).encode()
    made = changed(text, {pointer(*tokens): value})
    assert made is not None
    known = tokens[-1] in at or isinstance(at, list)
    at[tokens[-1]] = value
    assert json.loads(made) == document
    if known:
        new = orjson.dumps(value)
        cuts = [n for n in range(len(made)) if made.startswith(new, n)]
        assert any(text.startswith(made[:n]) and text.endswith(made[n + len(new) :]) for n in cuts)


def test_the_bytes_around_stay_as_they_were() -> None:
    text = '{ "n": 1E5,\n\t"big": 123456789012345678901234567890, "é": "\\u00e9\\"}", "model" : "live" , "t": [ ] }'
    body = text.encode()
    assert changed(body, {"/model": "é"}) == body.replace(b'"live"', '"é"'.encode())


@pytest.mark.parametrize(
    ("body", "asked", "made"),
    [
        (b"{}", {"/model": "x"}, b'{"model":"x"}'),
        (b'{ "a": 1 }', {"/model": "x"}, b'{ "a": 1,"model":"x" }'),
        (b"{}", {"/a": 1, "/b": 2}, b'{"a":1,"b":2}'),
        (b"{}", {"/a": {}, "/a/b": True}, b'{"a":{"b":true}}'),
        (b'{"m": 1, "m": 2}', {"/m": 3}, b'{"m": 1, "m": 3}'),  # parsers take the last, so that one is set
        (b'{"\\u006d": 1}', {"/m": 3}, b'{"\\u006d": 3}'),
        (b'[{"model": "a"}, [0]]', {"/0/model": "b", "/1/0": None}, b'[{"model": "b"}, [null]]'),
        (b' {"a/b": {"~": 0}} ', {"/a~1b/~0": 1}, b' {"a/b": {"~": 1}} '),
        (b'{"": {"": 1}}', {"//": 2}, b'{"": {"": 2}}'),
        (b'{"0": 1}', {"/0": 2}, b'{"0": 2}'),
        # the name stands elsewhere too: as a text, in another object, escaped, behind an escaped quote
        (b'{"model": "model", "x": 1}', {"/model": 2}, b'{"model": 2, "x": 1}'),
        (b'{"x": {"model": 1}, "model": 1}', {"/model": 2}, b'{"x": {"model": 1}, "model": 2}'),
        (b'{"x": {"model": 1}}', {"/model": 2}, b'{"x": {"model": 1},"model":2}'),
        (b'{"x": {"model": 1}, "mod\\u0065l": 1}', {"/model": 2}, b'{"x": {"model": 1}, "mod\\u0065l": 2}'),
        (b'{"x": "model", "mod\\u0065l": 1}', {"/model": 2}, b'{"x": "model", "mod\\u0065l": 2}'),
        (b'{"x": "\\"model", "model": 1}', {"/model": 2}, b'{"x": "\\"model", "model": 2}'),
        (b'{"x": "\\"model\\":1", "model" : 1}', {"/model": 2}, b'{"x": "\\"model\\":1", "model" : 2}'),
        (b'{"x": ["model"], "y": 1}', {"/model": 2}, b'{"x": ["model"], "y": 1,"model":2}'),
        (b'{"a": "\\u00e9", "model":[1]\n}', {"/model/0": 2}, b'{"a": "\\u00e9", "model":[2]\n}'),
        (b'{"a": 1, "b": {}}', {"/a": {"b": 2}, "/b/c": 3}, b'{"a": {"b":2}, "b": {"c":3}}'),
    ],
)
def test_what_is_made(body: bytes, asked: dict[str, Any], made: bytes) -> None:
    assert changed(body, asked) == made


@pytest.mark.parametrize(
    "body",
    [
        b"", b"model=a", b'{"model": "a"', b'{"model": "a"}}', b"\xff", b'{"a": NaN}', b"3", b'"text"', b"null", b"[]",
        b'{"options": null}', b'{"options": [1]}', b'{"options": "a"}', b"[" * 3000 + b"]" * 3000,
    ],
)  # fmt: skip
def test_what_has_no_such_parent_or_is_no_json_is_left_alone(body: bytes) -> None:
    assert changed(body, {"/options/model": "x"}) is None


@pytest.mark.parametrize("token", ["1", "-", "01", "-1", "1e0", "٣", "9999999999"])
def test_an_array_is_never_made_longer(token: str) -> None:
    assert changed(b"[0]", {f"/{token}": 1}) is None


def test_a_long_body_of_many_strings_takes_little_room_and_time() -> None:
    body = json.dumps({"input": ["word"] * 200_000, "model": "a"}).encode()
    assert changed(body, {"/model": "b"}) == body[:-4] + b'"b"}'


HEAD = b"POST /v1/x HTTP/1.1\r\nhost: m\r\n"


def test_the_length_is_that_of_the_new_body_and_checksums_of_the_old_one_go() -> None:
    body = b'{"model": "a"}'
    head = HEAD + b"Content-Length: 14\r\nContent-Digest: sha-256=:x:\r\nx: 1\r\n"
    assert rewritten(head, body, rules({"/model": "long"})) == (
        HEAD + b"x: 1\r\ncontent-length: 17\r\n",
        b'{"model": "long"}',
    )
    chunked = HEAD + b"Transfer-Encoding: chunked\r\nTrailer: x\r\n"
    assert rewritten(chunked, body, rules({"/model": "b"})) == (HEAD + b"content-length: 14\r\n", b'{"model": "b"}')


def test_tensors_after_the_json_stay_where_they_are() -> None:
    text, tail = b'{"id": "a"}', b"\x00\x01{"
    head = HEAD + b"Inference-Header-Content-Length: 11\r\ncontent-length: 14\r\n"
    made = HEAD + b"content-length: 16\r\ninference-header-content-length: 13\r\n"
    assert rewritten(head, text + tail, rules({"/id": "abc"})) == (made, b'{"id": "abc"}' + tail)
    for wrong in (b"15", b"x", b"-1"):
        assert rewritten(head.replace(b": 11", b": " + wrong), text + tail, rules({"/id": "b"})) is None


def test_a_compressed_body_cannot_be_changed_and_no_body_needs_no_change() -> None:
    head = HEAD + b"Content-Encoding: gzip\r\ncontent-length: 14\r\n"
    assert rewritten(head, b'{"model": "a"}', rules({"/model": "b"})) is None
    assert rewritten(head.replace(b"gzip", b"Identity"), b'{"model": "a"}', rules({"/model": "b"})) is not None
    assert rewritten(HEAD, b"", rules({"/model": "b"})) == (HEAD, b"")


@pytest.mark.parametrize("asked", [{"": {}}, {"/a": {1, 2}}, {"/a": {1: 2}}, {"/a": 2**70}, {"/a": [float("nan")]}])
def test_what_cannot_be_set_is_refused_when_it_is_read(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"JSON|pointer"):
        rules(asked)
