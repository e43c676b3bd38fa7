"""`include:` in the main file: the files of several teams, put together with it into one document.

Each included file names its `owner` and holds upstreams, routes and judges; everything else (ports, store, webhooks)
belongs to the main file. Nothing has the same name in two files.

Invariants
- The order is the main file's entries, then each pattern's files in the order of their names: it is the same on every
  machine, and so is the order in which routes are tried.
- A mistake is blamed on the file, the path and the line where its owner would correct it.
- A pattern that matches no file is a mistake, and so is a link that leads nowhere or a folder that cannot be read: what
  is not mounted must take no route away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as Folder
from typing import Any

from proxy.config.text import Document, Path, filled, read, show
from proxy.config.tree import Config
from proxy.errors import Mistake
from proxy.file_patterns import matches
from proxy.spelling import nearest

OWNER = "owner"
SHARED = ("upstreams", "judges")
"""What included files hold by name."""
KEYS = (OWNER, "upstreams", "routes", "judges")
LONGEST_OWNER = 64


@dataclass(frozen=True, slots=True)
class IncludedText:
    """One included file: its name, from the main file's folder, and what stands in it; or why it cannot be read."""

    name: str
    text: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ConfigTexts:
    """The main file's text and what it includes, as they were read at one moment.

    `source` is what the main file is called, `directory` where relative paths start, in every file; `patterns` what the
    main file includes, and `unmatched` those of them that fit no file.
    """

    text: str
    source: str
    directory: Folder
    included: tuple[IncludedText, ...] = ()
    patterns: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    @classmethod
    def gather(cls, text: str, source: str, directory: Folder, environ: Mapping[str, str]) -> ConfigTexts:
        """A main file's text with all that it includes; what cannot be read is told as a problem."""
        found = {pattern: matches(pattern, directory) for pattern in _patterns(text, environ, directory)}
        names = dict.fromkeys(name for fitting in found.values() for name in fitting)
        names.pop(Folder(source).name, None)  # where a pattern fits the main file as well
        included = tuple(_text(name, directory) for name in names)
        unmatched = tuple(pattern for pattern, fitting in found.items() if not fitting)
        return cls(text, source, directory, included, tuple(found), unmatched)

    @classmethod
    def load(cls, path: Folder, environ: Mapping[str, str]) -> ConfigTexts:
        """The files of a configuration; raises `OSError` and `UnicodeDecodeError` where the main one cannot be read.

        Relative paths start where the main file is named, not where a link leads: what a link leads to is replaced.
        """
        return cls.gather(path.read_text("utf-8"), str(path), path.absolute().parent, environ)

    def note(self) -> dict[str, Any]:
        """In plain values, for another process; `of` reads them."""
        included = [[one.name, one.text] for one in self.included]
        return {"text": self.text, "source": self.source, "directory": str(self.directory), "included": included}

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> ConfigTexts:
        """What `note` gave: texts that were found to be valid."""
        included = tuple(IncludedText(name, text) for name, text in note["included"])
        return cls(note["text"], note["source"], Folder(note["directory"]), included)

    @property
    def files(self) -> tuple[str, ...]:
        """The main file and those it includes, in their order."""
        return (self.source, *(one.name for one in self.included))

    def document(self, environ: Mapping[str, str] | None, known: KnownParts | None = None) -> Document:
        """All of it as one document; without `environ` each `${…}` stays as it is written, and nothing is read. What
        stands in included files as it did when `known` was given last is not parsed again."""
        known = KnownParts() if known is None else known
        known.begins()
        main = read(self.text, environ, self.directory)
        main.name = Folder(self.source).name
        if isinstance(main.data, dict):
            for path in _unmatched(main, self.unmatched):
                hint = f"paths start at {self.directory}"
                main.blame(path, f"no file fits {main.found(path, _at(main.data, path))}", hint)
            for one in self.included:
                main.files.append(one.name)
                _Part(main, one, known.read(one.text, environ, self.directory)).join()
        return main


class KnownParts:
    """Included files as they were parsed: YAML is half the work of reading hundreds of routes.

    Kept are those in which nothing is to be filled in and nothing is wrong, as long as each reading needs them.
    """

    def __init__(self) -> None:
        self._last: dict[str, Document] = {}
        self._now: dict[str, Document] = {}

    def begins(self) -> None:
        """A reading: what the last one did not need is forgotten."""
        self._last, self._now = self._now, {}

    def read(self, text: str, environ: Mapping[str, str] | None, directory: Folder) -> Document:
        """As `text.read`. Its data is that of the last time, and not to be changed.

        >>> known, text = KnownParts(), "owner: a\\nroutes: []"
        >>> known.begins(); one = known.read(text, {}, Folder())
        >>> known.begins(); other = known.read(text, {}, Folder())
        >>> one is other, one == other, one.data is other.data
        (False, True, True)
        """
        found = self._last.get(text) or self._now.get(text) or read(text, environ, directory)
        if not found.mistakes and not found.with_places and "${" not in text:
            self._now[text] = replace(found, mistakes=[])
        return replace(found, mistakes=list(found.mistakes), environ=environ or {}, directory=directory)


def _patterns(text: str, environ: Mapping[str, str], directory: Folder) -> list[str]:
    """What the main file includes; nothing where it has mistakes: they are found again when all is read."""
    if "include" not in text:
        return []
    data = read(text, None).data
    asked = data.get("include") if isinstance(data, dict) else None
    written = asked if isinstance(asked, list) else [asked]
    unknown: list[str] = []  # a pattern with something that the environment does not give fits nothing
    texts = [(filled(one, environ, unknown.append, directory), len(unknown)) for one in written if isinstance(one, str)]
    return [text for (text, after), (_, before) in zip(texts, [("", 0), *texts], strict=False) if after == before]


