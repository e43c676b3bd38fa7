"""Kind `json`: whether a text is JSON and fits a schema, and if not where the first error is.

A row is `valid`, or `invalid at POINTER: why`. Two rows differ when one is valid and the other is not: models that word
their JSON differently, or break it in another place, do not.

The schema is JSON Schema of the draft that `$schema` names, 2020-12 where it names none. Nothing is fetched: a `$ref`
to another document is an error of the configuration. Patterns run in time linear in the text, without look-around.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from proxy.model import VALID
from proxy.predictions.bounds import Bounds, check_texts

INVALID = "invalid"
LONGEST = 160
"""Characters of what is said of an error: messages quote the value."""


def schema_problem(text: str) -> str:
    """Why a text is no JSON Schema that can be used; empty if it can.

    >>> schema_problem('{"type": "object"}'), schema_problem('{"type": "thing"}')[:28]
    ('', 'is no JSON Schema at /type: ')
    """
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"is not JSON: {error}"
    if type(schema) not in (dict, bool):
        return "is no JSON Schema: expected an object"
    try:
        _validator(text)
    except ValueError as error:
        return f"is no JSON Schema{_told(error)}"
    return ""


def json_rows(values: Sequence[Any], schema: str, bounds: Bounds) -> tuple[str, ...]:
    """A row for each value: a text is read as JSON, any other value is JSON already. Without a schema, any JSON is
    valid; raises `Unreadable` when there is more of it than may be read.

    >>> json_rows(['{"a": "x"}', "[1"], '{"properties": {"a": {"type": "number"}}}', Bounds())
    ('invalid at /a: "x" is not of type "number"', 'invalid: no JSON: unexpected end of data: line 1 column 3 (char 2)')
    """
    check_texts([value.encode("utf-8", "replace") for value in values if type(value) is str], bounds.halved.halved)
    return tuple(_row(value, schema) for value in values)


def _row(value: Any, schema: str) -> str:
    if type(value) is str:
        try:
            value = orjson.loads(value.encode("utf-8", "surrogatepass"))  # as strict as most who will read it
        except orjson.JSONDecodeError as error:
            return f"{INVALID}: no JSON: {_short(str(error))}"
    try:
        if schema:
            _validator(schema).validate(value)
    except ValueError as error:
        return f"{INVALID}{_told(error)}"
    return VALID


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    import jsonschema_rs  # here, since every worker reads the configuration and few of them have a schema

    patterns = jsonschema_rs.RegexOptions()
    return jsonschema_rs.validator_for(orjson.loads(schema), retriever=_nothing, pattern_options=patterns)


def _nothing(uri: str) -> Any:
    raise ValueError(f"`$ref` to another document: put it below `$defs` of this one ({uri[:40]})")


def _told(error: ValueError) -> str:
    """The first error, with its place where it has one."""
    path, message = getattr(error, "instance_path", None), getattr(error, "message", str(error))
    at = "" if path is None else f" at {_pointer(path)}"
    return f"{at}: {_short(message)}"


def _pointer(path: Sequence[str | int]) -> str:
    return "".join(f"/{str(token).replace('~', '~0').replace('/', '~1')}" for token in path)[:LONGEST] or "/"


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
