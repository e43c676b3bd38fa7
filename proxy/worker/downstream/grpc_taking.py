"""What waits for the client of one call, which takes it as its windows allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.worker.taking import Taking

if TYPE_CHECKING:
    from proxy.http.http2 import Stream
    from proxy.worker.context import WorkerContext


class CallTaking(Taking):
    """One stream's."""

    def __init__(self, stream: Stream, context: WorkerContext, now: float) -> None:
        self._stream = stream
        super().__init__(context, now)

    def waiting(self) -> int:
        return self._stream.waiting
