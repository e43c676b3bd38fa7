"""The client side: one connection, its requests in order, and what each is answered.

Bytes come in cut anywhere. The end of a head is found here; llhttp says whether the head is well-formed, `http.headers`
what it means, `Framing` where the message ends. One request is in hand at a time (`exchange`); bytes of the next
ones (pipelining) wait, and when too many wait the client is not read.

A client that shuts down its sending side has not left: it may be waiting for its answer (RFC 9112, 9.6), or it may be
gone for good, which looks the same. It gets `HALF_CLOSED` seconds from there to the first byte of its answer.

Invariants
- Answers leave in the order of requests, each exactly once, or the connection is closed.
- After an error of framing nothing that follows on the connection is read as a request.
- Whatever happens, `connection_lost` leaves no leg running for a client that is not there.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpRequestParser

from proxy.http.chunks import ChunkScanner
from proxy.http.framing import Framing, FramingError
from proxy.http.headers import (
    CHUNKED,
    UNTIL_CLOSE,
    Answer,
    HeadError,
    Request,
    client_lines,
    given_id,
    id_line,
    may_become_a_head,
    read_answer,
    without,
)
from proxy.http.local_replies import error, health
from proxy.model.reasons import Reason
from proxy.request.routes import OWN
from proxy.worker.downstream.receiving import Receiving
from proxy.worker.downstream.tunnel import start_tunnel
from proxy.worker.pace import HURRY, LOOK
from proxy.worker.reader import Reader
from proxy.worker.taking import SocketTaking, reset

if TYPE_CHECKING:
    from proxy.request.driver import RequestDriver
    from proxy.request.legs import Leg
    from proxy.worker.context import WorkerContext

MAX_AHEAD = 64 * 1024
"""Bytes of pipelined requests that may wait before the client is not read any more."""
HALF_CLOSED = 1.0
LINGER = 2.0
"""Seconds after the last answer in which a client's surplus bytes are read and thrown away, so that closing does not
reset the connection under an answer it has not read yet (RFC 9112, 9.6)."""
LEAVE = 1.0
"""Seconds an idle connection may stay while the worker drains, for a request that is already under way."""
MAX_LINGER = 16 * 1024 * 1024

HEAD_WORK: Final = 8
"""Work (`turn`) of a request's head, and of each `HEAD_UNIT` bytes of it as much as of a chunk."""
HEAD_UNIT: Final = 128
DEAR_HEAD: Final = 2048
"""Bytes of a head above which reading it is dear: thousands of lines take a third of a millisecond."""
ANSWER_WORK: Final = 16
"""Work of an answer of our own."""
ASK_WORK: Final = 24
"""Work of asking a model."""
PIECE_WORK: Final = 4
"""Work of passing on a piece of a body."""

_GOES_ON: Final = b"\r\n\r\n"
_CLOSES: Final = b"\r\nconnection: close\r\n\r\n"


