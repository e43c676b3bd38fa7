"""What the copies of a pair cost in tokens, for the budget of `mirror.max_tokens_per_minute`.

Engines say so (`usage`), in a stream only if the client asked for it. Where nobody says, four bytes of a request or an
answer are taken for a token, and an event of a stream for one: good enough to keep a budget, and never evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.model import Arm, Outcome, Pair
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.language import count_of
from proxy.predictions.message import Message, media_type
from proxy.predictions.sse import events, is_stream
from proxy.predictions.unreadable import Unreadable

BYTES_PER_TOKEN = 4
_NEVER_ASKED = frozenset((Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.POOL_FULL, Reason.TLS, Reason.NOT_REWRITTEN))


def copies_cost(pair: Pair, bounds: Bounds = DEFAULT) -> int:
    """Tokens of the answers that served nobody; a hedge or a fallback was no copy. Never raises."""
    served_by_live = pair.served is Arm.LIVE
    outcomes = [pair.candidate] if served_by_live else [] if pair.hedged or pair.fell_back else [pair.live]
    if pair.again is not None:
        outcomes.append(pair.again)
    return sum(_cost(pair.request_body, outcome, bounds) for outcome in outcomes)


def _cost(asked: bytes, outcome: Outcome, bounds: Bounds) -> int:
    if outcome.reason in _NEVER_ASKED or outcome.status >= 400:
        return 0
    estimate = len(asked) // BYTES_PER_TOKEN
    try:
        answer = Message(outcome.head, outcome.body, bounds=bounds)
        if is_stream(media_type(answer.head), answer.body):
            answer.check_json()
            pieces = list(events(answer.body, bounds.parts))
            counted = _said([answer.parse(piece) for piece in pieces if b'"usage"' in piece])
            return counted or estimate + len(pieces)
        said = _said([answer.document]) if b'"usage"' in answer.body else 0
        return said or estimate + len(answer.body) // BYTES_PER_TOKEN
    except Unreadable:
        return estimate + len(outcome.body) // BYTES_PER_TOKEN


def _said(documents: Sequence[Any]) -> int:
    """Tokens in and out as the engine counted them in an answer or in the events of one; 0 when it does not say.

    Events repeat what is known by then: Anthropic says what went in at the start, what came out at the end.
    """
    usages = list(map(_usage, documents))
    into = max((_sum(usage, "prompt_tokens") or _sum(usage, *_INTO) for usage in usages), default=0)
    out = max((_sum(usage, "completion_tokens") or _sum(usage, "output_tokens") for usage in usages), default=0)
    return max([into + out, *(_sum(usage, "total_tokens") for usage in usages)])


_INTO = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""Anthropic counts cached tokens apart."""


def _usage(document: Any) -> Any:
    """The counts in a document: at its top, or in the answer that an event of the responses or messages API holds."""
    if type(document) is not dict:
        return None
    inner = document.get("response", document.get("message"))
    return inner["usage"] if type(inner) is dict and "usage" in inner else document.get("usage")


def _sum(usage: Any, *names: str) -> int:
    return sum(count_of(usage, name) for name in names)
