"""The JSON Schema of the configuration file, for editors and for `docs/configuration.md`."""

from __future__ import annotations

from collections.abc import Iterator
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
