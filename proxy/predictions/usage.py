"""How many tokens a request used: as the engine counted them, else an estimate.

Engines say so (`usage`), in a stream only if the client asked for it. Where nobody says, four bytes are taken for a
token: of the request as it is, and of the texts in the answer (what was said, thought and called, not the JSON around
them, which would make a longer answer look hardly longer). Both arms of a pair are then counted in this one way
(`pricing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxy.model import Arm, Outcome, Pair
from proxy.model.price import TokenUsage
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.language import count_of
from proxy.predictions.message import Message, media_type
from proxy.predictions.sse import events, is_stream
from proxy.predictions.unreadable import Unreadable

BYTES_PER_TOKEN = 4
NOTHING_USED = TokenUsage()
_NEVER_ASKED = frozenset((Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.POOL_FULL, Reason.TLS, Reason.NOT_REWRITTEN))


def copies_of(pair: Pair) -> list[tuple[Arm, Outcome]]:
    """The answers of a pair that served nobody, each with its arm; a hedge or a fallback was no copy.

    >>> pair = Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, b"", b"", Outcome(200), Outcome(201))
    >>> [arm.value for arm, _ in copies_of(pair)], copies_of(pair._replace(served=Arm.CANDIDATE, hedged=True))
    (['candidate'], [])
    """
    if pair.served is Arm.LIVE:
        found = [(Arm.CANDIDATE, pair.candidate)]
    else:
        found = [] if pair.hedged or pair.fell_back else [(Arm.LIVE, pair.live)]
    return found if pair.again is None else [*found, (Arm.LIVE, pair.again)]


def copies_cost(pair: Pair, bounds: Bounds = DEFAULT) -> int:
    """Tokens of the answers that served nobody. Never raises."""
    return sum(usage_of(pair.request_body, outcome, bounds).total for _, outcome in copies_of(pair))


def was_asked(outcome: Outcome) -> bool:
    """Whether a server has had work with a request.

    >>> was_asked(Outcome(200)), was_asked(Outcome(0, Reason.POOL_FULL))
    (True, False)
    """
    return outcome.reason not in _NEVER_ASKED


def usage_of(asked: bytes, outcome: Outcome, bounds: Bounds = DEFAULT, *, count: bool = False) -> TokenUsage:
    """The tokens of a request with this body and of its answer; with `count` estimated, whatever the engine says. None
    where no server was asked, or it refused. Never raises.

    >>> usage_of(b"{}", Outcome(200, body=b'{"usage": {"prompt_tokens": 9, "completion_tokens": 12}}'))
    TokenUsage(input=9, output=12, cached=0, written=0, counted=False)
    """
    if not was_asked(outcome) or outcome.status >= 400:
        return NOTHING_USED
    into = len(asked) // BYTES_PER_TOKEN
    try:
        answer = Message(outcome.head, outcome.body, bounds=bounds)
        stream = is_stream(media_type(answer.head), answer.body)
        if not count and b'"usage"' in answer.body:
            said = _said(_documents(answer, bounds, stream=stream))
            if said is not None:
                return said
        return TokenUsage(into, _written(answer, bounds, stream=stream) // BYTES_PER_TOKEN, counted=True)
    except Unreadable:
        return TokenUsage(into, len(outcome.body) // BYTES_PER_TOKEN, counted=True)


def _documents(answer: Message, bounds: Bounds, *, stream: bool, holding: bytes = b'"usage"') -> list[Any]:
    """The JSON of an answer, or of those of its events that hold these bytes."""
    if not stream:
        return [answer.document]
    answer.check_json()
    return [answer.parse(piece) for piece in events(answer.body, bounds.parts) if holding in piece]


def _written(answer: Message, bounds: Bounds, *, stream: bool) -> int:
    """Bytes of the texts that were written; all of the answer where no member of it is known to hold text."""
    found = 0
    try:
        for document in _documents(answer, bounds, stream=stream, holding=b"{"):
            found += sum(len(text.encode("utf-8", "surrogatepass")) for text in _texts(document))
    except Unreadable:
        return len(answer.body)
    return found or len(answer.body)


_TEXTS = frozenset((
    "content", "text", "reasoning", "reasoning_content", "thinking", "refusal", "arguments", "partial_json", "delta",
    "output_text", "text_output", "generated_text", "response", "name",
))  # fmt: skip
"""Members that hold what a model wrote, in the APIs of OpenAI, Anthropic, Triton, TGI and Ollama."""
_REPEATED = (".done", ".completed", ".incomplete")
"""Ends of the types of events that say again what the stream has said."""


def _texts(document: Any) -> Iterator[str]:
    """The texts in a document, not deeper than was parsed."""
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if type(one) is list:
            waiting += one
        elif type(one) is dict:
            kind = one.get("type")
            if type(kind) is str and kind.endswith(_REPEATED):
                continue
            for key, value in one.items():
                if type(value) is str:
                    if key in _TEXTS:
                        yield value
                elif type(value) is dict or type(value) is list:
                    waiting.append(value)
                    if key == "input" and type(value) is dict and kind == "tool_use":
                        yield str(value)


def _said(documents: Sequence[Any]) -> TokenUsage | None:
    """Tokens as the engine counted them in an answer or in the events of one; `None` when it does not say.

    Events repeat what is known by then: Anthropic says what went in at the start, what came out at the end. Tokens
    beyond those that went in and came out are taken for written ones: some engines leave reasoning out of both.
    """
    usages = [usage for usage in map(_usage, documents) if type(usage) is dict]
    into = max((count_of(usage, "prompt_tokens") or count_of(usage, "input_tokens") for usage in usages), default=0)
    out = max((count_of(usage, "completion_tokens") or count_of(usage, "output_tokens") for usage in usages), default=0)
    within = max((_cached_within(usage) for usage in usages), default=0)
    cached = max((count_of(usage, "cache_read_input_tokens") for usage in usages), default=0)
    written = max((count_of(usage, "cache_creation_input_tokens") for usage in usages), default=0)
    total = max((count_of(usage, "total_tokens") for usage in usages), default=0)
    found = TokenUsage(max(0, into - within), out, cached + min(within, into), written)
    if found.total < total:
        found = found._replace(output=out + total - found.total)
    return found if found.total else None


def _cached_within(usage: Any) -> int:
    """Cached tokens that OpenAI's APIs count among those that went in; Anthropic counts them apart."""
    chat = count_of(usage, "prompt_tokens_details", "cached_tokens")
    return (
        chat or count_of(usage, "input_tokens_details", "cached_tokens") or count_of(usage, "prompt_cache_hit_tokens")
    )


def _usage(document: Any) -> Any:
    """The counts in a document: at its top, or in the answer that an event of the responses or messages API holds."""
    if type(document) is not dict:
        return None
    inner = document.get("response", document.get("message"))
    return inner["usage"] if type(inner) is dict and "usage" in inner else document.get("usage")
