"""The file of anchors: pairs of answers whose verdict is known, one JSON object a line.

    {"request": "What is 2 + 2?", "first": "4", "second": "5", "verdict": "first"}

`request` is a text, or the JSON body of a request as a model server gets it. A good file has some twenty pairs of which
a careful person is sure, the right verdict as often `first` as `second`, and short and long answers on either side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from proxy.judges.verdict import WINNERS

MOST_ANCHORS = 1000
"""Anchors of one file: each is asked again and again."""
_KEYS = ("request", "first", "second", "verdict")


class AnchorPair(NamedTuple):
    """One pair with its known verdict: `first`, `second` or `tie`. `request` is a text."""

    request: str
    first: str
    second: str
    verdict: str


class AnchorError(ValueError):
    """A file that holds something else than anchors: what, and in which line."""


def read_anchors(text: str) -> tuple[AnchorPair, ...]:
    """The anchors of a file, in its order; empty lines are left out. Raises `AnchorError`.

    >>> read_anchors('{"request": "2 + 2?", "first": "4", "second": "5", "verdict": "first"}')[0].verdict
    'first'
    """
    lines = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    found = tuple(_anchor(number, line) for number, line in lines)
    if not found:
        raise AnchorError("holds no anchor")
    if len(found) > MOST_ANCHORS:
        raise AnchorError(f"holds {len(found)} anchors; up to {MOST_ANCHORS} are asked")
    return found


def _anchor(number: int, line: str) -> AnchorPair:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise AnchorError(f"line {number}: not JSON: {error}") from None
    if not isinstance(value, dict) or sorted(value) != sorted(_KEYS):
        raise AnchorError(f"line {number}: expected an object with {', '.join(f'`{key}`' for key in _KEYS)}")
    request, first, second = (_text(number, key, value[key]) for key in _KEYS[:3])
    if value["verdict"] not in WINNERS:
        raise AnchorError(f"line {number}: `verdict` is none of {', '.join(f'`{word}`' for word in WINNERS)}")
    return AnchorPair(request, first, second, value["verdict"])


def _text(number: int, key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if key == "request" and isinstance(value, dict):
        return orjson.dumps(value).decode()
    raise AnchorError(f"line {number}: `{key}` is no text")
