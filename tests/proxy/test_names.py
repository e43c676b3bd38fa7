"""Promise: a public name is used once in the package. Two classes, type aliases or functions of the same name in two
modules are two things under one word; the lists below are exact, so that a name that is single again leaves them."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import proxy

Doubles = dict[str, list[str]]
ROOT = Path(proxy.__file__).parent

INTERFACES = {
    "main": "what `python -m` runs",
    "extract": "every protocol of predictions has one",
    "spoken": "every protocol of a language model has one",
    "recognise": "every protocol of predictions that is recognised has one",
    "middleware": "aiohttp's own word, one for each concern of the admin port",
    "becomes": "every table of states has one",
    "rows": "every table of states has one",
    "surprise": "every table of states has one",
    "step": "every table of states has one: a state and an event to the next state",
    "rule": "a guard's own, called through its `GuardType`",
    "gap": "a guard's own, called through its `GuardType`",
    "learns": "a guard's own, called through its `GuardType`",
    "single": "a protocol's own, called through its `Protocol`",
}
"""Functions that several modules have because they are called through the module, and what for."""

COMMANDS = {"check", "judge", "replay", "serve"}
"""Commands of the command line: `cli` has a function of each name beside what it calls."""


DOUBLE_FUNCTIONS: set[str] = {"outcomes"}
"""Functions that still have a namesake. Only ever shorter."""


def _is_alias(name: str, value: ast.expr | None) -> bool:
    return name[0].isupper() and not name.isupper() and isinstance(value, ast.Subscript | ast.BinOp | ast.Name)


def _public(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def _defined(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Public classes and aliases of a module, and its public functions."""
    classes, functions = set(), set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            classes.add(node.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.add(node.name)
        elif isinstance(node, ast.Assign):
            names = (target.id for target in node.targets if isinstance(target, ast.Name))
            classes |= {name for name in names if _is_alias(name, node.value)}
    return _public(classes), _public(functions)


def _shared(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: at for name, at in found.items() if len(at) > 1}


def doubles(root: Path) -> tuple[Doubles, Doubles]:
    """Public classes, and public functions, that two modules below `root` define, each with its modules."""
    classes: dict[str, list[str]] = defaultdict(list)
    functions: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for found, names in zip((classes, functions), _defined(ast.parse(path.read_text())), strict=True):
            for name in names:
                found[name].append(str(path.relative_to(root)))
    return _shared(classes), _shared(functions)


@pytest.fixture(scope="module")
def found() -> tuple[Doubles, Doubles]:
    """Of the package; not when this file is imported, which every process of a run does."""
    return doubles(ROOT)


def test_a_class_has_a_name_of_its_own(found: tuple[Doubles, Doubles]) -> None:
    assert not found[0]


def test_a_function_has_a_name_of_its_own(found: tuple[Doubles, Doubles]) -> None:
    twice = {name: at for name, at in found[1].items() if name not in INTERFACES and name not in COMMANDS}
    assert set(twice) == DOUBLE_FUNCTIONS, twice


def test_every_exception_is_still_one(found: tuple[Doubles, Doubles]) -> None:
    functions = found[1]
    assert INTERFACES.keys() | COMMANDS <= functions.keys()
    assert all(any(at.startswith("cli/") for at in functions[name]) for name in COMMANDS)


def test_a_double_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Thing: ...\nPair = tuple[int, int]\ndef act(): ...\ndef _own(): ...\n")
    (tmp_path / "two.py").write_text("class Thing: ...\nPair = dict[str, int]\ndef act(): ...\ndef _own(): ...\n")
    classes, functions = doubles(tmp_path)
    assert (set(classes), set(functions)) == ({"Thing", "Pair"}, {"act"})
