"""YAML text to plain data that still knows the line of every key, with `${NAME}` and `${file:PATH}` filled in.

Invariants
- Scalars follow the YAML 1.2 core schema, not 1.1: `off` is a word, `1:30` is not 90, 010 is ten, a date stays text.
- A duplicate key is a mistake: YAML would silently keep the last one.
- `${NAME}` (from the environment) and `${file:PATH}` are replaced *after* parsing, so that a value can never add keys.
  What was filled in is remembered by path and shown as `${NAME}` wherever a mistake quotes what was found.
- Aliases and merge keys work, within `MAX_NODES` (a few lines of nested aliases can otherwise fill the memory).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as Folder
from typing import Any

import yaml

from proxy.config.slips import explain
from proxy.config.yaml_nodes import TAG, Loader, nodes
from proxy.errors import Mistake

Path = tuple[str | int, ...]

MAX_NODES = 100_000
HERE = Folder()

_TAGS = frozenset({"map", "seq", "str", "bool", "int", "float", "null", "merge"})
_WHOLE = re.compile(r"[-+]?[0-9]+")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_CREDENTIALS = re.compile(r"(?<=//)[^/?#]*@")
_DATABASE = re.compile(r"postgres(?:ql)?:", re.IGNORECASE)
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = "file:"
MAX_SECRET = 64 << 10
"""Bytes of the longest file that `${file:PATH}` may name: a key, not a certificate store."""


def show(path: Path) -> str:
    """A path as it is written in a mistake.

    >>> show(("routes", 0, "live"))
    'routes[0].live'
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "(top)"


