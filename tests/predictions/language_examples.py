"""Answers of language models in the wire formats of the public API references, whole and as events.

Each example of a stream is told as the one answer that it stands for, so that a test can cut it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

Cut = Callable[[str], list[str]]
"""A text in pieces."""


def sse(events: Iterable[dict[str, Any] | bytes], *, named: bool = False) -> bytes:
    """Events as a server writes them, with their names where the API has some."""
    parts = []
    for event in events:
        if isinstance(event, bytes):
            parts.append(event)
            continue
        name = b"event: %b\n" % event["type"].encode() if named else b""
        parts.append(b"%bdata: %b\n\n" % (name, orjson.dumps(event)))
    return b"".join(parts)


# --- chat completions ------------------------------------------------------------------------------------------------


def chat_whole(message: dict[str, Any], finish: str = "stop", usage: dict[str, Any] | None = None) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    counted = {"usage": usage} if usage else {}
    return {"id": "chatcmpl-9", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **counted}


def chat_stream(
    message: dict[str, Any], cut: Cut, finish: str = "stop", usage: dict[str, Any] | None = None
) -> list[dict[str, Any] | bytes]:
    """A role chunk, the pieces, the finish reason, usage alone, and `[DONE]`."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {"id": "chatcmpl-8", "object": "chat.completion.chunk", "created": 2, "model": "m", "choices": [choice]}

    events: list[dict[str, Any] | bytes] = [chunk({"role": "assistant", "content": ""})]
    for key in ("reasoning_content", "content", "refusal"):
        events += [chunk({key: piece}) for piece in cut(message.get(key) or "")]
    for at, call in enumerate(message.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        events.append(chunk({"tool_calls": [{**call, "index": at, "function": function}]}))
        for piece in cut(call["function"]["arguments"]):
            events.append(chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]}))
    events.append(chunk({}, finish))
    if usage:
        events.append({**chunk({}), "choices": [], "usage": usage})
    return [*events, b"data: [DONE]\n\n"]


# --- messages --------------------------------------------------------------------------------------------------------


def message_whole(*content: dict[str, Any], stop: str = "end_turn", output: int = 12) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": list(content),
        "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": output},
    }  # fmt: skip


def message_stream(
    *content: dict[str, Any], cut: Cut, stop: str = "end_turn", output: int = 12
) -> list[dict[str, Any] | bytes]:
    """`message_start`, a ping, the blocks with their deltas, `message_delta` and `message_stop`."""
    start = {**message_whole(output=1), "id": "msg_2", "stop_reason": None}
    events: list[dict[str, Any] | bytes] = [{"type": "message_start", "message": start}]
    for at, block in enumerate(content):
        events.append({"type": "content_block_start", "index": at, "content_block": _empty(block)})
        if not at:
            events.append({"type": "ping"})
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in _deltas(block, cut)]
        events.append({"type": "content_block_stop", "index": at})
    ended = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": output}})
    return [*events, {"type": "message_stop"}]


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    """A block as it begins: what follows in deltas is left out."""
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}
    begun = {key: value for key, value in block.items() if key != "citations"}
    return {**begun, **empty.get(block["type"], {"input": {}} if "input" in block else {})}


def _deltas(block: dict[str, Any], cut: Cut) -> list[dict[str, Any]]:
    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
        return cited + [{"type": "text_delta", "text": piece} for piece in cut(block["text"])]
    if kind == "thinking":
        thought = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"])]
        return [*thought, {"type": "signature_delta", "signature": "EqQBCgIYAhIM"}]
    if "input" in block:
        written = orjson.dumps(block["input"]).decode() if block["input"] else ""
        pieces = ["", *cut(written)]
        return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return []


# --- responses -------------------------------------------------------------------------------------------------------


def response_whole(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 9,
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 21,
    }
    empty = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "error": None, "incomplete_details": None}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", **empty, "metadata": {}}
    return {**head, "status": status, "output": list(output), "usage": usage, **more}


def response_stream(*output: dict[str, Any], cut: Cut, status: str = "completed") -> list[dict[str, Any] | bytes]:
    """Created, in progress, each item with its parts and deltas, completed."""
    begun = response_whole(status="in_progress", usage=None)
    events: list[dict[str, Any] | bytes] = [
        {"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun},
    ]  # fmt: skip
    for at, item in enumerate(output):
        events += _item(at, item, cut)
    events.append({"type": f"response.{status}", "response": response_whole(*output, status=status)})
    return [{**event, "sequence_number": n} for n, event in enumerate(events) if isinstance(event, dict)]


def _item(at: int, item: dict[str, Any], cut: Cut) -> list[dict[str, Any] | bytes]:
    here = {"item_id": item.get("id", "i"), "output_index": at}
    added = {**item, "status": "in_progress", **({"content": []} if "content" in item else {})}
    if "arguments" in item:
        added["arguments"] = ""
    events: list[dict[str, Any] | bytes] = [{"type": "response.output_item.added", "output_index": at, "item": added}]
    for number, part in enumerate(item.get("content", ())):
        key, word = ("text", "output_text") if part["type"] == "output_text" else ("refusal", "refusal")
        where = {**here, "content_index": number}
        events.append({"type": "response.content_part.added", **where, "part": {**part, key: ""}})
        for piece in cut(part[key]):
            events.append({"type": f"response.{word}.delta", **where, "delta": piece, "logprobs": []})
        events.append({"type": f"response.{word}.done", **where, key: part[key], "logprobs": []})
        events.append({"type": "response.content_part.done", **where, "part": part})
    if "arguments" in item:
        word = "response.function_call_arguments"
        events += [{"type": f"{word}.delta", **here, "delta": piece} for piece in cut(item["arguments"])]
        events.append({"type": f"{word}.done", **here, "arguments": item["arguments"], "name": item["name"]})
    return [*events, {"type": "response.output_item.done", "output_index": at, "item": item}]
