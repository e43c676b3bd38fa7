"""A leg is one exchange with an upstream, whatever carries it; its kinds say what becomes of the answer.

`Served` streams to the client once it has won (see `exchange`), and keeps what a pair needs on the way. `Copy` only
keeps. Both keep at most `max_body`: reading up to there never waits for a slow client, so both arms are timed alike.
And both are timed by one rule, whoever they serve: `timeout` is silence, to the first byte and between two pieces.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from mypy_extensions import mypyc_attr

from proxy.http.chunks import ChunkError, joined
from proxy.http.headers import CHUNKED, is_conditional
from proxy.http.statuses import NOT_MODIFIED, is_failure, status_class
from proxy.model.reasons import CODES, Reason
from proxy.pairs.link import pack_outcome
from proxy.request import machine, memory

if TYPE_CHECKING:
    from proxy.http.headers import Answer
    from proxy.request.exchange import Exchange
    from proxy.request.rollouts import Trial
    from proxy.worker.counts import Meter
    from proxy.worker.upstream.pool import Pool

_NONE: Final = Reason.NONE
MAX_WAITING = 256 * 1024
"""Bytes of a request that may wait for a connection before its sender is held back."""
_NAN = float("nan")


class UpstreamStream(Protocol):
    """What carries a leg: a connection, or one stream of a gRPC connection."""

    def send(self, piece: bytes, last: bool) -> None:
        """More of the request's body."""

    def pause_reading(self) -> None:
        """The taker cannot take more."""

    def resume_reading(self) -> None:
        """The taker can take more."""

    def drop(self) -> None:
        """Close at once, tell nobody."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Leg:
    """One exchange with an upstream. Subclasses say what becomes of the answer."""

    connection: UpstreamStream | None
    answer: Answer | None = None
    reason = _NONE
    opening = b""
    """Head and as much of the body as is at hand when a connection is there."""
    whole = True
    """The request is complete: nothing will follow what was given."""
    to_head = False
    repeatable = False
    """The whole request may be sent once more if a reused connection dies under it."""
    longest = 0.0
    """Seconds that it may last in all, however busy; 0.0: as long as it likes."""
    optional = False
    """Nobody is without an answer if this leg fails at once because its upstream has just been found dead."""
    is_check = False
    """A health check: what becomes of it says nothing of how requests fare."""
    ended = False
    written = False
    """Some of it may have reached the model."""
    sent = 0.0
    began = 0.0
    spoke = 0.0
    """When the first event of a stream came: servers send the head, and comments, before the model has spoken."""
    finished = 0.0
    tries = 0
    dialled = 0.0
    """When the first connection was begun for it, where there are several endpoints to choose from."""
    interims = 0
    held_back = False
    """The sender of the request is not read until a connection is there."""
    _waiting: list[bytes] | None = None
    _waiting_size = 0

    def __init__(self, pool: Pool, timeout: float) -> None:
        self.pool, self.timeout = pool, timeout
        self.connection = None  # not as a default of the class: mypyc would leave out one whose type is a Protocol

    def interim(self, head: bytes) -> None:
        """A 1xx answer came before the answer proper."""

    def upgraded(self, head: bytes, rest: bytes) -> bool:
        """The model switches protocols (101), `rest` being its first bytes of the new one; whether that was wanted."""
        return False

    def head(self, piece: bytes, done: bool) -> None:
        """The answer began."""
        raise NotImplementedError

    def body(self, piece: bytes, done: bool) -> None:
        """The answer went on."""
        raise NotImplementedError

    def failed(self, reason: Reason) -> None:
        """The leg broke."""
        raise NotImplementedError

    def refused(self, reason: Reason) -> None:
        """It ends before it was sent."""
        self.ended = True
        self.reason = reason
        self.failed(reason)

    def pause_source(self) -> None:
        """The model takes no more for now: stop reading the client."""

    def resume_source(self) -> None:
        """The model takes bytes again."""

    def gives_way(self, now: float) -> bool:
        """Others wait for this leg's connection, which waits for its client: whether that is cut off for it."""
        return False

    def send(self, piece: bytes, last: bool) -> None:
        """More of the request's body."""
        self.whole = last
        connection = self.connection
        if connection is not None:
            connection.send(piece, last)
            return
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(piece)
        self._waiting_size += len(piece)
        if self._waiting_size > MAX_WAITING and not self.held_back:
            self.held_back = True
            self.pause_source()

    def gather(self) -> bytes:
        """Everything to write once a connection is there."""
        if self._waiting is not None:
            self.opening = b"".join((self.opening, *self._waiting))
            self._waiting = None
        return self.opening

    def leaves(self, now: float) -> None:
        """All of the request that is at hand is about to be written."""
        if not self.ended:
            self.sent = now
            self.written = True

    def is_too_long(self, now: float) -> bool:
        """Whether it has lasted longer than it may."""
        return self.longest > 0.0 and self.sent > 0.0 and now - self.sent >= self.longest

    def cancel(self) -> None:
        """Nobody wants the answer any more: drop the connection, tell nobody."""
        if not self.ended:
            self.ended = True
            self.pool.forget(self)
            if self.connection is not None:
                self.connection.drop()


