"""From types to JSON Schema (2020-12): the components of the API's description, and the schema of webhooks.

A `TypedDict` is a component of its name without `Json`; the docstring below a field is the field's description.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from typing_extensions import get_original_bases

Schema = dict[str, Any]


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _field_docs(kind: type) -> dict[str, str]:
    """The docstrings below the fields of a `TypedDict`, those of its bases included."""
    found: dict[str, str] = {}
    for base in get_original_bases(kind):
        if isinstance(base, type) and base is not dict:
            found |= _field_docs(base)
    for field, text in pairwise(_classes(kind.__module__)[kind.__name__].body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value)).replace("\n", " ")
    return found


class _SchemaWriter(GenerateJsonSchema):
    """Pydantic's, without its titles (the names again, in other letters) and with descriptions from docstrings."""

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name.removesuffix("Json"))

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Schema:
        found = super().typed_dict_schema(schema)
        del found["title"]
        for name, text in _field_docs(schema["cls"]).items():
            found["properties"][name].setdefault("description", text)
        return _on_one_line(found)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> Schema:
        found = super().dataclass_schema(schema)
        del found["title"]
        for field in found["properties"].values():
            field.pop("default", None)
        return _on_one_line(found | {"required": [*found["properties"]]})

    def enum_schema(self, schema: core_schema.EnumSchema) -> Schema:
        found = super().enum_schema(schema)
        del found["title"]
        return _on_one_line(found)


def _on_one_line(schema: Schema) -> Schema:
    return schema | {"description": " ".join(schema["description"].split())} if "description" in schema else schema


def json_schemas(kinds: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """The schema of each type, and the components that they refer to, by name."""
    inputs = [(at, "validation", TypeAdapter(kind)) for at, kind in enumerate(kinds)]
    each, whole = TypeAdapter.json_schemas(
        inputs,  # type: ignore[arg-type]  # a list of one mode is one of any mode
        ref_template="#/components/schemas/{model}",
        schema_generator=_SchemaWriter,
    )
    return [each[at, "validation"] for at in range(len(kinds))], whole.get("$defs", {})
