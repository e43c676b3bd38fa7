"""Requests that an upstream must get changed (`set_json`): served, copied, in the candidate's place, written to both.

A copy is changed after the client has its answer. A request that is *served* is changed before it is sent, so its body
must be here whole: one that comes in pieces is gathered first (`gathering`). Where a candidate's cannot be changed
(longer than `mirror.max_body`, no memory for it, no JSON) live serves instead; live gets it as it came. The pair holds
the request as it came in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.fields.set_json import lengths
from proxy.http.chunks import joined_chunks
from proxy.http.headers import CHUNKED, without
from proxy.http.request_head import CODED, OF_BODY, TENSORS

if TYPE_CHECKING:
    from proxy.http.request_head import Request
    from proxy.request.exchange import Exchange
    from proxy.request.legs import Upstream

_LENGTH = frozenset({b"content-length"})


def rewrite_for(exchange: Exchange, pool: Upstream, base: bytes, body: bytes) -> tuple[bytes, bytes] | None:
    """Head and body as this upstream gets them; `None` when what it sets cannot be set in this body.

    Without a body nothing is changed."""
    request = exchange.request
    if not body or (request.length == CHUNKED and not joined_chunks(body)):
        return base, body
    if exchange.route.is_grpc:
        messages = pool.changed(request.path, body, None)
        return (without(base, _LENGTH), messages) if messages is not None else None
    document = exchange.read_json(body)
    changed = pool.changed(request.path, body, document) if document is not None else None
    if document is None or changed is None:
        return None
    lines = lengths(changed, document.tail, request.body_form() == TENSORS)
    return _described(request, base, lines), changed + document.tail if document.tail else changed


def _for_first(exchange: Exchange, pool: Upstream, body: bytes) -> tuple[bytes, bytes] | None:
    """The same for the arm that serves. A head that many have is not made before its endpoint is known."""
    request = exchange.request
    if not exchange.plain or not body or request.length == CHUNKED or not exchange.adds_no_lines():
        return rewrite_for(exchange, pool, exchange.base, body)
    document = exchange.read_json(body)
    changed = pool.changed(request.path, body, document) if document is not None else None
    if document is None or changed is None:
        return None
    exchange.describes(lengths(changed, document.tail, request.body_form() == TENSORS))
    return b"", changed + document.tail if document.tail else changed


def _described(request: Request, base: bytes, lines: bytes) -> bytes:
    """A head that says with these lines, and no other, what its body is."""
    if request.plain and base.startswith(request.plain):
        return b"%b%b%b" % (request.bare(), base[len(request.plain) :], lines)
    return without(base, OF_BODY) + lines


def for_live(exchange: Exchange, base: bytes) -> tuple[bytes, bytes]:
    """Head and body as live gets them: as they came, where it changes nothing or cannot."""
    assert exchange.parts is not None
    body, live = b"".join(exchange.parts), exchange.route.live
    if live.changes(exchange.request.path):
        changed = rewrite_for(exchange, live, base, body) if exchange.body_done else None
        if changed is not None:
            return changed
        _count(exchange, live, body, exchange.body_done)
    return base, body


def change(exchange: Exchange, body: bytes, done: bool) -> None:
    """Change what the arm that was chosen is to serve; a candidate that cannot get it changed gives way to live."""
    trial, path = exchange.trial, exchange.request.path
    if trial is not None and trial.pool.changes(path):
        if done and len(body) <= trial.settings.max_body:
            exchange.rewritten = _for_first(exchange, trial.pool, body)
        if exchange.rewritten is None:
            _count(exchange, trial.pool, body, done and len(body) <= trial.settings.max_body)
            exchange.trial = trial = None
    live = exchange.route.live
    if trial is None and live.changes(path):
        if done:
            exchange.rewritten = _for_first(exchange, live, body)
        if exchange.rewritten is None:
            _count(exchange, live, body, done)


def _count(exchange: Exchange, pool: Upstream, body: bytes, whole: bool) -> None:
    """A request that this upstream was to get changed is sent as it came, or to live: count it under the reason."""
    why = "not_whole"
    if whole and exchange.route.is_grpc:
        why = "compressed"  # or broken off: nothing else keeps a message from being changed
    elif whole:
        form = exchange.request.body_form()
        why = "compressed" if form == CODED else "no_place" if exchange.read_json(body) is not None else "not_json"
    exchange.context.counts.not_rewritten(pool.name, why)