@mypyc_attr(allow_interpreted_subclasses=True)
class Captured(Leg):
    """A leg whose answer is kept for a pair. `kept` is `None` when it is not, or no longer, kept.

    `trial` is the candidate's trial, `None` when live is asked.
    """

    __deletable__ = ("exchange",)  # as mypyc wants to know
    kept: list[bytes] | None = None
    size = 0
    """Bytes of the body that came in more than one piece."""
    too_large = False
    """Its body is longer than `mirror.max_body`."""
    unsent: bytes | None = None
    """What is here of an answer that is not kept, and has not been given to the client."""

    def __init__(self, exchange: Exchange, pool: Pool, timeout: float, meter: Meter, trial: Trial | None) -> None:
        super().__init__(pool, timeout)
        self.exchange, self.meter, self.trial = exchange, meter, trial
        if exchange.request.method == b"HEAD":
            self.to_head = True

    @property
    def good(self) -> bool:
        """Whether it ended with an answer that a client may get."""
        answer = self.answer
        if not self.ended or self.reason or answer is None:
            return False
        return self.trial is None or not is_failure(answer.status)

    @property
    def why(self) -> Reason:
        """Why it is no answer for a client."""
        if self.reason or self.answer is None:
            return self.reason
        status = self.answer.status
        if status == 429:
            return Reason.STATUS_429
        if status < 400:
            return Reason.STATUS_3XX
        return Reason.STATUS_4XX if status < 500 else Reason.STATUS_5XX

    @property
    def has_spoken(self) -> bool:
        """Whether something of its answer proper has come; servers send the head of a stream before they have any."""
        answer = self.answer
        return answer is not None and (self.ended or not answer.events or self.size > 0)

    def grow(self, size: int) -> None:
        """More of the body came, in a piece of its own."""
        half = self.exchange.route.max_body // 2
        if self.trial is None and self.size <= half < self.size + size:
            self.exchange.route.recent.long(monotonic())
        self.size += size

    def count(self) -> None:
        """Enter the leg into the counts, once, when it has ended."""
        meter, answer = self.meter, self.answer
        if self.reason or answer is None:
            meter.count(self.reason)
            return
        seconds = self.finished - self.sent
        meter.add(answer.status, seconds)
        if self.trial is None and self.exchange.route.trials:
            self.exchange.route.recent.add(seconds)

    def end_by(self, reason: Reason) -> None:
        """Cancel and count it."""
        self.reason = reason
        self.cancel()
        self.count()

    def outcome(self) -> bytes:
        """As PAIR carries it."""
        answer, reason = self.answer, self.reason
        if self.too_large and not reason:
            reason = Reason.TOO_LARGE
        body = b"".join(self.kept) if self.kept else b""
        code = CODES[reason] if reason else 0
        if answer is None:
            return pack_outcome(0, code, self._since(self.finished), self._since(self.began), b"", b"")
        if answer.length == CHUNKED and body:
            try:
                body = joined(body)
            except ChunkError:  # broken off in the middle; `reason` says so
                body = b""
        sent, first = self.sent, self.spoke or self.began
        return pack_outcome(answer.status, code, self.finished - sent, first - sent, answer.head, body)

    def _since(self, then: float) -> float:
        return then - self.sent if then and self.sent else _NAN


