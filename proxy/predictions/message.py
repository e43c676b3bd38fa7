"""One body with its head: headers found in raw bytes, content coding undone within a bound, JSON parsed once.

Heads arrive as bytes, and nearly always nothing in them matters here, so they are searched rather than parsed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from proxy.model import Pair
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, MAX_BODY, Bounds, check_json
from proxy.predictions.codings import CODINGS, MAX_CODINGS
from proxy.predictions.json_tools import parse_json
from proxy.predictions.unreadable import Unreadable

UNREAD: Any = object()
"""A document that has not been parsed yet."""


@lru_cache(maxsize=256)
def mark_of(name: str) -> bytes:
    r"""What stands before the value of a header in a lower-cased head.

    >>> mark_of("Content-Type")
    b'\r\ncontent-type:'
    """
    return b"\r\n" + name.lower().encode("latin-1", "replace") + b":"


def head_value(head: bytes, name: str) -> str:
    """The value of the first header called `name` in a raw head, without surrounding blanks; empty if there is none.

    >>> head_value(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/csv\\r\\n\\r\\n", "content-type")
    'text/csv'
    """
    mark = mark_of(name)
    at = head.lower().find(mark)
    if at < 0:
        return ""
    start = at + len(mark)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].decode("latin-1").strip()


_ENCODING = mark_of("content-encoding")


_BINARY = mark_of("inference-header-content-length")


def is_plain(head: bytes) -> bool:
    """Whether nothing in a head keeps its body from being read as it stands: no content coding, no binary tensors.

    >>> is_plain(b"HTTP/1.1 200 OK\\r\\n\\r\\n"), is_plain(b"HTTP/1.1 200 OK\\r\\nContent-Encoding: gzip\\r\\n\\r\\n")
    (True, False)
    """
    lower = head.lower()  # `find`, because `in` takes twice as long: it tries first whether it was given a number
    return lower.find(_ENCODING) < 0 and lower.find(_BINARY) < 0


def media_type(head: bytes) -> str:
    """The content type in lower case, without parameters.

    >>> media_type(b"HTTP/1.1 200 OK\\r\\nContent-Type: Application/JSON; charset=utf-8\\r\\n\\r\\n")
    'application/json'
    """
    return head_value(head, "content-type").partition(";")[0].strip().lower()


class Message:
    """A request or an answer. `body` is without content coding; making one raises `Unreadable` when that fails.

    `exact` asks for whole numbers beyond 64 bits as they are, which takes longer (`parse_json`). `pair` is what it
    belongs to, where that is known: some answers mean what their request asked for. `bounds` are what it may hold.
    """

    __slots__ = ("_document", "_lower", "body", "bounds", "exact", "head", "pair")

    def __init__(
        self,
        head: bytes,
        body: bytes,
        document: Any = UNREAD,
        *,
        exact: bool = False,
        pair: Pair | None = None,
        bounds: Bounds = DEFAULT,
    ) -> None:
        self.head = head
        self.bounds = bounds
        self.pair = pair
        self.exact = exact
        lower = self._lower = head.lower()
        self.body = body if _ENCODING not in lower else decoded(head, body, bounds.inflated)
        self._document = document

    def has(self, mark: bytes) -> bool:
        """Whether the head has a header, given as `mark_of(name)`: the cheap question before `head_value`."""
        return mark in self._lower

    @property
    def document(self) -> Any:
        """The body as JSON, parsed once; raises `Unreadable`. Do not change it: it is shared."""
        if self._document is UNREAD:
            self._document = parse_json(self.body, exact=self.exact, bounds=self.bounds)
        return self._document

    def parse(self, text: bytes) -> Any:
        """A part of the body as JSON; raises `Unreadable`."""
        return parse_json(text, exact=self.exact, bounds=self.bounds)

    def check_json(self) -> None:
        """Raise `Unreadable` when the body, as one text or cut into many, holds more JSON than may be read."""
        check_json(self.body, self.bounds)


def target_of(head: bytes) -> str:
    """The request target (path and query) in a request's head; empty for an answer's.

    >>> target_of(b"POST /v2/models/a/infer?x=1 HTTP/1.1\\r\\n\\r\\n")
    '/v2/models/a/infer?x=1'
    """
    parts = head.split(b"\r\n", 1)[0].split(b" ")
    return parts[1].decode("latin-1") if len(parts) == 3 and not head.startswith(b"HTTP/") else ""


def decoded(head: bytes, body: bytes, most: int = MAX_BODY) -> bytes:
    """The body with its content codings undone (RFC 9110 section 8.4), at most `most` bytes; raises `Unreadable`."""
    if head.lower().find(_ENCODING) < 0:
        return body
    codings = [word for word in head_value(head, "content-encoding").lower().replace(" ", "").split(",") if word]
    if len(codings) > MAX_CODINGS:
        raise Unreadable(Reason.BAD_ENCODING, f"{len(codings)} content codings on one body")
    for coding in reversed(codings):
        undo = CODINGS.get(coding)
        if undo is None:
            known = ", ".join(CODINGS)
            raise Unreadable(Reason.BAD_ENCODING, f"content coding `{coding[:40]}` cannot be read here (only {known})")
        body = undo(body, most)
    return body
