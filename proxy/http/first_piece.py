"""When the model begins to speak: the first event of a stream that brings content, reasoning, a call or a refusal.

Servers send a head, comments, pings, a role, an empty string or the response's name long before the first word. Events
are looked at, by their bytes, until one has something in it; from then on a stream costs nothing here. Nothing is
parsed: keys of JSON cannot stand in its strings but escaped (`\\"content\\":`), so what a pattern finds is a member.

- Chunks of OpenAI's completions (`choices`): a text that is not empty, or calls.
- Typed events of its responses (`response.…`) and of Anthropic's Messages: a delta that is not empty, an item or block
  that is a call; not what announces, counts or ends something.
- Any other JSON: a text under one of the usual names, or under the name that the owner's pointer gives, that is not
  empty; where there is none of these names, whatever there is.
- What is no JSON: any event or line with something in it.

An event counts when it is here whole, as its reader sees it then. Of a long one the beginning decides.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.http.chunks import ChunkError, ChunkScanner

MOST: Final = 4096
"""Bytes at the beginning of an event that are looked at."""

_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA: Final = re.compile(rb"(?:^|[\r\n])data:[ ]?([^\r\n]*)")
_NAME: Final = re.compile(rb"(?:^|[\r\n])event:[ ]?([^\r\n]*)")
_TYPES: Final = re.compile(rb'"type"\s*:\s*"([a-z_.]+)"')

_FILLED: Final = rb'"\s*:\s*(?:"[^"]|\[\s*[^\]\s]|\{\s*[^}\s])'
_CHUNK: Final = re.compile(
    rb'"(?:content|text|refusal|reasoning|reasoning_content|reasoning_details|tool_calls|function_call|transcript|data)'
    + _FILLED
)
"""What brings something in a chunk."""
_DELTA: Final = re.compile(rb'"(?:delta|text|thinking|partial_json|partial_image_b64)"\s*:\s*"[^"]')
_CALL: Final = re.compile(rb'"type"\s*:\s*"(?:[a-z_]*tool_use|redacted_thinking|[a-z_]+_call)"')

_USUAL: Final = rb"content|text|response|thinking|text_output|generated_text|token|output|completion"
_OTHER: Final = re.compile(rb'"(?:' + _USUAL + rb')"\s*:\s*(?:"[^"]|[\[{0-9tf-])')
_OTHER_NAMED: Final = re.compile(rb'"(?:' + _USUAL + rb')"\s*:')

_SILENT: Final = frozenset(
    {
        b"message_start", b"message_delta", b"message_stop", b"content_block_stop", b"ping", b"error",
        b"response.created", b"response.queued", b"response.in_progress", b"response.content_part.added",
        b"response.failed", b"keepalive",
    }
)  # fmt: skip
"""Typed events that bring nothing."""
_ANNOUNCE: Final = (b".in_progress", b".searching", b".generating", b".interpreting", b".compacting", b"_part.added")


class FirstPiece:
    """Looks for the first piece of one stream, however its bytes are cut.

    `chunked`: pieces come with chunked framing. `lines`: each line is a document (NDJSON), not each event. `key` is the
    name of the member that holds the value, where the owner has said so.

    >>> it = FirstPiece()
    >>> it.found(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\\n\\ndata: {"choices":[{"del')
    False
    >>> it.found(b'ta":{"content":"Hi"}}]}\\n'), it.found(b"\\n")
    (False, True)
    """

    __slots__ = ("_filled", "_lines", "_named", "_rest", "_scanner")

    def __init__(self, chunked: bool = False, lines: bool = False, key: bytes = b"") -> None:
        self._scanner: ChunkScanner | None = ChunkScanner() if chunked else None
        self._lines = lines
        self._rest = b""
        self._filled, self._named = _patterns(key) if key else (_OTHER, _OTHER_NAMED)

    def found(self, piece: bytes) -> bool:
        """More of the body is here: whether an event that brings something is whole by now."""
        rest, at = self._rest + (piece if self._scanner is None else self._unframed(piece)), 0
        while True:
            end, stop = self._end(rest, at)
            if end < 0:
                break
            if self._brings(rest[at : min(end, at + MOST)]):
                return True
            at = stop
        rest = rest[at:]
        self._rest = rest if len(rest) <= 2 * MOST else rest[:MOST] + rest[-4:]
        return False

    def _unframed(self, piece: bytes) -> bytes:
        out: list[bytes] = []
        try:
            assert self._scanner is not None
            self._scanner.feed(piece, 0, out)
        except ChunkError:  # whoever passes it on says so
            return b""
        return b"".join(out)

    def _end(self, rest: bytes, at: int) -> tuple[int, int]:
        """Where an event that begins at `at` ends, and the next begins; -1 when its end is not here."""
        if not self._lines and b"\r" in rest:
            match = _END.search(rest, at)
            return (match.start(), match.end()) if match is not None else (-1, 0)
        mark = b"\n" if self._lines else b"\n\n"
        end = rest.find(mark, at)
        return end, end + len(mark)

    def _brings(self, event: bytes) -> bool:
        if self._lines:
            return self._says(event.strip(), b"")
        if event[:5] == b"data:" and b"\n" not in event and b"\r" not in event:  # nearly always
            return self._says(event[5:].strip(), b"")
        lines = _DATA.findall(event)
        name = _NAME.search(event)
        return self._says(b"\n".join(lines).strip(), name[1].strip() if name is not None else b"")

    def _says(self, data: bytes, name: bytes) -> bool:
        """Whether the data of an event called `name` bring something."""
        if not data or data == b"[DONE]":
            return False
        if data[:1] != b"{":
            return data not in (b'""', b"null")
        if b'"choices"' in data:
            return _CHUNK.search(data) is not None
        types = [name] if name else _TYPES.findall(data)
        for kind in types:
            if kind in _SILENT:
                return False
        for kind in types:
            if kind.startswith((b"response.", b"content_block_")):
                return _typed(kind, data)
        return self._filled.search(data) is not None or self._named.search(data) is None


def _typed(kind: bytes, data: bytes) -> bool:
    """Whether a typed event that is not silent brings something."""
    if kind in (b"response.output_item.added", b"content_block_start"):
        return _CALL.search(data) is not None or _DELTA.search(data) is not None
    if kind == b"content_block_delta" or kind.endswith(b".delta"):
        return _DELTA.search(data) is not None
    return not kind.endswith(_ANNOUNCE)


def _patterns(key: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Of one name: that it holds something, and that it stands there empty or not at all (which always matches)."""
    member = rb'"' + re.escape(key) + rb'"\s*:\s*'
    return re.compile(member + rb'(?:"[^"]|\[\s*[^\]\s]|\{\s*[^}\s]|[0-9tf-])'), re.compile(b"")
