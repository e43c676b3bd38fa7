"""What a language model said, whatever the protocol: the parts of an answer, and the `output` that chooses among them.

A protocol makes a `Spoken` of each choice; from there on OpenAI's and Anthropic's answers, whole or streamed, are one
thing. `output` chooses what is compared:

    (absent)        what was said, and a line for each call of a tool
    text            what was said, without reasoning and calls; the words of a refusal where nothing else was said
    tool_calls      the calls (kind `calls`)
    refusal         whether the model refused, a label
    finish_reason   why it ended, a label; `stop_reason` is the same
    reasoning       what it thought aloud
    citations       the sources that it cites, each once, sorted, a line each
    json            whether the text is JSON, a label (kind `json` says of a text whether it fits a schema)
    json_form       the keys and types of that JSON, a label
    logprob         mean log-probability of the tokens, a number
    tokens          how many tokens were written, a number

A refusal is one that the protocol marks: a field or part `refusal`, the finish reason `content_filter`, the stop reason
`refusal`. Models that refuse in plain text mark nothing; the opening of the text is then matched against the common
English forms (`text_checks.is_refusal`), so refusals in other words or languages count as answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import Bounds, check_texts
from proxy.predictions.calls import ToolCall, row_of_calls
from proxy.predictions.json_tools import word_for
from proxy.predictions.shapes import Tensor, check_rows, floats, tensor
from proxy.predictions.text_checks import is_json, is_refusal, json_form
from proxy.predictions.unreadable import Unreadable, names


@dataclass(slots=True)
class Spoken:
    """One choice of an answer, as the protocol gave it. `refusal` are its words, `refused` that it was marked as one;
    `finish` is `None` where it is not said; `logprobs` are entries with a `logprob`."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    refused: bool = False
    calls: list[ToolCall] = field(default_factory=list)
    finish: str | None = None
    logprobs: list[Any] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tokens:
    """Tokens that an answer says it has: `written` in all, 0 where nobody counts, and of them those of reasoning."""

    written: int = 0
    reasoning: int = 0


@dataclass(slots=True)
class Answered:
    """An answer in all its parts: its choices, its tokens, and of a stream how many `pieces` it came in."""

    choices: list[Spoken]
    tokens: Tokens
    pieces: int | None = None


def answered_values(spec: PredictionSpec, answered: Answered, bounds: Bounds) -> Tensor:
    """What `spec.output` asks of an answer, timed where it is a stream; raises `Unreadable`."""
    values = spoken_values(spec, answered.choices, answered.tokens, bounds)
    return values if answered.pieces is None else timed_tokens(values, answered)


def spoken_values(spec: PredictionSpec, choices: Sequence[Spoken], tokens: Tokens, bounds: Bounds) -> Tensor:
    """What `spec.output` asks of an answer, a row for each choice; raises `Unreadable`."""
    wanted = spec.output
    if wanted == "tokens":
        return Tensor([tokens.written], (), Kind.NUMBER)
    if wanted not in PARTS:
        raise Unreadable(Reason.MISSING_OUTPUT, f"output `{wanted}` is not one of {names(OUTPUTS, len(OUTPUTS))}")
    if not choices:
        raise Unreadable(Reason.EMPTY, "the answer holds no choice")
    check_rows(len(choices))
    check_rows(sum(len(choice.calls) for choice in choices))
    check_texts([text for choice in choices for text in _read_as_json(choice, wanted)], bounds.halved.halved)
    if wanted == "tool_calls" and spec.kind in (Kind.CALLS, Kind.AUTO):
        return Tensor([row_of_calls(choice.calls) for choice in choices], (len(choices),), Kind.CALLS)
    part, kind = PARTS[wanted]
    return tensor([part(choice) for choice in choices], kind)


def timed_tokens(values: Tensor, answered: Answered) -> Tensor:
    """The values of a streamed answer, with the tokens that came in its pieces: reasoning that was not sent took its
    time before the first piece, so it is not among them."""
    tokens = answered.tokens
    hidden = 0 if any(choice.reasoning for choice in answered.choices) else tokens.reasoning
    values.tokens, values.pieces = max(0, tokens.written - hidden), answered.pieces or 0
    return values


