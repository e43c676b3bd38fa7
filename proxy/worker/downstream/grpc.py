"""The client side of gRPC: connections, and on each of them the calls under way (`caller`).

A call's head comes first and most often its message with it, so a call is started when all that came at once has been
read: a unary call then starts whole.

Invariants
- Whatever happens to a connection, no leg is left running for a client that is not there.
- Every call is looked at in time, so that one that is late ends.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.http.forwarding import client_lines
from proxy.http.grpc import NotGrpcError, announced, request_head, timeout_seconds
from proxy.http.headers import UNTIL_CLOSE, HeadError
from proxy.http.http2 import Headers, Http2, Stream
from proxy.http.http2.frames import ENHANCE_YOUR_CALM, MAX_INT31, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.worker.downstream.grpc_stream import ANSWER_WORK, CallsConnection, GrpcServerStream
from proxy.worker.pace import LOOK
from proxy.worker.taking import SocketTaking, reset

if TYPE_CHECKING:
    import asyncio

    from proxy.http.request_head import Request
    from proxy.request.routes import Routes
    from proxy.worker.context import WorkerContext

MAX_STREAMS: Final = 128
"""Calls that one connection may have under way."""
MAX_RESETS: Final = 1000.0
RESETS_PER_SECOND: Final = 50.0
"""Calls that a client may break off at once, and for how long; more is an attack (CVE-2023-44487)."""
NEARLY_SPENT: Final = MAX_INT31 - 2000
"""A client whose streams have come to this number is asked to connect anew (RFC 9113, 5.1.1): there are 1,000 left."""
LEAVE: Final = 1.0
"""Seconds between saying that no new calls are taken and refusing them: one may be under way to us."""


class CallHead:
    """What the headers of a call mean under these routes; `length` of its body as they say it, -1 where they do not;
    `timeout`: the caller's patience, seconds."""

    __slots__ = ("length", "request", "routes", "timeout")

    def __init__(self, routes: Routes, request: Request, length: int) -> None:
        self.routes, self.request, self.length = routes, request, length
        request.length = UNTIL_CLOSE
        given = request.value(b"grpc-timeout")
        self.timeout = timeout_seconds(given) if given else inf


