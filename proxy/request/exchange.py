"""What is known of one request, and of the legs that are asked for it. What is done with it is for `driver` to say.

    client ──▶ Exchange ──┬── first   Served  the arm that was chosen
                          ├── hedge   Served  live, when the candidate failed or is slow
                          └── copies  Copy    the arms that did not serve, after the answer (`mirroring`)

The first leg whose answer is good enough *wins*: its bytes go to the client and nobody else's do. Live as first leg
wins with its first byte. A candidate's answer is held (while its weight is below 100 %), so that live can still answer
instead: that is a fallback when it failed, a hedge when it is slow. It is held until it is complete, or goes on like a
stream. A redirect or a refusal of the candidate's is given only when live, asked too, says the same (`http.statuses`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from proxy.http import answer_head, headers, request_head
from proxy.http.chunks import ChunkError, joined_chunks
from proxy.http.statuses import NOT_MODIFIED, are_alike, is_failure, status_class
from proxy.model.reasons import CODES, Reason
from proxy.pairs.checksum import rest_of
from proxy.pairs.link import pack_outcome
from proxy.request import machine
from proxy.request.clock import monotonic
from proxy.request.forwarded_head import ForwardedHead
from proxy.request.legs import Leg

if TYPE_CHECKING:
    from proxy.fields.document import JsonDocument
    from proxy.http.request_head import Request
    from proxy.request.counts import Meter
    from proxy.request.gathered import Gathered
    from proxy.request.legs import Piece, Upstream
    from proxy.request.ports import DownstreamStream, RequestContext
    from proxy.request.rollouts import Trial
    from proxy.request.routes import Route

_NONE: Final = Reason.NONE
_NAN: Final = float("nan")


@mypyc_attr(allow_interpreted_subclasses=True)
class Captured(Leg):
    """A leg whose answer is kept for a pair. `kept` is `None` when it is not, or no longer, kept.

    `trial` is the candidate's trial, `None` when live is asked.
    """

    __deletable__ = ("exchange",)  # as mypyc wants to know
    kept: list[bytes] | None = None
    size = 0  # bytes of the body that came in more than one piece
    too_large = False  # its body is longer than `mirror.max_body`
    unsent: bytes | None = None
    """What is here of an answer that is not kept, and has not been given to the client."""
    held = False
    """The answer is kept until it is complete, or has gone on for long enough to be a stream; only then may it win."""
    checked = False
    """Its redirects and refusals are given only where live says the same."""
    timed = False
    """It is held, has begun and not ended: a timer will give it to the client."""

    def __init__(self, exchange: Exchange, pool: Upstream, timeout: float, meter: Meter, trial: Trial | None) -> None:
        super().__init__(pool, timeout)
        self.exchange, self.meter, self.trial = exchange, meter, trial
        self.member = exchange.route.member
        self.to_head = exchange.request.method == b"HEAD"

    def client_head(self) -> bytes:
        return self.exchange.request.head

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

    @property
    def doubted(self) -> bool:
        """Whether live is to be asked before this answer is given."""
        answer = self.answer
        if not self.checked or answer is None:
            return False
        if answer.status == NOT_MODIFIED:
            return not request_head.is_conditional(self.exchange.request.head)
        return status_class(answer.status) != 2

    def grow(self, size: int) -> None:
        """More of the body came, in a piece of its own."""
        half, said = self.exchange.route.max_body // 2, self.answer.length if self.answer is not None else 0
        if self.trial is None and self.size <= half < max(self.size + size, said):
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
        if answer.length == headers.CHUNKED and body:
            try:
                body = joined_chunks(body)
            except ChunkError:  # broken off in the middle; `reason` says so
                body = b""
        sent, first = self.sent, self.said_first()
        return pack_outcome(answer.status, code, self.finished - sent, first - sent, answer.head, body)

    def _since(self, then: float) -> float:
        return then - self.sent if then and self.sent else _NAN

    def late(self) -> None:
        """It goes on, so it is a stream, and the client gets it as it comes."""
        raise NotImplementedError

    def forget(self) -> None:
        """It has ended, or been given: no timer is needed."""
        if self.timed:
            self.timed = False
            self.exchange.context.cancel(self)


class Sample:
    """One request's place in one trial. `cost` is the memory it holds, bytes."""

    __slots__ = ("again", "candidate", "cost", "sequence", "stage", "trial", "wants_again")

    def __init__(self, trial: Trial, sequence: int, wants_again: bool) -> None:
        self.trial, self.sequence, self.wants_again = trial, sequence, wants_again
        self.stage, self.cost = trial.stage, 0
        self.candidate: Captured | None = None
        self.again: Captured | None = None


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange(ForwardedHead):
    """One request of one client, from its head to its pair. Times are monotonic seconds."""

    trial: Trial | None = None
    """The trial whose candidate serves this request; `None` when live does."""
    first: Captured
    hedge: Captured | None = None
    winner: Captured | None = None
    live: Captured | None = None
    """Live's leg, whatever it was asked for."""
    state = machine.READING
    """What may happen next, and what is done then: `machine`."""
    slot = 0
    """The wheel's (`timers`)."""
    live_for = _NONE
    """Why live was asked in the candidate's place."""
    overridden = False  # the client has asked for its arm: no evidence
    body_done = False
    ready = 0.0
    """When the last byte of the request came."""

    parts: list[Piece] | None = None
    """The request's body as it came, while it may be needed again."""
    _body_rest = b""
    body_size = 0
    uncharged = 0
    """Bytes that came in one piece: they count against memory when a copy keeps them longer than the answer does."""
    kept_size = 0  # bytes that came in several and were kept
    reserved = 0
    """Bytes of them that no pair needs any more, and that count against the serving trial's memory all the same."""
    samples: Sequence[Sample] = ()
    drawn = False  # for `drift` (`observing`)
    undecided = False
    """Whether the request is sampled is not decided yet (`worker.downstream.grpc_call`)."""
    undrawn = False
    """The body says which arm answers, and is not here yet."""
    write: Captured | None = None
    """The candidate's leg of a call that both arms get before the answer, while live waits for it."""
    to_write: bytes = b""  # the body of such a call, which live is asked with next
    gathered: Gathered | None = None
    """The body while nobody is asked yet: the candidate gets it changed, so it must be here whole first."""
    unrouted = False
    """The body says where the request belongs, and is not here yet."""
    document: JsonDocument | None = None
    json_read = False  # the JSON of the body, once somebody has asked for it
    rewritten: tuple[bytes, bytes] | None = None
    """Head and body as the arm that serves gets them, where its owner wants them changed."""

    def __init__(
        self, client: DownstreamStream, context: RequestContext, request: Request, name: bytes, now: float
    ) -> None:
        super().__init__(client, context, request, name)
        self.route: Route = request.route
        self.started = now

    @property
    def answered(self) -> bool:
        """Whether the client has all that it will get."""
        return self.state >= machine.ANSWERED

    @property
    def hedged(self) -> bool:
        """Whether live was asked because the candidate was slow."""
        return self.live_for is Reason.SLOW

    @property
    def fell_back(self) -> bool:
        """Whether live was asked because the candidate failed or refused."""
        return self.live_for is not _NONE and not self.hedged

    # --- what the driver does ---

    def on(self, event: int) -> None:
        """Something has happened: do what the table says."""
        raise NotImplementedError

    def enter(self, piece: Piece, done: bool, now: float) -> Reason:
        """It is known where it belongs: choose the arm; a reason when the request is refused."""
        raise NotImplementedError

    def send(self, piece: Piece, done: bool, now: float, rest: Sequence[Piece] = ()) -> None:
        """Ask the arm that was chosen, with what is here of the request: the `rest` of a whole body is behind it."""
        raise NotImplementedError

    def let_go(self) -> None:
        """The client waits for nothing any more."""
        raise NotImplementedError

    def late(self) -> None:
        """The candidate is slow."""
        raise NotImplementedError

    def settle(self) -> None:
        """Something has ended that its pairs waited for."""
        raise NotImplementedError

    def check(self, now: float) -> float:
        """The client has left, and live has had as long to begin as the client gave the candidate."""
        raise NotImplementedError

    def note(self, leg: Captured) -> None:
        """A leg has ended (`worker.request_log`)."""

    # --- the request ---

    def read_json(self, body: bytes) -> JsonDocument | None:
        """The JSON of the whole body, which is read once; `None` where it is none."""
        if not self.json_read:
            self.json_read, self.document = True, self.route.reader.read_body(self.request, body)
        return self.document

    def body_rest(self, parts: list[Piece]) -> bytes:
        """What stands in pairs for the rest of a long body (`pairs.checksum`), of which these are all parts."""
        if not self._body_rest:
            self._body_rest = rest_of(*parts)
        return self._body_rest

    def is_enough(self, done: bool) -> bool:
        """Whether a body that is gathered is here as far as it is needed; `done` says that it is here whole."""
        return done

    def is_stream(self) -> bool:
        """Whether what is here of a body may be of use to its model before the rest of it."""
        return False

    def lose_body(self) -> None:
        """It is not kept any longer: too long, or no memory. Live could not be asked for all of it."""
        self.parts = None
        if self.state >= machine.ASKED:
            self.on(machine.BODY_LOST)

    # --- the answer ---

    def interim(self, leg: Captured, head: bytes) -> None:
        """A 1xx from the arm that was chosen goes to the client, unless live may still answer in its place."""
        if leg is self.first and self.winner is None and not leg.held:
            self.client.interim(head)

    def upgraded(self, leg: Captured, head: bytes, rest: bytes) -> bool:
        """A 101 makes the two connections a tunnel, if the client has asked for this one."""
        if not self.request.upgrade or not answer_head.is_offered(self.request, answer_head.read_answer(head)):
            return False
        self.on(machine.UPGRADED)
        leg.mark_ended(monotonic())
        leg.meter.count(101)
        self.client.upgraded(leg, head, rest)
        return True

    def may_fail(self, leg: Captured) -> bool:
        """Whether this leg may fail without the client noticing."""
        return machine.first_may_fail(self.state) if leg is self.first else machine.live_may_fail(self.state)

    def gives(self, leg: Captured) -> None:
        """A leg has more of an answer than the client, who may have it as it comes."""
        self.on(machine.FIRST_GIVES if leg is self.first else machine.LIVE_GIVES)

    def leg_done(self, leg: Captured) -> None:
        """A leg that could serve has ended, well or not (`leg.reason`)."""
        leg.count()
        leg.forget()
        self.note(leg)
        self.on(self._first_end(leg) if leg is self.first else self._live_end(leg))
        del leg.exchange  # or the two would wait for the garbage collector

    def leg_failed(self, leg: Captured, reason: Reason) -> None:
        """A leg that could serve broke; the client notices only if it has bytes of it already."""
        leg.kept = leg.unsent = None
        if self.winner is leg and leg.trial is not None and not self.answered:
            leg.reason = Reason.COMMITTED
        self.leg_done(leg)

    def copy_done(self, leg: Captured, payer: Trial) -> None:
        """A copy has ended, well or not (`leg.reason`); `payer` is the trial whose budget it used."""
        leg.count()
        payer.free_slot()
        self.note(leg)
        self.on(machine.COPY_ENDS)
        del leg.exchange

    def _first_end(self, leg: Captured) -> int:
        """How the first leg has ended."""
        if self.winner is leg:
            return machine.FIRST_FAILS if leg.reason else machine.FIRST_ENDS
        live = self.hedge if self.state in (machine.HEDGED_ERR, machine.LAST) else None
        if leg.good and (not leg.doubted or (live is not None and self.stands(live))):
            return machine.FIRST_ENDS
        return machine.FIRST_FAILS

    def _live_end(self, leg: Captured) -> int:
        """How live's leg in the candidate's place has ended."""
        if self.state == machine.FALLBACK and self.stands(leg):
            return machine.LIVE_AGREES
        if leg.reason or leg.answer is None:
            return machine.LIVE_FAILS
        failed = machine.live_may_fail(self.state) and is_failure(leg.answer.status)
        return machine.LIVE_FAILS if failed else machine.LIVE_ENDS

    def stands(self, live: Captured) -> bool:
        """Whether the candidate's redirect or refusal is given: live's answer is no other, or there is none."""
        first = self.first
        if first.answer is None or not first.good or (first.kept is None and first.unsent is None):
            return False
        if live.answer is None or live.reason:
            return True
        mine, other = first.answer.status, live.answer.status
        return mine == other or (mine != NOT_MODIFIED and are_alike(mine, other))  # 304: here, nobody asked for it
