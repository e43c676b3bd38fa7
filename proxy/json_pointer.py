"""JSON Pointer (RFC 6901): a place in a JSON document, `/outputs/0/data`.

Written here because each reader of a document does something else with the tokens: follow them, mask what they lead to,
remove it, find its bytes. `jsonpointer` on PyPI only follows and sets, and parses the text again in every call.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

Pointer = tuple[str, ...]
"""A parsed pointer: its unescaped tokens."""
NOWHERE = -1
"""The index of a token that names no element of an array."""


@lru_cache(maxsize=1024)
def parse_pointer(text: str) -> Pointer:
    """The tokens of a pointer, none for the whole document; raises `ValueError` when the text is not a pointer.

    >>> parse_pointer("/outputs/0/a~1b~0c"), parse_pointer("")
    (('outputs', '0', 'a/b~c'), ())
    """
    if not text:
        return ()
    if not text.startswith("/"):
        raise ValueError(f"found {text!r}, expected a JSON pointer: empty, or starting with `/`")
    tokens = text[1:].split("/")
    for token in tokens:
        if "~" in token.replace("~0", "").replace("~1", ""):
            raise ValueError(f"found {text!r}: in a JSON pointer `~` is written `~0`, and `/` in a name `~1`")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def index(token: str) -> int:
    """The array index that a token names, or `NOWHERE`: ASCII digits without a leading zero, at most nine of them.

    >>> index("10"), index("01"), index("-"), index("²"), index("9" * 30)
    (10, -1, -1, -1, -1)
    """
    if not (token.isascii() and token.isdigit()) or (token[0] == "0" and token != "0") or len(token) > 9:
        return NOWHERE
    return int(token)


def last_member(pointers: Iterable[str]) -> bytes:
    """The name of the last member on the way of pointers, where `*` stands for every element; empty if there is none,
    or not one for all.

    >>> last_member(["/choices/*/text"]), last_member(["/scores/0"]), last_member([""]), last_member(["/a", "/b"])
    (b'text', b'scores', b'', b'')
    """
    names = [[token for token in parse_pointer(text) if token != "*" and index(token) == NOWHERE] for text in pointers]
    last = {found[-1] if found else "" for found in names}
    return last.pop().encode("utf-8", "surrogatepass") if len(last) == 1 else b""


def child(value: Any, token: str) -> Any:
    """What a token leads to from an object or an array; raises `LookupError` when it leads nowhere.

    >>> child({"1": "a"}, "1"), child(["a", "b"], "1")
    ('a', 'b')
    """
    if type(value) is dict:
        return value[token]
    if type(value) is list and (at := index(token)) != NOWHERE:
        return value[at]
    raise LookupError(token)
