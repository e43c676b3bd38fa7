"""The JSON Schema of the configuration file, for editors and for `docs/configuration.md`."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from proxy.config.tree import Config
from proxy.config.types import Section


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12); defaults are spelled as in the file (`10s`, not 10.0).

    >>> schema()["$defs"]["Timeouts"]["properties"]["header"]["default"]
    '10s'
    """
    describe_sections()
    found = _without_titles(Config.model_json_schema())
    for section in sections():
        part = found if section is Config else found["$defs"][section.__name__]
        properties = part["anyOf"][0]["properties"] if "anyOf" in part else part["properties"]
        for name, field in section.model_fields.items():
            if field.default is None or field.default is PydanticUndefined:
                properties[name].pop("default", None)
            else:
                written: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, *field.metadata, None])  # type: ignore[arg-type]
                properties[name]["default"] = written.dump_python(field.default, mode="json")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Understudy configuration"}
    return {**head, **found}


@cache
def describe_sections() -> None:
    """Give each field the text below it as its description. Pydantic's `use_attribute_docstrings` does so wherever a
    section is defined, and reads all sources at every start of a process; descriptions are only for the schema."""
    whole, *parts = sections()
    for section in (*parts, whole):  # what stands in another one is made before it
        for kind in section.__mro__:
            for name, text in _texts(kind.__module__).get(kind.__name__, {}).items():
                if name in section.model_fields and section.model_fields[name].description is None:
                    section.model_fields[name].description = text
        section.model_rebuild(force=True)


@cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    """For each class of a module, the texts below its attributes."""
    if not module.startswith("proxy."):
        return {}
    source = ast.parse(Path(str(sys.modules[module].__file__)).read_text("utf-8"))
    found: dict[str, dict[str, str]] = {}
    for one in ast.walk(source):
        if isinstance(one, ast.ClassDef):
            found.setdefault(one.name, {}).update(_below(one.body))
    return found


def _below(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for pair in pairwise(body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)


def sections() -> Iterator[type[BaseModel]]:
    """Every section of the tree, the whole first, in the order of the definitions."""
    yield Config
    yield from (kind for kind in Section.__subclasses__() if kind is not Config)


def _without_titles(value: Any) -> Any:
    """Pydantic's titles are the names again, in other letters."""
    if isinstance(value, dict):
        titled = value.get("title")
        return {
            key: _without_titles(item) for key, item in value.items() if key != "title" or not isinstance(titled, str)
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value
