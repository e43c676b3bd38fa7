"""What was said in a whole answer of an OpenAI-compatible server: chat completions, completions and responses."""

from __future__ import annotations

from typing import Any

from proxy.model.reasons import Reason
from proxy.predictions.calls import ToolCall
from proxy.predictions.json_tools import word_for
from proxy.predictions.language import Spoken, Tokens, count_of, source_of, text_of
from proxy.predictions.openai_stream import REASONING
from proxy.predictions.unreadable import Unreadable

FILTERED = "content_filter"
_BY_SERVER = frozenset(
    f"{name}_call"
    for name in ("web_search", "file_search", "code_interpreter", "mcp", "image_generation", "tool_search")
)
"""Items of the responses API that are calls of tools which the server has run itself."""
_ARGUMENTS = ("arguments", "input", "action", "queries", "code", "operation")
"""Members of such items that say what was asked for."""


# --- chat completions and completions --------------------------------------------------------------------------------


def spoken_choice(choice: dict[str, Any]) -> Spoken:
    """What one entry of `choices` says; raises `Unreadable`."""
    message = choice.get("message")
    if type(message) is not dict:
        message = {"content": choice.get("text")}
    finish = choice.get("finish_reason")
    audio = message.get("audio")
    text, refusal, sources = _content(message.get("content"))
    if not text and type(audio) is dict:
        text = text_of(audio.get("transcript"), "transcript")
    annotations = message.get("annotations")
    sources += [source_of(one) for one in annotations] if type(annotations) is list else []
    return Spoken(
        text=text,
        reasoning=next((str(message[key]) for key in REASONING if type(message.get(key)) is str), ""),
        refusal=refusal or text_of(message.get("refusal"), "refusal"),
        refused=finish == FILTERED,
        calls=_calls(message),
        finish=finish if type(finish) is str else None,
        logprobs=_logprobs(choice.get("logprobs")),
        sources=[source for source in sources if source],
    )


def _content(content: Any) -> tuple[str, str, list[str]]:
    """Text, words of a refusal and sources of a text, or of a list of parts; null where only tools were called."""
    if type(content) is not list:
        return text_of(content, "content"), "", []
    parts = [part for part in content if type(part) is dict]
    said = [part["text"] for part in parts if type(part.get("text")) is str]
    refused = [part["refusal"] for part in parts if type(part.get("refusal")) is str]
    found = [part["annotations"] for part in parts if type(part.get("annotations")) is list]
    return "".join(said), "".join(refused), [source_of(one) for annotations in found for one in annotations]


def _calls(message: dict[str, Any]) -> list[ToolCall]:
    calls = message.get("tool_calls")
    if not calls and type(message.get("function_call")) is dict:  # as it was before `tool_calls`
        calls = [{"function": message["function_call"]}]
    if calls is not None and type(calls) is not list:
        raise Unreadable(Reason.BAD_TYPE, f"`tool_calls` is {word_for(calls)}, expected an array")
    found = [(call, call.get("function", call.get("custom"))) for call in calls or () if type(call) is dict]
    return [
        ToolCall(str(function.get("name")), function.get("arguments", function.get("input")), str(call.get("id") or ""))
        for call, function in found
        if type(function) is dict
    ]


def _logprobs(logprobs: Any) -> list[Any]:
    if type(logprobs) is not dict:
        return []
    if type(logprobs.get("content")) is list:
        return list(logprobs["content"])
    of_completions = logprobs.get("token_logprobs")  # the first one is null when the prompt is echoed
    return [value for value in of_completions if value is not None] if type(of_completions) is list else []


# --- responses -------------------------------------------------------------------------------------------------------


def spoken_response(document: dict[str, Any]) -> Spoken:
    """What an answer of the responses API says; raises `Unreadable`."""
    status, why = document.get("status"), document.get("incomplete_details")
    if status in ("failed", "cancelled"):
        error = document.get("error")
        raise Unreadable(Reason.TRUNCATED, f"the response {status}: {words_of_error(error)}")
    if type(why) is dict and type(why.get("reason")) is str:
        status = why["reason"]
    said = Spoken(finish=status if type(status) is str else None, refused=status == FILTERED)
    for item in document["output"]:
        if type(item) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an entry of `output` is {word_for(item)}, expected an object")
        _add(said, item, str(item.get("type", "")))
    return said


def words_of_error(error: Any) -> str:
    """What an error says of itself.

    >>> words_of_error({"message": "too long"}), words_of_error(None)
    ('too long', 'no reason given')
    """
    said = error.get("message") if type(error) is dict else error
    return str(said)[:120] if said else "no reason given"


def _add(said: Spoken, item: dict[str, Any], kind: str) -> None:
    if kind == "message":
        text, refusal, sources = _content(item.get("content"))
        said.text += text
        said.refusal += refusal
        said.sources += [source for source in sources if source]
        for part in item["content"] if type(item.get("content")) is list else ():
            found = part.get("logprobs") if type(part) is dict else None
            said.logprobs += found if type(found) is list else []
    elif kind == "reasoning":
        for key in ("summary", "content"):
            text, _, _ = _content(item.get(key) if type(item.get(key)) is list else None)
            said.reasoning += text
    elif kind.endswith("_call"):
        arguments = next((item[key] for key in _ARGUMENTS if item.get(key) is not None), None)
        name = str(item.get("name") or kind.removesuffix("_call"))
        said.calls.append(ToolCall(name, arguments, str(item.get("call_id") or ""), kind in _BY_SERVER))


def tokens_of(document: dict[str, Any]) -> Tokens:
    """Tokens that the model says it wrote; 0 when it does not say.

    >>> tokens_of({"usage": {"completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 4}}})
    Tokens(written=7, reasoning=4)
    """
    usage = document.get("usage")
    for name in ("completion_tokens", "output_tokens"):
        if written := count_of(usage, name):
            return Tokens(written, count_of(usage, f"{name}_details", "reasoning_tokens"))
    return Tokens()
