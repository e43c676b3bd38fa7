"""A streamed OpenAI-compatible answer, put together into the document that the same answer would be unstreamed.

- Chat completions and completions: chunks, each with pieces of some choices. A stream counts as whole when it says so:
  `[DONE]`, or a finish reason for every choice. Chunks without choices (usage, filters) say nothing of any.
- Responses: the last event, `response.completed` or `response.incomplete`, repeats all of it; where it leaves the
  output out, the items are those of `response.output_item.done`. A stream without it is not whole.
- An event that is an error ends the stream, whatever has come before: the client has no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.json_tools import parse_json, word_for
from proxy.predictions.sse import named_events
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.usual_stream import usual_stream

DONE = b"[DONE]"
MAX_CHOICES = 128
"""Choices, and tool calls of a choice: as many as the API allows."""

_WHOLE = ("response.completed", "response.incomplete")
FAILED = ("error", "response.failed", "response.error")
REASONING = ("reasoning_content", "reasoning")
"""Members that hold reasoning: DeepSeek's, SGLang's and older vLLM's; newer vLLM's, Ollama's and OpenRouter's."""


def assembled(body: bytes, bounds: Bounds = DEFAULT) -> tuple[dict[str, Any], int]:
    """The whole answer, and how many events carried a piece of it; raises `Unreadable`."""
    return usual_stream(body, bounds) or assembled_anyhow(body, bounds)


def assembled_anyhow(body: bytes, bounds: Bounds = DEFAULT) -> tuple[dict[str, Any], int]:
    """The same of whatever stream.

    >>> event = b'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}\\r\\n\\r\\n'
    >>> document, pieces = assembled_anyhow(event)
    >>> document["choices"][0]["message"]["content"], pieces
    ('Hi', 1)
    """
    chunks = Chunks()
    items: dict[Any, Any] = {}
    deltas = 0
    for name, data in named_events(body, bounds.parts):
        if data.strip() == DONE:
            chunks.done = True
            continue
        event = parse_json(data, bounds=bounds)
        if type(event) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an event is {word_for(event)}, expected an object")
        kind = event.get("type")
        if name == b"error" or event.get("error") or kind in FAILED:
            raise ended_with(event)
        if kind in _WHOLE and type(event.get("response")) is dict:
            return _with_items(event["response"], items), deltas
        if kind == "response.output_item.done":
            items[str(event.get("output_index"))] = event.get("item")
        deltas += type(event.get("delta")) is str and event["delta"] != ""
        chunks.add(event)
    return chunks.document(), chunks.pieces


def ended_with(event: dict[str, Any]) -> Unreadable:
    """What is raised where a stream ends with an error.

    >>> ended_with({"error": {"message": "overloaded"}}).detail
    'the stream ended with an error: overloaded'
    """
    error = event.get("error") or event
    if type(event.get("response")) is dict:
        error = event["response"].get("error") or error
    said = error.get("message") or error.get("type") if type(error) is dict else error
    return Unreadable(Reason.TRUNCATED, f"the stream ended with an error: {str(said)[:120]}")


def _with_items(response: dict[str, Any], items: dict[Any, Any]) -> dict[str, Any]:
    return response if response.get("output") else {**response, "output": list(items.values())}


class Chunks:
    """The chunks of chat completions and completions, as they come."""

    def __init__(self) -> None:
        self.choices: dict[int, dict[str, Any]] = {}
        self.usage: Any = None
        self.pieces = 0
        self.done = False

    def add(self, event: dict[str, Any]) -> None:
        """One more event; raises `Unreadable`."""
        if type(event.get("usage")) is dict:
            self.usage = event["usage"]
        found = event.get("choices")
        piece = False
        for part in found if type(found) is list else ():
            if type(part) is not dict:
                raise Unreadable(Reason.BAD_TYPE, f"a choice is {word_for(part)}, expected an object")
            choice = _at(self.choices, part.get("index", 0), _new)
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
            delta = part.get("delta")
            piece |= _say(choice, delta if type(delta) is dict else {"content": part.get("text")})
            _logprobs(choice, part.get("logprobs"))
        self.pieces += piece

    def document(self) -> dict[str, Any]:
        """The answer; raises `Unreadable` when it is not whole."""
        choices = self.choices.values()
        finished = bool(choices) and all(choice["finish_reason"] is not None for choice in choices)
        if not (self.done or finished):
            raise Unreadable(Reason.TRUNCATED, "the stream breaks off before its end")
        usage = {} if self.usage is None else {"usage": self.usage}
        return {**usage, "choices": [_joined(choice) for choice in choices]}


def _new(index: int) -> dict[str, Any]:
    """A choice of which nothing is known. Texts are gathered as pieces: added to one another each time they would be
    copied each time."""
    logprobs: dict[str, Any] = {"content": []}
    return {"index": index, "finish_reason": None, "said": {}, "calls": {}, "annotations": [], "logprobs": logprobs}


def _new_call(_index: int) -> dict[str, Any]:
    return {"id": [], "name": [], "arguments": []}


def _joined(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice with its pieces put together."""
    message: dict[str, Any] = {key: "".join(pieces) for key, pieces in choice["said"].items()}
    calls = [{key: "".join(pieces) for key, pieces in call.items()} for call in choice["calls"].values()]
    if calls:
        message["tool_calls"] = [{"id": call["id"], "function": call} for call in calls]
    if choice["annotations"]:
        message["annotations"] = choice["annotations"]
    if "transcript" in message:
        message["audio"] = {"transcript": message.pop("transcript")}
    return {**{key: choice[key] for key in ("index", "finish_reason", "logprobs")}, "message": message}


