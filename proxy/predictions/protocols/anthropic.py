"""Answers of the Messages API of Anthropic, streamed or not, and of servers that speak it (vLLM, SGLang, llama.cpp).

An answer is one row: the blocks of `content` in order; `output` chooses what is compared (`language`). Thinking is
reasoning, `tool_use` a call that the client runs, `server_tool_use` and `mcp_tool_use` calls that the server has run.
`stop_reason: refusal` is a refusal whatever the text. Ids, the model's name, signatures and results of tools are never
looked at.

A stream is put together by the index of its blocks. It is whole when it says so: `message_stop`, or a stop reason.
Source: the Messages API reference, "Streaming messages".
"""

from __future__ import annotations

from typing import Any

from proxy.model import PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.calls import ToolCall
from proxy.predictions.json_tools import parse_json, word_for
from proxy.predictions.language import (
    KINDS_SAID,
    OUTPUTS,
    Answered,
    Spoken,
    Tokens,
    answered_values,
    count_of,
    source_of,
    text_of,
)
from proxy.predictions.last_read import LastRead
from proxy.predictions.message import Message, media_type
from proxy.predictions.openai_stream import ended_with
from proxy.predictions.protocol import Protocol
from proxy.predictions.shapes import Tensor
from proxy.predictions.sse import is_stream, named_events
from proxy.predictions.unreadable import Unreadable, names

MAX_BLOCKS = 1024
"""Blocks of an answer that are read."""
_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""Deltas whose pieces are joined, and the member of each that holds its piece."""


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """What the model said, as `spec.output` asks; raises `Unreadable`."""
    return answered_values(spec, spoken(answer), answer.bounds)


def spoken(answer: Message) -> Answered:
    """The same in all its parts; raises `Unreadable`."""
    pieces = None
    if is_stream(media_type(answer.head), answer.body):
        answer.check_json()
        document, pieces = _gathered(answer.body, answer.bounds)
    else:
        document = answer.document
    if type(document) is not dict or type(document.get("content")) is not list:
        found = names(document) if type(document) is dict else word_for(document)
        raise Unreadable(Reason.MISSING_OUTPUT, f"`content` is missing; found {found}")
    usage = document.get("usage")
    tokens = Tokens(count_of(usage, "output_tokens"), count_of(usage, "output_tokens_details", "thinking_tokens"))
    return Answered([_spoken(document)], tokens, pieces)


def recognise(target: str, _answer: Message) -> bool:
    """Whether this answers the endpoint, by the path; OpenAI's threads have messages too."""
    path = target.partition("?")[0]
    return path.endswith("/messages") and "/threads/" not in path


def _spoken(document: dict[str, Any]) -> Spoken:
    finish = document.get("stop_reason")
    said = Spoken(finish=finish if type(finish) is str else None, refused=finish == "refusal")
    for block in document["content"][:MAX_BLOCKS]:
        if type(block) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"a block of `content` is {word_for(block)}, expected an object")
        kind = str(block.get("type"))
        if kind == "text":
            said.text += text_of(block.get("text"), "text")
            citations = block.get("citations")
            found = map(source_of, citations) if type(citations) is list else ()
            said.sources += filter(None, found)
        elif kind == "thinking":
            said.reasoning += text_of(block.get("thinking"), "thinking")
        elif kind.endswith("tool_use"):
            said.calls.append(_call(block, by_server=kind != "tool_use"))
    return said


def _call(block: dict[str, Any], *, by_server: bool) -> ToolCall:
    """A call; tools of a set or of a server are called by both names."""
    owner = block.get("toolset_name") or block.get("server_name")
    name = f"{owner}.{block.get('name')}" if owner else str(block.get("name"))
    return ToolCall(name, block.get("input"), str(block.get("id") or ""), by_server)


# --- streams ---------------------------------------------------------------------------------------------------------


def gathered_message(body: bytes, bounds: Bounds = DEFAULT) -> tuple[dict[str, Any], int]:
    """The message that a stream is, and how many events carried a piece of it; raises `Unreadable`.

    >>> body = b'event: message_stop\\ndata: {"type": "message_stop"}\\n\\n'
    >>> gathered_message(body)
    ({'content': []}, 0)
    """
    document: dict[str, Any] = {}
    blocks: dict[int, tuple[dict[str, Any], list[str]]] = {}
    pieces, whole = 0, False
    for name, data in named_events(body, bounds.parts):
        event = parse_json(data, bounds=bounds)
        if type(event) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"an event is {word_for(event)}, expected an object")
        kind = event.get("type")
        if kind == "error" or name == b"error":
            raise ended_with(event)
        if kind == "content_block_start":
            pieces += _start(blocks, event)
        elif kind == "content_block_delta":
            pieces += _add(blocks, event)
        elif kind in ("message_start", "message_delta"):
            _envelope(document, event)
        whole |= kind == "message_stop"
    if not whole and document.get("stop_reason") is None:
        raise Unreadable(Reason.TRUNCATED, "the stream breaks off before its end")
    document["content"] = [_joined(*blocks[index]) for index in sorted(blocks)]
    return document, pieces


def _envelope(document: dict[str, Any], event: dict[str, Any]) -> None:
    """What is known of the message as a whole. Counts of usage are totals, and those that are left out still hold."""
    message = event.get("message") if event["type"] == "message_start" else event.get("delta")
    usage = event.get("usage")
    if type(message) is dict:
        usage = message.get("usage", usage)
        document.update({key: value for key, value in message.items() if key not in ("usage", "content")})
    if type(usage) is dict:
        known = {key: value for key, value in usage.items() if value is not None}
        document["usage"] = {**document.get("usage", {}), **known}


def _start(blocks: dict[int, tuple[dict[str, Any], list[str]]], event: dict[str, Any]) -> bool:
    """A block begins; whether it brings something already: a call is one by its name."""
    index, block = event.get("index"), event.get("content_block")
    if type(index) is not int or not 0 <= index < MAX_BLOCKS or type(block) is not dict:
        raise Unreadable(Reason.BAD_SHAPE, f"a block with index {str(index)[:20]}, expected 0 to {MAX_BLOCKS - 1}")
    blocks[index] = block, []
    return bool(block.get("text") or block.get("thinking") or block.get("data") or block.get("name"))


def _add(blocks: dict[int, tuple[dict[str, Any], list[str]]], event: dict[str, Any]) -> bool:
    """A block goes on; whether this brings something."""
    index, delta = event.get("index"), event.get("delta")
    if type(index) is not int or index not in blocks or type(delta) is not dict:
        raise Unreadable(Reason.BAD_SHAPE, f"a delta for block {str(index)[:20]}, which has not begun")
    block, pieces = blocks[index]
    if delta.get("type") == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
        return False
    piece = delta.get(_DELTAS.get(str(delta.get("type")), ""))
    if type(piece) is str and piece:
        pieces.append(piece)
        return True
    return False


def _joined(block: dict[str, Any], pieces: list[str]) -> dict[str, Any]:
    """A block with its pieces put together."""
    said = "".join(pieces)
    key = next((key for key in ("text", "thinking") if block.get("type") == key), "input")
    if not said:
        return block
    return {**block, key: said if key == "input" else text_of(block.get(key), key) + said}


_gathered = LastRead(gathered_message)

SAID = tuple(output for output in OUTPUTS if output != "logprob")
"""Messages carry no log-probabilities."""

PROTOCOLS = (
    Protocol(
        "anthropic",
        75,
        "Anthropic and servers of its Messages API",
        extract,
        recognise,
        spoken=spoken,
        outputs=SAID,
        kinds=KINDS_SAID,
    ),
)
