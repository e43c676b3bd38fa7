"""One call's client side: its messages in, its answer out, and how long it may take for either.

Invariants
- It is answered once: by a model's answer, or by an error of ours with a gRPC status.
- A call whose client does not read, or does not go on with its message, ends after `server.timeouts`, or sooner by the
  least rate.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, cast

from proxy.http.answer_head import Answer, id_name
from proxy.http.grpc import Messages, TooLong, is_trailers, refusal
from proxy.http.grpc_answer import GrpcAnswer
from proxy.http.http2 import HIGH, Headers, Stream
from proxy.http.http2.frames import CANCEL, NO_ERROR, PROTOCOL_ERROR
from proxy.http.local_replies import words
from proxy.http.request_head import given_id
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.worker.downstream.grpc_call import Call
from proxy.worker.downstream.grpc_logged import LoggedCall
from proxy.worker.downstream.grpc_taking import CallTaking
from proxy.worker.downstream.receiving import Receiving
from proxy.worker.http2_protocol import Http2Protocol, StreamEnd
from proxy.worker.pace import LOOK

if TYPE_CHECKING:
    from proxy.http.request_head import Request
    from proxy.request.legs import Leg
    from proxy.worker.context import WorkerContext

ANSWER_WORK: Final = 24
ASK_WORK: Final = 24
"""Work (`turn`) of an answer of our own, and of asking a model."""
HEALTH: Final = b"/grpc.health.v1.Health/Check"
_HEAD: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_SERVING, _NOT_SERVING = b"\0\0\0\0\2\x08\1", b"\0\0\0\0\2\x08\2"


class CallsConnection(Http2Protocol):
    """What a call asks of the connection that it came on."""

    context: WorkerContext
    peer = b""
    lines = b""
    scheme = b""
    trusted = False

    def spend(self, work: int) -> None:
        """So much was done for one of its calls (`turn`)."""
        self.work -= work

    def gone(self) -> None:
        """A call has ended."""
        raise NotImplementedError

    def broken_off(self) -> None:
        """The client broke a call off."""
        raise NotImplementedError

    def check(self, now: float) -> float:
        """End what is late, calls too; when to look again."""
        raise NotImplementedError


class GrpcServerStream(StreamEnd[CallsConnection]):
    """One call's client side: what its exchange knows as its client."""

    exchange: Call | None = None
    blocked = False
    """The client reads slowly: more than enough waits for it."""
    left = -1
    """Bytes of its body that its head announces and that have not come; below 0 where it announces none."""
    timeout = inf
    """The caller's patience, seconds."""
    _answering = False
    _started = False
    _answer: GrpcAnswer | None = None
    _receiving: Receiving | None = None
    """The message that is not here whole, the `_number`th."""
    _number = 0
    _taking: CallTaking | None = None
    """What waits for the client, while it is `blocked`."""

    def __init__(self, link: CallsConnection, stream: Stream, request: Request, ended: bool) -> None:
        self.link, self._stream, self.request, self._ended = link, stream, request, ended
        self.context = link.context
        self.peer, self.scheme, self.lines, self.trusted = link.peer, link.scheme, link.lines, link.trusted
        self.messages = Messages(self.context.limits.max_body)
        self._parts: list[bytes] = []
        self._too_long = False

    # --- the call, in ---

    def start(self) -> None:
        """All that came at once has been read."""
        self._started = True
        if self._over:
            return
        context, request = self.context, self.request
        self._since = now = monotonic()
        name = context.new_id(now)
        told = given_id(request) or name
        if request.path == HEALTH and not context.calls.names(HEALTH):
            self._health()
        elif self._too_long:
            self.refuse(Reason.BODY_TOO_LARGE, name=told)
        elif request.route is None:
            self.refuse(Reason.NO_ROUTE, name=told)
        else:
            how = context.request_log.chosen(context, request, name) if context.request_log.wanted else None
            self.exchange = exchange = (
                Call(self, context, request, name, now)
                if how is None
                else LoggedCall(context.request_log, how, self, context, request, name, now)
            )
            parts, self._parts = self._parts, []
            self.link.spend(ASK_WORK)
            refused = exchange.start(b"".join(parts), self._ended)
            if refused:
                self.exchange = None
                self.refuse(refused, name=told)

    def _health(self) -> None:
        """As Kubernetes' gRPC probes ask it; every service is the proxy."""
        self.link.spend(ANSWER_WORK)
        serving = self.context.open_for_more
        http2, stream = self.link.http2, self._stream
        http2.headers(stream, _HEAD, False)
        http2.data(stream, _SERVING if serving else _NOT_SERVING, True, [(b"grpc-status", b"0")])
        self._finish()

    def on_headers(self, headers: Headers, ended: bool) -> None:
        """Never: a call's head comes with `opened`."""

    def on_data(self, data: bytes, ended: bool) -> None:
        """A piece of the body."""
        if self._over:
            return
        if self.left >= 0:
            self.left -= len(data)
            if self.left < 0 or (ended and self.left):
                self._malformed()
                return
        self._since = monotonic()
        try:
            self.messages.feed(data)
        except TooLong:
            if self._started:
                self._late(Reason.BODY_TOO_LARGE)
            else:
                self._too_long = True
            return
        if self._receiving is not None or not self.messages.whole:
            self._follow(len(data), self._since)
        exchange = self.exchange
        if not self._started:
            self._parts.append(data)
            self._ended = ended
        elif exchange is not None and not exchange.body_done:
            exchange.more(data, ended)
        if not self._paused and not self._over:
            self.link.http2.taken(self._stream)

    def _follow(self, size: int, now: float) -> None:
        """A piece of a message came, which is timed until it is whole."""
        messages, limits = self.messages, self.context.limits
        if messages.whole:
            self._receiving = None
        elif self._receiving is not None and self._number == messages.begun:
            self._receiving.moved(size, now)
        else:
            self._receiving, self._number = Receiving(limits, now, now), messages.begun
            self.context.wheel.watch(self.link, self._receiving.due(limits, now))

    def pause_reading(self) -> None:
        super().pause_reading()
        if self._receiving is not None:
            self._receiving.stop(monotonic())

    def resume_reading(self) -> None:
        super().resume_reading()
        if self._receiving is not None:
            self._receiving.go_on(monotonic())

    def gives_way(self, now: float) -> bool:
        """Never asked: a connection to a model carries many calls."""
        return False

    def on_trailers(self, headers: Headers) -> None:
        """A call may end with trailers (RFC 9113, 8.1); gRPC gives them no meaning."""
        if is_trailers(headers):
            self.on_data(b"", True)
        elif not self._over:
            self._malformed()

    def _malformed(self) -> None:
        """What came is no call (RFC 9113, 8.1.1)."""
        self.context.refusals.count(Reason.BAD_REQUEST)
        self.link.http2.reset(self._stream, PROTOCOL_ERROR)
        self.lost()

    def on_reset(self, code: int) -> None:
        """The client broke the call off."""
        self._taken()
        if not self._over:
            self.link.broken_off()
            self.lost()

    def lost(self) -> None:
        """The client is not there any more."""
        self._taken()
        self._over = True
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.link.gone()

    # --- the answer, out ---

    def interim(self, head: bytes) -> None:
        """gRPC has no 1xx."""

    def upgraded(self, leg: Leg, head: bytes, rest: bytes) -> None:
        """gRPC has no upgrades."""

    def answer(self, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        """Begin the client's answer with a model's head and what is here of its body."""
        exchange = self.exchange
        assert exchange is not None
        self._answer = given = cast(GrpcAnswer, answer)
        self._answering = True
        block = given.named_block(served_by, id_name(given, exchange.request_id), exchange.request_id)
        self.link.http2.headers_with(self._stream, block, given.only)
        self.link.wake(exchange)
        if given.only:
            self._finish()
        else:
            self.more(piece, done)

    def more(self, piece: bytes, done: bool) -> None:
        """Go on with the answer; its end carries the model's trailers."""
        assert self._answer is not None
        trailers = self._answer.trailers.block() if done else b""
        self._since = monotonic()
        self.link.http2.data(self._stream, piece, done, None, trailers)
        if self._stream.waiting > HIGH:
            self._block(len(piece))
        if done:
            self._finish()
        else:
            self.link.wake()

    def _block(self, more: int) -> None:
        """The client takes no more: of its answer comes what fits into the buffer, unless for a pair. `more` bytes have
        just been given."""
        self.blocked = True
        if self._taking is None:
            more, now = 0, monotonic()
            self._taking = CallTaking(self._stream, self.context, now)
            self.context.wheel.watch(self.link, now + LOOK)
        fits = self._taking.fits(more)
        winner = self.exchange.winner if self.exchange is not None else None
        if not fits and winner is not None and winner.kept is None and winner.connection is not None:
            winner.connection.pause_reading()

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.end()
            self._taking = None

    def on_room(self) -> None:
        """The client reads again."""
        if self.blocked:
            self.blocked = False
            self._taken()
            winner = self.exchange.winner if self.exchange is not None else None
            if winner is not None and winner.connection is not None:
                winner.connection.resume_reading()

    def refuse(self, reason: Reason, name: bytes = b"", counted: bool = False) -> None:
        """Answer with an error of our own; `counted` when the legs of its call have been counted already."""
        if not counted:
            self.context.refusals.count(reason)
        self.link.spend(ANSWER_WORK)
        if not self._over:
            self._say(reason, name or (self.exchange.request_id if self.exchange is not None else b""))

    def _say(self, reason: Reason, name: bytes) -> None:
        """The status of an answer that the proxy makes, whether a model's has begun or not."""
        trailers = refusal(reason, words(reason))
        if self._answering:
            self.link.http2.data(self._stream, b"", True, trailers)
        else:
            named = [(b"x-request-id", name)] if name else []
            self.link.http2.headers(self._stream, [*_HEAD, *named, *trailers], True)
        self._finish()

    def abort(self) -> None:
        """The answer cannot be completed: the status, which comes last, says so."""
        winner = self.exchange.winner if self.exchange is not None else None
        if not self._over:
            self._say(winner.reason if winner is not None else Reason.DISCONNECT, b"")

    def _finish(self) -> None:
        """The answer is on its way; nobody waits for the rest of a call that has not ended."""
        self._over = True
        self.exchange = None
        self._leave_stream()
        self.link.gone()

    def _leave_stream(self) -> None:
        if not self._stream.remote_done and not self._stream.waiting:
            self.link.http2.reset(self._stream, NO_ERROR)

    # --- time ---

    def check(self, now: float, reads: bool) -> float:
        """End a call that is late: its message, or a client that does not read; when to look again. `reads`: the
        connection takes what is sent on it."""
        limits, exchange, taking = self.context.limits, self.exchange, self._taking
        if taking is not None:
            if not reads:
                taking.begin(now)  # nor could it take this: the connection is what is late
            elif taking.is_late(now):
                self.context.refusals.count(Reason.SLOW_CLIENT)
                self._break_off()
            return now + LOOK
        if self._stream.waiting and now - self._since >= limits.idle:
            self._break_off()
        elif self._over:
            self._leave_stream()
        elif exchange is None or exchange.body_done or self._paused:
            return now + limits.shortest
        elif self._receiving is not None:
            reason = self._receiving.late(limits, now)
            if reason:
                self._late(reason)
            return self._receiving.due(limits, now)
        elif now - self._since >= (limits.idle if self.messages.begun else limits.body):
            self._late(Reason.REQUEST_TIMEOUT)
        return now + limits.shortest

    def _break_off(self) -> None:
        """The client does not take its answer: nobody works for it any more, and it is nobody else's fault."""
        if self.exchange is not None:
            self.exchange.client_gone(cut_off=True)
        self.link.http2.reset(self._stream, CANCEL)
        self.lost()

    def _late(self, reason: Reason) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.client_gone()
        self.refuse(reason, exchange.request_id if exchange is not None else b"")
