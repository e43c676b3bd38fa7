"""A streamed OpenAI-compatible answer, put together into the document that the same answer would be unstreamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.json_tools import parse_json, word_for
from proxy.predictions.sse import named_events
from proxy.predictions.unreadable import Unreadable

DONE = b"[DONE]"
MAX_CHOICES = 128
"""Choices, and tool calls of a choice: as many as the API allows."""

_WHOLE = ("response.completed", "response.incomplete")


def assembled(body: bytes, bounds: Bounds = DEFAULT) -> tuple[dict[str, Any], int]:
    """The whole answer, and how many events carried a piece of it; raises `Unreadable`.

    A stream counts as whole when it says so: `[DONE]`, a finish reason for every choice, or `response.completed`.
    """
    choices: dict[int, dict[str, Any]] = {}
    document: dict[str, Any] = {}
    pieces = 0
    done = False
    for name, data in named_events(body, bounds.parts):
        if data.strip() == DONE:
            done = True
            continue
        event = parse_json(data, bounds=bounds)
        if type(event) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an event is {word_for(event)}, expected an object")
        if name == b"error" or event.get("error") or event.get("type") in ("error", "response.failed"):
            raise Unreadable(Reason.TRUNCATED, "the stream ended with an error")
        if event.get("type") in _WHOLE and type(event.get("response")) is dict:
            return event["response"], pieces
        if type(event.get("usage")) is dict:
            document["usage"] = event["usage"]
        pieces += _add(choices, event)
    finished = bool(choices) and all(choice["finish_reason"] is not None for choice in choices.values())
    if not (done or finished):
        raise Unreadable(Reason.TRUNCATED, "the stream breaks off before its end")
    document["choices"] = [_joined(choice) for choice in choices.values()]
    return document, pieces


def _add(choices: dict[int, dict[str, Any]], event: dict[str, Any]) -> bool:
    """Add one event to the choices; whether it carried a piece of the answer."""
    if type(event.get("delta")) is str:  # responses: the last event repeats it all, so pieces are only counted
        return True
    piece = False
    found = event.get("choices")
    for part in found if type(found) is list else ():
        if type(part) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"a choice is {word_for(part)}, expected an object")
        choice = _at(choices, part.get("index", 0), _new)
        if part.get("finish_reason") is not None:
            choice["finish_reason"] = part["finish_reason"]
        delta = part.get("delta")
        piece |= _say(choice, delta if type(delta) is dict else {"content": part.get("text")})
        _logprobs(choice, part.get("logprobs"))
    return piece


def _new(index: int) -> dict[str, Any]:
    """A choice of which nothing is known. Texts are gathered as pieces: added to one another each time they would be
    copied each time."""
    message: dict[str, Any] = {"content": []}
    return {"index": index, "message": message, "finish_reason": None, "calls": {}, "logprobs": {"content": []}}


def _new_call(_index: int) -> dict[str, Any]:
    return {"name": [], "arguments": []}


def _joined(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice with its pieces put together."""
    choice["message"] = {key: "".join(pieces) for key, pieces in choice["message"].items()}
    calls = [{key: "".join(pieces) for key, pieces in call.items()} for call in choice["calls"].values()]
    choice["message"]["tool_calls"] = [{"function": call} for call in calls]
    return choice


def _at(entries: dict[int, dict[str, Any]], index: Any, make: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    if type(index) is not int or not 0 <= index < MAX_CHOICES:
        raise Unreadable(Reason.BAD_SHAPE, f"an index is {str(index)[:20]}, expected 0 to {MAX_CHOICES - 1}")
    if index not in entries:
        entries[index] = make(index)
    return entries[index]


def _say(choice: dict[str, Any], delta: dict[str, Any]) -> bool:
    message = choice["message"]
    piece = False
    for key in ("content", "refusal"):
        if type(delta.get(key)) is str and delta[key]:
            message.setdefault(key, []).append(delta[key])
            piece = True
    calls = delta.get("tool_calls")
    for part in calls if type(calls) is list else ():
        if type(part) is not dict or type(part.get("function")) is not dict:
            continue
        call = _at(choice["calls"], part.get("index", 0), _new_call)
        for key in ("name", "arguments"):
            if type(part["function"].get(key)) is str:
                call[key].append(part["function"][key])
        piece = True
    return piece


def _logprobs(choice: dict[str, Any], logprobs: Any) -> None:
    if type(logprobs) is not dict:
        return
    if type(logprobs.get("content")) is list:
        choice["logprobs"]["content"] += logprobs["content"]
    elif type(logprobs.get("token_logprobs")) is list:
        choice["logprobs"]["content"] += [{"logprob": value} for value in logprobs["token_logprobs"]]