def _text(name: str, directory: Folder) -> IncludedText:
    path = directory / name
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            return IncludedText(name, "", "is a folder that cannot be read" if os.path.isdir(path) else "is no file")
        return IncludedText(name, path.read_text("utf-8"))
    except UnicodeDecodeError:
        return IncludedText(name, "", "is not UTF-8 text")
    except OSError as error:
        return IncludedText(name, "", f"cannot be read: {error.strerror}")


def _unmatched(main: Document, patterns: tuple[str, ...]) -> Iterator[Path]:
    asked = main.data.get("include")
    entries = [(("include", n), one) for n, one in enumerate(asked)] if isinstance(asked, list) else []
    for path, pattern in [*entries, (("include",), asked)]:
        if pattern in patterns and path not in main.unfilled:
            yield path


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


class _Part:
    """One included file on its way into the main document."""

    def __init__(self, main: Document, text: IncludedText, own: Document) -> None:
        self._main, self._text, self._own = main, text, own
        self._first = 0  # of its routes, among all
        self._left_out: set[Path] = set()

    def join(self) -> None:
        """Add what it holds to the main document, and what is wrong with it to that one's mistakes."""
        self._main.with_places += self._own.with_places
        if self._is_readable():
            self._owner()
            for key in self._own.data:
                if key not in KEYS:
                    self._stranger(key)
            for key in SHARED:
                self._names(key)
            self._routes()
            self._places()
        self._main.mistakes += [replace(mistake, file=self._text.name) for mistake in self._own.mistakes]

    def _is_readable(self) -> bool:
        own = self._own
        if self._text.problem:
            own.mistakes[:] = [Mistake("(file)", self._text.problem)]
        elif not own.mistakes and own.data is None:
            own.blame((), "the file is empty", f"start with `{OWNER}:`")
        elif not own.mistakes and not isinstance(own.data, dict):
            own.blame((), f"found {own.found((), own.data)}, expected a mapping")
        return isinstance(own.data, dict)

    def _owner(self) -> None:
        own, owner = self._own, self._own.data.get(OWNER)
        if OWNER not in own.data:
            own.blame((OWNER,), "is missing", "who answers for what this file holds: a team, say")
        elif (OWNER,) not in own.unfilled and not (isinstance(owner, str) and 0 < len(owner) <= LONGEST_OWNER):
            own.blame((OWNER,), f"found {own.found((OWNER,), owner)}, expected text of 1 to {LONGEST_OWNER} characters")
        else:
            self._main.owners[self._text.name] = str(owner)

    def _stranger(self, key: str) -> None:
        if key in Config.model_fields:
            self._own.blame((key,), "may not stand in an included file", f"it belongs in {self._main.name}")
        else:
            self._own.blame((key,), "unknown key", nearest(key, KEYS) or f"known: {', '.join(KEYS)}")

    def _names(self, section: str) -> None:
        """Take over upstreams or judges; one whose name is taken is a mistake, and left out."""
        mine = self._section(section, dict)
        all_of_them = self._main.data.setdefault(section, {}) if mine else None
        if not isinstance(all_of_them, dict):
            return
        for name, value in mine.items():
            path = (section, name)
            if name in all_of_them:
                there = self._main.place(path, (OWNER,)) if path in self._main.parts else self._in_main(path)
                self._own.blame(path, f"the name `{name}` is taken", f"by {there}")
                self._left_out.add(path)
            else:
                all_of_them[name] = value
                self._main.parts[path] = self._text.name, path

    def _in_main(self, path: Path) -> str:
        return f"{show(path)} in {self._main.name}, line {self._main.line(path)}"

    def _routes(self) -> None:
        mine = self._section("routes", list)
        every = self._main.data.setdefault("routes", []) if mine else None
        if not isinstance(every, list):
            return
        self._first = len(every)
        for n, route in enumerate(mine):
            self._main.parts["routes", self._first + n] = self._text.name, ("routes", n)
            if isinstance(route, dict):
                if OWNER in route:
                    self._own.blame(("routes", n, OWNER), "is that of the file", f"`{OWNER}:` at the top holds for all")
                route = {OWNER: self._main.owners.get(self._text.name), **route}
            every.append(route)

    def _section(self, key: str, kind: type[Any]) -> Any:
        found = self._own.data.get(key, kind())
        if isinstance(found, kind):
            return found
        self._own.blame((key,), f"found {self._own.found((key,), found)}, expected a {_KINDS[kind]}")
        return kind()

    def _places(self) -> None:
        """Where things stand, and what was filled in, by their paths in the whole."""
        main, own = self._main, self._own
        main.lines.update((there, line) for path, line in own.lines.items() if (there := self._there(path)))
        main.secret.update((there, text) for path, text in own.secret.items() if (there := self._there(path)))
        main.unfilled.update(there for path in own.unfilled if (there := self._there(path)))

    def _there(self, path: Path) -> Path:
        """A path of this file as it is in the whole; empty for what is not taken over."""
        if len(path) < 2 or path[:2] in self._left_out:
            return ()
        if path[0] == "routes" and isinstance(path[1], int):
            return ("routes", self._first + path[1], *path[2:])
        return path if path[0] in SHARED else ()


_KINDS: dict[type[Any], str] = {dict: "mapping", list: "list"}
