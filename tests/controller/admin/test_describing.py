"""Promise: a type says all that the API's description says of it: its docstring, those below its fields and below those
of its bases, which fields there always are; and every endpoint has a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from proxy.controller.admin.describing import json_schemas
from proxy.controller.admin.openapi import api_document
from proxy.json_types import AsDict, Timestamp, Whole, counts_of


@dataclass(frozen=True, slots=True)
class Shown:
    """A value that is shown
    as it is."""

    name: str
    times: Whole = 0


class BelowJson(TypedDict):
    """What the other one has, too."""

    at: Timestamp
    """When
    it was."""


class AboveJson(BelowJson):
    """The whole."""

    below: BelowJson | None
    """May be none."""
    shown: Annotated[dict[str, Any], AsDict(Shown)]
    words: Annotated[dict[str, int], counts_of("win", optional=("loss",))]
    rare: NotRequired[Whole]


[ABOVE], COMPONENTS = json_schemas([AboveJson])


def test_a_component_is_called_like_its_type_and_says_what_its_docstring_says() -> None:
    assert ABOVE == {"$ref": "#/components/schemas/Above"}
    assert set(COMPONENTS) == {"Above", "Below", "Shown"}
    assert COMPONENTS["Above"]["description"] == "The whole."


def test_fields_have_the_docstrings_below_them_in_the_type_and_in_its_bases() -> None:
    fields = COMPONENTS["Above"]["properties"]
    assert fields["at"] == {"type": "string", "format": "date-time", "description": "When it was."}
    below = {"anyOf": [{"$ref": "#/components/schemas/Below"}, {"type": "null"}]}
    assert fields["below"] == {**below, "description": "May be none."}


def test_what_is_always_there_is_required() -> None:
    assert COMPONENTS["Above"]["required"] == ["at", "below", "shown", "words"]
    count = {"type": "integer", "minimum": 0}
    words = COMPONENTS["Above"]["properties"]["words"]
    assert (words["properties"], words["required"]) == ({"win": count, "loss": count}, ["win"])
    assert words["additionalProperties"] is False


def test_a_dataclass_that_is_shown_as_it_is_has_all_its_fields() -> None:
    assert COMPONENTS["Shown"] == {
        "type": "object",
        "description": "A value that is shown as it is.",
        "properties": {"name": {"type": "string"}, "times": {"type": "integer", "minimum": 0}},
        "required": ["name", "times"],
    }


def test_every_answer_has_a_type_and_no_name_is_said_twice() -> None:
    document = api_document()
    operations = [one for path in document["paths"].values() for key, one in path.items() if key != "parameters"]
    contents = [one["responses"]["200"]["content"] for one in operations if "200" in one["responses"]]
    schemas = [one["application/json"]["schema"] for one in contents if "application/json" in one]
    assert [schema for schema in schemas if "$ref" not in schema] == [{"type": "object", "additionalProperties": True}]
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names)) == len(operations)
