"""Heads that differ from one that was read before in nothing but values without a meaning to us: they mean the same.

Each request of a client has a user, a token or a trace of its own, in a head that otherwise is that of the last one.
Line by line such a head was checked by llhttp, read and routed before. In a line that differs the name is the same, so
whatever a name decides is decided; and a value that nothing here depends on is legal or not (RFC 9110, 5.5).

Invariant: of a head that is taken for another's like here, llhttp and `request_head.read_request` say the same.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.http.request_head import Request

_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def read_alike(head: bytes, last: Request, fixed: frozenset[bytes]) -> Request | None:
    """What a head means that is like that of `last`, which was forwarded with its lines as they came (`plain`); `None`
    where they may differ in meaning. `fixed` are headers (lower case) on whose values that depends.

    >>> from proxy.http.request_head import MEANT, read_request
    >>> last = read_request(b"GET /a HTTP/1.1\\r\\nHost: m\\r\\nX-User: ann\\r\\n\\r\\n")
    >>> [read_alike(last.head.replace(b"ann", user), last, MEANT) is None for user in (b"bob", b"b\\rb")]
    [False, True]
    >>> read_alike(last.head.replace(b"Host: m", b"Host: n"), last, MEANT) is None
    True
    """
    lines, before, found = head.split(b"\r\n"), last.lines(), last.found
    if len(lines) != len(before) or lines[0] != before[0] or not last.plain:
        return None
    for at in range(1, len(lines)):
        line = lines[at]
        if line != before[at]:
            end = line.find(b":") + 1
            name = line[: end - 1].lower()
            if not end or name in fixed or not before[at].startswith(line[:end]) or not _VALUE.fullmatch(line, end):
                return None
            if name in found:
                if last.low.count(b"\r\n%b:" % name) > 1:
                    return None
                found = {**found, name: line[end:].lstrip(b" \t").lower()}
    return last.again(head, lines, found)
