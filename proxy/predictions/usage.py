"""How many tokens a request used: as the engine counted them, else an estimate.

Engines say so (`usage`), in a stream only if the client asked for it. Where nobody says, four bytes are taken for a
token: of the request as it is, and of the texts in the answer (what was said, thought and called, not the JSON around
them, which would make a longer answer look hardly longer). Both arms of a pair are then counted in this one way
(`pricing`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

from proxy.model import Arm, Outcome, Pair
from proxy.model.price import TokenUsage
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.language import count_of
from proxy.predictions.message import decoded
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
    return sum(usage_of(pair.request_size, outcome, bounds).total for _, outcome in copies_of(pair))


def was_asked(outcome: Outcome) -> bool:
    """Whether a server has had work with a request.

    >>> was_asked(Outcome(200)), was_asked(Outcome(0, Reason.POOL_FULL))
    (True, False)
    """
    return outcome.reason not in _NEVER_ASKED


def usage_of(asked: int, outcome: Outcome, bounds: Bounds = DEFAULT, *, count: bool = False) -> TokenUsage:
    """The tokens of a request of so many bytes and of its answer; with `count` estimated, whatever the engine says.
    None where no server was asked, or it refused. Never raises.

    >>> usage_of(2, Outcome(200, body=b'{"usage": {"prompt_tokens": 9, "completion_tokens": 12}}'))
    TokenUsage(input=9, output=12, cached=0, written=0, counted=False)
    """
    if not was_asked(outcome) or outcome.status >= 400:
        return NOTHING_USED
    try:
        body = decoded(outcome.head, outcome.body, bounds.inflated)
    except Unreadable:
        body = outcome.body
    said = None if count else _said(_usages(body))
    into = asked // BYTES_PER_TOKEN
    return said or TokenUsage(into, _written(body) // BYTES_PER_TOKEN, counted=True)


_USAGE = re.compile(rb'"usage"\s*:\s*\{')
"""Where an engine says what it counted. Inside a text its quotes would be escaped; OpenAI's streams say null before."""
_FIRST, _LAST, _LONGEST = 8, 8, 4096
"""Of so many places at the start and at the end of a body, each so long at most, more are not looked at."""


def _usages(body: bytes) -> list[Any]:
    """The counts in an answer, or in the events of one: found by their bytes, so that nothing else is parsed."""
    places = [match.end() - 1 for match in _USAGE.finditer(body)]
    if len(places) > _FIRST + _LAST:
        places = places[:_FIRST] + places[-_LAST:]
    found = []
    for start in places:
        end = _closing(body, start)
        with suppress(orjson.JSONDecodeError):
            found.append(orjson.loads(body[start:end]))
    return found


def _closing(body: bytes, start: int) -> int:
    """Behind the brace that closes the one at `start`; counts hold no texts with braces in them.

    >>> _closing(b'x{"a": {}, "b": 1}}', 1)
    18
    """
    depth = 0
    for match in _BRACE.finditer(body, start, start + _LONGEST):
        depth += 1 if match[0] == b"{" else -1
        if not depth:
            return match.end()
    return start


_BRACE = re.compile(rb"[{}]")
_STRING = rb'"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"'
_KEYS = (
    b"content|text|reasoning|reasoning_content|thinking|refusal|arguments|partial_json|delta|output_text|text_output|"
    b"generated_text|response|name"
)
_TEXTS = re.compile(b'"(?:' + _KEYS + b")" + _STRING, re.DOTALL)
"""Texts that a model wrote, in the APIs of OpenAI, Anthropic, Triton, TGI and Ollama."""
_DELTAS = re.compile(b'"delta' + _STRING, re.DOTALL)
"""The same in streams of the responses API, whose other events say them again."""


def _written(body: bytes) -> int:
    """Bytes of the texts that were written, an escaped character as three; all of the answer where none is known.

    >>> _written(b'{"content": "abcd", "id": "xyz"}'), _written(b'{"text": "\\\\u00e9"}'), _written(b"12345")
    (4, 3, 5)
    """
    texts = _DELTAS if b'"response.output_' in body else _TEXTS
    found = sum(len(text) - 3 * text.count(b"\\u") for text in texts.findall(body))
    return found or len(body)


def _said(usages: Sequence[Any]) -> TokenUsage | None:
    """Tokens as the engine counted them in an answer or in the events of one; `None` when it does not say.

    Events repeat what is known by then: Anthropic says what went in at the start, what came out at the end. Tokens
    beyond those that went in and came out are taken for written ones: some engines leave reasoning out of both.
    """
    into = out = within = cached = written = total = 0
    for usage in usages:
        if type(usage) is dict:
            get = usage.get
            into = max(into, _whole(get("prompt_tokens")) or _whole(get("input_tokens")))
            out = max(out, _whole(get("completion_tokens")) or _whole(get("output_tokens")))
            within = max(within, _cached_within(usage))
            cached = max(cached, _whole(get("cache_read_input_tokens")))
            written = max(written, _whole(get("cache_creation_input_tokens")))
            total = max(total, _whole(get("total_tokens")))
    found = TokenUsage(max(0, into - within), out, cached + min(within, into), written)
    if found.total < total:
        found = found._replace(output=out + total - found.total)
    return found if found.total else None


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _cached_within(usage: dict[str, Any]) -> int:
    """Cached tokens that OpenAI's APIs count among those that went in; Anthropic counts them apart."""
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if details is not None:
        return count_of(details, "cached_tokens")
    return _whole(usage.get("prompt_cache_hit_tokens"))
