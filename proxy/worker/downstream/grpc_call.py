"""One call: an exchange that learns only while it goes on whether the call is unary.

HTTP/2 does not say so in advance. A call is unary on the client's side when its body has ended after one message, and
from then on it is a request like any other: sampled, copied, hedged. A call that sends a second message, or that is
answered before it has ended, is a stream: it goes to the arm that was chosen, piece by piece, and becomes no pair.

An answer of several messages (server streaming) to a single one is compared like any other. A candidate's is held only
to its first message: with the second it is known for a stream, and reaches the client as it comes.

Invariant: what is gathered before the decision counts against the memory of every trial of the route.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from mypy_extensions import mypyc_attr

from proxy.fields.set_message import STREAM
from proxy.http.grpc import Messages, timeout_text
from proxy.http.headers import without
from proxy.request import machine, memory, samples
from proxy.request.clock import monotonic
from proxy.request.driver import RequestDriver
from proxy.request.ports import DownstreamStream
from proxy.request.served import Served

if TYPE_CHECKING:
    from proxy.http.request_head import Request
    from proxy.request.counts import Meter
    from proxy.request.legs import Piece, Upstream
    from proxy.request.ports import RequestContext
    from proxy.request.rollouts import Trial

_TIMEOUT: Final = frozenset({b"grpc-timeout"})
_ANY_LENGTH: Final = 1 << 32
"""Four bytes say how long a message is."""


class CallStream(DownstreamStream, Protocol):
    """The client's side of one call."""

    messages: Messages
    timeout: float
    """The caller's patience, seconds; infinite where it gives none."""


class ServedCall(Served):
    """A leg that may answer a call."""

    _messages: Messages | None = None

    def _must_wait(self, piece: bytes) -> bool:
        if self.held and piece and not self.exchange.answered and self._is_stream(piece):
            self.held = False
        return super()._must_wait(piece)

    def _is_stream(self, piece: bytes) -> bool:
        if self._messages is None:
            self._messages = Messages(_ANY_LENGTH)
        self._messages.feed(piece)
        return self._messages.begun > 1 or not self.exchange.body_done


@mypyc_attr(allow_interpreted_subclasses=True)
class Call(RequestDriver):
    """One call of one client."""

    _holding = 0
    """Bytes gathered before it is decided whether they are needed."""

    def __init__(self, client: CallStream, context: RequestContext, request: Request, name: bytes, now: float) -> None:
        super().__init__(client, context, request, name, now)
        self._messages = client.messages
        self._deadline = now + client.timeout

    def head_for_leg(self, base: bytes) -> bytes:
        """Live in place of the candidate gets what is left of the caller's patience; a copy gets what the first had."""
        if self._deadline < inf and self.ready and not self.answered:
            left = timeout_text(self._deadline - monotonic())
            base = without(base, _TIMEOUT) + b"grpc-timeout: %b\r\n" % left
        return super().head_for_leg(base)

    def adds_no_lines(self) -> bool:
        return False

    def _ask_event(self, done: bool) -> int:
        """Live can take over with what is here of the call; what follows goes to it as it comes."""
        return machine.ASK_COVERED if done else machine.ASK_CALL

    def _serving(self, pool: Upstream, meter: Meter, trial: Trial | None) -> Served:
        return ServedCall(self, pool, pool.timeout, meter, trial)

    def is_enough(self, done: bool) -> bool:
        """The first message says which arm answers; a stream's caller may wait for an answer before it goes on."""
        messages = self._messages
        if done or messages.begun > 1:
            return True
        return messages.begun == 1 and messages.whole and (self.undrawn or self.unrouted or self.request.path == STREAM)

    def is_stream(self) -> bool:
        """What ends with a message may be all that its caller says before it is answered."""
        messages = self._messages
        return messages.begun > 1 or messages.whole

    # --- who is sampled ---

    def _sample(self, done: bool) -> None:
        if not done:
            self.undecided = not self.overridden
        elif self._messages.begun == 1:
            samples.sample(self)

    def more(self, piece: bytes, done: bool) -> None:
        """More of the request's body; live has it too once it was asked in the candidate's place."""
        if self.undecided and (self._messages.begun > 1 or self.winner is not None):
            self._is_stream()
        super().more(piece, done)
        hedge = self.hedge
        if hedge is not None and not hedge.ended and not hedge.whole:
            hedge.send(piece, done)

    def _is_stream(self) -> None:
        """No pair will come of it; what is here of it is for live alone, in the candidate's place."""
        self._decided()
        if not memory.keeps(self, self.body_size) and not memory.reserve(self):
            self.lose_body()

    def _decided(self) -> None:
        self.undecided = False
        self._charge(-self._holding)
        self._holding = 0

    def _charge(self, size: int) -> bool:
        """Charge everyone who may want it; whether there is room."""
        fits = True
        for trial in self.route.trials:
            fits = trial.charge(size) and fits
        observer = self.route.observer if self.drawn else None
        return (observer is None or observer.charge(size)) and fits

    def _gather(self, piece: Piece) -> None:
        if not self.undecided:
            super()._gather(piece)
            return
        assert self.parts is not None
        size = len(piece)
        self.parts.append(piece)
        self.body_size += size
        self._holding += size
        full = not self._charge(size)
        if full or self.body_size > self.route.max_body:
            self._give_up("shed" if full else "too_large")

    def _give_up(self, why: str) -> None:
        """No pair will come of it, unary or not: booked as one that should have."""
        samples.sample(self)
        self._decided()
        samples.drop_samples(self, why)
        self.lose_body()

    def body_ends(self) -> None:
        """The call has ended: it is known by now whether it is unary."""
        if self.undecided:
            self._decided()
            if self._messages.begun == 1 and self.winner is None:
                samples.sample(self)
                if not memory.keeps(self, self.body_size) and not memory.reserve(self):
                    self.lose_body()
                if self.samples and self.first.kept is None and not self.first.ended:
                    self.first.kept = []

    def let_go(self) -> None:
        """The caller waits for nothing any more."""
        if self.undecided:
            self._decided()
        super().let_go()
