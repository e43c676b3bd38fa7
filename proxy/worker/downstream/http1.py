"""The client side: one connection, its requests in order, and what each is answered.

Bytes come in cut anywhere (`http1_requests`). One request is in hand at a time (`exchange`); bytes of the next ones
(pipelining) wait, and when too many wait the client is not read. What can happen when is a table (`http1_states`).

Invariants
- Answers leave in the order of requests, each exactly once, or the connection is closed.
- After an error of framing nothing that follows on the connection is read as a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.http.answer_head import Answer, id_line, read_answer
from proxy.http.chunks import ChunkScanner
from proxy.http.headers import CHUNKED, UNTIL_CLOSE, without
from proxy.http.local_replies import error, health
from proxy.http.request_head import Request, given_id
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.request.legs import part_of
from proxy.request.routes import OWN
from proxy.worker.downstream import http1_states as states
from proxy.worker.downstream.http1_connection import MAX_AHEAD, Http1Connection
from proxy.worker.downstream.http1_requests import DEAR_HEAD, HEAD_UNIT, HEAD_WORK, RefusedError, RequestReader
from proxy.worker.downstream.receiving import Receiving
from proxy.worker.downstream.tunnel import start_tunnel
from proxy.worker.reader import ONE_READ

if TYPE_CHECKING:
    from proxy.request.legs import Leg, Piece
    from proxy.worker.context import WorkerContext

ANSWER_WORK: Final = 16
"""Work of an answer of our own."""
ASK_WORK: Final = 24
"""Work of asking a model."""
PIECE_WORK: Final = 4
"""Work of passing on a piece of a body."""

_GOES_ON: Final = b"\r\n\r\n"
_CLOSES: Final = b"\r\nconnection: close\r\n\r\n"


class DownstreamConnection(Http1Connection):
    """One client connection."""

    _known = 0
    """Bytes of half a head that were looked at: a head in tiny pieces is not read again for each of them."""
    _pumping = False
    """`_pump` takes up one request after the other: an answer that is ready at once need not."""

    def __init__(self, context: WorkerContext, scheme: bytes = b"http") -> None:
        super().__init__(context, scheme)
        self._requests = RequestReader(context)

    # --- the request, in ---

    def data_received(self, data: bytes) -> None:
        if self.state == states.IDLE and not self._ahead and not self._kept:
            request = self._requests.recall(data)
            if request is not None and len(data) == len(request.head) + request.length:
                self._begin(request, part_of(data, len(request.head), len(data)), True)
                return
        self.receive(data)

    def take(self, data: bytes) -> int:
        state = self.state
        if state <= states.HEAD:
            return self._pump(data)
        if state <= states.EARLY:
            return self._more_body(data)
        if state >= states.LINGERING:
            self._throw_away(data)
            return len(data)
        self._ahead += data
        if len(self._ahead) > MAX_AHEAD:
            self.pause_reading()
        return len(data)

    def ends_soon(self) -> bool:
        return self.state == states.UPLOAD and 0 < self._requests.left <= ONE_READ

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
        while at < end and self.state <= states.HEAD and not self.blocked and self.work > 0:
            at = self._one(data, at)
            if self.rests:
                break
        self._pumping = False
        if self.state >= states.LINGERING:
            return end - before
        if at < end:
            if self.state >= states.WAITING or (self.blocked and self.state <= states.HEAD):
                self._ahead = data[at:]  # of requests: the rest of a body goes on, though an answer is not taken
            elif at >= before:
                return at - before
            else:
                self._ahead, self._known = data[:before], before
                return 0
        if self._half_closed and not self._more:
            self._nothing_follows()
        return end - before

    def _nothing_follows(self) -> None:
        """The client sends no more, and all that it has sent was taken up: what is here in part is never here whole."""
        if self.state <= states.HEAD:
            if not self.blocked:  # else requests may be ahead: they go on when there is room for their answers
                self._end(states.SPENT)
        elif self.state <= states.EARLY and not self.ends():
            self.transport.close()

    def _one(self, data: bytes, at: int) -> int:
        """Take up the request at `at`: where it ends, or as much of it as was taken; the end of `data` when it is not
        complete enough yet."""
        begin = at + 2 if data.startswith(b"\r\n", at) else at  # RFC 9112, 2.2: one empty line before a request
        known, self._known = self._known, 0
        end = data.find(b"\r\n\r\n", max(begin, known - 3)) + 4
        if end < 4 or end - begin > self.context.limits.max_header:
            self._half_a_head(data[at:], begin - at, known)
            return len(data)
        if end - begin > DEAR_HEAD and not self.turn.may_be_dear():
            self.rests = True
            return at
        requests = self._requests
        self.work -= HEAD_WORK + (end - begin) // HEAD_UNIT
        try:
            request = requests.read_head(data[begin:end], len(data) - end)
            at = end if requests.done else requests.read_body(data, end, max(1, self.work))
        except RefusedError as refused:
            self.refuse(refused.reason)
            return len(data)
        self.work -= requests.spent
        self._begin(request, part_of(data, end, at), requests.done)
        return at

    def _half_a_head(self, data: bytes, begin: int, known: int) -> None:
        refusal = self._requests.refusal(data, begin, known)
        if refusal:
            self.refuse(refusal)
            return
        self._ahead, self._known = data, len(data)
        if self.state == states.IDLE and len(data) > begin:
            self.on(states.PART)
            self._since = monotonic()
            self.context.wheel.watch(self, self._since + self.context.limits.header)

    def _begin(self, request: Request, piece: Piece, done: bool) -> None:
        context = self.context
        now = monotonic()
        began = self._since if self.state == states.HEAD else now
        self.on(states.REQUEST if done else states.UPLOADS)
        self._since = now
        if not done:
            self._receiving = Receiving(context.limits, began, now)
            context.wheel.watch(self, self._receiving.due(context.limits, now))
        name = context.new_id(now)
        if request.route is None:
            self._without_route(request, given_id(request) or name)
            return
        self.work -= ASK_WORK
        self.exchange = exchange = context.requests.exchange(self, context, request, name, now)
        refused = exchange.start(piece, done)
        if refused:
            self.refuse(refused)

    def _without_route(self, request: Request, name: bytes) -> None:
        """The proxy's own paths (health), or nowhere to go."""
        context = self.context
        if not request.path.startswith(OWN):
            context.refusals.count(Reason.NO_ROUTE)
            self._say(Reason.NO_ROUTE, request, name)
            return
        keep = self._begin_our_own(request)
        self._write(health(request.path, context.open_for_more, request.method, keep, context.date))
        self._finish()

    def _more_body(self, data: bytes) -> int:
        exchange, requests, came = self.exchange, self._requests, len(data)
        assert exchange is not None
        try:
            end = requests.read_body(data, 0, self.work)
        except RefusedError as refused:
            exchange.client_gone()
            self.refuse(refused.reason)
            return len(data)
        self.work -= PIECE_WORK + requests.spent
        if self._receiving is not None:
            self._receiving.moved(end, monotonic())
        done, size = requests.done, end
        if done:
            self.on(states.BODY_END)
            self._since = monotonic()
            size = len(data)
        if end < len(data):
            if done:
                self._ahead = data[end:]
            data = data[:end]
        exchange.more(data, done)
        if self._half_closed and end == came and not self._more:
            self._nothing_follows()
        return size

    # --- the answer, out ---

    def interim(self, head: bytes) -> None:
        """Pass on a 1xx (RFC 9110, 15.2); a client of HTTP/1.0 does not know them."""
        exchange = self.exchange
        if exchange is not None and not exchange.request.old and self.state in (states.UPLOAD, states.WAITING):
            self._write(read_answer(head).base + b"\r\n")
            if self._receiving is not None:
                self._receiving.asked(monotonic())

    def answer(self, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        """Begin the client's answer with a model's head and what is here of its body."""
        exchange = self.exchange
        if exchange is None or self.state >= states.LINGERING:
            return
        request = exchange.request
        keep = (
            request.keep and self.state == states.WAITING and answer.length != UNTIL_CLOSE and not self.context.draining
        )
        named = id_line(answer, exchange.request_id)
        date = b"" if answer.dated else self.context.date
        if request.old:
            self._answer_old(answer, named + date, served_by, piece, done, keep)
            return
        self.on(states.ANSWERS if keep else states.ANSWERS_LAST)
        out = b"".join((answer.base, named, date, b"x-served-by: ", served_by, _GOES_ON if keep else _CLOSES, piece))
        self.turn.write(self.transport, out, exchange)
        if done:
            self._finish()

    def _answer_old(self, answer: Answer, named: bytes, served_by: bytes, piece: bytes, done: bool, keep: bool) -> None:
        """To a client of HTTP/1.0: no chunks, and keep-alive only if it asked for it (RFC 9112, 6.1, C.2.2)."""
        if answer.length == CHUNKED:
            self._dechunk = ChunkScanner()
            keep = False
        self.on(states.ANSWERS if keep else states.ANSWERS_LAST)
        lines = b"%bx-served-by: %b\r\nconnection: %b\r\n\r\n" % (named, served_by, b"keep-alive" if keep else b"close")
        self._write(without(answer.base, {b"transfer-encoding"}) + lines)
        self.more(piece, done)

    def more(self, piece: bytes, done: bool) -> None:
        """Go on with the answer."""
        if self.state >= states.LINGERING:
            return
        if self._dechunk is not None:
            out: list[bytes] = []
            self._dechunk.feed(piece, 0, out)
            piece = b"".join(out)
        if piece:
            self._write(piece)
        if done:
            self._finish()
        elif self.blocked:
            self._hold_back(len(piece))

    def refuse(self, reason: Reason, name: bytes = b"", counted: bool = False) -> None:
        """Answer with an error of our own; `counted` when the legs of its request have been counted already."""
        if not counted:
            self.context.refusals.count(reason)
        if self.state >= states.LINGERING:
            return
        exchange = self.exchange
        if self._is_answering():
            self.abort()
        elif exchange is not None:
            self._say(reason, exchange.request, name or exchange.request_id)
        else:
            self.work -= ANSWER_WORK
            self._write(error(reason, name, False, False, self.context.date))
            self._end(states.REFUSED)

    def _say(self, reason: Reason, request: Request, name: bytes) -> None:
        keep = self._begin_our_own(request)
        self._write(error(reason, name, keep, request.method == b"HEAD", self.context.date))
        self._finish()

    def _begin_our_own(self, request: Request) -> bool:
        """Begin an answer of our own; whether the connection goes on after it."""
        keep = self._goes_on(request)
        self.work -= ANSWER_WORK
        self.on(states.ANSWERS if keep else states.ANSWERS_LAST)
        return keep

    def _goes_on(self, request: Request) -> bool:
        """Whether another request may follow the answer that begins now."""
        return request.keep and self.state == states.WAITING and not self.context.draining

    def _write(self, data: bytes) -> None:
        self.turn.now(self.transport, data)

    def _finish(self) -> None:
        """The answer is written: next request, or the end of the connection."""
        self.exchange = None
        if self.state != states.ANSWERING:
            self._end(states.SURPLUS if self.state == states.LAST and self._ahead else states.ANSWERED)
            return
        self.on(states.ANSWERED)
        self._since = monotonic()
        if self.blocked:
            self._hold_back()
        elif self._ahead or self._half_closed or not self._reading:
            self._next()

    def _next(self) -> None:
        """Go on with what has waited behind the answer."""
        if self._ahead and not self._pumping:
            ahead, self._ahead = self._ahead, b""
            self.again(ahead)
        if self.blocked:
            return
        if self._half_closed and self.state <= states.HEAD and not self._pumping and not self._kept:
            self._end(states.SPENT)
        else:
            self.resume_reading()

    def upgraded(self, leg: Leg, head: bytes, rest: bytes) -> None:
        """The model took up the upgrade: from here on both connections are one tunnel."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        self.on(states.UPGRADED)
        self._end_taking()
        ahead = self._ahead + self.let_go()
        start_tunnel(self, self.context, leg, read_answer(head), exchange.request_id, rest, ahead)
