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
- It ends: by its end, its timeout, `mirror.max_duration`, or by being given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.request import machine, samples
from proxy.request.clock import monotonic

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange, Sample
    from proxy.request.legs import Leg
    from proxy.request.rollouts import Trial


def leave_event(exchange: Exchange) -> int:
    """What it is to this request that its client leaves. Whether the candidate is suspect is for the table to say."""
    trial = exchange.trial
    if trial is None or exchange.state < machine.ASKED or not exchange.body_done or exchange.parts is None:
        return machine.LEAVES
    if _own(exchange) is None:
        return machine.LEAVES
    return machine.LEAVES_FULL if trial.in_flight >= trial.settings.max_in_flight else machine.LEAVES_PAIR


def _own(exchange: Exchange) -> Sample | None:
    """The sample of the candidate that was to serve."""
    return next((one for one in exchange.samples if one.trial is exchange.trial), None)


def carry_out(exchange: Exchange, action: int) -> None:
    """The table's actions for a client that has left a candidate."""
    trial = exchange.trial
    assert trial is not None
    if action == machine.KEEP_OWN:
        _run_on(exchange, trial)
    elif action == machine.TAKE_SLOT:
        trial.take_slot()
    elif action == machine.FREE_SLOT:
        trial.free_slot()
    elif action == machine.WATCH_LIVE:
        _watch(exchange)


def bound_leg(leg: Leg, trial: Trial, now: float) -> None:
    """Nobody waits for this leg any more: it may last as long as a copy from now on."""
    leg.longest = now - (leg.sent or now) + trial.settings.max_duration


def _run_on(exchange: Exchange, trial: Trial) -> None:
    exchange.let_go()
    own, first, now = _own(exchange), exchange.first, monotonic()
    assert own is not None
    samples.keep_only(exchange, own)
    bound_leg(first, trial, now)
    if exchange.hedge is not None:
        bound_leg(exchange.hedge, trial, now)
    if first.connection is not None:
        first.connection.resume_reading()  # the client may have read slowly


def _watch(exchange: Exchange) -> None:
    """Live has as long to begin as the client gave the candidate, from its own start."""
    if not exchange.samples:
        exchange.on(machine.NO_ROOM)
        return
    live, now = exchange.live, monotonic()
    asked = live.sent if live is not None and live.sent else now  # sooner, if the candidate had been slow
    exchange.context.watch(exchange, asked + (now - exchange.ready))
