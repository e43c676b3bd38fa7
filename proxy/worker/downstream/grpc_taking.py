"""What waits for the client of one call, which takes it as its windows allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.worker.taking import Memory, Taking

if TYPE_CHECKING:
    from proxy.http.http2 import Stream


class CallTaking(Taking):
    """One stream's."""

    def __init__(self, stream: Stream, memory: Memory, now: float) -> None:
        self._stream = stream
        super().__init__(memory, now)

    def waiting(self) -> int:
        return self._stream.waiting
