"""Promise: requests that belong together have one key, and no body makes it raise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fields.hash_key import PREFIX, HashKey

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n%b\r\n"
PREFIX_KEY = HashKey("prefix")


def asked(body: bytes, *lines: bytes) -> bytes:
    return HEAD % b"".join(line + b"\r\n" for line in lines) + body


def chat(*messages: tuple[str, str], **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in messages], **more}).encode()


FIRST = ("system", "You are kind."), ("user", "Hello")
LATER = (*FIRST, ("assistant", "Hi"), ("user", "And?"))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (chat(*FIRST), chat(*LATER), True),
        (chat(*FIRST), chat(*LATER, model="b", temperature=1), True),
        (chat(*FIRST), chat(FIRST[0], ("user", "Good bye")), False),
        (chat(*FIRST), chat(("system", "You are not."), FIRST[1]), False),
        (chat(FIRST[1], system="a"), chat(FIRST[1], system="b"), False),
        (chat(("assistant", "x")), chat(("assistant", "x"), ("assistant", "y")), True),
        (b'{"prompt": "%b"}' % (b"x" * 300), b'{"prompt": "%b and more"}' % (b"x" * 300), True),
        (b'{"prompt": "a"}', b'{"prompt": "b"}', False),
        (b'{"input": [{"role": "user", "content": "a"}]}', b'{"input": [{"role": "user", "content": "b"}]}', False),
        (b'{"inputs": "Once"}', b'{"inputs": "Once", "parameters": {}}', True),
        (b'{"instances": [1]}', b'{"instances": [2]}', False),
        (b"\xff" * 300, b"\xff" * 300 + b"\0", True),
    ],
)
def test_how_a_prompt_begins(one: bytes, other: bytes, alike: bool) -> None:
    keys = [PREFIX_KEY.of_body(asked(body), True, False) for body in (one, other)]
    assert all(keys)
    assert (keys[0] == keys[1]) is alike


def test_of_a_body_that_cannot_be_read_there_is_no_key() -> None:
    body = chat(*FIRST)
    assert PREFIX_KEY.of_body(asked(body), True, False)
    assert PREFIX_KEY.of_body(asked(body), False, False) == b""
    assert PREFIX_KEY.of_body(asked(b""), True, False) == b""
    assert PREFIX_KEY.of_body(asked(body, b"Content-Encoding: gzip"), True, False) == b""
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    key = PREFIX_KEY.of_body(asked(chunked, b"Transfer-Encoding: chunked"), True, False)
    assert key == PREFIX_KEY.of_body(asked(body), True, False)
    assert PREFIX_KEY.of_body(asked(b"zz\r\n", b"Transfer-Encoding: chunked"), True, False) == b""


def test_of_a_message() -> None:
    long = b"x" * (2 * PREFIX)
    assert PREFIX_KEY.of_body(asked(b"\0" + len(long).to_bytes(4, "big") + long), True, True) == long[:PREFIX]
    assert PREFIX_KEY.of_body(asked(b"\0\0\0\0\2hi\0\0"), False, True) == b"hi"
    assert PREFIX_KEY.of_body(asked(b"\0\0\0\0\2h"), False, True) == b""
    assert HashKey("json", "/id").of_body(asked(b"\0\0\0\0\3\x1a\1x"), True, True) == b"x"


def test_of_a_head() -> None:
    head = asked(b"", b"X-Session:  s1 ", b"Cookie: a=b; Session=s2")
    assert HashKey("header", "x-session").of_head(head) == b"s1"
    assert HashKey("cookie", "session").of_head(head) == b"s2"
    assert HashKey("header", "x-other").of_head(head) == HashKey("cookie", "b").of_head(head) == b""


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5) | st.sampled_from(["user", "role"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "prompt", "input", "role", "content", "user"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()), st.booleans(), st.booleans())
def test_nothing_makes_it_raise(body: bytes, whole: bool, grpc: bool) -> None:
    for rule in (PREFIX_KEY, HashKey("json", "/user"), HashKey("json", "/messages/0/role")):
        assert isinstance(rule.of_body(asked(body), whole, grpc), bytes)
        assert isinstance(rule.of_body(asked(body, b"transfer-encoding: chunked"), whole, grpc), bytes)
