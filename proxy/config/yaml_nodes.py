"""YAML text to nodes, by libyaml where PyYAML has it: it takes a fifteenth of the time of the parser in Python.

What libyaml refuses is read again in Python, whose errors `slips` explains, and so is what is nested so deeply that
libyaml's recursion would fill the stack, and what the two take for different things: tabs, byte order marks, and a
lone `!`. libyaml takes a `?` inside words in braces, as YAML 1.2 does, and the parser in Python does not.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import yaml

TAG = "tag:yaml.org,2002:"
DEEPEST = 256
"""Levels of nesting that libyaml is trusted with."""
_OTHERWISE = frozenset("\t\ufeff")
_CORE = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)
"""Plain scalars of the YAML 1.2 core schema: tag, what it looks like, its first letters."""


class InPython(yaml.SafeLoader):
    """The parser in Python."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - yaml's own protocol


for _tag, _pattern, _first in _CORE:
    InPython.add_implicit_resolver(TAG + _tag, re.compile(f"^(?:{_pattern})$"), list(_first))

Loader: TypeAlias = yaml.SafeLoader | yaml.CSafeLoader
"""What made the nodes, and makes values of them."""

if yaml.__with_libyaml__:

    class InC(yaml.CSafeLoader):
        """The parser of libyaml."""

        yaml_implicit_resolvers = InPython.yaml_implicit_resolvers


def nodes(text: str) -> tuple[Loader, yaml.Node | None]:
    """The only document of a text (`None`: there is none), and the loader that made it; raises `yaml.YAMLError` and
    `RecursionError`.

    >>> nodes("a: 1")[1].value[0][1].tag
    'tag:yaml.org,2002:int'
    """
    if yaml.__with_libyaml__ and not _OTHERWISE.intersection(text):
        try:
            if _is_flat(text):
                quick = InC(text)
                return quick, quick.get_single_node()
        except yaml.YAMLError:
            pass  # the parser in Python says what is wrong
    slow = InPython(text)
    return slow, slow.get_single_node()


def _is_flat(text: str) -> bool:
    """Whether nothing is nested too deeply for libyaml, or read otherwise by it; raises `yaml.YAMLError`."""
    depth = 0
    for event in yaml.parse(text, InC):  # its events come without recursion
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                return False
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and event.tag == "!":
            return False
    return True
