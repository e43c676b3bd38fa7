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

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from proxy.http.headers import Request, forwarded, given_id, is_offered, read_answer, trace, without
from proxy.http.statuses import NOT_MODIFIED, are_alike
from proxy.model.reasons import Reason
from proxy.request import arms, dual_write, gathering, leaving, memory, mirroring, samples
from proxy.request.legs import Captured, Copy, Served

if TYPE_CHECKING:
    from proxy.request.ports import DownstreamStream
    from proxy.request.rollouts import Trial
    from proxy.request.routes import Route
    from proxy.request.samples import Sample
    from proxy.worker.context import WorkerContext
    from proxy.worker.counts import Meter
    from proxy.worker.upstream.pool import Pool

_NONE: Final = Reason.NONE
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
    overridden = False
    hedged = False
    fell_back = False
    answered = False
    """The client has all it will get."""
    left: leaving.Left | None = None
    """The client left the candidate, and the pair may still be made."""
    body_done = False
    ready = 0.0
    """When the last byte of the request came."""
    _fallback_reason = _NONE
    """Why live is asked in the candidate's place."""

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

    # --- the request ---

    def start(self, piece: bytes, done: bool) -> Reason:
        """Choose the arm and send what is here of the request; a reason when it is refused."""
        route, request = self.route, self.request
        if route.trials and not request.upgrade and (route.serving is not None or route.override):
            refused = arms.choose(self)
            if refused:
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
            if trial is not None:
                self._hedge_in_time()
        pool.submit(leg)

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
            self._hedge_in_time()
        if not self.first.ended:
            self.first.send(piece, done)
        if self._fallback_reason and self.hedge is None:
            if self.parts is None:  # too long since, or there is no memory: live could not be asked for all of it
                self._deliver(self.first)
            elif done:
                self._ask_live(self._fallback_reason)

    def _hedge_in_time(self) -> None:
        if self.trial is not None and self.trial.terms.fallback:
            self.context.precise_timer.add(self, self.ready + self.route.fallback_after(self.trial))

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
        self.answered = leg.ended = True
        leg.meter.count(101)
        self.client.upgraded(leg, head, rest)
        return True

    def another_may_answer(self, leg: Served) -> bool:
        """Whether this leg may fail without the client noticing."""
        if leg is self.hedge:
            return not self.first.ended
        return self._can_fall_back() if self.hedge is None else not self.hedge.ended

    def _can_fall_back(self) -> bool:
        return self.trial is not None and self.trial.terms.fallback and self.parts is not None

    def win(self, leg: Served, piece: bytes, done: bool) -> None:
        """This leg's answer goes to the client; `piece` is all of its body that is here."""
        self.winner = leg
        assert leg.answer is not None
        if leg is self.hedge and self.trial is not None:
            self.context.counts.fallback(self.trial.terms.name, self._fallback_reason)
        leg.held = False
        leg.forget()
        self.client.answer(self, leg.answer, leg.pool.label, piece, done)

    def leaves(self, now: float) -> None:
        """The head of the answer is about to be written, and the body that is here: what of the time was ours?"""
        leg = self.winner
        if leg is not None and self.ready:
            self.route.overhead.add(leg.sent - self.ready + now - (leg.finished or leg.began))

    def hold(self, leg: Served) -> None:
        """An answer that is held has begun and not ended: give it a moment to do so."""
        if self.trial is not None:
            self.context.precise_timer.add(leg, monotonic() + self.trial.terms.hold)

    def leg_done(self, leg: Served) -> None:
        """A leg that could serve has ended, well or not (`leg.reason`)."""
        leg.count()
        leg.forget()
        if self.left is not None:
            self.left.ended(leg)
        elif self.winner is leg:
            self._after_answer()
        elif self.winner is None:
            self._decide()
        if self.samples and (self.trial is not None or leg is not self.winner):
            self.context.turn.later(
                self.settle
            )  # after live's own answer nothing is settled before the copies are back
        del leg.exchange  # or the two would wait for the garbage collector

    def leg_failed(self, leg: Served, reason: Reason) -> None:
        """A leg that could serve broke; the client notices only if it has bytes of it already."""
        leg.kept = None
        if self.winner is leg and self.left is None:
            leg.reason = Reason.COMMITTED if leg.trial is not None else reason
            self.client.abort()
        self.leg_done(leg)

    def copy_done(self, leg: Copy) -> None:
        """A copy has ended, well or not (`leg.reason`)."""
        leg.count()
        leg.payer.in_flight -= 1
        self.context.turn.later(self.settle)
        del leg.exchange

    def _decide(self) -> None:
        """No answer has begun and a leg has just ended: deliver, ask live, wait, or give up."""
        first, hedge = self.first, self.hedge
        if not first.ended:
            return
        if first.good and not first.doubted:
            self._deliver(first)
        elif hedge is not None:
            if (hedge.ended or hedge.answer is not None) and not self.stands(hedge):
                self._deliver(hedge)
        elif self._can_fall_back():
            self._fall_back()
        else:
            self._deliver(first)

    def stands(self, live: Served) -> bool:
        """Whether the candidate's redirect or refusal is given after all, since live's answer is no other or there is
        none; if so, the client has it now."""
        first = self.first
        if first.answer is None or first.kept is None or not first.good:
            return False
        if live.answer is not None and not live.reason:
            mine, other = first.answer.status, live.answer.status
            if mine != other and (mine == NOT_MODIFIED or not are_alike(mine, other)):  # 304: here, nobody asked for it
                return False
        self._deliver(first)
        return True

    def _deliver(self, leg: Served) -> None:
        """Give the client this leg's answer as far as it is here, or the error it ended with."""
        if leg.answer is not None and leg.kept is not None:
            self.win(leg, b"".join(leg.kept), leg.ended)
        else:
            self.client.refuse(leg.reason or Reason.DISCONNECT, self)
        if leg.ended:
            self._after_answer()

    def _fall_back(self) -> None:
        reason = self.first.why
        if self.body_done:
            self._ask_live(reason)
        else:
            self._fallback_reason = reason
            self.client.resume_reading()  # whoever held it back is gone; live needs the whole body

    def late(self) -> None:
        """The candidate is slow: ask live too. The candidate runs on to its own timeout, so that it is not censored."""
        if self.write is not None:
            dual_write.go_on(self)
        elif self.hedge is None and self.winner is None and self._can_fall_back():
            self.hedged = True
            self._ask_live(Reason.SLOW)

    def _ask_live(self, reason: Reason) -> None:
        assert self.parts is not None
        assert self.trial is not None
        self.context.precise_timer.discard(self)
        self.fell_back = reason is not Reason.SLOW
        self._fallback_reason = reason
        live = self.route.live
        self.hedge = self.live = leg = Served(self, live, live.timeout, self.route.meters.hedge, None)
        leg.kept = []
        leg.repeatable = True
        leg.whole = self.body_done
        leg.opening = b"".join((self.head_for_leg(self.base_without(EXPECT)), b"\r\n", *self.parts))
        live.submit(leg)

    def _after_answer(self) -> None:
        """The client has its answer: now the arms that did not serve are asked."""
        if self.answered:
            return
        self.answered = True
        if self.trial is not None:
            self.context.precise_timer.discard(self)
            memory.release(self)
            if self.hedge is not None:  # the arm that did not win runs on for the pair
                leaving.bound(self.hedge if self.winner is self.first else self.first, self.trial, monotonic())
        if self.samples:
            self.context.turn.later(self.mirror)

    def mirror(self) -> None:
        """The client has been served: ask the arms that did not serve."""
        if self.samples:
            mirroring.mirror(self)

    def written_to_candidate(self, leg: dual_write.Write) -> None:
        """The candidate has answered a call that both arms get, or has failed."""
        leg.count()
        if self.write is leg:
            dual_write.go_on(self)
        del leg.exchange

    def settle(self) -> None:
        """A leg has ended: publish the pairs that have both outcomes now."""
        if self.samples:
            mirroring.settle(self)
        if self.left is not None:
            self.left.rest()

    def client_gone(self) -> None:
        """The client left before it had its answer; `leaving` says what is still done for the pair."""
        if self.answered:
            return
        self.answered = True
        if gathering.given_up(self):
            return
        self.context.precise_timer.discard(self)
        memory.release(self)
        leaving.leave(self, monotonic())

    def give_up(self, why: str) -> None:
        """Nobody waits for this request any more: end what runs. `why` is a part of the ledger."""
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
        if self.left is not None:
            self.left.stop()
            self.context.wheel.forget(self.left)
            self.left = None
        samples.drop(self, why)
