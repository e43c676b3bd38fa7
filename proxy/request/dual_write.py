"""A call that sets up state on the server goes to both arms before its client is answered (`routes[].dual_write`).

Registering shared memory, loading a model, opening a session: a copy that leaves after the answer comes too late for a
client that uses the state at once, where the candidate answers. So the candidate is asked first, and live when it has
answered or failed, or after `timeout`, whichever comes first. The answer is live's in any case, and so is the arm that
serves: this is the one place where a client waits for the candidate, it is opted into, and bounded.

Invariants
- Live is asked once, whatever the candidate does; nothing of the candidate's answer is kept.
- A candidate that is late goes on for itself; one whose pool has found it dead costs no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from proxy.model.reasons import Reason
from proxy.request import machine, rewriting
from proxy.request.clock import monotonic
from proxy.request.exchange import Captured

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange
    from proxy.request.routes import DualWrite


@mypyc_attr(allow_interpreted_subclasses=True)
class Write(Captured):
    """The candidate's leg."""

    optional = True

    def head(self, piece: bytes, done: bool) -> None:
        if done:
            self._ended()

    def body(self, piece: bytes, done: bool) -> None:
        if done:
            self._ended()

    def failed(self, reason: Reason) -> None:
        self.reason = reason
        self._ended()

    def _ended(self) -> None:
        """The candidate has answered, or has failed."""
        exchange = self.exchange
        self.count()
        exchange.note(self)
        if exchange.write is self:
            go_on(exchange)
        del self.exchange


def ask(exchange: Exchange, both: DualWrite, body: bytes, done: bool, now: float) -> None:
    """Ask the candidate, if the call is here whole, and else live alone."""
    fits, is_grpc = len(body) <= both.max_body, exchange.route.is_grpc
    if not (done and fits) or (is_grpc and len(body) != 5 + int.from_bytes(body[1:5], "big")):
        both.meter.count(Reason.NOT_REWRITTEN if is_grpc and fits else Reason.TOO_LARGE)  # the former: not unary
        exchange.send(body, done, now)
        return
    base = exchange.base_without(both.drop) + both.set_lines
    asked: tuple[bytes, bytes] | None = (base, body)
    if both.pool.changes(exchange.request.path):
        asked = rewriting.rewrite_for(exchange, both.pool, base, body)
    if asked is None:
        both.meter.count(Reason.NOT_REWRITTEN)
        exchange.send(body, done, now)
        return
    if not both.charge(len(body)):
        both.charge(-len(body))
        both.meter.count(Reason.POOL_FULL)
        exchange.send(body, done, now)
        return
    exchange.body_done = True
    exchange.write = leg = Write(exchange, both.pool, both.pool.timeout, both.meter, None)
    leg.longest, exchange.to_write = both.longest, body
    exchange.context.call_at(exchange, now + both.timeout)
    leg.opening = b"".join((exchange.head_for_leg(asked[0]), b"\r\n", asked[1]))
    exchange.on(machine.WRITE)


def go_on(exchange: Exchange) -> None:
    """The candidate has been waited for: live is asked, unless the client has left."""
    body, both = exchange.to_write, exchange.route.dual_write
    assert both is not None
    exchange.write, exchange.to_write = None, b""
    exchange.context.cancel(exchange)
    both.charge(-len(body))
    if not exchange.answered:
        exchange.ready = now = monotonic()
        exchange.send(body, True, now)
