"""Server-sent events: the framing of streamed answers. Source: WHATWG HTML, section 9.2 "Server-sent events"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.predictions.bounds import PARTS, too_many

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")
_LINES = 8
"""Ends of lines for each event that may be read: a name, an id, its data, a comment, each with CR and LF."""


def is_stream(head_type: str, body: bytes) -> bool:
    """Whether a body is a stream of events, by its media type or, where a server forgot that, by its first bytes."""
    return head_type == "text/event-stream" or body.startswith((b"data:", b"event:", b": "))


def sse_data(body: bytes, most: int = PARTS) -> Iterator[bytes]:
    """The data of each event, comments and other fields left out; an event without data is skipped. Raises
    `Unreadable` when there are more than `most`.

    The last event counts although no blank line follows it: whether a stream was cut off is for the protocol to say.

    >>> list(sse_data(b": hello\\n\\nevent: x\\ndata: one\\ndata: two\\n\\ndata:[DONE]"))
    [b'one\\ntwo', b'[DONE]']
    """
    return (data for _, data in named_events(body, most))


def named_events(body: bytes, most: int = PARTS) -> Iterator[tuple[bytes, bytes]]:
    """The same with the name of each event, empty where it has none.

    >>> list(named_events(b"event: x\\ndata: one\\n\\ndata: two"))
    [(b'x', b'one'), (b'', b'two')]
    """
    found = body.count(b"data:")
    if found > most:
        raise too_many(found, most, "events")
    blank = body.count(b"\n") + body.count(b"\r")
    if blank > _LINES * most:
        raise too_many(blank, _LINES * most, "lines of events")
    for block in _BLANK.split(body.removeprefix(b"\xef\xbb\xbf")):
        if b"data:" not in block:
            continue
        lines = _LINE.split(block)
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        if data:
            named = [line[6:].strip() for line in lines if line.startswith(b"event:")]
            yield named[-1] if named else b"", b"\n".join(data)
