"""Does for one request what its table says (`machine`): starts legs, gives answers to the client, settles samples.

Invariants
- The client never waits for a leg that did not win, and copies start only after the client's answer has been written.
- Every sampled request is settled once: published as a pair or counted under a reason.
- Every leg that was started ends or is cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from proxy.model.reasons import Reason
from proxy.request import arms, dual_write, gathering, leaving, machine, memory, mirroring, rewriting, samples
from proxy.request.clock import monotonic
from proxy.request.exchange import Captured, Exchange
from proxy.request.forwarded_head import EXPECT
from proxy.request.legs import bytes_of
from proxy.request.mirroring import Copy
from proxy.request.served import Served

if TYPE_CHECKING:
    from proxy.http.request_head import Request
    from proxy.request.counts import Meter
    from proxy.request.legs import Piece, Upstream
    from proxy.request.ports import DownstreamStream, RequestContext
    from proxy.request.rollouts import Trial

logger = logging.getLogger(__name__)
_NONE: Final = Reason.NONE
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
"""Methods that may be sent twice (RFC 9110, 9.2.2)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestDriver(Exchange):
    """Does what the table says for one request, from its head to its pair."""

    # --- the request ---

    def start(self, piece: Piece, done: bool) -> Reason:
        """Choose the arm and send what is here of the request; a reason when it is refused."""
        if self.request.fork is not None and not self.request.upgrade:
            self.unrouted = True
            gathering.ask_arms(self, piece, done)
            return _NONE
        return self.enter(piece, done, self.started)

    def enter(self, piece: Piece, done: bool, now: float) -> Reason:
        """The same, once it is known where it belongs."""
        route, request = self.route, self.request
        if route.trials and not request.upgrade and (route.serving is not None or route.override):
            refused = arms.choose_arm(self)
            if refused:
                self.on(machine.REFUSED)
                return refused
        if (route.reads_body or not done) and not request.upgrade:
            gathering.ask_arms(self, piece, done, now)
        else:
            self.send(piece, done, now)
        return _NONE

    def send(self, piece: Piece, done: bool, now: float, rest: Sequence[Piece] = ()) -> None:
        """Ask the arm that was chosen: book the samples, start the first leg with what is here of the request."""
        route, request, trial = self.route, self.request, self.trial
        if route.observer is not None and not request.upgrade:
            self.drawn = route.observer.draws()
        if (route.trials or self.drawn) and not request.upgrade:
            self._sample(done)
        if self.samples or trial is not None or self.undecided:
            if done and len(piece) <= route.max_body:
                self.parts = [piece, *rest] if rest else [piece]
                self.uncharged = bytes_of(self.parts)
            else:
                self.parts = []
                self._gather(piece)
        self.first = leg = self._first_leg(trial, done)
        if self.samples or leg.held:
            leg.kept = []
        if done and (route.repeatable or request.method in IDEMPOTENT):
            leg.repeatable = True
        self._give_request(leg, piece)
        if rest:
            leg.gets_rest(rest)
        leg.whole = done
        if done:
            self.body_done, self.ready = True, now
        covered = trial is not None and trial.settings.fallback and self.parts is not None
        event = self._ask_event(done) if covered else machine.ASK
        if self.document is None:
            self.on(event)
        else:
            self._ask_with_json(leg, event)

    def _give_request(self, leg: Captured, piece: Piece) -> None:
        """Give the first leg what is here of the request, changed where its upstream wants that."""
        rewritten = self.rewritten
        if rewritten is None:
            leg.is_of(self.plain, self.document, False)
            if self.plain and self.adds_no_lines():
                leg.gets_behind(b"%b%b\r\n\r\n" % (self.client.lines, self.id), piece)
            else:
                leg.gets(self.head_for_leg(self.base), piece)
        else:
            leg.is_of(self.request.bare(), self.document, False)
            if self.described:
                leg.gets_behind(b"%b%b\r\n%b\r\n" % (self.client.lines, self.id, self.described), rewritten[1])
            else:
                leg.gets(self.head_for_leg(rewritten[0]), rewritten[1])

    def _ask_with_json(self, leg: Captured, event: int) -> None:
        """The JSON of the body says which endpoint is asked; after that it is kept for copies only."""
        self.on(event)
        if not self.samples:
            leg.is_of(leg.plain, None)
            self.document, self.json_read = None, False

    def _first_leg(self, trial: Trial | None, done: bool) -> Captured:
        if trial is None:
            self.live = leg = self._serving(self.route.live, self.route.meters.served, None)
            return leg
        leg = self._serving(trial.pool, trial.meters.served, trial)
        leg.held = leg.checked = leg.optional = trial.held
        if trial.settings.fallback and not done and b"expect" in self.request.found:
            self.take_body()
        return leg

    def _ask_event(self, done: bool) -> int:
        """Live can take over: from when on?"""
        return machine.ASK_COVERED if done else machine.ASK_UPLOAD

    def _serving(self, pool: Upstream, meter: Meter, trial: Trial | None) -> Served:
        """The first leg."""
        return Served(self, pool, pool.timeout, meter, trial)

    def _sample(self, done: bool) -> None:
        """Decide whether this request becomes a pair; `done` says that all of it is here."""
        samples.sample(self)

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

    def _gather(self, piece: Piece) -> None:
        memory.gather(self, piece)

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
                self.context.later(self.mirror)
        elif action == machine.START_COPIES:
            self._start_copies()
        elif action == machine.SETTLE:
            self.context.later(self.settle)
        elif action == machine.TIME_HEDGE:
            assert self.trial is not None
            self.context.call_at(self, self.ready + self.route.fallback_after(self.trial))
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
            self.context.unwatch(self)
        else:
            leaving.carry_out(self, action)

    def _answer_with(self, leg: Captured) -> None:
        """Give the client this leg's answer as far as it is here, or the error it ended with."""
        answer, kept = leg.answer, leg.kept
        piece = b"".join(kept) if kept is not None else leg.unsent
        if answer is None or piece is None:
            self.client.refuse(leg.reason or Reason.DISCONNECT, counted=True)
            return
        self.winner = leg
        if leg is self.hedge and self.trial is not None:
            self.context.counts.fallback(self.trial.settings.name, self.live_for)
        leg.held, leg.unsent = False, None
        leg.forget()
        self.client.answer(answer, leg.pool.label, piece, self.state == machine.ANSWERED)

    def _start_live(self) -> None:
        assert self.parts is not None
        self.context.cancel(self)
        self.live_for = self.first.why if self.first.ended else Reason.SLOW
        live = self.route.live
        self.hedge = self.live = leg = Served(self, live, live.timeout, self.route.meters.hedge, None)
        leg.kept = []
        leg.repeatable = True
        leg.is_of(self.request.plain, None)
        leg.whole = self.body_done
        head, body = rewriting.for_live(self, self.base_without(EXPECT))
        leg.gets(self.head_for_leg(head), body)
        live.submit(leg)

    def finish(self) -> None:
        """The client has its answer: a leg that did not win runs on, for the pair, as long as a copy may."""
        self.let_go()
        if self.trial is not None and self.hedge is not None:
            leaving.bound_leg(self.hedge if self.winner is self.first else self.first, self.trial, monotonic())

    def let_go(self) -> None:
        """The client waits for nothing any more."""
        if self.trial is not None:
            self.context.cancel(self)
            memory.release(self)

    def _start_copies(self) -> None:
        if self.samples:
            mirroring.mirror(self)
        if self.trial is not None or not self.samples:
            self.settle()  # both may have answered

    def leaves(self, now: float) -> None:
        """The head of the answer is about to be written, and the body that is here: what of the time was ours?"""
        leg = self.winner
        if leg is not None and self.ready:
            self.route.overhead.add(leg.sent - self.ready + now - (leg.finished or leg.began))

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
            self.on(machine.LEAVES if cut_off else leaving.leave_event(self))

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
            copy.payer.free_slot()
            del copy.exchange
        samples.drop_samples(self, why)


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestFactory:
    """What a request becomes."""

    def exchange(
        self, client: DownstreamStream, context: RequestContext, request: Request, name: bytes, now: float
    ) -> RequestDriver:
        """The exchange of one request."""
        return RequestDriver(client, context, request, name, now)
