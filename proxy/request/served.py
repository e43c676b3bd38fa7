"""A leg that may answer the client. It streams to the client once it has won (`exchange`), and keeps what a pair needs.

At most `max_body` is kept: reading up to there never waits for a slow client, so both arms are timed alike, and by one
rule: `timeout` is silence, to the first byte and between two pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from proxy.http.statuses import is_failure
from proxy.model.reasons import Reason
from proxy.request import machine, memory, samples
from proxy.request.clock import monotonic
from proxy.request.exchange import Captured

if TYPE_CHECKING:
    from proxy.request.rollouts import Trial


@mypyc_attr(allow_interpreted_subclasses=True)
class Served(Captured):
    """A leg that may answer the client: the chosen arm's, or live's in place of the candidate."""

    _piece = 0.0
    """When the first piece of a body came that is held and says where it ends."""

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
            if not self.timed and exchange.trial is not None:  # give it a moment to end
                self.timed = True
                exchange.context.call_at(self, monotonic() + exchange.trial.settings.hold)
        return True

    def _goes_on(self, trial: Trial | None) -> bool:
        """Whether more of a body has come, `hold` after its first piece."""
        now = monotonic()
        if not self._piece:
            self._piece = now
        return trial is not None and now - self._piece >= trial.settings.hold

    def late(self) -> None:
        """It goes on, so it is a stream, and the client gets it as it comes."""
        if not self.ended and self.held and self.kept is not None and machine.is_open(self.exchange.state):
            self.exchange.gives(self)

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
                return self._full()
        assert self.answer is not None
        if max(self.size, self.answer.length) <= exchange.route.max_body:  # what it announces is as good as sent
            return False
        self.too_large = True
        return self._full()

    def _full(self) -> bool:
        """An answer is or will be longer than a pair's may be, or finds no memory; whether the leg is given up.

        Where live's answers may be as long, the client gets the candidate's as it comes. Where they never are, it is no
        answer but a flood, and live answers instead; so it does for a failure and a refusal, whose status says enough.
        """
        exchange, answer = self.exchange, self.answer
        assert answer is not None
        if self.trial is None and self.too_large:
            samples.drop_samples(exchange, "too_large")
        kept, self.kept = self.kept or [], None
        if machine.is_open(exchange.state):
            bad = self.trial is not None and (is_failure(answer.status) or self.doubted)
            flood = self.trial is not None and self.too_large and not exchange.route.recent.are_long(monotonic())
            if not (bad or flood) or not exchange.may_fail(self):
                self.unsent = b"".join(kept[:-1])  # the last piece follows on the way it came
                exchange.gives(self)
                return False
            self.too_large = self.too_large and not bad
        elif exchange.winner is self and not exchange.answered:
            return False
        if self.too_large:
            self.reason = Reason.TOO_LARGE
        if not self.ended:
            self.finished = monotonic()
            self.cancel()
            exchange.leg_done(self)
        return True

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
