"""Promise: a file is read in one sitting and a function on one screen; what is longer is listed, and the lists shrink."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("proxy", "tests", "tools", "loadtests")
LINES, STEPS = 400, 30
"""The longest file, and the longest function from its first statement after the docstring to its last line."""

LONG_FILES: dict[str, int] = {}
"""Files beyond `LINES`, with the lines that each may have."""

LONG_FUNCTIONS: dict[str, int] = {}
"""Functions beyond `STEPS`, with the lines that each may have."""


@cache
def files() -> dict[str, str]:
    """Our Python files by their path from the root, as text."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(paths)}


def long_files(texts: dict[str, str], most: int) -> dict[str, int]:
    """How many lines each file beyond `most` has."""
    return {name: lines for name, text in texts.items() if (lines := text.count("\n")) > most}


def long_functions(texts: dict[str, str], most: int) -> dict[str, int]:
    """How many lines each function beyond `most` has, by `file:Class.function`; its docstring does not count."""
    found = {}
    for name, text in texts.items():
        for qualified, function in functions(ast.parse(text)):
            body = function.body[1:] if ast.get_docstring(function) is not None else function.body
            lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > most:
                found[f"{name}:{qualified}"] = lines
    return found


def functions(tree: ast.AST, within: str = "") -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions below a node, methods and inner ones too, by their qualified names."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((within + node.name, node))
        inside = f"{within}{node.name}." if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else within
        found += functions(node, inside)
    return found


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        pytest.param(long_files(files(), LINES), LONG_FILES, id="files"),
        pytest.param(long_functions(files(), STEPS), LONG_FUNCTIONS, id="functions"),
    ],
)
def test_what_is_long_is_listed_and_grows_no_more(found: dict[str, int], allowed: dict[str, int]) -> None:
    grown = {name: lines for name, lines in found.items() if lines > allowed.get(name, 0)}
    assert not grown, "split it"
    assert found.keys() == allowed.keys(), "short enough now: take it off the list"


def test_the_rule_is_not_blind() -> None:
    text = 'class A:\n    def f(self):\n        """One.\n\n        Two."""\n        x = 1\n        return x\n'
    assert long_functions({"a.py": text}, 1) == {"a.py:A.f": 2}
    assert long_functions({"a.py": text}, 2) == {}
    assert long_files({"a.py": text}, 6) == {"a.py": 7}
