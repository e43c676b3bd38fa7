"""Server-sent events: the framing of streamed answers. Source: WHATWG HTML, section 9.2 "Server-sent events"."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")


def is_stream(head_type: str, body: bytes) -> bool:
    """Whether a body is a stream of events, by its media type or, where a server forgot that, by its first bytes."""
    return head_type == "text/event-stream" or body.startswith((b"data:", b"event:", b": "))


def events(body: bytes) -> Iterator[bytes]:
    """The data of each event, comments and other fields left out; an event without data is skipped.

    The last event counts although no blank line follows it: whether a stream was cut off is for the protocol to say.

    >>> list(events(b": hello\\n\\nevent: x\\ndata: one\\ndata: two\\n\\ndata:[DONE]"))
    [b'one\\ntwo', b'[DONE]']
    """
    for block in _BLANK.split(body.removeprefix(b"\xef\xbb\xbf")):
        lines = [line[5:].removeprefix(b" ") for line in _LINE.split(block) if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)
