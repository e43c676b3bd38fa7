"""OpenAI-compatible answers: chat completions, completions, responses and embeddings, streamed or not.

vLLM, llama.cpp, TGI, Ollama and others speak it. One row per choice (per input for embeddings), in order of `index`.
`output` chooses what is compared:

    text            what was said; a call of a tool reads as JSON of its name and arguments (the default)
    tool_calls      the calls alone
    finish_reason   a label
    json            whether the text is JSON, a label
    json_form       the keys and types of that JSON, a label
    refusal         whether the model refused, a label
    logprob         mean log-probability of the tokens, a number
    tokens          how many tokens were written, a number

Ids, timestamps, fingerprints and the model's name are never looked at. A streamed answer is put together from its
events first (`openai_stream`), so that a streamed and a whole answer that say the same are equal.
Source: openai/openai-openapi, `openapi.yaml`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import orjson

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import exact_json
from proxy.predictions.bounds import UNBOUNDED, Bounds, check_texts
from proxy.predictions.json_tools import parse_json, word_for
from proxy.predictions.message import Message, media_type
from proxy.predictions.openai_stream import assembled
from proxy.predictions.protocol import Protocol
from proxy.predictions.shapes import Tensor, check_rows, floats, tensor
from proxy.predictions.sse import is_stream
from proxy.predictions.text_checks import is_json, is_refusal, json_form
from proxy.predictions.unreadable import Unreadable, names

PATHS = ("/chat/completions", "/completions", "/responses", "/embeddings")


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """What the model said, as `spec.output` asks; raises `Unreadable`."""
    if is_stream(media_type(answer.head), answer.body):
        answer.check_json()
        document, chunks = assembled(answer.body, answer.bounds)
        values = _values(spec, document, answer.bounds)
        values.tokens = tokens_of(document) or chunks
        return values
    return _values(spec, answer.document, answer.bounds)


def recognise(target: str, _answer: Message) -> bool:
    """Whether this answers one of the endpoints, by the path (servers put different things before it)."""
    return target.partition("?")[0].endswith(PATHS)


def _values(spec: PredictionSpec, document: Any, bounds: Bounds) -> Tensor:
    if type(document) is dict:
        if type(document.get("choices")) is list:
            return _chosen(spec, document, _in_order(document["choices"]), bounds)
        if type(document.get("output")) is list:
            return _chosen(spec, document, [_as_choice(document)], bounds)
        if type(document.get("data")) is list:
            return _embeddings(_in_order(document["data"]))
    found = names(document) if type(document) is dict else word_for(document)
    raise Unreadable(Reason.MISSING_OUTPUT, f"`choices`, `output` or `data` is missing; found {found}")


def _in_order(entries: list[Any]) -> list[dict[str, Any]]:
    check_rows(len(entries))
    for entry in entries:
        if type(entry) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an entry is {word_for(entry)}, expected an object")
    indices = [entry.get("index") for entry in entries]
    if not all(type(index) is int for index in indices):
        return entries
    return [entry for _, _, entry in sorted(zip(indices, range(len(entries)), entries, strict=True))]


# --- what a choice says ----------------------------------------------------------------------------------------------


def _chosen(spec: PredictionSpec, document: dict[str, Any], choices: list[dict[str, Any]], bounds: Bounds) -> Tensor:
    wanted = spec.output or "text"
    if wanted == "tokens":
        return Tensor([tokens_of(document)], (), Kind.NUMBER)
    if wanted not in _PARTS:
        raise Unreadable(Reason.MISSING_OUTPUT, f"output `{wanted}` is not one of {names(OUTPUTS)}")
    part, kind = _PARTS[wanted]
    if not choices:
        raise Unreadable(Reason.EMPTY, "the answer holds no choice")
    check_texts([text for choice in choices for text in _within(choice, wanted)], bounds.halved.halved)
    return tensor([part(choice) for choice in choices], kind)


def _within(choice: dict[str, Any], wanted: str) -> Iterator[bytes]:
    """The texts in a choice that are read as JSON themselves: they were no more than texts when the answer was
    checked."""
    message = _message(choice)
    content = _content(message.get("content")) if wanted in ("json", "json_form") else ""
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls if type(call) is dict] if type(calls) is list else []
    said = [
        function.get("arguments") for function in (*functions, message.get("function_call")) if type(function) is dict
    ]
    for text in (content, *said):
        if type(text) is str and text:
            yield text.encode("utf-8", "surrogatepass")


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    return message if type(message) is dict else {"content": choice.get("text")}


def _text(choice: dict[str, Any]) -> str:
    message = _message(choice)
    parts = [_content(message.get("content")), _calls(choice)]
    if not any(parts) and type(message.get("refusal")) is str:
        return str(message["refusal"])
    return "\n".join(part for part in parts if part)


def _content(content: Any) -> str:
    """Text, or a list of parts of which those with text count; null where only tools were called."""
    if type(content) is str:
        return content
    if content is None:
        return ""
    if type(content) is not list:
        raise Unreadable(Reason.BAD_TYPE, f"`content` is {word_for(content)}, expected text")
    return "".join(part["text"] for part in content if type(part) is dict and type(part.get("text")) is str)


def _calls(choice: dict[str, Any]) -> str:
    """The tool calls as JSON with sorted keys, without their random ids; empty when there are none."""
    message = _message(choice)
    calls = message.get("tool_calls") or (
        [{"function": message["function_call"]}] if "function_call" in message else []
    )
    if type(calls) is not list:
        raise Unreadable(Reason.BAD_TYPE, f"`tool_calls` is {word_for(calls)}, expected an array")
    check_rows(len(calls))
    functions = [call.get("function") if type(call) is dict else None for call in calls]
    said = [_call(function) for function in functions if type(function) is dict]
    try:
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode() if said else ""
    except orjson.JSONEncodeError as error:
        if "64-bit" in str(error):
            with suppress(RecursionError):
                return exact_json.dumps(said, sort_keys=True).decode()
        raise Unreadable(Reason.TOO_DEEP, "the arguments of a tool call are nested too deep") from None


def _call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if type(arguments) is str:
        with suppress(Unreadable, UnicodeEncodeError):  # models do write broken JSON; then the text is compared
            written = arguments.encode()
            arguments = parse_json(written, exact=exact_json.wants_it(written), bounds=UNBOUNDED)
    return {"name": function.get("name"), "arguments": arguments}


def _finish(choice: dict[str, Any]) -> Any:
    reason = choice.get("finish_reason")
    if type(reason) is not str:
        raise Unreadable(Reason.MISSING_OUTPUT, "`finish_reason` is missing")
    return reason


def _logprob(choice: dict[str, Any]) -> float:
    logprobs = choice.get("logprobs")
    found: Any = None
    if type(logprobs) is dict:
        content = logprobs.get("content")
        if type(content) is list:
            found = [token.get("logprob") if type(token) is dict else None for token in content]
        elif type(logprobs.get("token_logprobs")) is list:  # of completions; the first one is null when echoed
            found = [value for value in logprobs["token_logprobs"] if value is not None]
    if not found:
        raise Unreadable(Reason.MISSING_OUTPUT, "`logprobs` is missing; the request must ask for them")
    return sum(floats(found)) / len(found)


def _is_json(choice: dict[str, Any]) -> bool:
    return is_json(_text(choice))


def _json_form(choice: dict[str, Any]) -> str:
    return json_form(_text(choice))


def _refusal(choice: dict[str, Any]) -> bool:
    said = _message(choice).get("refusal")
    return bool(said) or choice.get("finish_reason") == "content_filter" or is_refusal(_text(choice))


_PARTS: dict[str, tuple[Callable[[dict[str, Any]], Any], Kind]] = {
    "text": (_text, Kind.TEXT),
    "tool_calls": (_calls, Kind.TEXT),
    "finish_reason": (_finish, Kind.LABEL),
    "json": (_is_json, Kind.LABEL),
    "json_form": (_json_form, Kind.LABEL),
    "refusal": (_refusal, Kind.LABEL),
    "logprob": (_logprob, Kind.NUMBER),
}

OUTPUTS = (*_PARTS, "tokens")
"""What `output` may choose."""


# --- other envelopes -------------------------------------------------------------------------------------------------


def _as_choice(document: dict[str, Any]) -> dict[str, Any]:
    """An answer of the responses API in the shape of a choice."""
    said: list[Any] = []
    calls: list[Any] = []
    tokens: list[Any] = []
    for item in document["output"]:
        if type(item) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an entry of `output` is {word_for(item)}, expected an object")
        if item.get("type") == "function_call":
            calls.append({"function": item})
        elif item.get("type") == "message" and type(item.get("content")) is list:
            said += item["content"]
            for part in item["content"]:
                logprobs = part.get("logprobs") if type(part) is dict else None
                tokens += logprobs if type(logprobs) is list else []
    message = {"content": said, "tool_calls": calls}
    return {"message": message, "finish_reason": document.get("status"), "logprobs": {"content": tokens}}


def _embeddings(entries: list[dict[str, Any]]) -> Tensor:
    rows = [_embedding(entry.get("embedding")) for entry in entries]
    if not rows:
        raise Unreadable(Reason.EMPTY, "`data` is empty")
    return tensor(rows, Kind.VECTOR)


def _embedding(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    if type(value) is not str:
        raise Unreadable(Reason.MISSING_OUTPUT, f"`embedding` is {word_for(value)}, expected an array or base64")
    try:
        raw = b64decode(value, validate=True)
        numbers: list[Any] = np.frombuffer(raw, "<f4").tolist()
        return numbers
    except (binascii.Error, ValueError):
        raise Unreadable(Reason.BAD_ENCODING, "`embedding` is not the base64 of 4-byte floats") from None


def tokens_of(document: dict[str, Any]) -> int:
    """Tokens that the model says it wrote; 0 when it does not say.

    >>> tokens_of({"usage": {"completion_tokens": 7}}), tokens_of({})
    (7, 0)
    """
    usage = document.get("usage")
    if type(usage) is dict:
        for key in ("completion_tokens", "output_tokens"):
            if type(usage.get(key)) is int:
                return max(0, int(usage[key]))
    return 0


PROTOCOLS = (Protocol("openai", 70, "vLLM, llama.cpp, Ollama, TGI: OpenAI-compatible servers", extract, recognise),)
