"""Requests that the candidate must get changed (`mirror.set_json`), on its copies and where it is to serve.

A copy is changed after the client has its answer. A request that the candidate is to *serve* is changed before it is
sent, so its body must be here whole: one that comes in pieces is gathered first (`gathering`). Where that cannot be
(longer than `mirror.max_body`, no memory for it, no JSON) live serves instead. Live always gets the request as it came,
and so does the pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http.chunks import joined
from proxy.http.headers import CHUNKED
from proxy.request import set_json

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange
    from proxy.request.rollouts import Trial


def for_candidate(exchange: Exchange, trial: Trial, base: bytes, body: bytes) -> tuple[bytes, bytes] | None:
    """Head and body as this candidate gets them; `None` when its rules cannot be applied to the body."""
    if exchange.request.length == CHUNKED:
        body = joined(body)
    return set_json.rewritten(base, body, trial.terms.set_json)


def change(exchange: Exchange, trial: Trial, body: bytes, done: bool) -> None:
    """Change what the candidate is to serve, or let live serve it as it is."""
    if done and len(body) <= trial.terms.max_body:
        exchange.rewritten = for_candidate(exchange, trial, exchange.base, body)
    if exchange.rewritten is None:
        exchange.trial = None
