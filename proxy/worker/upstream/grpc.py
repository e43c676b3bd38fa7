"""The model side of gRPC: a connection that carries many legs, and each leg's stream on it.

Invariants
- A leg's stream ends exactly once: whole, failed, or dropped by us; then the leg is told nothing more.
- A stream that nobody takes from is not read beyond its window, and holds up no other stream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from proxy.http.grpc_answer import GrpcAnswer, close, read_grpc_answer, read_trailers
from proxy.http.grpc_opening import CallOpenings
from proxy.http.headers import HeadError
from proxy.http.http2 import HIGH, Headers, Http2
from proxy.http.http2.frames import (
    CANCEL,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
)
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.worker.http2_protocol import Http2Protocol, StreamEnd
from proxy.worker.upstream.http1 import MAX_ANSWER_HEAD

if TYPE_CHECKING:
    from proxy.request.legs import Leg
    from proxy.worker.timers import TimerWheel
    from proxy.worker.turn import TurnScheduler
    from proxy.worker.upstream.dialling import Settings
    from proxy.worker.upstream.endpoint import Endpoint

_GARBLED: Final = frozenset({PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR})
"""A call was broken off, by either side, because the other did not keep to HTTP/2."""


class GrpcConnectionOwner(Protocol):
    """Who opened a connection, and hears of it: the pool."""

    wheel: TimerWheel
    turn: TurnScheduler
    settings: Settings
    timeout: float
    period: float

    def submit(self, leg: Leg, fresh: bool = False, avoid: Endpoint | None = None) -> None:
        """Send a leg once more; `avoid` has just failed."""

    def freed(self, link: GrpcClientConnection) -> None:
        """It may have room for one more call."""

    def retired(self, link: GrpcClientConnection) -> None:
        """It takes no more calls."""

    def lost_link(self, link: GrpcClientConnection) -> None:
        """It is gone. May be called twice."""

    def doubt(self, leg: Leg, endpoint: Endpoint, reason: Reason) -> None:
        """A leg is about to fail: find out whether the model is there at all (`absence`)."""


class GrpcClientConnection(Http2Protocol):
    """One connection to one URL of an upstream."""

    used = False
    """A call has ended well on it."""
    leaving = False
    """It carries what it has and takes no more."""
    _has_spoken = False

    def __init__(self, pool: GrpcConnectionOwner, endpoint: Endpoint) -> None:
        super().__init__(Http2(False, MAX_ANSWER_HEAD), pool.turn, pool)
        self.outlives = True
        self.pool, self.endpoint = pool, endpoint
        self.openings = CallOpenings(b"https" if endpoint.secure else b"http")
        self.spoken = asyncio.Event()
        """The server has said how many calls it takes at once, or nothing more is to be heard from it."""
        self.broken = Reason.NONE
        """Why nothing is."""
        self._since = 0.0

    @property
    def room(self) -> bool:
        """Whether it can take one more call."""
        http2 = self.http2
        if self.leaving or self.transport.is_closing():
            return False
        return http2.goaway < 0 and len(http2.streams) < http2.peer_streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._since = self.heard
        self.pool.wheel.watch(self, self.heard + self.pool.period)

    def take(self, data: bytes) -> int:
        before = self.http2.peer_streams
        took = super().take(data)
        if self.http2.settled and not self._has_spoken:
            self._has_spoken = True
            self.spoken.set()
        if self.http2.goaway >= 0:
            self.retire()
        elif self.http2.peer_streams > before:
            self.pool.freed(self)
        return took

    def start(self, leg: Leg) -> None:
        """Carry this leg; there must be room."""
        self.endpoint.reserve()
        self.endpoint.carries()
        stream = GrpcClientStream(self, leg)
        stream.begin()
        if self.http2.spent:
            self.retire()  # it carries what it has; the next call opens another connection
        if leg.timeout < self.pool.period:
            self.pool.wheel.watch(self, leg.sent + leg.timeout)

    def freed(self) -> None:
        """A stream has ended."""
        self.endpoint.free()
        self._since = monotonic()
        self.wake()
        if self.leaving and not self.http2.streams:
            self.turn.later(self.transport.close)
        else:
            self.pool.freed(self)

    def retire(self) -> None:
        """Take no more calls; close when the last one has ended."""
        if not self.leaving:
            self.leaving = True
            self.pool.retired(self)
            if not self.http2.streams:
                self.transport.close()

    def garbled(self, reason: Reason) -> None:
        self.lost(Reason.FLOOD if reason is Reason.FLOOD else Reason.BAD_REPLY)

    def is_lost(self) -> None:
        self.pool.wheel.forget(self)
        self.lost(Reason.DISCONNECT)

    def lost(self, reason: Reason) -> None:
        """Every call on it has failed."""
        self.leaving = True
        self.broken = self.broken or reason
        self.spoken.set()
        self.pool.lost_link(self)
        if reason is not Reason.DISCONNECT or self.http2.streams:
            self.endpoint.failed()
        for taker in self.http2.abandon():
            if isinstance(taker, GrpcClientStream):
                taker.broken(reason)

    def check(self, now: float) -> float:
        """Close when idle for too long; fail the legs that are late."""
        if self.closed:
            return 0.0
        due = now + self.pool.period
        streams = self.http2.streams
        if not streams and now - self._since >= self.pool.settings.idle_timeout:
            self.retire()
        for stream in list(streams.values()):
            if isinstance(stream.taker, GrpcClientStream):
                due = min(due, stream.taker.check(now))
        return due


class GrpcClientStream(StreamEnd[GrpcClientConnection]):
    """One leg's stream: what a leg knows as its connection."""

    def __init__(self, link: GrpcClientConnection, leg: Leg) -> None:
        self.link, self.leg = link, leg
        self._blocked_since = 0.0
        self._again = True
        """All that was sent is at hand still, so that it can be sent once more."""

    def begin(self) -> None:
        """Send the head and what is here of the body."""
        leg, http2 = self.leg, self.link.http2
        opening = leg.gather()
        if self.link.endpoint.placement is not None:
            opening = self.link.endpoint.placement.apply(opening, is_check=leg.is_check)
        plain = leg.plain  # whole lines, in which no head ends
        at = opening.find(b"\r\n\r\n", len(plain) - 2 if plain and opening.startswith(plain) else 0) + 4
        leg.connection = self
        self._stream = http2.open_with(self.link.openings.block(opening[:at], plain), self)
        http2.data(self._stream, opening[at:], leg.whole)
        self._since = leg.sent = monotonic()
        if leg.held_back:
            leg.held_back = False
            leg.resume_source()
        self._hold_back()
        self.link.wake(leg)

    def _hold_back(self) -> None:
        if self._stream.waiting > HIGH and not self._blocked_since:
            self._blocked_since = monotonic()
            self.leg.pause_source()

    # --- what the leg asks for ---

    def send(self, piece: bytes, last: bool) -> None:
        """More of the request's body."""
        self._again = False
        self.link.http2.data(self._stream, piece, last)
        if last:
            self._since = self.leg.sent = monotonic()
        else:
            self._hold_back()
        self.link.wake()

    def drop(self) -> None:
        """Nobody wants the answer any more."""
        if not self._over:
            self._end(CANCEL)

    # --- what the model says ---

    def on_headers(self, headers: Headers, ended: bool) -> None:
        """The head, or all there is."""
        leg = self.leg
        leg.began = self._since = monotonic()
        try:
            leg.answer = answer = read_grpc_answer(headers, ended, self.link.http2.blocks.known)
        except HeadError:
            self._fail(Reason.BAD_REPLY)
            return
        if ended:
            self._complete(answer)
        leg.head(b"", ended)

    def on_data(self, data: bytes, ended: bool) -> None:
        """A piece of the body."""
        if ended:  # without trailers there is no status, and half an answer looks like a whole one
            self._fail(Reason.BAD_REPLY)
            return
        self._since = monotonic()
        self.leg.body(data, False)
        if not self._paused and not self._over:
            self.link.http2.taken(self._stream)

    def on_trailers(self, headers: Headers) -> None:
        """The end."""
        leg = self.leg
        answer = cast(GrpcAnswer, leg.answer)  # as `on_headers` made it
        try:
            close(answer, read_trailers(headers, self.link.http2.blocks.known))
        except HeadError:
            self._fail(Reason.BAD_REPLY)
            return
        self._complete(answer)
        leg.body(b"", True)

    def _complete(self, answer: GrpcAnswer) -> None:
        leg = self.leg
        leg.mark_ended(monotonic())
        answer.complete()
        self.link.used = True
        if self.link.endpoint.doubted and not leg.is_check:
            self.link.endpoint.succeeded()
        self._end(CANCEL)  # only a call that was answered before it had ended is still open

    def on_reset(self, code: int) -> None:
        """The model broke the call off; one that it has not begun may be sent again (RFC 9113, 8.7)."""
        if self._over:
            return
        leg = self.leg
        if code == REFUSED_STREAM and self._again and not leg.began and not leg.tries:
            leg.tries_again()
            self._end(CANCEL)
            self.link.pool.submit(leg, fresh=True, avoid=self.link.endpoint)
            return
        self._fail(Reason.BAD_REPLY if code in _GARBLED else Reason.DISCONNECT)

    def on_room(self) -> None:
        """The model takes bytes again."""
        if self._blocked_since:
            self._blocked_since = 0.0
            self.leg.resume_source()

    def broken(self, reason: Reason) -> None:
        """The connection is gone. One that was used before may have been closed before the model read this call."""
        leg = self.leg
        if self._over:
            return
        stale = self.link.used and reason is Reason.DISCONNECT and leg.repeatable and not leg.began
        if self._again and (stale or not leg.written) and not leg.tries:
            leg.tries_again()
            self._end(CANCEL)
            self.link.pool.submit(leg, fresh=True, avoid=None if stale else self.link.endpoint)
            return
        self._fail(reason, counted=True)

    # --- ends ---

    def _end(self, code: int) -> None:
        """Let go of the stream; it is broken off unless both sides have ended it."""
        self._over = True
        self.leg.connection = None
        self.on_room()  # whoever takes over (live, or another connection) holds the client back by itself
        self.link.http2.reset(self._stream, code)
        self.link.freed()

    def _fail(self, reason: Reason, counted: bool = False) -> None:
        """The leg broke; `counted` when the URL has been blamed already, for all calls of a connection at once."""
        leg = self.leg
        if reason is not Reason.TIMEOUT:
            if not counted:
                self.link.endpoint.failed()
        elif self.link.heard <= leg.sent:
            self.link.retire()  # nothing has come on it since: perhaps nobody is there any more
        self._let_go(reason)

    def _let_go(self, reason: Reason) -> None:
        """The leg ends without its answer."""
        self._end(CANCEL)
        self.link.pool.doubt(self.leg, self.link.endpoint, reason)
        self.leg.breaks(reason, monotonic())

    def check(self, now: float) -> float:
        """Fail the leg if it is late; when to look again."""
        leg = self.leg
        if self._over:  # by what became of another one, a moment ago
            return now + self.link.pool.period
        since = self._since
        if not leg.whole:
            since = self._blocked_since or now  # waiting for the client's message is not the model's fault
        if self._paused:
            since = now  # nor is a client that reads slowly
        if now - since >= leg.timeout:
            if now - self._since >= self.link.pool.timeout and not leg.is_check:
                self.link.endpoint.timed_out()
            self._fail(Reason.TIMEOUT)
        elif leg.is_too_long(now):
            self._let_go(Reason.TOO_LONG)
        return since + leg.timeout if since + leg.timeout > now else now + self.link.pool.period
