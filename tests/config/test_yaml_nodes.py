"""Promise: whichever of PyYAML's two parsers reads a text, it says the same at the same lines; what only the one in
Python refuses is refused; and no text, however deep, ends the process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.yaml_nodes import DEEPEST, InPython, nodes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
FILES = [path.read_text("utf-8") for path in sorted((ROOT / "config").rglob("*.yaml"))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
SLIPS = [
    "\t",
    "\ufeff",
    ":",
    "- ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "#",
    "!",
    "|\n",
    "'",
    '"',
    "\n",
    "\r\n",
    "---\n",
]


def said(node: yaml.Node | None) -> Any:
    """Tags, values and lines of a node and all below it. A value that is left out has no line of its own."""
    if node is None:
        return None
    if isinstance(node, yaml.ScalarNode):
        return node.tag, node.value, node.start_mark.line if node.value else -1
    if isinstance(node, yaml.MappingNode):
        return node.tag, [(said(key), said(value)) for key, value in node.value]
    return node.tag, [said(each) for each in node.value]


def read(text: str) -> Any:
    try:
        return said(nodes(text)[1])
    except yaml.YAMLError as error:
        return str(error)


def in_python(text: str) -> Any:
    try:
        return said(InPython(text).get_single_node())
    except yaml.YAMLError as error:
        return str(error)


def test_what_the_repository_shows_is_read_alike() -> None:
    assert len(FILES) > 10
    assert len(BLOCKS) > 30
    for text in (*FILES, *BLOCKS):
        assert read(text) == in_python(text)


@given(
    st.sampled_from([text[:1200] for text in FILES]),
    st.lists(st.tuples(st.integers(0, 1200), st.sampled_from(SLIPS)), min_size=1, max_size=3),
)
def test_a_slip_is_read_alike_or_refused_alike(text: str, slips: list[tuple[int, str]]) -> None:
    for place, slip in slips:
        text = text[:place] + slip + text[place:]
    expected, found = in_python(text), read(text)
    if isinstance(expected, str) and not isinstance(found, str):
        assert "\t" not in text  # YAML allows it, and the parser in Python does not: `{a?b: 1}`
    elif "&" not in text:  # an alias to itself has no end
        assert found == expected


@pytest.mark.parametrize("text", ["a: !", "- !", "a: {b: ! , c: 1}", "a: !\nb: 1"])
def test_a_lone_tag_is_read_as_by_the_parser_in_python(text: str) -> None:
    assert read(text) == in_python(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_left_to_the_parser_that_notices(opening: str) -> None:
    with pytest.raises((RecursionError, yaml.YAMLError)):
        nodes(opening * 20_000)


def test_what_is_as_deep_as_libyaml_may_go_is_read() -> None:
    text = "[" * DEEPEST + "]" * DEEPEST
    loader, node = nodes(text)
    assert isinstance(loader, yaml.CSafeLoader) == yaml.__with_libyaml__
    assert node is not None