@dataclass
class Document:
    """Plain data, the line of every path in it, what came from the environment, and the mistakes met on the way.

    `unfilled`: where something that the environment or a file should have given is missing, so that the rest of the
    value says nothing. `parts`: what came from an included file, by its path here (`routes[7]`, `upstreams.m`): that
    file's name, and its path there. `files`: the main file (empty) and those that it includes, in their order;
    `owners`: whose each of these is. `with_places`: every text with `${…}` in it, also where its value was left out.
    """

    name: str = "the main file"
    directory: Folder = HERE
    files: list[str] = field(default_factory=lambda: [""])
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    secret: dict[Path, str] = field(default_factory=dict)
    unfilled: set[Path] = field(default_factory=set)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    mistakes: list[Mistake] = field(default_factory=list)
    parts: dict[Path, tuple[str, Path]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    with_places: list[str] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Line of `path`, else of the nearest enclosing one; 0 when there is none."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 0)

    def order(self, path: Path) -> tuple[int, int, str]:
        """What paths are sorted by: their files, the main one first, their lines, and their names."""
        file, there = self.origin(path)
        return self.files.index(file), self.line(path), show(there)

    def found(self, path: Path, value: Any) -> str:
        """What was found at `path`, short, without what came from the environment and credentials in a URL."""
        if path in self.secret:
            return f"`{self.secret[path]}`"
        if isinstance(value, dict):
            return "a mapping"
        if isinstance(value, (list, tuple)):
            return "a list"
        if isinstance(value, str) and _DATABASE.match(value):
            return "a URL of PostgreSQL"  # where a password ends in one that cannot be read, nobody knows
        if isinstance(value, str):
            text = repr(_CREDENTIALS.sub("…@", value))
        else:
            text = "nothing" if value is None else str(value)
        return text if len(text) <= 80 else f"{text[:77]}…"

    @property
    def secret_files(self) -> tuple[str, ...]:
        """The paths of all `${file:PATH}`."""
        named = (match for text in self.with_places for match in _VARIABLE.findall(text))
        return tuple(dict.fromkeys(name.removeprefix(_FILE) for name in named if name.startswith(_FILE)))

    def origin(self, path: Path) -> tuple[str, Path]:
        """The included file (empty: the main one) that says what is at `path`, and its path there."""
        file, there = self.parts.get(path[:2], ("", path[:2]))
        return file, (*there, *path[2:])

    def place(self, path: Path, beside: Path) -> str:
        """A path as its file calls it; with the file and the line where that is another file than that of `beside`."""
        file, there = self.origin(path)
        if file == self.origin(beside)[0]:
            return show(there)
        return f"{show(there)} in {file or self.name}, line {self.line(path)}"

    def blame(self, path: Path, problem: str, hint: str = "") -> None:
        """Note a mistake at `path`."""
        file, there = self.origin(path)
        self.mistakes.append(Mistake(show(there), problem, hint, self.line(path), file))


class NoEnvironment(dict[str, str]):
    """An environment that is not known: what it or a file should give is left open, and is no mistake; no file is
    read."""


def read(text: str, environ: Mapping[str, str] | None, directory: Folder = HERE) -> Document:
    """The document in `text`, whose relative `${file:PATH}` start at `directory`; what is wrong with it is in its
    `mistakes`. Without `environ` each `${…}` stays as it is written, and nothing is read; with `NoEnvironment` only
    defaults (`${NAME:-default}`) are filled in."""
    document = Document(environ={} if environ is None else environ, directory=directory)
    try:
        loader, node = nodes(text)
        if node is not None:
            document.data = _Reader(loader, document, environ, directory).value(node, ())
    except yaml.MarkedYAMLError as error:
        document.mistakes.append(explain(error, text))
        document.data = None
    except yaml.YAMLError as error:
        document.mistakes.append(Mistake("(file)", f"not YAML: {getattr(error, 'reason', None) or error}"))
        document.data = None
    except RecursionError:
        document.mistakes.append(Mistake("(file)", "nested too deeply"))
    return document


class _Reader:
    """One walk over the nodes."""

    def __init__(
        self, loader: Loader, document: Document, environ: Mapping[str, str] | None, directory: Folder
    ) -> None:
        self._loader, self._document, self._environ, self._directory = loader, document, environ, directory
        self._nodes = 0
        self._inside: set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if self._nodes > MAX_NODES or id(node) in self._inside:
            problem = "an alias to itself" if id(node) in self._inside else f"more than {MAX_NODES} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        if node.tag.removeprefix(TAG) not in _TAGS:
            raise yaml.MarkedYAMLError(problem=f"unknown tag {node.tag}", problem_mark=node.start_mark)
        self._inside.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._inside.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                first = f"first on line {seen[name]}"
                self._document.mistakes.append(Mistake(show((*path, name)), "the key is defined twice", first, line))
            seen[name] = line
        self._loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            self._document.lines[(*path, key.value)] = key.start_mark.line + 1
            found[key.value] = self.value(child, (*path, key.value))
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if node.tag != TAG + "str":
            try:
                if _WHOLE.fullmatch(str(node.value)) and node.tag == TAG + "int":
                    return int(node.value)  # yaml would take a leading 0 for octal
                return self._loader.construct_object(node)
            except (ValueError, KeyError, IndexError):  # the latter two by a tag that was written down: `!!bool x`
                problem = f"not of type {node.tag.removeprefix(TAG)}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None
        text = str(node.value)
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise yaml.MarkedYAMLError(problem="an unpaired surrogate is not text", problem_mark=node.start_mark)
        if "${" not in text or self._environ is None:
            return text
        self._document.secret[path] = text
        self._document.with_places.append(text)
        missing: list[str] = []
        if isinstance(self._environ, NoEnvironment):
            value = filled(text, self._environ, missing.append)
            if not missing and value != text:
                return value
            self._document.unfilled.add(path)
            return text
        value = filled(text, self._environ, missing.append, self._directory)
        for problem in missing:
            self._document.unfilled.add(path)
            self._document.blame(path, problem)
        return value


def filled(text: str, environ: Mapping[str, str], blame: Callable[[str], None], directory: Folder = HERE) -> str:
    """Text with `${NAME}` and `${NAME:-default}` taken from the environment, `${file:PATH}` from a file; `blame` is
    told of every one that cannot be.

    >>> filled("Bearer ${TOKEN} ${OTHER:-none}", {"TOKEN": "x"}, print)
    'Bearer x none'
    >>> filled("${OTHER}", {"TOKEN": "x"}, print)
    the environment variable OTHER is not set
    ''
    """

    def value(match: re.Match[str]) -> str:
        if match[1].startswith(_FILE):
            name = match[1].removeprefix(_FILE)
            if not isinstance(environ, NoEnvironment):
                return _content(name, directory, blame)
            blame(f"the file {name} is not looked at")
            return ""
        variable, has_default, default = match[1].partition(":-")
        if not _VARIABLE_NAME.fullmatch(variable):
            blame(f"`${{{match[1]}}}` is not the name of an environment variable")
        elif has_default and not environ.get(variable):
            return default
        elif variable not in environ:
            blame(f"the environment variable {variable} is not set")
        elif not environ[variable]:
            blame(f"the environment variable {variable} is empty")
        return environ.get(variable, "")

    return _VARIABLE.sub(value, text)


def _content(name: str, directory: Folder, blame: Callable[[str], None]) -> str:
    """What a file holds, without the line break at its end. Nothing of it is ever part of a problem."""
    path = directory / name
    try:
        if not name or not path.exists() or path.is_file():
            data = path.read_bytes() if path.stat().st_size <= MAX_SECRET else None
            text = data.decode().removesuffix("\n").removesuffix("\r") if data is not None else ""
            problem = f"is longer than {MAX_SECRET >> 10} KiB" if data is None else "" if text else "is empty"
        else:
            text, problem = "", "is no file"
    except UnicodeDecodeError:
        text, problem = "", "is not UTF-8 text"
    except (OSError, ValueError) as error:
        text, problem = "", f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}"
    if problem:
        blame(f"the file {path} {problem}")
    return text
