"""One request: which arm serves it, and whose answer the client gets.

    client ──▶ Exchange ──┬── first   Served  the arm that was chosen
                          ├── hedge   Served  live, when the candidate failed or is slow
                          └── copies  Copy    the arms that did not serve, after the answer (`pairs`)

The first leg whose answer is good enough *wins*: its bytes go to the client and nobody else's do. Live as first leg
wins with its first byte. A candidate's answer is held (while its weight is below 100 %), so that live can still answer
instead: that is a fallback when it failed, a hedge when it is slow. It is held until it is complete, or goes on like a
stream. A redirect or a refusal of the candidate's is given only when live, asked too, says the same (`http.statuses`).

Invariants
- The client never waits for a leg that did not win, and copies start only after the client's answer has been written.
- Every sampled request is settled once: published as a pair or counted under a reason.
- Every leg that was started ends or is cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from proxy.http.headers import Request, forwarded, given_id, is_offered, read_answer, trace, without
from proxy.http.statuses import NOT_MODIFIED, are_alike, is_failure
from proxy.model.reasons import Reason
from proxy.request import arms, dual_write, gathering, leaving, machine, memory, mirroring, samples
from proxy.request.legs import Captured, Copy, Served

if TYPE_CHECKING:
    from proxy.request.ports import DownstreamStream
    from proxy.request.rollouts import Trial
    from proxy.request.routes import Route
    from proxy.request.samples import Sample
    from proxy.worker.context import WorkerContext
    from proxy.worker.counts import Meter
    from proxy.worker.upstream.pool import Pool

logger = logging.getLogger(__name__)
_NONE: Final = Reason.NONE
_ASK: Final = machine.ASK
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
"""Methods that may be sent twice (RFC 9110, 9.2.2)."""
EXPECT = frozenset({b"expect"})


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange:
    """One request of one client, from its head to its pair. Times are monotonic seconds.

    `id` is our own, and no other request's: by it arms and samples are drawn. `request_id` is the one that the models
    and the client see, the client's if it gave one.
    """

    trial: Trial | None = None
    """The trial whose candidate serves this request; `None` when live does."""
    first: Served
    hedge: Served | None = None
    winner: Served | None = None
    live: Captured | None = None
    """Live's leg, whatever it was asked for."""
    state = machine.READING
    """What may happen next, and what is done then: `machine`."""
    slot = 0
    """The wheel's (`timers`)."""
    live_for = _NONE
    """Why live was asked in the candidate's place."""
    overridden = False
    body_done = False
    ready = 0.0
    """When the last byte of the request came."""

    parts: list[bytes] | None = None
    """The request's body as it came, while it may be needed again."""
    body_size = 0
    uncharged = 0
    """Bytes that came in one piece: they count against memory when a copy keeps them longer than the answer does."""
    kept_size = 0
    """Bytes that came in several and were kept."""
    reserved = 0
    """Bytes of them that no pair needs any more, and that count against the serving trial's memory all the same."""
    samples: Sequence[Sample] = ()
    undecided = False
    """Whether the request is sampled is not decided yet (`grpc.call`)."""
    undrawn = False
    """The body says which arm answers, and is not here yet."""
    write: dual_write.Write | None = None
    """The candidate's leg of a call that both arms get before the answer, while live waits for it."""
    gathered: gathering.Gathered | None = None
    """The body while nobody is asked yet: the candidate gets it changed, so it must be here whole first."""
    rewritten: tuple[bytes, bytes] | None = None
    """Head and body as the candidate that serves gets them, where its owner wants them changed."""

    def __init__(
        self, client: DownstreamStream, context: WorkerContext, request: Request, name: bytes, now: float
    ) -> None:
        self.client, self.context, self.request = client, context, request
        self.route: Route = request.route
        self.id = self.request_id = name
        self.started = now
        if request.plain:  # the client has given no id either
            self.base = b"".join((request.plain, client.lines, name, b"\r\n"))
        else:
            self.request_id = given_id(request) or name
            self.base = forwarded(request, self.request_id, client.peer, client.scheme, client.trusted)

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

    # --- the request ---

    def start(self, piece: bytes, done: bool) -> Reason:
        """Choose the arm and send what is here of the request; a reason when it is refused."""
        route, request = self.route, self.request
        if route.trials and not request.upgrade and (route.serving is not None or route.override):
            refused = arms.choose(self)
            if refused:
                self.on(machine.REFUSED)
                return refused
        if (route.reads_body or not done) and not request.upgrade:
            gathering.begin(self, piece, done)
        else:
            self.send(piece, done, self.started)
        return _NONE

    def is_enough(self, done: bool) -> bool:
        """Whether a body that is gathered is here as far as it is needed; `done` says that it is here whole."""
        return done

    def is_stream(self) -> bool:
        """Whether what is here of a body may be of use to its model before the rest of it."""
        return False

    def send(self, piece: bytes, done: bool, now: float) -> None:
        """Ask the arm that was chosen: book the samples, start the first leg with what is here of the request."""
        route, request = self.route, self.request
        if route.trials and not request.upgrade:
            self._sample(done)
        trial = self.trial
        if self.samples or trial is not None or self.undecided:
            if done and len(piece) <= route.max_body:
                self.parts = [piece]
                self.uncharged = len(piece)
            else:
                self.parts = []
                self._gather(piece)
        if trial is None:
            pool = route.live
            self.first = self.live = leg = self._serving(pool, route.meters.served, None)
        else:
            pool = trial.pool
            self.first = leg = self._serving(pool, trial.meters.served, trial)
            leg.held = leg.checked = leg.optional = trial.held
            if trial.terms.fallback and not done and b"expect" in request.found:
                self.take_body()
        if self.samples or leg.held:
            leg.kept = []
        if done and (route.repeatable or request.method in IDEMPOTENT):
            leg.repeatable = True
        head, body = self.rewritten or (self.base, piece)
        leg.opening = b"".join((self.head_for_leg(head), b"\r\n", body))
        leg.whole = done
        if done:
            self.body_done, self.ready = True, now
        self.on(
            self._ask_event(done) if trial is not None and trial.terms.fallback and self.parts is not None else _ASK
        )

    def _ask_event(self, done: bool) -> int:
        """Live can take over: from when on?"""
        return machine.ASK_COVERED if done else machine.ASK_UPLOAD

    def _serving(self, pool: Pool, meter: Meter, trial: Trial | None) -> Served:
        """The first leg."""
        return Served(self, pool, pool.timeout, meter, trial)

    def _sample(self, done: bool) -> None:
        """Decide whether this request becomes a pair; `done` says that all of it is here."""
        samples.sample(self)

    def take_body(self) -> None:
        """Ask the client for the body it keeps back (RFC 9110, 10.1.1): whichever arm answers, it will be needed."""
        self.client.interim(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.base = self.base_without(EXPECT)

    def more(self, piece: bytes, done: bool) -> None:
        """More of the request's body."""
        if self.gathered is not None:
            gathering.more(self, self.gathered, piece, done)
            return
        if self.parts is not None:
            self._gather(piece)
        if done:
            self.body_done, self.ready = True, monotonic()
            self.body_ends()
        if not self.first.ended:
            self.first.send(piece, done)
        if done:
            self.on(machine.BODY_END)

    def body_ends(self) -> None:
        """The whole request is here."""

    def lose_body(self) -> None:
        """It is not kept any longer: too long, or no memory. Live could not be asked for all of it."""
        self.parts = None
        if self.state >= machine.ASKED:
            self.on(machine.BODY_LOST)

    def _gather(self, piece: bytes) -> None:
        memory.gather(self, piece)

    def head_for_leg(self, base: bytes) -> bytes:
        """A head for one leg, without the blank line, with a span of its own when the client traces."""
        if b"traceparent" in self.request.found:
            base = trace(self.request, base, *self.context.span())
        return base

    def base_without(self, names: frozenset[bytes]) -> bytes:
        """The forwarded head without some headers."""
        return self.base if names.isdisjoint(self.request.found) else without(self.base, names)

    # --- the answer ---

    def interim(self, leg: Served, head: bytes) -> None:
        """A 1xx from the arm that was chosen goes to the client, unless live may still answer in its place."""
        if leg is self.first and self.winner is None and not leg.held:
            self.client.interim(head)

    def upgraded(self, leg: Served, head: bytes, rest: bytes) -> bool:
        """A 101 makes the two connections a tunnel, if the client has asked for this one."""
        if not self.request.upgrade or not is_offered(self.request, read_answer(head)):
            return False
        self.on(machine.UPGRADED)
        leg.ended = True
        leg.meter.count(101)
        self.client.upgraded(leg, head, rest)
        return True

    def leaves(self, now: float) -> None:
        """The head of the answer is about to be written, and the body that is here: what of the time was ours?"""
        leg = self.winner
        if leg is not None and self.ready:
            self.route.overhead.add(leg.sent - self.ready + now - (leg.finished or leg.began))

    def hold(self, leg: Served) -> None:
        """An answer that is held has begun and not ended: give it a moment to do so."""
        if self.trial is not None:
            self.context.precise_timer.add(leg, monotonic() + self.trial.terms.hold)

    def may_fail(self, leg: Served) -> bool:
        """Whether this leg may fail without the client noticing."""
        return machine.first_may_fail(self.state) if leg is self.first else machine.live_may_fail(self.state)

    def gives(self, leg: Served) -> None:
        """A leg has more of an answer than the client, who may have it as it comes."""
        self.on(machine.FIRST_GIVES if leg is self.first else machine.LIVE_GIVES)

    def leg_done(self, leg: Served) -> None:
        """A leg that could serve has ended, well or not (`leg.reason`)."""
        leg.count()
        leg.forget()
        self.on(self._first_end(leg) if leg is self.first else self._live_end(leg))
        del leg.exchange  # or the two would wait for the garbage collector

    def leg_failed(self, leg: Served, reason: Reason) -> None:
        """A leg that could serve broke; the client notices only if it has bytes of it already."""
        leg.kept = leg.unsent = None
        if self.winner is leg and leg.trial is not None and not self.answered:
            leg.reason = Reason.COMMITTED
        self.leg_done(leg)

    def copy_done(self, leg: Copy) -> None:
        """A copy has ended, well or not (`leg.reason`)."""
        leg.count()
        leg.payer.in_flight -= 1
        self.on(machine.COPY_ENDS)
        del leg.exchange

    def written_to_candidate(self, leg: dual_write.Write) -> None:
        """The candidate has answered a call that both arms get, or has failed."""
        leg.count()
        if self.write is leg:
            dual_write.go_on(self)
        del leg.exchange

    def _first_end(self, leg: Served) -> int:
        """How the first leg has ended."""
        if self.winner is leg:
            return machine.FIRST_FAILS if leg.reason else machine.FIRST_ENDS
        live = self.hedge if self.state in (machine.HEDGED_ERR, machine.LAST) else None
        if leg.good and (not leg.doubted or (live is not None and self.stands(live))):
            return machine.FIRST_ENDS
        return machine.FIRST_FAILS

    def _live_end(self, leg: Served) -> int:
        """How live's leg in the candidate's place has ended."""
        if self.state == machine.FALLBACK and self.stands(leg):
            return machine.LIVE_AGREES
        if leg.reason or leg.answer is None:
            return machine.LIVE_FAILS
        failed = machine.live_may_fail(self.state) and is_failure(leg.answer.status)
        return machine.LIVE_FAILS if failed else machine.LIVE_ENDS

    def stands(self, live: Served) -> bool:
        """Whether the candidate's redirect or refusal is given: live's answer is no other, or there is none."""
        first = self.first
        if first.answer is None or not first.good or (first.kept is None and first.unsent is None):
            return False
        if live.answer is None or live.reason:
            return True
        mine, other = first.answer.status, live.answer.status
        return mine == other or (mine != NOT_MODIFIED and are_alike(mine, other))  # 304: here, nobody asked for it

    # --- the table's actions ---

    def on(self, event: int) -> None:
        """Something has happened: do what the table says."""
        state = self.state
        after = machine.becomes(state, event)
        if after < 0:
            logger.error(machine.surprise(state, event))
            return
        self.state = after
        for action in machine.actions(state, event):
            self._act(action)

    def _act(self, action: int) -> None:
        """One action; those of a plain request come first."""
        if action == machine.START_FIRST:
            self.first.pool.submit(self.first)
        elif action == machine.SEND_FIRST:
            self._answer_with(self.first)
        elif action == machine.FINISH:
            self.finish()
        elif action == machine.PLAN_COPIES:
            if self.samples:
                self.context.turn.later(self.mirror)
        elif action == machine.START_COPIES:
            self._start_copies()
        elif action == machine.SETTLE:
            self.context.turn.later(self.settle)
        elif action == machine.TIME_HEDGE:
            assert self.trial is not None
            self.context.precise_timer.add(self, self.ready + self.route.fallback_after(self.trial))
        elif action == machine.START_LIVE:
            self._start_live()
        elif action == machine.SEND_LIVE:
            assert self.hedge is not None
            self._answer_with(self.hedge)
        else:
            self._act_rarely(action)

    def _act_rarely(self, action: int) -> None:
        if action == machine.ABORT:
            self.client.abort()
        elif action == machine.RESUME:
            self.client.resume_reading()  # whoever held it back is gone; live needs the whole body
        elif action == machine.START_WRITE:
            assert self.write is not None
            self.write.pool.submit(self.write)
        elif action == machine.FORGET_BODY:
            gathering.give_up(self)
        elif action == machine.DROP_GONE:
            self.give_up("client_gone")
        elif action == machine.DROP_SHED:
            self.give_up("shed")
        elif action == machine.UNWATCH:
            self.context.wheel.forget(self)
        else:
            leaving.act(self, action)

    def _answer_with(self, leg: Served) -> None:
        """Give the client this leg's answer as far as it is here, or the error it ended with."""
        answer, kept = leg.answer, leg.kept
        piece = b"".join(kept) if kept is not None else leg.unsent
        if answer is None or piece is None:
            self.client.refuse(leg.reason or Reason.DISCONNECT, self)
            return
        self.winner = leg
        if leg is self.hedge and self.trial is not None:
            self.context.counts.fallback(self.trial.terms.name, self.live_for)
        leg.held, leg.unsent = False, None
        leg.forget()
        self.client.answer(self, answer, leg.pool.label, piece, self.state == machine.ANSWERED)

    def _start_live(self) -> None:
        assert self.parts is not None
        self.context.precise_timer.discard(self)
        self.live_for = self.first.why if self.first.ended else Reason.SLOW
        live = self.route.live
        self.hedge = self.live = leg = Served(self, live, live.timeout, self.route.meters.hedge, None)
        leg.kept = []
        leg.repeatable = True
        leg.whole = self.body_done
        leg.opening = b"".join((self.head_for_leg(self.base_without(EXPECT)), b"\r\n", *self.parts))
        live.submit(leg)

    def finish(self) -> None:
        """The client has its answer: a leg that did not win runs on, for the pair, as long as a copy may."""
        self.let_go()
        if self.trial is not None and self.hedge is not None:
            leaving.bound(self.hedge if self.winner is self.first else self.first, self.trial, monotonic())

    def let_go(self) -> None:
        """The client waits for nothing any more."""
        if self.trial is not None:
            self.context.precise_timer.discard(self)
            memory.release(self)

    def _start_copies(self) -> None:
        if self.samples:
            mirroring.mirror(self)
        if self.trial is not None:
            self.settle()  # both may have answered

    # --- its pairs ---

    def mirror(self) -> None:
        """What clients wait for has been written: ask the arms that did not serve."""
        self.on(machine.COPIES)

    def settle(self) -> None:
        """A leg has ended: publish the pairs that have both outcomes now."""
        if self.samples:
            mirroring.settle(self)
        if (
            not self.samples
            and self.state != machine.CLOSED
            and self.first.ended
            and (self.hedge is None or self.hedge.ended)
        ):
            self.on(machine.SETTLED)

    # --- time, and the client's end ---

    def late(self) -> None:
        """The candidate is slow: ask live too. The candidate runs on to its own timeout, so that it is not censored."""
        if self.state == machine.WRITING:
            dual_write.go_on(self)
        else:
            self.on(machine.SLOW)

    def check(self, now: float) -> float:
        """The client has left, and live has had as long to begin as the client gave the candidate."""
        live = self.live
        if live is None or not live.has_spoken:
            self.on(machine.SILENT)
        return 0.0

    def client_gone(self, cut_off: bool = False) -> None:
        """The client left before it had its answer; `leaving` says what is still done for the pair. Nothing is for one
        that was `cut_off` because it was slow: that is nobody else's fault."""
        if not self.answered:
            self.on(machine.LEAVES if cut_off else leaving.event(self))

    def give_up(self, why: str) -> None:
        """Nobody waits for this request any more: end what runs. `why` is a part of the ledger."""
        self.let_go()
        for leg in (self.first, self.hedge):
            if leg is not None:
                leg.forget()
                if not leg.ended:
                    leg.end_by(Reason.CLIENT_GONE)
                    del leg.exchange  # as in `leg_done`
        copy = self.live
        if isinstance(copy, Copy) and not copy.ended:
            copy.end_by(Reason.CLIENT_GONE)
            copy.payer.in_flight -= 1
            del copy.exchange
        samples.drop(self, why)
