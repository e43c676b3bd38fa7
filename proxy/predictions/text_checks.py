"""What can be said of a text without knowing what it should have been: is it JSON, of which form, is it a refusal.

Each is a label, so that `max_disagreement` counts how often the two models differ in it; the text itself may differ as
it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from proxy.predictions.bounds import UNBOUNDED
from proxy.predictions.json_tools import parse_json
from proxy.predictions.unreadable import Unreadable

NOT_JSON = "not JSON"
MAX_FORM = 400
"""Characters of a form; what is longer is told apart by its beginning."""

_DEEPEST = 32


def is_json(text: str) -> bool:
    """Whether a text is JSON, as a whole.

    >>> is_json('{"a": 1}'), is_json('Sure: {"a": 1}')
    (True, False)
    """
    try:
        parse_json(text.encode(), bounds=UNBOUNDED)
    except (Unreadable, UnicodeEncodeError):
        return False
    return True


def json_form(text: str) -> str:
    """The form of a text that is JSON: its keys and the types of its values, `not JSON` for any other text. How much
    there is of it is for the caller to bound.

    An array has the forms of its elements, each once; numbers are numbers, whole or not. So two answers with the same
    form fit the same schema as far as keys and types go.

    >>> json_form('{"b": [1, 2.5], "a": null}'), json_form('{"a": null, "b": [7]}'), json_form("hello")
    ('{a: null, b: [number]}', '{a: null, b: [number]}', 'not JSON')
    """
    try:
        return _form(parse_json(text.encode(), bounds=UNBOUNDED))
    except (Unreadable, UnicodeEncodeError):
        return NOT_JSON


def _form(value: Any, depth: int = 0) -> str:
    """The form's first `MAX_FORM` characters, for which no more than those of what is inside are needed."""
    if depth >= _DEEPEST:
        return "…"
    if (word := _WORDS.get(type(value))) is not None:
        return word
    if type(value) is dict:
        members = (f"{key}: {_form(item, depth + 1)}" for key, item in sorted(value.items()))
        return _enclosed("{", members, ", ", "}")
    known = _WORDS if depth + 1 < _DEEPEST else _NO_WORDS
    kinds = set(map(type, value))
    found = {known[kind] for kind in kinds if kind in known}
    if not kinds <= known.keys():
        found.update(_form(item, depth + 1) for item in value if type(item) not in known)
    return _enclosed("[", sorted(found), " or ", "]")


def _enclosed(start: str, parts: Iterable[str], between: str, end: str) -> str:
    taken, room = [], MAX_FORM
    for part in parts:
        taken.append(part)
        room -= len(part) + len(between)
        if room < 0:
            break
    return (start + between.join(taken) + end)[:MAX_FORM]


_WORDS: dict[type, str] = {bool: "true or false", int: "number", float: "number", str: "text", type(None): "null"}
_NO_WORDS: dict[type, str] = {}


_REFUSAL = re.compile(
    r"\W*(?:i['’]?m (?:very |really |so )?sorry|i am sorry|sorry|i apologi[sz]e|unfortunately)?[\W]*(?:but |that )*"
    r"(?:i|we) ?(?:can['’]?t|cannot|can not|am not able|['’]m not able|am unable|['’]m unable|won['’]?t|will not|"
    r"must decline|have to decline|decline)\b"
    r"|\W*as an ai\b",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether a text opens as refusals do, in English. Models that say so in a field of their own need no guess.

    >>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("As an AI model, I have no opinion.")
    (True, True)
    >>> is_refusal("I can help with that."), is_refusal("Sorry for the wait: the answer is 4.")
    (False, False)
    """
    return _REFUSAL.match(text[:200]) is not None
