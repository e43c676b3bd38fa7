"""What a request is hashed by, so that those that belong together reach the same endpoint (`balance: {hash: …}`).

A header or a cookie of the client's, a field of the JSON body, or how a conversation begins (`prefix`). Engines keep
what they have computed for the beginning of a prompt; a conversation that is spread over them is computed anew at each
turn. The beginning is all messages up to the first of the user, which every later turn repeats; of a prompt that is one
text its first `PREFIX` characters, and of any other body its first `PREFIX` bytes.

Nothing here raises for what a body holds: one that cannot be read has no key.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from proxy import json_pointer
from proxy.fields.document import JsonDocument, JsonReader, json_size
from proxy.fields.sticky import json_key, message_key
from proxy.http.chunks import ChunkError, joined_chunks
from proxy.http.headers import original
from proxy.http.request_head import JSON_SIZE
from proxy.json_pointer import Pointer

PREFIX: Final = 256
_PROMPTS = ("messages", "prompt", "input", "inputs")
_RULES = ("system", "instructions")
_FRAME: Final = 5
"""Bytes before a gRPC message."""


class HashKey:
    """One rule: `kind` is `header`, `cookie`, `json` or `prefix`, `name` what the first three name."""

    __slots__ = ("_low", "_path", "_reader", "kind", "name", "pointers")

    def __init__(self, kind: str, name: str = "") -> None:
        self.kind, self.name = kind, name
        self._low = name.lower().encode()
        self._path = json_pointer.parse_pointer(name) if kind == "json" else ()
        named = [(one,) for one in (*_PROMPTS, *_RULES)] if kind == "prefix" else [self._path] if self._path else []
        self.pointers: tuple[Pointer, ...] = tuple(named)
        """What it looks at in a JSON body."""
        self._reader = JsonReader(self.pointers)

    @property
    def reads_body(self) -> bool:
        """Whether the key is in the body."""
        return self.kind in ("json", "prefix")

    def of_head(self, head: bytes) -> bytes:
        """The key in the head of a client's request, empty when there is none.

        >>> head = b"GET / HTTP/1.1\\r\\nX-User: Ann\\r\\nCookie: a=1; sid=7\\r\\n\\r\\n"
        >>> HashKey("header", "x-user").of_head(head), HashKey("cookie", "SID").of_head(head)
        (b'Ann', b'7')
        """
        low = head.lower()
        if self.kind == "header":
            return original(head, low, self._low)
        for part in original(head, low, b"cookie").split(b";"):
            name, _, value = part.strip().partition(b"=")
            if name.lower() == self._low:
                return value
        return b""

    def of_body(self, opening: bytes, whole: bool, grpc: bool) -> bytes:
        """The key in the body of a request (head and body, complete where `whole`), empty when there is none.

        >>> HashKey("json", "/user").of_body(b'POST / HTTP/1.1\\r\\n\\r\\n{"user": "ann"}', True, False)
        b'ann'
        """
        end = opening.find(b"\r\n\r\n") + 4
        head, body = opening[:end], opening[end:]
        if grpc:
            return self._of_message(body)
        low = head.lower()
        if not whole or not body or original(head, low, b"content-encoding").lower() not in (b"", b"identity"):
            return b""
        if original(head, low, b"transfer-encoding"):
            try:
                body = joined_chunks(body)
            except ChunkError:
                return b""
        size = json_size(original(head, low, JSON_SIZE), body)
        document = self._reader.read(body[:size]) if size >= 0 else None
        return self.of_document(document) if document is not None else self.of_no_document(body)

    def of_document(self, document: JsonDocument) -> bytes:
        """The key in a JSON body."""
        return beginning(document) if self.kind == "prefix" else json_key(document, self._path)

    def of_no_document(self, body: bytes) -> bytes:
        """The key in any other body."""
        return body[:PREFIX] if self.kind == "prefix" else b""

    def _of_message(self, body: bytes) -> bytes:
        if self.kind == "json":
            return message_key(body, self._path)
        size = int.from_bytes(body[1:_FRAME], "big")
        return body[_FRAME : _FRAME + min(size, PREFIX)] if len(body) >= _FRAME + min(size, PREFIX) else b""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashKey) and (self.kind, self.name) == (other.kind, other.name)

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def __repr__(self) -> str:
        return f"HashKey({self.kind!r}, {self.name!r})"


def beginning(document: JsonDocument) -> bytes:
    """How a prompt begins, the same for each turn of a conversation.

    >>> first = b'{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Hello"}]}'
    >>> later = first[:-2] + b', {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}]}'
    >>> read = JsonReader().read
    >>> beginning(read(first)) == beginning(read(later)), beginning(read(b'{"prompt": "Once", "n": 2}'))
    (True, b'Once')
    """
    for name in _PROMPTS:
        found = _member(document, name)
        if isinstance(found, str) and found:
            return found[:PREFIX].encode("utf-8", "surrogatepass")
        if isinstance(found, list) and found and all(isinstance(one, dict) and "role" in one for one in found):
            rules = [_member(document, rule) for rule in _RULES]
            return orjson.dumps([rules, _up_to_the_first_question(found)])
    return document.text[:PREFIX]


def _member(document: JsonDocument, name: str) -> Any:
    try:
        return document.value((name,))
    except LookupError:
        return None


def _up_to_the_first_question(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All messages up to the first of the user; the first one where the user has said nothing."""
    for at, message in enumerate(messages):
        if message["role"] == "user":
            return messages[: at + 1]
    return messages[:1]
