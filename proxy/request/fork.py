"""Routes that a field of the body tells apart (`match.json`): which of them a request belongs to.

Rules are asked in the file's order, up to the first that asks nothing of the body. One whose fields all have the values
that it names has the request. Where none has, because the values are others or the fields cannot be read (compressed,
no JSON as far as it must be read, longer than `max_body`), it belongs to the first with `default: true`, else to the
one that asks nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from proxy.fields import sticky
from proxy.fields.document import as_written
from proxy.http.request_head import CODED
from proxy.json_pointer import Pointer

if TYPE_CHECKING:
    from proxy.fields.document import JsonDocument
    from proxy.http.request_head import Request
    from proxy.request.routing import MatchRule

T = TypeVar("T")
WantedField = tuple[Pointer, object, msgspec.Raw]
"""A pointer, the value that is to stand there, and how that is mostly written."""
DEFAULT_MAX_BODY: Final = 1 << 20
"""`max_body` where no route has a rollout."""


class Fork(Generic[T]):
    """The routes that one request may belong to. `max_body` is the largest `mirror.max_body` of them, 0 for none."""

    def __init__(self, choices: Sequence[tuple[MatchRule, T]], max_body: int, is_grpc: bool) -> None:
        fields = [(tuple((path, value, as_written(value)) for path, value in r.json), route) for r, route in choices]
        self._choices: list[tuple[tuple[WantedField, ...], T]] = [one for one in fields if one[0]]
        self._is_grpc = is_grpc
        self.max_body = max_body or DEFAULT_MAX_BODY
        self.otherwise = next((route for rule, route in choices if rule.default or not rule.json), None)

    def reads(self, body: bytes) -> bool:
        """Whether a body may be read as JSON."""
        return not self._is_grpc and len(body) <= self.max_body

    def pick(self, request: Request, body: bytes, document: JsonDocument | None) -> T | None:
        """The route of a request: its JSON, or the body with the first message, is here as far as it was waited for."""
        if self._is_grpc:
            if request.path in sticky.CALLS and len(body) <= self.max_body and request.body_form() != CODED:
                for fields, route in self._choices:
                    if _has_texts(body, fields):
                        return route
        elif document is not None:
            for fields, route in self._choices:
                if _has_values(document, fields):
                    return route
        return self.otherwise


def _has_texts(body: bytes, fields: tuple[WantedField, ...]) -> bool:
    return all(sticky.message_key(body, path) == str(value).encode() for path, value, _ in fields)


def _has_values(document: JsonDocument, fields: tuple[WantedField, ...]) -> bool:
    for path, value, written in fields:  # noqa: SIM110 - a generator costs more than all the rest, compiled
        if not document.has(path, value, written):
            return False
    return True
