"""The model side: one connection to a model server, and the leg (one exchange) it carries.

An `UpstreamConnection` knows bytes, framing and time; a `Leg` knows what the answer is for. The connection calls

    leg.interim(head)          a 1xx came (`upgraded` for 101)
    leg.head(piece, done)      the answer's head is in `leg.answer`; `piece` is what came of the body with it
    leg.body(piece, done)      more of the body, verbatim, chunk framing included
    leg.failed(reason)         it broke; nothing more will come

and exactly one of `done=True` and `failed` ends every leg that was started. Nothing here decides who is told what.

Invariants
- A connection carries at most one leg, and goes back to its pool only when request and answer ended cleanly and both
  sides want to keep it. Bytes that nobody asked for close it.
- Reading stops while the one who takes the answer cannot take more; writing stops the client's reading.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpResponseParser

from proxy.http.answer_head import Answer, read_answer
from proxy.http.framing import Framing, FramingError
from proxy.http.headers import UNTIL_CLOSE, HeadError, has_bare_lf
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.request.legs import APART
from proxy.worker.reader import MUCH
from proxy.worker.upstream.endpoint import PooledConnection

if TYPE_CHECKING:
    from proxy.request.legs import Leg
    from proxy.worker.upstream.endpoint import Endpoint
    from proxy.worker.upstream.owner import Http1ConnectionOwner

_NONE: Final = Reason.NONE
MAX_ANSWER_HEAD: Final = 64 * 1024
VERSION: Final = b"HTTP/1."  # what every answer begins with
MAX_INTERIM: Final = 16  # 1xx answers before the answer proper; a model that sends more is not answering

HEAD_WORK: Final = 8  # (`turn`) of an answer's head, and of each `HEAD_UNIT` bytes of it as much as of a chunk
HEAD_UNIT: Final = 128
PIECE_WORK: Final = 4  # of passing on a piece of a body


class UpstreamConnection(PooledConnection):
    """One connection to one URL of an upstream."""

    slot = 0
    why = _NONE  # it carries nothing any more, or is about to end
    _last: Answer | None = None  # what came last, if its head was known
    _partial = b""
    _since = 0.0
    _blocked_since = 0.0
    _used = False

    def __init__(self, pool: Http1ConnectionOwner, endpoint: Endpoint) -> None:
        super().__init__(pool.turn, pool)
        self.pool, self.endpoint = pool, endpoint
        self.outlives = True
        self._framing = Framing(HttpResponseParser)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._since = now = monotonic()
        self.pool.wheel.watch(self, now + self.pool.period)

    def age(self, now: float) -> float:
        return now - self._since

    # --- the request, out ---

    def start(self, leg: Leg) -> None:
        """Carry this leg; the connection must be idle."""
        self.leg, leg.connection = leg, self
        self.endpoint.carries()
        opening, behind = self.endpoint.opening(leg)
        self._since = leg.sent = monotonic()
        if leg.rest or len(behind) > APART:
            self.pool.turn.write(self.transport, opening, leg, (behind, *leg.rest))
        else:
            self.pool.turn.write(self.transport, opening + behind if behind else opening, leg)
        if self._blocked_since:  # it was written at once (`MUCH_OUT`), while the client's side was still at work
            self.pool.turn.last(self._hold_back)
        elif not leg.whole and (behind or not opening.endswith(b"\r\n\r\n")):  # who waits for 100 waits for the model
            self.pool.stalled[self] = None
        if leg.held_back and not self._blocked_since:
            leg.held_back = False
            leg.resume_source()
        if leg.timeout < self.pool.period:
            self.pool.wheel.watch(self, leg.sent + leg.timeout)

    def send(self, piece: bytes, last: bool) -> None:
        """More of the request's body."""
        leg = self.leg
        if leg is None:
            return
        leg.written = True
        if piece:
            self.pool.turn.now(self.transport, piece)
        stalled = self.pool.stalled
        stalled.pop(self, None)
        if last:
            self._since = leg.sent = monotonic()
        elif not self._blocked_since:
            stalled[self] = None

    def pause_writing(self) -> None:
        self._blocked_since = monotonic()
        self.pool.stalled.pop(self, None)
        if self.leg is not None:
            self.leg.pause_source()

    def _hold_back(self) -> None:
        """Say once more that the model takes no more: in this turn the client's side may have read on since."""
        if self._blocked_since and self.leg is not None:
            self.leg.pause_source()

    def resume_writing(self) -> None:
        self._blocked_since = 0.0
        if self.leg is not None:
            if not self.leg.whole:
                self.pool.stalled[self] = None
            self.leg.resume_source()

    # --- the answer, in ---

    def pause_reading(self) -> None:
        """The taker cannot take more."""
        if self._reading and not self.closed:
            self.pool.stalled[self] = None
            super().pause_reading()

    def resume_reading(self) -> None:
        """The taker can take more."""
        if not self._reading and not self.closed:
            self.pool.stalled.pop(self, None)
            self._since = monotonic()
            super().resume_reading()

    def data_received(self, data: bytes) -> None:
        leg = self.leg
        if leg is None or leg.ended or not leg.written:
            self._unasked(leg)
            return
        if leg.answer is None and not self._partial and not leg.to_head and not self._kept:
            answer = self._last = self.pool.known.find(data, self._last)
            if answer is not None and len(data) == len(answer.head) + answer.length:
                leg.answer = answer
                leg.began = monotonic()
                self._complete(leg, leg.began, clean=True)
                leg.head(data[len(answer.head) :], True)
                return
        if leg.answer is not None and self._may_pass(data):
            self._since = monotonic()
            self._goes_on(leg, data)
            leg.body(data, False)
        else:
            self.receive(data)

    def _may_pass(self, data: bytes) -> bool:
        """Whether `data` are whole chunks of the answer's body, short and in their turn: the events of a stream."""
        if self._greedy or self._waits or self._kept or len(data) >= MUCH:
            return False
        return self._framing.passes(data)

    def take(self, data: bytes) -> int:
        leg = self.leg
        if leg is None:  # released since they came
            return len(data)
        try:
            if leg.answer is None:
                return self._head(leg, data)
            self._since = monotonic()
            return self._body(leg, data, 0)
        except (FramingError, HeadError):
            self._break(Reason.BAD_REPLY)
            return len(data)

    def _unasked(self, leg: Leg | None) -> None:
        """Nobody has asked: whatever it is, it is no answer."""
        self.why = Reason.BAD_REPLY
        self._closed_idle()  # a server that says why it closes (408) closes all the same
        self.drop()
        if leg is not None and not leg.ended:
            self._lose(leg, Reason.BAD_REPLY)

    def _head(self, leg: Leg, data: bytes) -> int:
        """Take up the head, and what is here of the body; how many bytes of `data` were taken."""
        if not leg.began:
            leg.began = monotonic()
        before = len(self._partial)
        if before:
            data = self._partial + data
            self._partial = b""
        framing, at = self._framing, 0
        while True:
            known = 0 if at else before
            end = data.find(b"\r\n\r\n", max(at, known - 3)) + 4
            if end < 4 or end - at > MAX_ANSWER_HEAD:
                self._half_a_head(data[at:], known)
                return len(data) - before
            self.work -= HEAD_WORK + (end - at) // HEAD_UNIT
            head = data[at:end]
            framing.head(head)
            answer = read_answer(head, leg.to_head)
            if answer.status >= 200 or answer.status == 101:
                break
            framing.open(0)
            leg.interims += 1
            if leg.interims > MAX_INTERIM:
                raise HeadError("endless interim answers")
            if not leg.whole:
                self.pool.stalled[self] = None  # by now it is the client that is waited for
            leg.interim(head)
            if self.work <= 0:
                return end - before
            at = end
        if answer.status == 101:
            if not leg.upgraded(head, data[end:] + self.let_go()):
                raise HeadError("an upgrade that nobody asked for")
            return len(data) - before
        self._begin(leg, answer)
        return self._body(leg, data, end) - before

    def _half_a_head(self, data: bytes, known: int) -> None:
        if len(data) > MAX_ANSWER_HEAD or not data.startswith(VERSION[: len(data)]) or has_bare_lf(data, known):
            raise HeadError("not a head")  # at once: what will never be HTTP is not worth waiting a timeout for
        self._partial = data

    def _begin(self, leg: Leg, answer: Answer) -> None:
        """The answer proper begins."""
        leg.answer = answer
        self._since = monotonic()  # of the whole head: bytes of half a head are no sign of an answer
        if b"keep-alive" in answer.found:
            self.endpoint.keep.announced(answer.found[b"keep-alive"])
        if answer.length > 0 and answer.keep and not leg.to_head:
            self.pool.remember(answer)
        if leg.to_head:
            self._framing.checked = False
        self._framing.open(answer.length)

    def _body(self, leg: Leg, data: bytes, at: int) -> int:
        """Take up the body's bytes from `at` on, and the end of the message with all that follows; where it stopped."""
        framing = self._framing
        end = at
        if not framing.done:
            end = framing.take(data, at, max(1, self.work))
            self.work -= PIECE_WORK + framing.spent
        done = framing.done
        piece = data[at:end] if at or end < len(data) else data
        self._goes_on(leg, piece)
        if done:
            self._complete(leg, monotonic(), clean=end == len(data) and not self._more)
        if at:
            leg.head(piece, done)
        else:
            leg.body(piece, done)
        return len(data) if done else end

    def _goes_on(self, leg: Leg, piece: bytes) -> None:
        """More of the answer's body is here: if it is a stream, see when something is said in it."""
        if not leg.spoke and leg.answer is not None and leg.answer.stream and leg.hears(piece):
            leg.spoke = monotonic()

    def _complete(self, leg: Leg, now: float, clean: bool) -> None:
        """The answer has ended: give the connection back before anybody is told, so that a copy can use it."""
        leg.finished = now
        leg.ended = True
        self.leg, leg.connection = None, None
        if self.endpoint.doubted and not leg.is_check:
            self.endpoint.succeeded()
        assert leg.answer is not None
        if clean and leg.whole and leg.answer.keep and not self._blocked_since and not self.closed:
            self._used = True
            self._since = leg.finished
            if not self._reading:
                self.resume_reading()
            self.pool.release(self)
        else:
            self.drop()

    # --- ends ---

    def ends(self) -> bool:
        leg = self.leg
        if leg is not None and leg.answer is not None and leg.answer.length == UNTIL_CLOSE and not leg.ended:
            self._complete(leg, monotonic(), clean=False)
            leg.body(b"", True)
        self.why = self.why or Reason.DISCONNECT
        self._closed_idle()
        return False

    def is_lost(self) -> None:
        self.why = self.why or Reason.DISCONNECT
        self._closed_idle()
        self.pool.wheel.forget(self)
        leg = self.leg
        self.pool.lost(self)
        if leg is not None and not leg.ended:
            self.leg = None
            self._lose(leg, Reason.DISCONNECT)

    def _closed_idle(self) -> None:
        """The model has ended the connection: if it was idle, that shows for how long it keeps one."""
        if self._used and self in self.endpoint.idle:
            now = monotonic()
            self.endpoint.keep.seen_closed(now - self._since, now)

    def _lose(self, leg: Leg, reason: Reason) -> None:
        """The connection died under its leg, which goes on with another one, once, if that is safe."""
        leg.connection = None
        # One that was used before the model may have closed before it read the request, or before any was written.
        if self._used and not leg.tries and (not leg.written or (leg.repeatable and not leg.began)):
            leg.tries_again()
            self.pool.submit(leg, fresh=True)
            return
        self.endpoint.failed()
        if leg.written or not self.pool.elsewhere(leg, self.endpoint):
            self.pool.doubt(leg, self.endpoint, reason)
            leg.breaks(reason, monotonic())

    def _break(self, reason: Reason) -> None:
        """End the leg and the connection."""
        leg = self.leg
        self.drop()
        if leg is not None and not leg.ended:
            if reason is not Reason.TIMEOUT:
                self.endpoint.failed()
            leg.connection = None
            leg.breaks(reason, monotonic())

    def hand_over(self) -> None:
        """A tunnel carries on: its leg has ended with the answer that began it."""
        self.leg = None

    def drop(self) -> None:
        """Close at once; the leg, if any, is released."""
        self.leg = None
        self.throw_away()
        if not self.closed:
            self.closed = True
            self.why = self.why or Reason.DISCONNECT
            self.pool.lost(self)
            self.transport.abort()

    def _check_idle(self, now: float) -> float:
        endpoint = self.endpoint
        if self not in endpoint.idle:  # a tunnel
            return now + self.pool.period
        age, longest = now - self._since, endpoint.keep.longest
        if age >= longest:
            self.drop()
            return 0.0
        if self._used and not self.transport.is_closing():
            # As old as it was at the sweep before: had it ended by then, we would have read so by now, however busy.
            endpoint.keep.seen_open(self.pool.wheel.before - self._since, now)
        return min(now + self.pool.period, self._since + longest)

    def check(self, now: float) -> float:
        """Close when idle for too long; fail a leg that is late."""
        if self.closed:
            return 0.0
        leg = self.leg
        if leg is None:
            return self._check_idle(now)
        since = self._since
        if not leg.whole:
            since = self._blocked_since or now  # waiting for the client's body is not the model's fault
        if not self._reading:
            since = now  # nor is a client that reads slowly
        if now - since >= leg.timeout:
            if now - self._since >= self.pool.timeout and not leg.is_check:
                self.endpoint.timed_out()
            self._break(Reason.TIMEOUT)
            return 0.0
        if leg.is_too_long(now):
            self.drop()
            leg.connection = None
            leg.breaks(Reason.TOO_LONG, monotonic())
            return 0.0
        return min(since + leg.timeout, now + self.pool.period)
