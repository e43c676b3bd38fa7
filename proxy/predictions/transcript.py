"""What a language model said in an answer, for a person to read: as far as the answer goes, also where it breaks off.

The evidence takes whole answers only. Here a stream that breaks off, or ends with an error, gets the end that its
protocol asks for after its last whole event, so that the same readers make of it what they can.

Invariant: nothing here raises for bytes that came from outside, and the work is bounded as theirs is (`bounds`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import orjson

from proxy.model import Kind, Outcome, Pair, PredictionSpec
from proxy.predictions.bounds import Bounds
from proxy.predictions.json_tools import parse_json
from proxy.predictions.language import Answered, Spoken, Tokens
from proxy.predictions.message import Message, media_type, target_of
from proxy.predictions.openai_stream import DONE, FAILED
from proxy.predictions.protocol import Protocol
from proxy.predictions.registry import AUTO, PROTOCOLS, recognised
from proxy.predictions.shapes import predict
from proxy.predictions.sse import is_stream, named_events
from proxy.predictions.unreadable import Unreadable


class Transcript(NamedTuple):
    """What was said: choices, tokens (0 where the answer does not say), whether it is all of the answer, and if not why
    in words."""

    choices: tuple[Spoken, ...] = ()
    tokens: int = 0
    whole: bool = False
    trouble: str = ""


def is_spoken(spec: PredictionSpec, protocol: str) -> bool:
    """Whether answers read by `protocol`, which was recognised or written down, are those of a language model.

    >>> is_spoken(PredictionSpec("auto"), "openai"), is_spoken(PredictionSpec("v2"), "v2")
    (True, False)
    """
    found = PROTOCOLS.get(protocol)
    return found is not None and (found.spoken is not None or spec.kind is Kind.TEXT)


def transcript_of(spec: PredictionSpec, pair: Pair, outcome: Outcome, bounds: Bounds) -> Transcript:
    """What was said in an arm's answer, in a pair that is read by `spec`."""
    if not outcome.body:
        return Transcript()
    try:
        answer = Message(outcome.head, outcome.body, pair=pair, bounds=bounds)
        protocol = PROTOCOLS.get(spec.protocol)
        if spec.protocol == AUTO or protocol is None:
            protocol = recognised(target_of(pair.request_head), answer)
    except Unreadable as why:
        return Transcript(trouble=why.detail)
    try:
        return _read(spec, protocol, answer, "")
    except Unreadable as why:
        return _as_far_as_it_goes(spec, protocol, answer, why.detail)


def _read(spec: PredictionSpec, protocol: Protocol, answer: Message, trouble: str) -> Transcript:
    """What was said in an answer that is whole; raises `Unreadable`."""
    if protocol.spoken is None:
        rows = predict(spec, protocol.extract(spec, answer), Kind.TEXT, answer.bounds).rows
        answered = Answered([Spoken(text=str(row)) for row in rows], Tokens())
    else:
        answered = protocol.spoken(answer)
    return Transcript(tuple(answered.choices), answered.tokens.written, not trouble, trouble)


def _as_far_as_it_goes(spec: PredictionSpec, protocol: Protocol, answer: Message, trouble: str) -> Transcript:
    if protocol.spoken is None or not is_stream(media_type(answer.head), answer.body):
        return Transcript(trouble=trouble)
    try:
        answer.check_json()
        return _read(
            spec, protocol, Message(_STREAM, mended(answer.body, answer.bounds), bounds=answer.bounds), trouble
        )
    except Unreadable:
        return Transcript(trouble=trouble)


_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


# --- an end for what has none ----------------------------------------------------------------------------------------


def mended(body: bytes, bounds: Bounds) -> bytes:
    """A stream up to its first event that is broken or an error, with the end that its protocol asks for. Raises
    `Unreadable` beyond the bounds.

    >>> from proxy.predictions.bounds import DEFAULT
    >>> mended(b'data: {"choices": []}\\n\\ndata: {"choi', DEFAULT)
    b'data: {"choices": []}\\n\\ndata: [DONE]\\n\\n'
    """
    kept: list[bytes] = []
    items = _Items()
    kinds = set()
    for name, data in named_events(body, bounds.parts):
        event = _event(data, bounds)
        if event is None or name == b"error" or event.get("error") or event.get("type") in FAILED:
            break
        kinds.add(str(event.get("type")).partition("_")[0].partition(".")[0])
        items.add(event)
        kept.append(data.replace(b"\n", b" "))
    if "response" in kinds:
        end = {"type": "response.incomplete", "response": {"output": items.output()}}
    else:
        end = {"type": "message_stop"}
    kept.append(orjson.dumps(end) if kinds & {"response", "message", "content"} else DONE)
    return b"".join([b"data: %b\n\n" % data for data in kept])


def _event(data: bytes, bounds: Bounds) -> dict[str, Any] | None:
    try:
        event = parse_json(data, bounds=bounds)
    except Unreadable:
        return None
    return event if type(event) is dict else None


_PLACES = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.function_call_arguments.delta": "arguments",
}
"""Events of the responses API that bring pieces, and what of."""


class _Items:
    """The items of a response that has not ended: those that are done as they are, the others out of their pieces."""

    def __init__(self) -> None:
        self._begun: dict[int, dict[str, Any]] = {}
        self._done: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = defaultdict(list)

    def add(self, event: dict[str, Any]) -> None:
        kind, at = event.get("type"), event.get("output_index")
        item, delta = event.get("item"), event.get("delta")
        if type(at) is not int or type(kind) is not str:
            return
        if type(item) is dict:
            (self._done if kind == "response.output_item.done" else self._begun)[at] = item
        elif kind in _PLACES and type(delta) is str:
            self._pieces[at, _PLACES[kind]].append(delta)

    def output(self) -> list[dict[str, Any]]:
        places = sorted({*self._begun, *self._done, *(at for at, _ in self._pieces)})
        return [self._done[at] if at in self._done else self._unfinished(at) for at in places]

    def _unfinished(self, at: int) -> dict[str, Any]:
        said = {place: "".join(self._pieces.get((at, place), ())) for place in set(_PLACES.values())}
        begun = self._begun.get(at, {"type": "reasoning" if said["reasoning"] else "message"})
        parts = [{"text": said["text"]}, {"refusal": said["refusal"]}]
        return {**begun, "content": parts, "summary": [{"text": said["reasoning"]}], "arguments": said["arguments"]}
