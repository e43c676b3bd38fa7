"""Routes that a field of the body tells apart (`match.json`): which of them a request belongs to.

Rules are asked in the file's order, up to the first that asks nothing of the body. One whose fields all have the values
that it names has the request. Where none has, because the values are others or the body cannot be read (compressed, no
JSON, longer than `max_body`), it belongs to the first with `default: true`, else to the one that asks nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from proxy.fields import sticky
from proxy.fields.set_json import json_size
from proxy.http.chunks import joined
from proxy.http.headers import CHUNKED, original
from proxy.json_pointer import step

if TYPE_CHECKING:
    from proxy.http.headers import Request
    from proxy.request.routing import Fields, Rule

T = TypeVar("T")
_NONE = object()
DEFAULT_MAX_BODY = 1 << 20
"""`max_body` where no route has a rollout."""


class Fork(Generic[T]):
    """The routes that one request may belong to. `max_body` is the largest `mirror.max_body` of them, 0 for none."""

    def __init__(self, choices: Sequence[tuple[Rule, T]], max_body: int, is_grpc: bool) -> None:
        self._choices, self._is_grpc = tuple(choices), is_grpc
        self.max_body = max_body or DEFAULT_MAX_BODY
        self.otherwise = next((route for rule, route in choices if rule.default or not rule.json), None)

    def pick(self, request: Request, body: bytes, done: bool) -> T | None:
        """The route of a request whose body, or the first message of it, is here as far as it was waited for."""
        coded = original(request.head, request.low, b"content-encoding").lower() not in (b"", b"identity")
        if coded or len(body) > self.max_body:
            return self.otherwise
        has: Callable[[Fields], bool] | None
        if self._is_grpc:
            has = partial(_has_texts, body) if request.path in sticky.CALLS else None
        else:
            document = _document(request, body) if done else _NONE
            has = partial(_has_values, document) if document is not _NONE else None
        if has is not None:
            for rule, route in self._choices:
                if rule.json and has(rule.json):
                    return route
        return self.otherwise


def _document(request: Request, body: bytes) -> Any:
    """A JSON body, or the JSON before binary tensors; `_NONE` for what is neither."""
    body = joined(body) if request.length == CHUNKED else body
    size = json_size(request.head, request.low, body)
    try:
        return orjson.loads(body[:size]) if size >= 0 else _NONE
    except orjson.JSONDecodeError:
        return _NONE


def _has_texts(body: bytes, fields: Fields) -> bool:
    return all(sticky.message_key(body, path) == str(value).encode() for path, value in fields)


def _has_values(document: Any, fields: Fields) -> bool:
    """Whether a document has these values; `true` is no 1.

    >>> _has_values({"a": [1, True]}, ((("a", "0"), 1),)), _has_values({"a": [1, True]}, ((("a", "1"), 1),))
    (True, False)
    """
    try:
        return all(_equal(document, path, value) for path, value in fields)
    except LookupError:
        return False


def _equal(document: Any, path: tuple[str, ...], value: object) -> bool:
    for token in path:
        document = step(document, token)
    return bool(document == value) and isinstance(document, bool) is isinstance(value, bool)