class GrpcServerConnection(CallsConnection):
    """One client connection."""

    _spent = False
    _taking: SocketTaking | None = None
    """What waits for the client whatever the call, while its transport is full."""

    def __init__(self, context: WorkerContext, scheme: bytes) -> None:
        http2 = Http2(True, context.limits.max_header, MAX_STREAMS, self._opened, self._not_taken)
        super().__init__(http2, context.turn, None)
        self.context, self.scheme = context, scheme
        self._fresh: list[GrpcServerStream] = []
        self._since = self._left = 0.0
        self._resets, self._resets_at = MAX_RESETS, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self.context
        context.clients.add(self)
        self.peer, self.trusted = context.limits.whose(transport)
        self.owner = self.peer
        self.lines = client_lines(self.peer, self.scheme)
        super().connection_made(transport)
        self._since = self._resets_at = self.heard
        if len(context.clients) > context.limits.max_connections:
            context.refusals.count(Reason.TOO_MANY_CONNECTIONS)
            self.http2.say_goodbye(ENHANCE_YOUR_CALM)
            self.flush()
            self.transport.close()
            return
        context.wheel.watch(self, self.heard + context.limits.shortest)

    def take(self, data: bytes) -> int:
        took = super().take(data)
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            for caller in fresh:
                caller.start()
        return took

    def _opened(self, stream: Stream, headers: Headers, ended: bool) -> None:
        if stream.id > NEARLY_SPENT and not self._spent:
            self._spent = True
            # It cannot go on for long: a new connection, while calls still fit.
            self.http2.say_goodbye(NO_ERROR, MAX_INT31)
        try:
            call = self._head_of(headers)
            if ended and call.length > 0:
                raise HeadError("a body that does not come")
        except NotGrpcError as other:
            self._refused()
            self.http2.headers(stream, other.answer, True)
            if not ended:
                self.http2.reset(stream, NO_ERROR)  # what it would still send is wanted by nobody
            return
        except HeadError:
            self._refused()
            self.http2.reset(stream, PROTOCOL_ERROR)
            return
        stream.taker = caller = GrpcServerStream(self, stream, call.request, ended)
        caller.left, caller.timeout = call.length, call.timeout
        self._fresh.append(caller)

    def _head_of(self, headers: Headers) -> CallHead:
        """What a call's headers mean; raises `HeadError`, `NotGrpcError`."""
        routes, known = self.context.calls, self.http2.blocks.known
        if known is not None:
            kept = known.meaning
            if isinstance(kept, CallHead) and kept.routes is routes:
                return kept
        call = CallHead(routes, routes.read(request_head(headers)), announced(headers))
        if known is not None:
            known.means(call)
        return call

    def _refused(self) -> None:
        """What began is no call."""
        self.context.refusals.count(Reason.BAD_REQUEST)
        self.work -= ANSWER_WORK
        self.http2.worthless()

    def _not_taken(self, code: int) -> None:
        """A call was refused on its stream alone."""
        reason = Reason.DRAINING if self.http2.refusing else Reason.TOO_MANY_CALLS
        self.context.refusals.count(reason if code == REFUSED_STREAM else Reason.BAD_REQUEST)

    def gone(self) -> None:
        self._since = monotonic()
        self.wake()

    def broken_off(self) -> None:
        """A client that does nothing else than break calls off is thrown out."""
        now = monotonic()
        earned = (now - self._resets_at) * RESETS_PER_SECOND
        self._resets, self._resets_at = min(MAX_RESETS, self._resets + earned) - 1, now
        if self._resets < 0 and not self.transport.is_closing():
            self.context.refusals.count(Reason.FLOOD)
            self.http2.say_goodbye(ENHANCE_YOUR_CALM)
            self.flush()
            self.transport.close()

    def garbled(self, reason: Reason) -> None:
        self.context.refusals.count(reason)
        self._end_calls()

    def is_lost(self) -> None:
        self.context.clients.discard(self)
        self.context.wheel.forget(self)
        if self._taking is not None:
            self._taking.end()
        self._end_calls()

    def pause_writing(self) -> None:
        super().pause_writing()
        now = monotonic()
        self._taking = SocketTaking(self.transport, self.context, now)
        self.context.wheel.watch(self, now + LOOK)

    def resume_writing(self) -> None:
        if self._taking is not None:
            self._taking.end()
            self._taking = None
        super().resume_writing()

    def _end_calls(self) -> None:
        self._fresh = []
        for taker in self.http2.abandon():
            if isinstance(taker, GrpcServerStream):
                taker.lost()

    def leave(self, now: float) -> None:
        """The worker is about to stop: first no new calls are wanted, then none are taken; the last one closes."""
        http2 = self.http2
        if not self._left:
            self._left = now
            http2.say_goodbye(NO_ERROR, MAX_INT31)
        elif now - self._left > LEAVE and not http2.refusing:
            http2.refuse_streams()
        if http2.refusing and not http2.streams:
            self.flush()
            self.transport.close()
        self.wake()

    def check(self, now: float) -> float:
        """Calls first, then a connection that has none."""
        if self.closed:
            return 0.0
        limits, taking = self.context.limits, self._taking
        if taking is not None:
            if taking.is_late(now):
                self.context.refusals.count(Reason.SLOW_CLIENT)
                reset(self.transport)
                return 0.0
            taking.fits()
        due = now + (limits.shortest if taking is None else LOOK)
        for stream in list(self.http2.streams.values()):
            if isinstance(stream.taker, GrpcServerStream):
                due = min(due, stream.taker.check(now, taking is None))
        patience = limits.idle if self.http2.settled else limits.header
        if not self.http2.streams and now - self._since >= patience:
            if not self.http2.settled:
                self.context.refusals.count(Reason.REQUEST_TIMEOUT)
            self.http2.say_goodbye()
            self.flush()
            self.transport.close()
            return 0.0
        return due
