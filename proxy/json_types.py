"""Types of JSON values, and what they say in JSON Schema beyond what Python's own types can say.

What the API answers are `TypedDict`s, called `…Json`, from which its description is written
(`controller.admin.describing`). Nothing here imports pydantic, so that rooms without it may say what they show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any


class SchemaWords:
    """Keywords that a type has in JSON Schema: metadata of `Annotated`, in the form that pydantic asks for.

    >>> SchemaWords(minimum=0).__get_pydantic_json_schema__(None, lambda _: {"type": "integer"})
    {'type': 'integer', 'minimum': 0}
    """

    def __init__(self, **words: Any) -> None:
        self._words = words

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return handler(core) | self._words


class AsDict:
    """What `asdict` makes of a dataclass: metadata of `Annotated[dict[str, Any], …]`, so that a frozen value that is
    shown as it is need not be written again as a type."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler.generate_schema(self._kind)


def counts_of(*names: str, optional: Sequence[str] = ()) -> SchemaWords:
    """Of a `dict[str, int]`: the names of its counts, all but the `optional` ones being always there.

    >>> counts_of("win").__get_pydantic_json_schema__(None, lambda _: {"additionalProperties": True})["required"]
    ['win']
    """
    count = {"type": "integer", "minimum": 0}
    return SchemaWords(
        properties=dict.fromkeys((*names, *optional), count), required=[*names], additionalProperties=False
    )


Whole = Annotated[int, SchemaWords(minimum=0)]
"""A count."""
Timestamp = Annotated[str, SchemaWords(format="date-time")]
"""A time, RFC 3339."""
