"""Heads that were read before, with what they mean: an equal one need not be checked, read and routed again.

Clients repeat themselves, and so do models, or within the second of their `date`. Each connection keeps its last
message too (`last`): to compare with that one is a fraction of looking a head up, which needs its end and its hash.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from proxy.http.headers import Http1Message

M = TypeVar("M", bound=Http1Message)
LONGEST: Final = 2048
"""Bytes of the longest head that is kept."""


class KnownHeads(Generic[M]):
    """At most `most` of them.

    >>> from proxy.http.answer_head import read_answer
    >>> known, answer = KnownHeads(2), read_answer(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n")
    >>> _ = known.keep(answer); known.find(answer.head + b"{}") is answer, known.find(answer.head[:-2], answer)
    (True, None)
    """

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[bytes, M] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, data: bytes, last: M | None = None) -> M | None:
        """The message with whose head `data` begins, byte for byte; `last` is the likeliest one."""
        if last is not None and data.startswith(last.head):
            return last
        return self.equal(data[: data.find(b"\r\n\r\n") + 4])

    def equal(self, head: bytes) -> M | None:
        """The message with this head."""
        return self._known.get(head)

    def keep(self, message: M) -> bool:
        """Keep one that has passed every check; all others make room when there are too many. Whether it is short
        enough to be kept, here or by a connection."""
        if len(message.head) > LONGEST:
            return False
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[message.head] = message
        return True

    def forget(self) -> None:
        """Keep none of them."""
        self._known.clear()
