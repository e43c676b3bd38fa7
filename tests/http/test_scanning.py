"""Promise: the tree of names finds in every head what a plain list of the names finds."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.credentials import HEADERS
from proxy.http.scanning import scanner

words = st.lists(st.sampled_from(["x", "api", "key", "te", "a"]), min_size=1, max_size=4).map("-".join)
names = words | st.sampled_from(sorted(HEADERS)) | st.text("abxk-.*+", min_size=1, max_size=6)


@given(st.sets(names, min_size=1, max_size=12), st.lists(st.tuples(names, st.text("ab: ", max_size=4)), max_size=8))
def test_a_tree_finds_what_a_list_finds(wanted: set[str], lines: list[tuple[str, str]]) -> None:
    head = ("get / http/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n").encode()
    listed = b"|".join(re.escape(name.encode()) for name in sorted(wanted, key=len, reverse=True))
    plain = re.compile(rb"\r\n(" + listed + rb"):[ \t]*([^\r]*)")
    assert scanner(name.encode() for name in wanted).findall(head) == plain.findall(head)
