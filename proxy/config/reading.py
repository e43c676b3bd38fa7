"""Plain data to the tree, collecting every mistake instead of stopping at the first.

Pydantic reports all that is wrong with the shapes, but then there is no tree to check the rest on. So what is wrong is
blamed, taken out (its default stands in) or given a stand-in, and reading starts again, until a tree comes out. What
`checks` would say of a stand-in is left unsaid: one mistake, one line.
"""

from __future__ import annotations

import copy
import types
import typing
from collections import Counter
from pathlib import Path as Folder
from typing import Any

from pydantic import BaseModel, ValidationError

from proxy.config.guards import AspectGuards
from proxy.config.text import Document, Path, show
from proxy.config.tree import Config
from proxy.spelling import nearest
from proxy.units import Unfit

STAND_IN = "stand-in"
_STAND_INS: dict[str, Any] = {
    "urls": ["http://stand.in"],
    "url": "http://stand.in",
    "secrets": [STAND_IN],
    "path": "/stand-in",
    "rate": "1%",
    "tolerance": 1,
    "upstreams": {},
    "shadow": "100%",
    "canary": "50%",
}
_NEEDED = ("live", "candidate", "url", "shadow", "canary")
"""Without which the section that holds them says nothing."""
ROUNDS = 20
TRIES = 2

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "too_short": "at least one entry",
    "string_too_short": "text that is not empty",
}


def read_tree(document: Document, directory: Folder, name: str) -> tuple[Config | None, set[Path]]:
    """The tree of the file called `name` in `directory`, and the paths where a mistake made it other than the file."""
    if document.data is None:
        if not document.mistakes:
            document.blame((), "the file is empty", "start with `upstreams:` and `routes:`")
        return None, set()
    tries: Counter[Path] = Counter()
    context = {"directory": directory, "name": name, "written": document.secret, "environ": document.environ}
    data = copy.deepcopy(document.data)  # what the file says stays as it was
    for _ in range(ROUNDS):
        try:
            return Config.model_validate(data, context=context), set(tries) | _unfilled(document)
        except ValidationError as errors:
            every = [(_real(error["loc"], data), error) for error in errors.errors(include_url=False)]
            found = _with_slips(every)
        if not isinstance(data, dict):
            _blame(document, (), found[0][1])
            return None, set(tries)
        broken = set(tries)
        for path, error in found:
            if path in document.unfilled and error["type"] != "extra_forbidden":
                continue  # what is left of it without the secret
            if not any(path[: len(other)] == other for other in broken) and not _follows(error["type"], path, found):
                _blame(document, path, error)
        for path, error in sorted(found, key=lambda one: -len(one[0])):  # higher up first would take these along
            while tries[path] >= TRIES:  # neither a default nor a stand-in helped: the whole section goes
                path = path[:-1]
            tries[path] += 1
            _mend(data, path, error["type"])
    return None, set(tries)


def _unfilled(document: Document) -> set[Path]:
    """The paths of values that lack what the environment should have given, also as they are called once read."""
    found = document.unfilled
    return found | {(*path[:-1], f"{path[-1]}s", 0) for path in found if path[-1:] in (("url",), ("secret",))}


def _with_slips(found: list[tuple[Path, Any]]) -> list[tuple[Path, Any]]:
    """The same mistakes, but that a section under a name of the owner's own, of which no key is known, is one mistake
    where the name is like that of a section: `max_big_chnge: {tolerance: …}`."""
    named = [path[:-1] for path, error in found if error["type"] == "extra_forbidden" and _is_named(path[:-1])]
    slips = {at for at in named if nearest(str(at[-1]), _fields(_type_at(at[:-1])))}
    rest = [(path, error) for path, error in found if path[:-1] not in slips]
    return [*rest, *((at, {"type": "extra_forbidden", "input": None}) for at in sorted(slips, key=str))]


def _follows(kind: str, path: Path, found: list[tuple[Path, Any]]) -> bool:
    """Whether a mistake is only what another one left behind: an emptied list, or a key that was misspelt."""
    if kind == "too_short":
        return any(other[: len(path)] == path and error["type"] != kind for other, error in found)
    strangers = [other[-1] for other, error in found if error["type"] == "extra_forbidden" and other[:-1] == path[:-1]]
    return kind == "missing" and any(nearest(str(key), [str(path[-1])]) for key in strangers)


def _real(loc: tuple[int | str, ...], data: Any) -> Path:
    """The path in the file: pydantic marks a mistaken key of a mapping with `[key]`, and that is not a step."""
    steps = tuple(step for step in loc if step != "[key]")
    for short, long in (("url", "urls"), ("secret", "secrets")):
        for at, step in enumerate(steps):
            if step == long and isinstance(holder := _at(data, steps[:at]), dict) and long not in holder:
                return (*steps[:at], short)
    return steps