def _at(entries: dict[int, dict[str, Any]], index: Any, make: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    if type(index) is not int or not 0 <= index < MAX_CHOICES:
        raise Unreadable(Reason.BAD_SHAPE, f"an index is {str(index)[:20]}, expected 0 to {MAX_CHOICES - 1}")
    if index not in entries:
        entries[index] = make(index)
    return entries[index]


def _say(choice: dict[str, Any], delta: dict[str, Any]) -> bool:
    """Add a delta to its choice; whether it carried anything."""
    piece = False
    audio = delta.get("audio")
    reasoning = next((delta[key] for key in REASONING if type(delta.get(key)) is str and delta[key]), None)
    spoken = {"content": delta.get("content"), "refusal": delta.get("refusal"), "reasoning": reasoning}
    if type(audio) is dict:
        spoken["transcript"] = audio.get("transcript")
        piece = bool(audio.get("data"))
    for key, text in spoken.items():
        if type(text) is str and text:
            choice["said"].setdefault(key, []).append(text)
            piece = True
    if type(delta.get("annotations")) is list:
        choice["annotations"] += delta["annotations"]
    calls = delta.get("tool_calls")
    if type(delta.get("function_call")) is dict:
        calls = [{"index": 0, "function": delta["function_call"]}]
    for part in calls if type(calls) is list else ():
        piece |= _call(choice["calls"], part)
    return piece


def _call(calls: dict[int, dict[str, Any]], part: Any) -> bool:
    """Add a piece of a call. One without an index is a new call when it has an id of its own, else of the last one."""
    function = part.get("function", part.get("custom")) if type(part) is dict else None
    if type(function) is not dict:
        return False
    last = len(calls) - 1 if calls and not part.get("id") else len(calls)
    call = _at(calls, part.get("index", last), _new_call)
    pieces = {"id": part.get("id"), "name": function.get("name")}
    pieces["arguments"] = function.get("arguments", function.get("input"))
    for key, text in pieces.items():
        if type(text) is str:
            call[key].append(text)
    return True


def _logprobs(choice: dict[str, Any], logprobs: Any) -> None:
    if type(logprobs) is not dict:
        return
    if type(logprobs.get("content")) is list:
        choice["logprobs"]["content"] += logprobs["content"]
    elif type(logprobs.get("token_logprobs")) is list:
        choice["logprobs"]["content"] += [{"logprob": value} for value in logprobs["token_logprobs"]]