def _read_as_json(choice: Spoken, wanted: str) -> list[bytes]:
    """The texts in a choice that are read as JSON: they were no more than texts when the answer was checked."""
    texts = [choice.text] if wanted in ("json", "json_form") else []
    if wanted in ("", "tool_calls"):
        texts += [call.arguments for call in choice.calls if type(call.arguments) is str]
    return [text.encode("utf-8", "surrogatepass") for text in texts if text]


def _text(choice: Spoken) -> str:
    return choice.text or choice.refusal


def _calls(choice: Spoken) -> str:
    return "\n".join(row_of_calls(choice.calls))


def _whole(choice: Spoken) -> str:
    said = "\n".join(part for part in (choice.text, _calls(choice)) if part)
    return said or choice.refusal


def _finish(choice: Spoken) -> str:
    if choice.finish is None:
        raise Unreadable(Reason.MISSING_OUTPUT, "the reason why it ended is missing")
    return choice.finish


def has_refused(choice: Spoken) -> bool:
    """Whether a choice is a refusal: one that is marked, or a text that opens as one.

    >>> has_refused(Spoken(text="I can't help with that.")), has_refused(Spoken(text="Four."))
    (True, False)
    """
    return choice.refused or bool(choice.refusal) or is_refusal(choice.text)


def _logprob(choice: Spoken) -> float:
    if not choice.logprobs:
        raise Unreadable(Reason.MISSING_OUTPUT, "`logprobs` is missing; the request must ask for them")
    found = floats([token.get("logprob") if type(token) is dict else token for token in choice.logprobs])
    return sum(found) / len(found)


PARTS: dict[str, tuple[Callable[[Spoken], Any], Kind]] = {
    "": (_whole, Kind.TEXT),
    "text": (_text, Kind.TEXT),
    "tool_calls": (_calls, Kind.TEXT),
    "refusal": (has_refused, Kind.LABEL),
    "finish_reason": (_finish, Kind.LABEL),
    "stop_reason": (_finish, Kind.LABEL),
    "reasoning": (lambda choice: choice.reasoning, Kind.TEXT),
    "citations": (lambda choice: "\n".join(sorted(set(choice.sources))), Kind.TEXT),
    "json": (lambda choice: is_json(choice.text), Kind.LABEL),
    "json_form": (lambda choice: json_form(choice.text), Kind.LABEL),
    "logprob": (_logprob, Kind.NUMBER),
}

OUTPUTS = (*filter(None, PARTS), "tokens")
"""What `output` may choose."""
KINDS_SAID = frozenset({Kind.TEXT, Kind.CALLS, Kind.JSON, Kind.LABEL, Kind.RANKING, Kind.NUMBER, Kind.SCORE})
"""Kinds of prediction that what a language model said can be read as; a ranking is that of its choices."""

SOURCES = ("url", "file_id", "filename", "document_title", "title", "source")
"""Members of a citation that name its source, the best first."""


def source_of(citation: Any) -> str:
    """What a citation names as its source; empty when it names none.

    >>> source_of({"type": "web_search_result_location", "url": "https://a.example", "title": "A"})
    'https://a.example'
    >>> source_of({"type": "char_location", "document_index": 0, "document_title": None})
    'document 0'
    """
    if type(citation) is not dict:
        return ""
    inner = citation.get("url_citation")
    found = inner if type(inner) is dict else citation
    for key in SOURCES:
        if type(found.get(key)) is str and found[key]:
            return str(found[key])
    number = found.get("document_index")
    return f"document {number}" if type(number) is int else ""


def text_of(value: Any, what: str) -> str:
    """A text, null being none; raises `Unreadable` for anything else.

    >>> text_of("a", "content"), text_of(None, "content")
    ('a', '')
    """
    if value is None:
        return ""
    if type(value) is not str:
        raise Unreadable(Reason.BAD_TYPE, f"`{what}` is {word_for(value)}, expected text")
    return value


def count_of(usage: Any, *path: str) -> int:
    """A count in an answer's usage; 0 where it is missing.

    >>> count_of({"a": {"b": 3}}, "a", "b"), count_of({"a": None}, "a", "b"), count_of({"a": True}, "a")
    (3, 0, 0)
    """
    for key in path:
        if type(usage) is not dict:
            return 0
        usage = usage.get(key)
    return max(0, usage) if type(usage) is int else 0
