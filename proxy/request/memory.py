"""What an exchange keeps of request and answers, what that counts against, and what is given up when there is no room.

Bodies are kept for pairs, up to `mirror.max_body` each, and for live in the candidate's place. Every byte that is kept
while more is to come counts against `mirror.max_memory` of each trial it is kept for; once no pair needs it any more,
against that of the trial whose candidate serves (`Exchange.reserved`).

Invariant: nothing is kept beyond `max_memory`. First samples are given up (`shed`), then the fallback: an upload is
kept no longer, so that live cannot answer instead, and an answer that was held is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.request import samples

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange
    from proxy.request.legs import Piece


def gather(exchange: Exchange, piece: Piece) -> None:
    """Keep a piece of the request's body, or no piece of it any more."""
    assert exchange.parts is not None
    exchange.parts.append(piece)
    exchange.body_size += len(piece)
    if not keeps(exchange, len(piece)) and not reserve(exchange):
        exchange.lose_body()
    elif exchange.body_size > exchange.route.max_body:
        samples.drop_samples(exchange, "too_large")
        release(exchange)
        exchange.lose_body()


def keeps(exchange: Exchange, size: int) -> bool:
    """Charge what is kept, giving up samples for which there is no memory; whether any pair still needs it."""
    exchange.kept_size += size
    if charge(exchange, size):
        samples.shed(exchange)
    return bool(exchange.samples)


def charge(exchange: Exchange, size: int) -> bool:
    """Kept bytes count against the memory of every trial they are kept for; whether one of them keeps too much."""
    full = False
    for sample in exchange.samples:
        sample.cost += size
        if not sample.trial.charge(size):
            full = True
    return full


def reserve(exchange: Exchange) -> bool:
    """Charge what no pair needs any more to the serving trial; whether it is wanted, for live in the candidate's place,
    and there is memory for it."""
    trial = exchange.trial
    if trial is None or exchange.winner is not None or not trial.settings.fallback:
        release(exchange)
        return False
    trial.charge(exchange.kept_size - exchange.reserved)
    exchange.reserved = exchange.kept_size
    if trial.memory > trial.settings.max_memory:
        release(exchange)
        return False
    return True


def release(exchange: Exchange) -> None:
    """Nothing is kept for live's sake any more."""
    if exchange.reserved and exchange.trial is not None:
        exchange.trial.charge(-exchange.reserved)
        exchange.reserved = 0
