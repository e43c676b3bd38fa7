"""How requests look to one URL of an upstream: its Host, its paths, its headers.

All that can be known at a reload is reckoned then. A request is changed when a connection is about to carry it, whoever
it is for, so what one URL gets is no business of the exchange: a leg that goes on to another URL is changed anew, from
what it was. Body and framing stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from proxy.http.known_heads import LONGEST
from proxy.http.request_head import JSON_SIZE

_END: Final = b"\r\n\r\n"
_OURS: Final = (
    b"\r\nx-forwarded-for: \r\nx-forwarded-proto: \r\nx-request-id: \r\ncontent-length: \r\n%b: \r\n" % JSON_SIZE
)
"""What every request gets behind the head that its client has written."""
MAX_KNOWN: Final = 1024
"""Heads whose beginning is remembered as it is sent."""


class PathRule:
    """`path: {from: …, to: …}`: one path, or with a `*` at the end of both every path that begins so.

    >>> [PathRule("/v1/*", "/openai/*").apply(path) for path in (b"/v1/models", b"/v2")]
    [b'/openai/models', b'/v2']
    """

    __slots__ = ("_begins", "_prefix", "_to", "missed", "start", "to")

    def __init__(self, start: str, to: str) -> None:
        self.start, self.to = start, to
        self.missed = 0
        """Requests with a path that it does not name."""
        self._prefix = start.endswith("*")
        self._begins, self._to = start.removesuffix("*").encode(), to.removesuffix("*").encode()

    def apply(self, path: bytes) -> bytes:
        """The path that is asked for; one that the rule does not name stays."""
        if self._prefix:
            return self._to + path[len(self._begins) :] if path.startswith(self._begins) else path
        return self._to if path == self._begins else path

    def misses(self) -> None:
        """A request came that it does not name."""
        self.missed += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PathRule) and (self.start, self.to) == (other.start, other.to)

    def __hash__(self) -> int:
        return hash((self.start, self.to))

    def __repr__(self) -> str:
        return f"PathRule({self.start!r}, {self.to!r})"


class Placement:
    """What is changed in the head of every request to one URL.

    `host` replaces the client's when it is not empty; `base` goes before every path, after `path` was applied; headers
    named in `drop` or `add` are left out (also with `_` for `-`, since servers take the two for the same), and those
    of `add` are written before the others (Host stays the first where it is: RFC 9110, 7.2).
    """

    __slots__ = ("_base", "_known", "_lines", "_ours", "_own_host", "_path", "_stale")

    def __init__(
        self, host: bytes, base: bytes, path: PathRule | None, drop: Iterable[str], add: Mapping[str, str]
    ) -> None:
        self._base, self._path = base, path
        self._own_host = b"\r\nhost: %b" % host if host else b""
        self._lines = "".join(f"\r\n{name}: {value}" for name, value in add.items()).encode("latin-1")
        names = [*(["host"] if host else ()), *drop, *add]
        alike = "|".join(re.escape(name).replace(r"\-", "[-_]") for name in names)
        self._stale = re.compile(rb"\r\n(?i:%b):[^\r\n]*" % alike.encode()) if names else None
        self._ours = self._stale is not None and self._stale.search(_OURS) is not None
        self._known: dict[bytes, tuple[bytes, bool]] = {}
        """Beginnings of heads as they are sent, and whether their path is none that the rule names."""

    def apply(
        self, opening: bytes, plain: bytes = b"", adds_lines: bool = True, is_check: bool = False, behind: bytes = b""
    ) -> bytes:
        """What is about to be sent, head and as much of the body as is here, as this URL gets it.

        `plain` are whole lines that it begins with, if many requests begin so: what they become is remembered.
        `adds_lines`: there may be other lines in the head behind them than those that every request gets. What is
        `behind` it is joined to it as it is.

        >>> here = Placement(b"b", b"/x", PathRule("/v1/*", "/openai/*"), ["k"], {"api-key": "s"})
        >>> here.apply(b"GET /v1/m?q HTTP/1.1\\r\\nHost: a\\r\\nK: 1\\r\\nAPI_Key: t\\r\\n\\r\\nhost: b")
        b'GET /x/openai/m?q HTTP/1.1\\r\\nhost: b\\r\\napi-key: s\\r\\n\\r\\nhost: b'
        """
        size = len(plain) - 2
        searched = self._stale if adds_lines or self._ours else None
        if size < 0 or not opening.startswith(plain):
            size, searched = opening.find(_END), None
            start, missed = self._placed(opening[:size])
        else:
            known = self._known.get(plain)
            start, missed = known if known is not None else self._remembered(plain)
        if missed and not is_check and self._path is not None:
            self._path.misses()
        if searched is None:
            return b"%b%b%b" % (start, opening[size:], behind)
        end = opening.find(_END, size) + 2
        return b"".join((start, searched.sub(b"", opening[size:end]), opening[end:], behind))

    def begin(self, plain: bytes, lines: bytes, behind: bytes) -> bytes:
        """The same for a request whose head is `plain`, which many have, and lines that every request gets.

        >>> here = Placement(b"", b"/x", None, ["k"], {})
        >>> here.begin(b"GET /m HTTP/1.1\\r\\nK: 1\\r\\n", b"content-length: 2\\r\\n\\r\\n", b"{}")
        b'GET /x/m HTTP/1.1\\r\\ncontent-length: 2\\r\\n\\r\\n{}'
        """
        if self._ours:
            return self.apply(plain + lines, plain, False, False, behind)
        known = self._known.get(plain)
        start, missed = known if known is not None else self._remembered(plain)
        if missed and self._path is not None:
            self._path.misses()
        return b"%b\r\n%b%b" % (start, lines, behind)

    def _remembered(self, plain: bytes) -> tuple[bytes, bool]:
        """The same for the beginning of a head that many have."""
        found = self._placed(plain[:-2])
        if len(plain) <= LONGEST:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[plain] = found
        return found

    def _placed(self, lines: bytes) -> tuple[bytes, bool]:
        """Lines of a head as they are sent, from the first on and without the end of the last, and whether their path
        is none that the rule names."""
        line = lines.find(b"\r\n")
        first, rest = (lines, b"") if line < 0 else (lines[:line], lines[line:])
        asked, missed = self._asked(first) if self._base or self._path is not None else (first, False)
        if self._stale is not None:
            rest = self._stale.sub(b"", rest)
        host = self._own_host
        if not host and self._lines and rest[:7].lower() == b"\r\nhost:":
            end = rest.find(b"\r\n", 2)
            host, rest = (rest, b"") if end < 0 else (rest[:end], rest[end:])
        return b"".join((asked, host, self._lines, rest)), missed

    def _asked(self, first: bytes) -> tuple[bytes, bool]:
        start = first.find(b" ") + 1
        end = first.find(b" ", start)
        query = first.find(b"?", start, end)
        stop = end if query < 0 else query
        path = first[start:stop]
        if not path.startswith(b"/"):  # OPTIONS *
            return first, False
        asked = path if self._path is None else self._path.apply(path)
        return b"".join((first[:start], self._base, asked, first[stop:])), self._path is not None and asked is path
