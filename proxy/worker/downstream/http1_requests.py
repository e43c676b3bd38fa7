"""Requests of one client connection, out of bytes that are cut anywhere.

The end of a head is found here; llhttp says whether the head is well-formed, `http.headers` what it means, `Framing`
where the message ends.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from httptools import HttpRequestParser

from proxy.http.framing import Framing, FramingError
from proxy.http.headers import HeadError
from proxy.http.request_head import Request, may_become_a_head
from proxy.model.reasons import Reason

if TYPE_CHECKING:
    from proxy.request.routes import Routes
    from proxy.worker.context import WorkerContext

HEAD_WORK: Final = 8
"""Work (`turn`) of a request's head, and of each `HEAD_UNIT` bytes of it as much as of a chunk."""
HEAD_UNIT: Final = 128
DEAR_HEAD: Final = 2048
"""Bytes of a head above which reading it is expensive: thousands of lines take a third of a millisecond."""


MUCH_BEHIND: Final = 16 * 1024
"""Bytes behind a head with which its request is a long one."""


class RefusedError(Exception):
    """What came is no request, or too much of one."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestReader:
    """Reads one request after the other: `read_head`, then `read_body` until `done`."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._framing = Framing(HttpRequestParser)
        self._last: Request | None = None
        """What came last, if its head may come again,"""
        self._routes: Routes | None = None
        """and by which routes it was read."""

    @property
    def done(self) -> bool:
        """Whether the request is here whole."""
        return self._framing.done

    @property
    def left(self) -> int:
        """Bytes of the request that are still to come, as far as it has said so."""
        return self._framing.left

    @property
    def spent(self) -> int:
        """Work of the last `read_body`."""
        return self._framing.spent

    def recall(self, data: bytes) -> Request | None:
        """The request with whose head `data` begins, if it need not be read to be known."""
        context = self._context
        routes, last = context.routes, self._last
        request = routes.recall(data, last if self._routes is routes else None)
        if request is not last:
            if request is not None and len(request.head) > context.limits.max_header:
                request = None
            self._last, self._routes = request, routes
        return request

    def read_head(self, head: bytes, behind: int = 0) -> Request:
        """What a whole head means, with so many bytes behind it. Raises `RefusedError`."""
        began = monotonic() if len(head) > DEAR_HEAD else 0.0
        context, framing = self._context, self._framing
        try:
            framing.head(head)
            # A short request whose head is known came whole, as a rule, and is not read here.
            known = context.routes.known.find(head) if behind > MUCH_BEHIND else None
            request = known if known is not None else context.routes.read(head)
            framing.open(request.length)
        except (FramingError, HeadError):
            raise RefusedError(Reason.BAD_REQUEST) from None
        finally:
            if began:
                context.turn.was_dear(monotonic() - began)
        if request.length > context.limits.max_body:
            raise RefusedError(Reason.BODY_TOO_LARGE)
        if known is not None or context.routes.remember(request):
            self._last, self._routes = request, context.routes
        return request

    def read_body(self, data: bytes, at: int, work: int) -> int:
        """Take up the body from `at` on: where it ends, or how far `work` went. Raises `RefusedError`."""
        framing = self._framing
        try:
            end = framing.take(data, at, work)
        except FramingError:
            raise RefusedError(Reason.BAD_REQUEST) from None
        scanner = framing.scanner
        if scanner is not None and scanner.size > self._context.limits.max_body:
            raise RefusedError(Reason.BODY_TOO_LARGE)
        return end

    def refusal(self, data: bytes, begin: int, known: int) -> Reason:
        """Why what begins at `begin` will be no head, if that is known; `known` bytes of `data` were looked at."""
        most = self._context.limits.max_header
        seen = data[begin : begin + most + 1]  # so the same is refused alike, however it was cut
        if not may_become_a_head(seen, max(0, known - begin)):
            return Reason.BAD_REQUEST
        if len(seen) > most:
            return Reason.HEADER_TOO_LARGE if b"\r\n" in seen else Reason.URI_TOO_LONG
        return Reason.NONE
