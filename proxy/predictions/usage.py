"""What the copies of a pair cost in tokens, for the budget of `mirror.max_tokens_per_minute`.

Engines say so (`usage`), in a stream only if the client asked for it. Where nobody says, four bytes of a request or an
answer are taken for a token, and an event of a stream for one: good enough to keep a budget, and never evidence.
"""

from __future__ import annotations

from typing import Any

from proxy.model import Arm, Outcome, Pair
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
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
            counted = [_said(answer.parse(piece)) for piece in pieces if b'"usage"' in piece]
            return max(counted, default=0) or estimate + len(pieces)
        said = _said(answer.document) if b'"usage"' in answer.body else 0
        return said or estimate + len(answer.body) // BYTES_PER_TOKEN
    except Unreadable:
        return estimate + len(outcome.body) // BYTES_PER_TOKEN


def _said(document: Any) -> int:
    """Tokens in and out as the engine counted them; 0 when it does not say."""
    if type(document) is dict and type(document.get("response")) is dict:  # the last event of the responses API
        document = document["response"]
    usage = document.get("usage") if type(document) is dict else None
    if type(usage) is not dict:
        return 0
    names = ("total_tokens",), ("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")
    return max(sum(max(0, int(usage[name])) for name in group if type(usage.get(name)) is int) for group in names)
