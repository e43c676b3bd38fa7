"""What a request may say, read strictly: unknown names and values out of range are a 400 that says which.

Parameters and bodies are declared once, here; `openapi` describes them from that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType, TypedDict

from proxy.controller.admin.coded import whole_body
from proxy.controller.admin.problems import Problem
from proxy.json_types import SchemaWords
from proxy.outcome_units import OUTCOME_NAME
from proxy.predictions import exact_json

MAX_REASON = 1000
MAX_VALUE = 1e12
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, and those that turn the direction of text: they go on to terminals, chats
and mails by webhook and journal."""

# --- the query -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A text, a choice (`enum`) or a whole number (`minimum`, `maximum`), as `schema` says; `default` when absent."""

    name: str
    about: str
    schema: Mapping[str, Any]

    def read(self, text: str | None) -> Any:
        """Its value; raises `Problem` (400)."""
        schema = self.schema
        if text is None:
            return schema.get("default")
        if "enum" in schema and text not in schema["enum"]:
            raise Problem(400, f"{self.name} is one of {', '.join(schema['enum'])}.")
        if "minimum" not in schema:
            return text
        low, high = schema["minimum"], schema["maximum"]
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
            raise Problem(400, f"{self.name} is a whole number from {low} to {high}.")
        return int(text)


def limit_to(high: int, default: int, about: str = "How many.") -> QueryParameter:
    """How many are asked for."""
    return QueryParameter("limit", about, {"type": "integer", "minimum": 1, "maximum": high, "default": default})


PAGE = (
    limit_to(500, 50, "Entries."),
    QueryParameter("before", "Older than.", {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1}),
)
"""Which page of a journal."""


def query_values(request: web.Request, known: Sequence[QueryParameter]) -> dict[str, Any]:
    """The query's parameters by name, each given at most once and one of `known`."""
    names = [one.name for one in known]
    for name in request.query:
        if name not in names:
            raise Problem(400, f"Unknown query parameter {name[:40]!r}; known: {', '.join(names) or 'none'}.")
    if len(request.query) != len(set(request.query)):
        raise Problem(400, "A query parameter is given twice.")
    return {one.name: one.read(request.query.get(one.name)) for one in known}


# --- bodies ----------------------------------------------------------------------------------------------------------


