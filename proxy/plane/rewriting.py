"""Requests that the candidate must get changed (`mirror.set_json`), on its copies and where it is to serve.

A copy is changed after the client has its answer. A request that the candidate is to *serve* is changed before it is
sent, so its body must be here whole: one that comes in pieces is gathered first, which costs nothing, since no model
answers before it has read its request. Where that cannot be (longer than `mirror.max_body`, no memory for it, no JSON)
live serves instead. Live always gets the request as it came, and so does the pair.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.core import rewriting
from proxy.core.chunks import joined
from proxy.core.headers import CHUNKED

if TYPE_CHECKING:
    from proxy.plane.exchange import Exchange
    from proxy.plane.rollouts import Trial


class Gathered:
    """The body so far of a request whose arm is not asked yet; it counts against the trial's memory."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> bool:
        """Keep a piece; whether more may come."""
        self._parts.append(piece)
        self._size += len(piece)
        trial = self._trial
        trial.memory += len(piece)
        return self._size <= trial.terms.max_body and trial.memory <= trial.terms.max_memory

    def release(self) -> bytes:
        """All of it, and its memory with it."""
        self._trial.memory -= self._size
        return b"".join(self._parts)


def for_candidate(exchange: Exchange, trial: Trial, base: bytes, body: bytes) -> tuple[bytes, bytes] | None:
    """Head and body as this candidate gets them; `None` when its rules cannot be applied to the body."""
    if exchange.request.length == CHUNKED:
        body = joined(body)
    return rewriting.rewritten(base, body, trial.terms.set_json)


def decided(exchange: Exchange, trial: Trial, piece: bytes, done: bool) -> bool:
    """Whether it is clear who serves; else the body is gathered, and `more` goes on from there."""
    most = trial.terms.max_body
    if not done and exchange.request.length <= most:
        gathered = Gathered(trial)
        if gathered.add(piece):
            exchange.gathered = gathered
            if b"expect" in exchange.request.found:
                exchange.take_body()
            return False
        gathered.release()
    if done and len(piece) <= most:
        exchange.rewritten = for_candidate(exchange, trial, exchange.base, piece)
    if exchange.rewritten is None:
        exchange.trial = None
    return True


def more(exchange: Exchange, gathered: Gathered, piece: bytes, done: bool) -> None:
    """More of a body that is being gathered; the arm is asked when it is whole or too long."""
    room = gathered.add(piece)
    if room and not done:
        return
    exchange.gathered = None
    whole = gathered.release()
    if done and room and exchange.trial is not None:
        exchange.rewritten = for_candidate(exchange, exchange.trial, exchange.base, whole)
    if exchange.rewritten is None:
        exchange.trial = None
    exchange.send(whole, done, monotonic())