class DownstreamConnection(Reader):
    """One client connection."""

    slot = 0
    peer = b""
    lines = b""
    trusted = False
    exchange: RequestDriver | None = None
    blocked = False
    """The client reads slowly: the kernel takes no more of its answer."""
    _ahead = b""
    _pumping = False
    _answering = False
    _keep = True
    _dechunk: ChunkScanner | None = None
    _since = 0.0
    _head_since = 0.0
    _known = 0
    """Bytes of half a head that were looked at: a head in tiny pieces is not read again for each of them."""
    _half_closed = 0.0
    _over = False
    """Nothing that comes from this client is a request any more."""
    _lingering = 0.0
    _thrown = 0
    _receiving: Receiving | None = None
    """The request in hand, if its body did not come with its head."""
    _taking: SocketTaking | None = None
    """What waits for the client, while it is `blocked`."""
    _tunnel = False
    """What passes is not ours to time any more."""

    def __init__(self, context: WorkerContext, scheme: bytes = b"http") -> None:
        super().__init__(context.turn, None)
        self.context, self.scheme = context, scheme
        self._framing = Framing(HttpRequestParser)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        context = self.context
        context.clients.add(self)
        self.peer, self.trusted = context.limits.whose(transport)
        self.owner = object() if self.trusted else self.peer  # a proxy's connections carry many clients each
        self.lines = client_lines(self.peer, self.scheme)
        self._since = now = monotonic()
        most = context.limits.max_connections
        if len(context.clients) > 2 * most:
            context.refusals.count(Reason.TOO_MANY_CONNECTIONS)
            self.transport.abort()
        elif len(context.clients) > most:
            self.refuse(Reason.TOO_MANY_CONNECTIONS)
        else:
            context.wheel.watch(self, now + context.limits.shortest)

    # --- the request, in ---

    def data_received(self, data: bytes) -> None:
        if self.exchange is None and not self._over:
            end = data.find(b"\r\n\r\n") + 4
            request = self.context.routes.known.get(data[:end])
            if request is not None and len(data) == end + request.length and not self._ahead and not self._kept:
                self._begin(request, data[end:], True)  # a head that was read before, byte for byte
                return
        self.receive(data)

    def take(self, data: bytes) -> int:
        exchange = self.exchange
        if self._over:
            self._throw_away(data)
            return len(data)
        if exchange is None:
            return self._pump(data)
        if not exchange.body_done:
            return self._more_body(exchange, data)
        self._ahead += data
        if len(self._ahead) > MAX_AHEAD:
            self.pause_reading()
        return len(data)

    def _pump(self, data: bytes) -> int:
        """Take up the requests in `data`, behind what is ahead, one after the other, until one has to wait; how many
        bytes of `data` were taken."""
        before = len(self._ahead)
        if before:
            data = self._ahead + data
            self._ahead = b""
        else:
            self._known = 0
        self._pumping = True
        at, end = 0, len(data)
        while at < end and self.exchange is None and not self._over and not self.blocked and self.work > 0:
            at = self._one(data, at)
            if self.rests:
                break
        self._pumping = False
        exchange = self.exchange
        if self._over:
            return end - before
        if at < end:
            if self.blocked or (exchange is not None and exchange.body_done):
                self._ahead = data[at:]
            elif at >= before:
                return at - before
            else:
                self._ahead, self._known = data[:before], before
                return 0
        if self._half_closed and exchange is None and not self._more:
            self._close(True)
        return end - before

    def _one(self, data: bytes, at: int) -> int:
        """Take up the request at `at`: where it ends, or as much of it as was taken; the end of `data` when it is not
        complete enough yet."""
        begin = at + 2 if data.startswith(b"\r\n", at) else at  # RFC 9112, 2.2: one empty line before a request
        known, self._known = self._known, 0
        end = data.find(b"\r\n\r\n", max(begin, known - 3)) + 4
        limits = self.context.limits
        if end < 4 or end - begin > limits.max_header:
            self._half_a_head(data[at:], begin - at, known)
            return len(data)
        if end - begin > DEAR_HEAD and not self.turn.may_be_dear():
            self.rests = True
            return at
        began, self._head_since = self._head_since, 0.0
        framing = self._framing
        try:
            request = self._head(data[begin:end])
            framing.open(request.length)
            if request.length > limits.max_body:
                raise OverflowError
            self.context.routes.remember(request)
            at = end if framing.done else framing.take(data, end, max(1, self.work))
            self.work -= framing.spent
            self._check_size()
        except (FramingError, HeadError, OverflowError) as error:
            self.refuse(Reason.BODY_TOO_LARGE if isinstance(error, OverflowError) else Reason.BAD_REQUEST)
            return len(data)
        self._begin(request, data[end:at], framing.done, began)
        return at

    def _head(self, head: bytes) -> Request:
        """What a whole head means. Raises `FramingError` and `HeadError`."""
        self.work -= HEAD_WORK + len(head) // HEAD_UNIT
        began = monotonic() if len(head) > DEAR_HEAD else 0.0
        try:
            self._framing.head(head)
            return self.context.routes.read(head)
        finally:
            if began:
                self.turn.was_dear(monotonic() - began)

    def _half_a_head(self, data: bytes, begin: int, known: int) -> None:
        limits = self.context.limits
        seen = data[begin : begin + limits.max_header + 1]  # so the same is refused alike, however it was cut
        if not may_become_a_head(seen, max(0, known - begin)):
            self.refuse(Reason.BAD_REQUEST)
        elif len(seen) > limits.max_header:
            self.refuse(Reason.HEADER_TOO_LARGE if b"\r\n" in seen else Reason.URI_TOO_LONG)
        else:
            self._ahead, self._known = data, len(data)
            if seen and not self._head_since:
                self._head_since = monotonic()
                self.context.wheel.watch(self, self._head_since + limits.header)

    def _check_size(self) -> None:
        """Raises `OverflowError` when a chunked body is longer than allowed."""
        scanner = self._framing.scanner
        if scanner is not None and scanner.size > self.context.limits.max_body:
            raise OverflowError

    def _begin(self, request: Request, piece: bytes, done: bool, began: float = 0.0) -> None:
        context = self.context
        now = monotonic()
        self._answering, self._keep = False, request.keep and done
        if not done:
            self._receiving = Receiving(context.limits, began or now, now)
            context.wheel.watch(self, self._receiving.due(context.limits, now))
        name = context.new_id(now)
        if request.route is None:
            self._without_route(request, given_id(request) or name, done)
            return
        self.work -= ASK_WORK
        self.exchange = exchange = context.exchange(self, context, request, name, now)
        refused = exchange.start(piece, done)
        if refused:
            self.refuse(refused)

    def _without_route(self, request: Request, name: bytes, done: bool) -> None:
        """The proxy's own paths (health), or nowhere to go."""
        context = self.context
        if not request.path.startswith(OWN):
            self.refuse(Reason.NO_ROUTE, name=name, to_head=request.method == b"HEAD")
            return
        self._keep = self._keep and not context.draining
        ready = context.ready and not context.draining
        self.work -= ANSWER_WORK
        self._write(health(request.path, ready, request.method, self._keep, context.date))
        self._finish(done)

    def _more_body(self, exchange: RequestDriver, data: bytes) -> int:
        framing = self._framing
        try:
            end = framing.take(data, 0, self.work)
            self._check_size()
        except (FramingError, OverflowError) as error:
            exchange.client_gone()
            self.refuse(Reason.BODY_TOO_LARGE if isinstance(error, OverflowError) else Reason.BAD_REQUEST)
            return len(data)
        self.work -= PIECE_WORK + framing.spent
        if self._receiving is not None:
            self._receiving.moved(end, monotonic())
        if end < len(data):
            if framing.done:
                self._ahead = data[end:]
            data, size = data[:end], len(data) if framing.done else end
        else:
            size = end
        exchange.more(data, framing.done)
        return size

    def stopped(self) -> None:
        if self._receiving is not None:
            self._receiving.stop(monotonic())

    def resume_reading(self) -> None:
        """There is room again."""
        if not self._reading and not self.closed and len(self._ahead) <= MAX_AHEAD + self.context.limits.max_header:
            self._since = monotonic()
            super().resume_reading()

    def resumed(self) -> None:
        if self._receiving is not None:
            self._receiving.go_on(monotonic())

    # --- the answer, out ---

    def interim(self, head: bytes) -> None:
        """Pass on a 1xx (RFC 9110, 15.2); a client of HTTP/1.0 does not know them."""
        exchange = self.exchange
        if exchange is not None and not exchange.request.old and not self._answering:
            self._write(read_answer(head).base + b"\r\n")
            if self._receiving is not None:
                self._receiving.asked(monotonic())

    def answer(self, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        """Begin the client's answer with a model's head and what is here of its body."""
        exchange = self.exchange
        assert exchange is not None
        request = exchange.request
        keep = request.keep and exchange.body_done and answer.length != UNTIL_CLOSE and not self.context.draining
        self._answering, self._keep = True, keep
        end = _GOES_ON if keep else _CLOSES
        if request.old:
            self._answer_old(exchange, answer, served_by, piece, done)
            return
        named = id_line(answer, exchange.request_id)
        if not answer.dated:
            named += self.context.date
        out = b"".join((answer.base, named, b"x-served-by: ", served_by, end, piece))
        self.context.turn.write(self.transport, out, exchange)
        if done:
            self._finish(exchange.body_done)

    def _answer_old(self, exchange: RequestDriver, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        """To a client of HTTP/1.0: no chunks, and keep-alive only if it asked for it (RFC 9112, 6.1, C.2.2)."""
        if answer.length == CHUNKED:
            self._dechunk = ChunkScanner()
            self._keep = False
        says = b"keep-alive" if self._keep else b"close"
        named = id_line(answer, exchange.request_id)
        if not answer.dated:
            named += self.context.date
        lines = b"%bx-served-by: %b\r\nconnection: %b\r\n\r\n" % (named, served_by, says)
        self._write(without(answer.base, {b"transfer-encoding"}) + lines)
        self.more(piece, done)

    def more(self, piece: bytes, done: bool) -> None:
        """Go on with the answer."""
        if self._dechunk is not None:
            out: list[bytes] = []
            self._dechunk.feed(piece, 0, out)
            piece = b"".join(out)
        if piece:
            self._write(piece)
        if done:
            self._finish(self.exchange is None or self.exchange.body_done)
        elif self.blocked:
            self._hold_back(len(piece))

    def refuse(self, reason: Reason, name: bytes = b"", counted: bool = False, to_head: bool = False) -> None:
        """Answer with an error of our own; `counted` when the legs of its request have been counted already."""
        exchange = self.exchange
        if not counted:
            self.context.refusals.count(reason)
        if self._answering or self.closed:
            self.abort()
            return
        if counted and exchange is not None:
            self._keep = exchange.request.keep and exchange.body_done  # which may have come in pieces
        else:
            self._keep = self._keep and reason in (Reason.NO_ROUTE, Reason.OVERRIDE_REFUSED)
        to_head = to_head or (exchange is not None and exchange.request.method == b"HEAD")
        self._keep = self._keep and not self.context.draining
        name = name or (exchange.request_id if exchange else b"")
        self.work -= ANSWER_WORK
        self._write(error(reason, name, self._keep, to_head, self.context.date))
        self._finish(self._framing.done and (counted or self._keep))

    def abort(self) -> None:
        """The answer cannot be completed: end the connection so that the client sees it was cut."""
        if not self.closed:
            self.context.turn.flush()
            if self._answering and self._ends_by_close():  # and then an orderly end would look like that of the answer
                reset(self.transport)
            self.transport.abort()

    def _ends_by_close(self) -> bool:
        """Whether nothing but the end of the connection tells the client where the answer ends (RFC 9112, 8)."""
        winner = self.exchange.winner if self.exchange is not None else None
        answer = winner.answer if winner is not None else None
        return answer is not None and (answer.length == UNTIL_CLOSE or self._dechunk is not None)

    def _write(self, data: bytes) -> None:
        self.context.turn.now(self.transport, data)

    def _finish(self, request_done: bool) -> None:
        """The answer is written: next request, or the end of the connection."""
        self.exchange = None
        self._answering = False
        self._since = monotonic()
        if not self._keep or not request_done:
            self._close(request_done)
        elif self.blocked:
            self._hold_back()
        elif self._ahead or self._half_closed or not self._reading:
            self._next()

    def _next(self) -> None:
        """Go on with what has waited behind the answer."""
        if self._ahead and not self._pumping:
            ahead, self._ahead = self._ahead, b""
            self.again(ahead)
        if self._half_closed:
            if self.exchange is None and not self._pumping and not self._kept:
                self._close(True)
            else:
                self._half_closed = self._since
        if not self.blocked:
            self.resume_reading()

    def _close(self, request_done: bool) -> None:
        """Close after what is written; a client that still sends is read out for a while first."""
        if self._over:
            return
        self._over = True
        self.context.turn.flush()
        ahead, self._ahead = self._ahead, b""
        self.throw_away()
        if request_done and not ahead:
            self.transport.close()
            return
        self._lingering = monotonic()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()
        self.context.wheel.watch(self, self._lingering + LINGER)

    def _throw_away(self, data: bytes) -> None:
        self._thrown += len(data)
        if self._thrown > MAX_LINGER:
            self.abort()

    def upgraded(self, leg: Leg, head: bytes, rest: bytes) -> None:
        """The model took up the upgrade: from here on both connections are one tunnel."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        self._tunnel = True
        self._taken()
        ahead = self._ahead + self.let_go()
        start_tunnel(self, self.context, leg, read_answer(head), exchange.request_id, rest, ahead)

    def leave(self, now: float) -> None:
        """The worker is about to stop: an idle client goes now, a busy one with its answer, a tunnel when it ends."""
        if self.exchange is None and not self._lingering and not self._tunnel and now - self._since > LEAVE:
            self.transport.close()

    # --- backpressure, ends, time ---

    def pause_writing(self) -> None:
        self.blocked, now = True, monotonic()
        self._taking = SocketTaking(self.transport, self.context, now)
        self.context.wheel.watch(self, now + LOOK)
        self._hold_back()

    def _hold_back(self, more: int = 0) -> None:
        """The client takes no more: no next request is read, nor what of the answer to this one does not fit into the
        buffer, unless for a pair. `more` bytes have just been given."""
        fits = self._taking is not None and self._taking.fits(more)
        if self.exchange is None:
            self.pause_reading()
            return
        winner = self.exchange.winner
        if not fits and winner is not None and winner.kept is None and winner.connection is not None:
            winner.connection.pause_reading()

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.end()
            self._taking = None

    def resume_writing(self) -> None:
        self.blocked = False
        self._taken()
        if self.exchange is None:
            if not self._over:
                self._next()
        elif self.exchange.winner is not None and self.exchange.winner.connection is not None:
            self.exchange.winner.connection.resume_reading()

    def ends(self) -> bool:
        exchange = self.exchange
        if exchange is None or not exchange.body_done:
            self.context.turn.flush()  # the answer may have come in this very turn
            return False
        self._half_closed = monotonic()
        self.context.wheel.watch(self, self._half_closed + HALF_CLOSED)
        return True

    def is_lost(self) -> None:
        self._over = True
        self.context.clients.discard(self)
        self.context.wheel.forget(self)
        self._taken()
        if self.exchange is not None:
            self.exchange.client_gone()
            self.exchange = None

    def check(self, now: float) -> float:
        """Close or refuse when the client is late."""
        limits, exchange = self.context.limits, self.exchange
        if self.closed or self._tunnel:
            return 0.0
        if self._lingering:
            return self._by(self._lingering + LINGER, now, Reason.NONE)
        if self._taking is not None:
            if self._taking.is_late(now):
                self.cut_off(Reason.SLOW_CLIENT)
                return 0.0
            self._hold_back()  # by now less may wait
            return now + LOOK
        if exchange is None:
            if self._head_since:
                return self._by(self._head_since + limits.header, now, Reason.REQUEST_TIMEOUT)
            return self._by(self._since + limits.idle, now, Reason.NONE)
        if not exchange.body_done and self._receiving is not None:
            reason = self._receiving.late(limits, now)
            if reason:
                self.cut_off(reason)
            return self._receiving.due(limits, now)
        if self._half_closed and not self._answering:
            return self._by(self._half_closed + HALF_CLOSED, now, Reason.NONE)
        return now + limits.shortest

    def _by(self, due: float, now: float, reason: Reason) -> float:
        """End the connection if `due` has passed, with a 408 when there is a `reason`; else when to look again."""
        if now < due:
            return min(due, now + self.context.limits.shortest)
        if not reason:
            self.abort()
            return 0.0
        self.refuse(reason)
        return now + self.context.limits.shortest

    def gives_way(self, now: float) -> bool:
        """Others wait for the connection to a model that this client holds: whether it is cut off for it."""
        taking, receiving = self._taking, self._receiving
        if taking is not None:
            slow = taking.behind(now) >= HURRY
        else:
            slow = receiving is not None and receiving.behind(now) >= HURRY
        if slow:
            self.cut_off(Reason.SLOW_CLIENT)
        return slow

    def cut_off(self, reason: Reason) -> None:
        """The client is late, or too slow: nobody works for it any more, and it is nobody else's fault."""
        exchange = self.exchange
        if exchange is not None:
            exchange.client_gone(cut_off=True)
        if self._taking is None:
            self.refuse(reason)
            return
        self.context.refusals.count(reason)
        if not self.closed:
            reset(self.transport)
