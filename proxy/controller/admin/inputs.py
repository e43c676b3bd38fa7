"""What a request may say, read strictly: unknown names and values out of range are a 400 that says which."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import orjson
from aiohttp import web

from proxy.controller.admin.problems import Problem
from proxy.outcome_units import OUTCOME_NAME
from proxy.predictions import exact_json

MAX_REASON = 1000
MAX_KEY, MAX_VALUE = 1024, 1e12
BIGGEST = (1 << 63) - 1
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, and those that turn the direction of text: they go on to terminals, chats
and mails by webhook and journal."""


def query(request: web.Request, known: Collection[str]) -> dict[str, str]:
    """The query's parameters, each at most once and one of `known`."""
    for name in request.query:
        if name not in known:
            raise Problem(400, f"Unknown query parameter {name[:40]!r}; known: {', '.join(known) or 'none'}.")
    if len(request.query) != len(set(request.query)):
        raise Problem(400, "A query parameter is given twice.")
    return dict(request.query)


def whole_number(values: dict[str, str], name: str, default: int | None, low: int, high: int) -> int | None:
    """A whole number of the query from `low` to `high`, or `default`."""
    text = values.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise Problem(400, f"{name} is a whole number from {low} to {high}.")
    return int(text)


def choice(values: dict[str, str], name: str, options: tuple[str, ...]) -> str:
    """One of `options`, the first one when absent."""
    value = values.get(name, options[0])
    if value not in options:
        raise Problem(400, f"{name} is one of {', '.join(options)}.")
    return value


async def json_body(request: web.Request, default: Any = None) -> Any:
    """The body as JSON, `default` when there is none."""
    data = await request.read()
    if not data.strip() and default is not None:
        return default
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"The body is not JSON: {error}") from None


async def hand_action(request: web.Request, action: str) -> dict[str, Any]:
    """The body of a hand action: `reason` and, for a promotion, `full`. The actor is who was proven, no field."""
    body = await json_body(request, default={})
    if not isinstance(body, dict):
        raise Problem(400, 'The body is an object: {"reason", "full"}.')
    if unknown := sorted(body.keys() - {"reason", "full"}):
        raise Problem(400, f"Unknown field {unknown[0][:40]!r}; known: reason, full.")
    reason, full = body.get("reason", ""), body.get("full", False)
    _check_reason(reason)
    if not isinstance(full, bool) or (full and action != "promote"):
        raise Problem(400, "full is true or false, and true only for promote.")
    return {"reason": reason, "full": full}


async def drift_acceptance(request: web.Request) -> dict[str, Any]:
    """The body of `accept`: `field`, all of them when absent, and `reason`."""
    body = await json_body(request, default={})
    if not isinstance(body, dict):
        raise Problem(400, 'The body is an object: {"field", "reason"}.')
    if unknown := sorted(body.keys() - {"field", "reason"}):
        raise Problem(400, f"Unknown field {unknown[0][:40]!r}; known: field, reason.")
    field, reason = body.get("field"), body.get("reason", "")
    if not (field is None or (isinstance(field, str) and len(field) <= MAX_REASON)):
        raise Problem(400, "field is the name of a field, or null for all.")
    _check_reason(reason)
    return {"field": field, "reason": reason}


def _check_reason(reason: Any) -> None:
    if not (isinstance(reason, str) and len(reason) <= MAX_REASON):
        raise Problem(400, f"reason is a text of at most {MAX_REASON} characters.")
    if found := _UNSEEN.search(reason):
        raise Problem(400, f"reason holds the control character U+{ord(found[0]):04X}; it must be plain text.")


async def outcomes(request: web.Request) -> list[dict[str, Any]]:
    """Delayed labels: one object or a list of them, each with `id` and one of `label`, `value`, `reward`; outcomes of
    users, each with `key` or `id`, `name` and `value`."""
    text = await request.read()
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


def outcome_problem(entry: Any) -> str:
    """What is wrong with a label or an outcome, in words; empty when nothing is.

    >>> outcome_problem({"id": "a", "label": 1}), outcome_problem({"id": "a", "value": "1"})
    ('', 'value is a number')
    """
    if not isinstance(entry, dict):
        return "not an object"
    if "name" in entry:
        return _user_problem(entry)
    if not (isinstance(entry.get("id"), str) and 0 < len(entry["id"]) <= 128):
        return "id is a text of 1 to 128 characters"
    kinds = entry.keys() & {"label", "value", "reward"}
    if len(kinds) != 1 or len(entry) != 2:
        return "beside id there is exactly one of label, value, reward"
    [kind] = kinds
    given = entry[kind]
    if kind == "label" and not isinstance(given, str | int | bool):
        return "label is a text, a whole number or a truth value"
    if kind != "label" and (isinstance(given, bool) or not isinstance(given, int | float)):
        return f"{kind} is a number"
    return ""


def _user_problem(entry: dict[str, Any]) -> str:
    """What is wrong with the outcome of a user."""
    if entry.keys() - {"key", "id"} != {"name", "value"} or len(entry) != 3:
        return "beside name and value there is exactly one of key, id"
    if not (isinstance(entry["name"], str) and re.fullmatch(OUTCOME_NAME, entry["name"])):
        return "name is that of an outcome: a letter, then up to 63 letters, digits, `_`, `.` and `-`"
    whose = "key" if "key" in entry else "id"
    if not (isinstance(entry[whose], str) and 0 < len(entry[whose]) <= MAX_KEY):
        return f"{whose} is a text of 1 to {MAX_KEY} characters"
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_VALUE:
        return f"value is a number from -{MAX_VALUE:g} to {MAX_VALUE:g}"
    return ""
