"""OpenAI-compatible answers: chat completions, completions, responses and embeddings, streamed or not.

vLLM, llama.cpp, TGI, Ollama and others speak it. One row per choice (per input for embeddings), in order of `index`;
`output` chooses what is compared (`language`).

Ids, timestamps, fingerprints and the model's name are never looked at. A streamed answer is put together from its
events first (`openai_stream`), so that a streamed and a whole answer that say the same are equal.
Source: openai/openai-openapi, `openapi.yaml`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

import numpy as np

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.json_tools import word_for
from proxy.predictions.language import KINDS_SAID, OUTPUTS, Answered, answered_values
from proxy.predictions.last_read import LastRead
from proxy.predictions.message import Message, media_type
from proxy.predictions.openai_answers import spoken_choice, spoken_response, tokens_of
from proxy.predictions.openai_stream import assembled
from proxy.predictions.protocol import Protocol
from proxy.predictions.shapes import Tensor, check_rows, tensor
from proxy.predictions.sse import is_stream
from proxy.predictions.unreadable import Unreadable, names

PATHS = ("/chat/completions", "/completions", "/responses", "/embeddings")


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """What the model said, as `spec.output` asks; raises `Unreadable`."""
    document, pieces = _document(answer)
    if type(document) is dict and type(document.get("data")) is list:
        return _embeddings(_in_order(document["data"]))
    return answered_values(spec, _answered(document, pieces), answer.bounds)


def single(spec: PredictionSpec, document: Any) -> Any:
    """The text of a whole chat completion with one choice that says something and nothing else, else `None`.

    >>> single(PredictionSpec(output="text"), {"choices": [{"index": 0, "message": {"content": "Hi"}}]})
    'Hi'
    """
    if spec.output not in ("", "text") or type(document) is not dict or "data" in document:
        return None
    choices = document.get("choices")
    choice = choices[0] if type(choices) is list and len(choices) == 1 else None
    message = choice.get("message") if type(choice) is dict else None
    if type(choice) is not dict or type(message) is not dict or choice.get("logprobs") is not None:
        return None
    said, refusal = message.get("content"), message.get("refusal")
    if type(said) is not str or not said or not (refusal is None or type(refusal) is str):
        return None
    return None if any(message.get(part) is not None for part in _BESIDE) else said


_BESIDE = ("tool_calls", "function_call", "audio", "annotations")
"""What a message may have beside its text, and is read the long way."""


def spoken(answer: Message) -> Answered:
    """The same in all its parts; raises `Unreadable`, for embeddings too."""
    return _answered(*_document(answer))


def recognise(target: str, _answer: Message) -> bool:
    """Whether this answers one of the endpoints, by the path (servers put different things before it)."""
    return target.partition("?")[0].endswith(PATHS)


def _document(answer: Message) -> tuple[Any, int | None]:
    """A whole answer, or one that was put together, and of how many pieces."""
    if not is_stream(media_type(answer.head), answer.body):
        return answer.document, None
    answer.check_json()
    return _assembled(answer.body, answer.bounds)


_assembled = LastRead(assembled)


def _answered(document: Any, pieces: int | None) -> Answered:
    if type(document) is dict and type(document.get("choices")) is list:
        said = [spoken_choice(choice) for choice in _in_order(document["choices"])]
    elif type(document) is dict and type(document.get("output")) is list:
        said = [spoken_response(document)]
    else:
        found = names(document) if type(document) is dict else word_for(document)
        raise Unreadable(Reason.MISSING_OUTPUT, f"`choices`, `output` or `data` is missing; found {found}")
    return Answered(said, tokens_of(document), pieces)


def _in_order(entries: list[Any]) -> list[dict[str, Any]]:
    check_rows(len(entries))
    for entry in entries:
        if type(entry) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an entry is {word_for(entry)}, expected an object")
    indices = [entry.get("index") for entry in entries]
    if not all(type(index) is int for index in indices):
        return entries
    return [entry for _, _, entry in sorted(zip(indices, range(len(entries)), entries, strict=True))]


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


PROTOCOLS = (
    Protocol(
        "openai",
        70,
        "vLLM, llama.cpp, Ollama, TGI: OpenAI-compatible servers",
        extract,
        recognise,
        single,
        spoken=spoken,
        outputs=OUTPUTS,
        kinds=KINDS_SAID | {Kind.VECTOR},
    ),
)
