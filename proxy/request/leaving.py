"""A client that leaves before its answer is whole: who runs on, and whose fault it was.

A candidate must not be spared by the patience of its clients, and a request that nobody waits for should cost next to
nothing. So of those who leave a candidate the pair is made only where the candidate is suspect:

- It had *not begun*. Live is asked for the pair (unless it was before, as a hedge), and given as long to begin as the
  client gave the candidate, from its own start. If live has begun by then, the client would have had its answer from
  live: the pair is made, both arms running to their ends as for any pair. If live has not, the client would have left
  live as well: both are dropped, `client_gone`.
- It had *begun*. It runs on alone, and costs nothing while it is silent. If it says more, it was well when the client
  left: dropped, `client_gone`. If it ends or fails (silence beyond its timeout is a failure), live is asked for the
  pair.

Of those who leave live no pair is made: it is no doing of the candidate's.

Invariants
- What runs on for a client that is gone counts against `max_in_flight`; where that is used up, all is dropped (`shed`).
- It ends: by its end, its timeout, `mirror.max_duration`, or `give_up`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.request import samples

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange
    from proxy.request.legs import Served
    from proxy.request.rollouts import Trial


class Left:
    """What is left of an exchange whose client has gone, while its pair may still be made."""

    slot = 0

    def __init__(self, exchange: Exchange, trial: Trial) -> None:
        self._exchange, self._trial = exchange, trial
        self._begun = exchange.winner is not None
        self._runs = not exchange.first.ended
        if self._runs:
            trial.in_flight += 1

    def alive(self) -> None:
        """The candidate, which had begun, says more."""
        if self._runs:
            self._exchange.give_up("client_gone")

    def ended(self, leg: Served) -> None:
        """A leg that could have served has ended, well or not."""
        if leg is self._exchange.first and self._runs:
            self.stop()
            if self._begun:
                self._exchange.context.turn.later(self._exchange.mirror)
        self.rest()

    def stop(self) -> None:
        """The candidate does not run any more."""
        if self._runs:
            self._runs = False
            self._trial.in_flight -= 1

    def rest(self) -> None:
        """Part from the exchange once all is done: each holds the other, until the garbage collector comes."""
        exchange = self._exchange
        if not exchange.samples and exchange.first.ended and (exchange.hedge is None or exchange.hedge.ended):
            exchange.context.wheel.forget(self)
            exchange.left = None

    def check(self, now: float) -> float:
        """Live has had as long as the client gave the candidate."""
        exchange = self._exchange
        live = exchange.live
        if exchange.samples and (live is None or not live.has_spoken):
            exchange.give_up("client_gone")
        return 0.0


def bound(leg: Served, trial: Trial, now: float) -> None:
    """Nobody waits for this leg any more: it may last as long as a copy from now on."""
    leg.longest = now - (leg.sent or now) + trial.terms.max_duration


def leave(exchange: Exchange, now: float) -> None:
    """The client has left: go on for the pair, or give everything up."""
    trial, first = exchange.trial, exchange.first
    own = [one for one in exchange.samples if one.trial is trial]
    suspect = exchange.winner is None or exchange.winner is first
    if trial is None or not own or not suspect or not exchange.body_done or exchange.parts is None:
        exchange.give_up("client_gone")
        return
    if trial.in_flight >= trial.terms.max_in_flight:
        exchange.give_up("shed")
        return
    samples.keep_only(exchange, own[0])
    exchange.left = left = Left(exchange, trial)
    bound(first, trial, now)
    if exchange.hedge is not None:
        bound(exchange.hedge, trial, now)
    if first.connection is not None:
        first.connection.resume_reading()  # the client may have read slowly
    if exchange.winner is None:
        exchange.mirror()
        if exchange.samples:
            live = exchange.live
            asked = live.sent if live is not None and live.sent else now  # sooner, if the candidate had been slow
            exchange.context.wheel.watch(left, asked + (now - exchange.ready))
        else:  # no room for live's copy
            exchange.give_up("shed")