def _at(data: Any, path: Path) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _blame(document: Document, path: Path, error: Any) -> None:
    kind, unfit = error["type"], error.get("ctx", {}).get("error")
    if kind == "extra_forbidden" or (kind == "model_type" and _is_named(path)):  # no mapping: a key, misspelt
        document.blame(path, "unknown key", _stranger(path))
        return
    if kind == "missing":
        document.blame(path, "is missing")
        return
    found = document.found(path, error["input"])
    if isinstance(unfit, Unfit):
        hint = "" if path in document.secret else unfit.hint
        document.blame(path, f"found {found}, expected {unfit.expected}", hint)
        return
    expected = _EXPECTED.get(kind) or str(error["msg"]).removeprefix("Input should be ")
    expected = expected.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    expected = expected.replace("greater than", "more than").replace("String should have", "text of")
    hint = ""
    if kind in ("literal_error", "enum") and isinstance(error["input"], str) and path not in document.secret:
        hint = nearest(
            error["input"], [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        )
    elif expected == "a mapping" and isinstance(error["input"], list) and path and isinstance(path[-1], str):
        hint = f"there is one `{path[-1]}`, not a list of them"
    document.blame(path, f"found {found}, expected {expected}", hint)


def _stranger(path: Path) -> str:
    """A hint for a key that does not belong where it stands: its right spelling, its right place, or what may stand."""
    key, known = str(path[-1]), _keys(_type_at(path[:-1]))
    name, colon, value = key.partition(":")
    if colon and name in known:
        return f"no blank after the colon: write `{name}: {value}`"
    return _place(path[:-1], key) or nearest(key, known) or f"known: {', '.join(known)}"


def _place(holder: Path, key: str) -> str:
    """Where a key belongs that is known elsewhere: below `holder`, or in what encloses it, or below that."""
    for depth in range(len(holder), -1, -1):
        around, kind = holder[:depth], _type_at(holder[:depth])
        if depth < len(holder) and key in _keys(kind):
            return f"it belongs in `{show(around)}`" if around else "it belongs at the top"
        if below := _below(kind, key):
            prefix = show(around) + "." if around and depth < len(holder) else ""
            return f"it belongs under `{prefix}{below}:`"
    return ""


def _below(kind: Any, key: str) -> str:
    """The way from a section down to one that has `key`: to the next level, or further when no other has such a key."""
    sections = [(name, _section(kind.model_fields[name].annotation)) for name in _fields(kind)]
    for name, inner in sections:
        if key in _keys(inner):
            return name
    if len({home for home in _sections(Config) if key in _keys(home)}) != 1:
        return ""
    ways = ((name, _below(inner, key)) for name, inner in sections)
    return next((f"{name}.{way}" for name, way in ways if way), "")


def _sections(kind: Any) -> list[Any]:
    """A section and all below it."""
    below = [_section(kind.model_fields[name].annotation) for name in _fields(kind)]
    return [kind, *(one for inner in below for one in _sections(inner))] if _fields(kind) else []


def _section(kind: Any) -> Any:
    """The section that a field holds: itself, or each entry of a list or of a mapping."""
    kind = _inner(kind)
    entries = [arg for arg in typing.get_args(kind) if arg is not Ellipsis]
    return _section(entries[-1]) if typing.get_origin(kind) in (tuple, dict) else kind


def _type_at(path: Path) -> Any:
    """The type of what stands at `path`, by the tree's own types."""
    kind: Any = Config
    for step in path:
        if step in _fields(kind):
            kind = kind.model_fields[str(step)].annotation
        elif (extra := _extra(kind)) is not None:
            kind = extra
        else:  # an entry of a tuple or a dict
            kind = [arg for arg in typing.get_args(kind) if arg is not Ellipsis][-1]
        kind = _inner(kind)
    return kind


def _inner(kind: Any) -> Any:
    """A type without what is around it: `Annotated`, `… | None`."""
    while typing.get_origin(kind) in (typing.Annotated, typing.Union, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
    return kind


def _extra(kind: Any) -> Any:
    """The type of what stands under names of the owner's own beside a section's keys; `None` where nothing does."""
    known = _fields(kind) and kind.model_config.get("extra") == "allow"
    return AspectGuards if known else None


def _is_named(path: Path) -> bool:
    """Whether what stands at `path` may stand there under any name."""
    if not path:
        return False
    holder = _type_at(path[:-1])
    return _extra(holder) is not None and path[-1] not in _fields(holder)


def _fields(kind: Any) -> list[str]:
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _keys(kind: Any) -> list[str]:
    """The keys that a mapping of this type may have, short forms first."""
    short = {"urls": "url", "secrets": "secret"}
    return [key for name in _fields(kind) for key in ((short[name], name) if name in short else (name,))]


def _stand_in(key: str, data: dict[str, Any]) -> Any:
    """What stands for a value that must be there; for an upstream's name, one that there is."""
    upstreams = data.get("upstreams")
    if key in ("live", "candidate") and isinstance(upstreams, dict) and upstreams:
        return list(upstreams)[0 if key == "live" else -1]
    return copy.deepcopy(_STAND_INS.get(key, STAND_IN))


def _mend(data: Any, path: Path, kind: str) -> None:
    """Take what is wrong out of the data, or put a stand-in there."""
    holder = _at(data, path[:-1])
    if not path or holder is None:
        return
    last = path[-1]
    if isinstance(holder, dict) and (kind == "missing" or (last in _NEEDED and isinstance(holder.get(last), str))):
        holder[last] = _stand_in(str(last), data)
    elif isinstance(holder, dict):
        holder.pop(last, None)
    elif isinstance(holder, list) and isinstance(last, int) and last < len(holder):
        named = _STAND_INS.get(str(path[-2]), [STAND_IN])
        holder[last] = {} if kind.startswith("model") or isinstance(holder[last], dict) else named[0]
