"""A client's HTTP/1.1 connection: its state (`http1_states`), how it ends, and how long it may take for what.

A client that shuts down its sending side has not left: it may be waiting for its answer (RFC 9112, 9.6), or it may be
gone for good, which looks the same. It gets `HALF_CLOSED` seconds from there to the first byte of its answer.

Invariant: whatever happens, `connection_lost` leaves no leg running for a client that is not there.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.http.chunks import ChunkScanner
from proxy.http.forwarding import client_lines
from proxy.http.headers import UNTIL_CLOSE
from proxy.model.reasons import Reason
from proxy.worker.downstream import http1_states as states
from proxy.worker.downstream.receiving import Receiving
from proxy.worker.pace import HURRY, LOOK
from proxy.worker.reader import Reader
from proxy.worker.taking import SocketTaking, reset

if TYPE_CHECKING:
    from proxy.request.driver import RequestDriver
    from proxy.worker.context import WorkerContext

log = logging.getLogger("understudy.worker")

MAX_AHEAD = 64 * 1024
"""Bytes of pipelined requests that may wait before the client is not read any more."""
HALF_CLOSED = 1.0
LINGER = 2.0
"""Seconds after the last answer in which a client's surplus bytes are read and thrown away, so that closing does not
reset the connection under an answer it has not read yet (RFC 9112, 9.6)."""
LEAVE = 1.0
"""Seconds an idle connection may stay while the worker drains, for a request that is already under way."""
MAX_LINGER = 16 * 1024 * 1024


class Http1Connection(Reader):
    """What the connection is without its requests and answers, which a subclass takes and gives."""

    slot = 0
    peer = b""
    lines = b""
    trusted = False
    exchange: RequestDriver | None = None
    """The request in hand: from UPLOAD to LAST there is one."""
    state = states.IDLE
    blocked = False
    """The client reads slowly: the kernel takes no more of its answer."""
    _since = 0.0
    """When the state began; while IDLE, when the client was read again if that was later."""
    _ahead = b""
    """Bytes of the next requests, or part of a head."""
    _half_closed = False
    """The client has shut down its sending side."""
    _dechunk: ChunkScanner | None = None
    """The answer is sent without its chunks: its client speaks HTTP/1.0."""
    _thrown = 0
    _receiving: Receiving | None = None
    """The request in hand, if its body did not come with its head."""
    _taking: SocketTaking | None = None
    """What waits for the client, while it is `blocked`."""

    def __init__(self, context: WorkerContext, scheme: bytes) -> None:
        super().__init__(context.turn, None)
        self.context, self.scheme = context, scheme

    # --- what a subclass does ---

    def refuse(self, reason: Reason, name: bytes = b"", counted: bool = False) -> None:
        """Answer with an error of our own; `counted` when the legs of its request have been counted already."""
        raise NotImplementedError

    def _next(self) -> None:
        """Go on with what has waited behind the answer."""
        raise NotImplementedError

    # --- its state, and its end ---

    def on(self, event: int) -> None:
        """Something has happened: the next state, by the table."""
        after = states.becomes(self.state, event)
        if after < 0:
            log.error(states.surprise(self.state, event))
        else:
            self.state = after

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
            self.abort()
        elif len(context.clients) > most:
            self.refuse(Reason.TOO_MANY_CONNECTIONS)
        else:
            context.wheel.watch(self, now + context.limits.shortest)

    def leave(self, now: float) -> None:
        """The worker is about to stop: an idle client goes now, a busy one with its answer, a tunnel when it ends."""
        if self.state <= states.HEAD and now - self._since > LEAVE:
            self.on(states.LEAVES)
            self.transport.close()

    def ends(self) -> bool:
        waits = states.WAITING <= self.state <= states.LAST
        if waits:
            self._half_closed, self._since = True, monotonic()
            self.context.wheel.watch(self, self._since + HALF_CLOSED)
        else:
            self.turn.flush()  # the answer may have come in this very turn
        self.on(states.SHUTDOWN)
        return waits

    def is_lost(self) -> None:
        self.on(states.LOST)
        self.context.clients.discard(self)
        self.context.wheel.forget(self)
        self._end_taking()
        if self.exchange is not None:
            self.exchange.client_gone()
            self.exchange = None

    def abort(self) -> None:
        """The answer cannot be completed: end the connection so that the client sees it was cut."""
        if self.closed:
            return
        self.turn.flush()
        if self._is_answering() and self._ends_by_close():
            reset(self.transport)  # an orderly end would look like that of the answer
        self.on(states.ABORTED)
        self.transport.abort()

    def _is_answering(self) -> bool:
        return self.state in (states.EARLY, states.ANSWERING, states.LAST)

    def _ends_by_close(self) -> bool:
        """Whether nothing but the end of the connection tells the client where the answer ends (RFC 9112, 8)."""
        winner = self.exchange.winner if self.exchange is not None else None
        answer = winner.answer if winner is not None else None
        return answer is not None and (answer.length == UNTIL_CLOSE or self._dechunk is not None)

    def _end(self, event: int) -> None:
        """Close after what is written; a client that still sends is read out for a while first."""
        self.on(event)
        self.turn.flush()
        self._ahead = b""
        self.throw_away()
        self._since = monotonic()
        if self.state == states.CLOSING:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()
        self.context.wheel.watch(self, self._since + LINGER)

    def _throw_away(self, data: bytes) -> None:
        self._thrown += len(data)
        if self._thrown > MAX_LINGER:
            self.abort()

    def stopped(self) -> None:
        if self._receiving is not None:
            self._receiving.stop(monotonic())

    def resumed(self) -> None:
        if self._receiving is not None:
            self._receiving.go_on(monotonic())

    def resume_reading(self) -> None:
        """There is room again."""
        if not self._reading and not self.closed and len(self._ahead) <= MAX_AHEAD + self.context.limits.max_header:
            if self.state == states.IDLE:
                self._since = monotonic()
            super().resume_reading()

    # --- a client that does not take its answer ---

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

    def _end_taking(self) -> None:
        self.blocked = False
        if self._taking is not None:
            self._taking.end()
            self._taking = None

    def resume_writing(self) -> None:
        self._end_taking()
        if self.state <= states.HEAD:
            self._next()
        elif self.exchange is not None:
            winner = self.exchange.winner
            if winner is not None and winner.connection is not None:
                winner.connection.resume_reading()

    # --- time ---

    def check(self, now: float) -> float:
        """Close or refuse when the client is late."""
        limits, state = self.context.limits, self.state
        if state >= states.TUNNEL:
            return 0.0
        if state == states.LINGERING:
            return self._by(LINGER, now, Reason.NONE)
        if self._taking is not None:
            return self._is_taken(self._taking, now)
        if state == states.HEAD:
            return self._by(limits.header, now, Reason.REQUEST_TIMEOUT)
        if state in (states.IDLE, states.CLOSING):
            return self._by(limits.idle, now, Reason.NONE)
        if state <= states.EARLY and self._receiving is not None:
            reason = self._receiving.late(limits, now)
            if reason:
                self.cut_off(reason)
            return self._receiving.due(limits, now)
        if state == states.WAITING and self._half_closed:
            return self._by(HALF_CLOSED, now, Reason.NONE)
        return now + limits.shortest

    def _is_taken(self, taking: SocketTaking, now: float) -> float:
        """Cut off a client that does not take what is sent, or look again."""
        if taking.is_late(now):
            self.cut_off(Reason.SLOW_CLIENT)
            return 0.0
        self._hold_back()  # by now less may wait
        return now + LOOK

    def _by(self, patience: float, now: float, reason: Reason) -> float:
        """End the connection if the state has lasted for so long, with a 408 when there is a `reason`; else when to
        look again."""
        due = self._since + patience
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
            slow = self.state <= states.EARLY and receiving is not None and receiving.behind(now) >= HURRY
        if slow:
            self.cut_off(Reason.SLOW_CLIENT)
        return slow

    def cut_off(self, reason: Reason) -> None:
        """The client is late, or too slow: nobody works for it any more, and it is nobody else's fault."""
        if self.exchange is not None:
            self.exchange.client_gone(cut_off=True)
        if self._taking is None:
            self.refuse(reason)
            return
        self.context.refusals.count(reason)
        if not self.closed:
            self.on(states.ABORTED)
            reset(self.transport)