def _expected(words: str) -> WrapValidator:
    """Says in these words what is expected, whatever is found."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("expected", "is {words}", {"words": words}) from None

    return WrapValidator(check)


def _plain(text: str) -> str:
    if found := _UNSEEN.search(text):
        code = f"{ord(found[0]):04X}"
        raise PydanticCustomError("plain", "holds the control character U+{code}; it is plain text", {"code": code})
    return text


def _never(value: bool) -> bool:
    if value:
        raise ValueError
    return value


_CLOSED = with_config(ConfigDict(extra="forbid", strict=True))
_Short = Annotated[str, Field(max_length=MAX_REASON), _expected(f"a text of at most {MAX_REASON} characters")]
_Reason = Annotated[_Short, AfterValidator(_plain)]
_RequestId = Annotated[str, Field(min_length=1, max_length=128), _expected("a text of 1 to 128 characters")]
_Who = Annotated[str, Field(min_length=1, max_length=1024), _expected("a text of 1 to 1024 characters")]
_Truth = Annotated[float, _expected("a number")]
_Name = Annotated[
    str,
    Field(pattern=OUTCOME_NAME),
    _expected("that of an outcome: a letter, then up to 63 letters, digits, `_`, `.` and `-`"),
]
_Value = Annotated[
    float, Field(ge=-MAX_VALUE, le=MAX_VALUE), _expected(f"a number from -{MAX_VALUE:g} to {MAX_VALUE:g}")
]


@_CLOSED
class HandActionJson(TypedDict, total=False):
    """What may be said of an action. The actor is who was proven, no field."""

    reason: _Reason
    full: Annotated[
        bool, AfterValidator(_never), _expected("false, or left out: promote alone has it"), SchemaWords(const=False)
    ]


@_CLOSED
class PromotionJson(TypedDict, total=False):
    """What may be said of a promotion."""

    reason: _Reason
    full: Annotated[bool, _expected("true or false"), SchemaWords(default=False)]
    """All the way to 100 %."""


@_CLOSED
class DriftAcceptanceJson(TypedDict, total=False):
    """What is normal from now on."""

    field: Annotated[_Short | None, _expected("the name of a field, or null for all")]
    """All fields when absent."""
    reason: _Reason


@_CLOSED
class LabelOutcomeJson(TypedDict):
    """The true label of a request."""

    id: _RequestId
    label: Annotated[str | int | bool, _expected("a text, a whole number or a truth value")]


@_CLOSED
class ValueOutcomeJson(TypedDict):
    """The true value of a request."""

    id: _RequestId
    value: _Truth


@_CLOSED
class RewardOutcomeJson(TypedDict):
    """What a request was worth."""

    id: _RequestId
    reward: _Truth


@_CLOSED
class KeyOutcomeJson(TypedDict):
    """What a user has done, by the sticky key."""

    key: _Who
    name: _Name
    value: _Value


@_CLOSED
class NamedOutcomeJson(TypedDict):
    """What a user without a sticky key has done, by the id of a request."""

    id: _Who
    name: _Name
    value: _Value


def _fields_of(entry: Any) -> str:
    return " ".join(sorted(map(str, entry))) if isinstance(entry, dict) else ""


_BY_FIELDS = Discriminator(
    _fields_of,
    custom_error_type="fields",
    custom_error_message="is an object of id and one of label, value, reward; or of name, value and one of key, id",
)
OutcomeJson = TypeAliasType(
    "OutcomeJson",
    Annotated[
        Annotated[LabelOutcomeJson, Tag("id label")]
        | Annotated[ValueOutcomeJson, Tag("id value")]
        | Annotated[RewardOutcomeJson, Tag("id reward")]
        | Annotated[KeyOutcomeJson, Tag("key name value")]
        | Annotated[NamedOutcomeJson, Tag("id name value")],
        _BY_FIELDS,
    ],
)


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first_problem(kind: Any, value: Any) -> str:
    """What is wrong with a value of this type: where, what is expected and what is there; empty when nothing is."""
    try:
        _reader(kind).validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[0]
        name = str(found["loc"][-1]) if found["loc"] else ""
        if found["type"] == "extra_forbidden":
            return f"Unknown field {name[:40]!r}; known: {', '.join(kind.__annotations__)}"
        expected = "must be an object" if found["type"] == "dict_type" else found["msg"]
        return f"{name or 'it'} {expected}; found {found['input']!r:.60}"
    return ""


async def _closed_body(request: web.Request, kind: Any) -> Mapping[str, Any]:
    """The body as an object of this type, an empty one when there is none. Raises `Problem` (400)."""
    body = await json_body(request, default={})
    if problem := _first_problem(kind, body):
        raise Problem(400, f"{problem}.")
    found: Mapping[str, Any] = body
    return found


async def json_body(request: web.Request, default: Any) -> Any:
    """The body as JSON, `default` when there is none."""
    data = await whole_body(request)
    if not data.strip():
        return default
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"The body is not JSON: {error}") from None


async def hand_action(request: web.Request, action: str) -> dict[str, Any]:
    """The body of a hand action: `reason` and `full`."""
    kind = PromotionJson if action == "promote" else HandActionJson
    return {"reason": "", "full": False, **await _closed_body(request, kind)}


async def drift_acceptance(request: web.Request) -> dict[str, Any]:
    """The body of `accept`: `field`, all of them for `None`, and `reason`."""
    return {"field": None, "reason": "", **await _closed_body(request, DriftAcceptanceJson)}


def outcome_problem(entry: Any) -> str:
    """What is wrong with a label or an outcome, in words; empty when nothing is.

    >>> outcome_problem({"id": "a", "label": 1}), outcome_problem({"id": "a", "value": "1"})
    ('', "value is a number; found '1'")
    """
    return _first_problem(OutcomeJson, entry)


async def outcomes(request: web.Request) -> list[dict[str, Any]]:
    """Delayed labels: one object or a list of them, each with `id` and one of `label`, `value`, `reward`; outcomes of
    users, each with `key` or `id`, `name` and `value`."""
    text = await whole_body(request)
    try:
        body = with_digits(orjson.loads(text), text)
    except orjson.JSONDecodeError as error:
        hint = "; one outcome a line is sent as content-type: application/x-ndjson" if _is_one_a_line(text) else ""
        raise Problem(400, f"The body is not JSON: {error}{hint}") from None
    entries = body if isinstance(body, list) else [body]
    for position, entry in enumerate(entries):
        if problem := outcome_problem(entry):
            raise Problem(400, f"Outcome {position}: {problem}.")
    return entries


def _is_one_a_line(text: bytes) -> bool:
    first, _, rest = text.lstrip().partition(b"\n")
    try:
        return bool(rest.strip()) and isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def with_digits(body: Any, text: bytes) -> Any:
    """What `text` says, with labels beyond 64 bits as their digits, as predictions have them (`predictions.shapes`).

    >>> with_digits({"id": "a", "label": 1e20}, b'{"id": "a", "label": 100000000000000000000}')["label"]
    '100000000000000000000'
    """
    entries = body if isinstance(body, list) else [body]
    if any(isinstance(entry, dict) and isinstance(entry.get("label"), float) for entry in entries):
        exact = exact_json.loads(text)
        for entry, same in zip(entries, exact if isinstance(exact, list) else [exact], strict=True):
            if isinstance(entry, dict) and isinstance(entry.get("label"), float) and isinstance(same["label"], int):
                entry["label"] = str(same["label"])
    return body