@mypyc_attr(allow_interpreted_subclasses=True)
class Served(Captured):
    """A leg that may answer the client: the chosen arm's, or live's in place of the candidate."""

    held = False
    """The answer is kept until it is complete, or has gone on for long enough to be a stream; only then may it win."""
    checked = False
    """Its redirects and refusals are given only where live says the same."""
    _timed = False
    """`PreciseTimer` knows it: it has begun and not ended."""
    _piece = 0.0
    """When the first piece of a body came that is held and says where it ends."""

    @property
    def doubted(self) -> bool:
        """Whether live is to be asked before this answer is given."""
        answer = self.answer
        if not self.checked or answer is None:
            return False
        if answer.status == NOT_MODIFIED:
            return not is_conditional(self.exchange.request.head)
        return status_class(answer.status) != 2

    def head(self, piece: bytes, done: bool) -> None:
        exchange = self.exchange
        given_up = False
        if self.kept is None:
            self.unsent = piece
        elif done and len(piece) <= exchange.route.max_body:
            self.kept.append(piece)
            exchange.uncharged += len(piece)
        else:
            given_up = self._keep(piece)
        if done or not given_up:
            self._give(piece, done)

    def body(self, piece: bytes, done: bool) -> None:
        given_up = self.kept is not None and self._keep(piece)
        if done or not given_up:
            self._give(piece, done)

    def _give(self, piece: bytes, done: bool) -> None:
        """Pass a piece on, or what is here of the answer now that it may be."""
        exchange = self.exchange
        if exchange.winner is self:  # since a moment ago, or it cannot be kept any longer
            if not exchange.answered:
                exchange.client.more(piece, done)
            elif not done:
                exchange.gives(self)  # the client left in the middle of it
        elif not done and machine.is_open(exchange.state) and not self._must_wait(piece):
            exchange.gives(self)
        if done:
            exchange.leg_done(self)

    def _must_wait(self, piece: bytes) -> bool:
        """Whether the answer so far must not reach the client yet; there is more to come."""
        answer, exchange = self.answer, self.exchange
        assert answer is not None
        is_live = self is exchange.hedge
        if (is_failure(answer.status) or self.doubted) and exchange.may_fail(self):
            if self.kept is None:
                self.kept, self.unsent = [piece], None
            self.held = True
            if exchange.state == machine.HEDGED and is_live:
                exchange.on(machine.LIVE_OBJECTS)
            return True
        if is_live and exchange.state == machine.FALLBACK and exchange.stands(self):
            exchange.on(machine.LIVE_AGREES)
            return True
        if not self.held or (answer.events and self.spoke):
            return False
        if piece:
            if answer.length >= 0:  # it says where it ends: more of it after a while is a stream, silence is none
                return not self._goes_on(exchange.trial)
            if not self._timed:
                self._timed = True
                exchange.hold(self)
        return True

    def _goes_on(self, trial: Trial | None) -> bool:
        """Whether more of a body has come, `hold` after its first piece."""
        now = monotonic()
        if not self._piece:
            self._piece = now
        return trial is not None and now - self._piece >= trial.terms.hold

    def late(self) -> None:
        """It goes on, so it is a stream, and the client gets it as it comes."""
        if not self.ended and self.held and self.kept is not None and machine.is_open(self.exchange.state):
            self.exchange.gives(self)

    def forget(self) -> None:
        """It has ended, and will not be late."""
        if self._timed:
            self._timed = False
            self.exchange.context.precise_timer.discard(self)

    def _keep(self, piece: bytes) -> bool:
        """Keep a piece; whether the answer is given up, since it cannot be kept."""
        assert self.kept is not None
        self.kept.append(piece)
        self.grow(len(piece))
        exchange = self.exchange
        if not memory.keeps(exchange, len(piece)):
            if exchange.winner is not None:
                self.kept = None
            elif not memory.reserve(exchange):
                return memory.full(exchange, self)
        if self.size <= exchange.route.max_body:
            return False
        self.too_large = True
        return memory.full(exchange, self)

    def failed(self, reason: Reason) -> None:
        self.exchange.leg_failed(self, reason)

    def interim(self, head: bytes) -> None:
        self.exchange.interim(self, head)

    def upgraded(self, head: bytes, rest: bytes) -> bool:
        return self.exchange.upgraded(self, head, rest)

    def pause_source(self) -> None:
        self.exchange.client.pause_reading()

    def resume_source(self) -> None:
        self.exchange.client.resume_reading()

    def gives_way(self, now: float) -> bool:
        return not self.ended and self.exchange.client.gives_way(now)


@mypyc_attr(allow_interpreted_subclasses=True)
class Copy(Captured):
    """A leg that serves nobody. `payer` is the trial whose budget of copies it uses."""

    optional = True
    payer: Trial

    def head(self, piece: bytes, done: bool) -> None:
        self.kept = []
        if done and len(piece) <= self.exchange.route.max_body:
            self.kept.append(piece)
            self.exchange.copy_done(self)
        else:
            self.body(piece, done)

    def body(self, piece: bytes, done: bool) -> None:
        assert self.kept is not None
        self.kept.append(piece)
        self.grow(len(piece))
        memory.charge(self.exchange, len(piece))
        if self.size > self.exchange.route.max_body:
            if not done:
                self.cancel()
                self.finished = monotonic()
            self.too_large = True
            self.failed(Reason.TOO_LARGE)
        elif done:
            self.exchange.copy_done(self)

    def failed(self, reason: Reason) -> None:
        self.reason = reason
        self.kept = None
        self.exchange.copy_done(self)
