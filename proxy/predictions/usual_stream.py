"""The usual stream of a chat completion, in a tenth of the time that any other takes: an event for each piece of one
choice, none of them with more than a text, a thought, a reason why it ended and what was used.

Invariant: what is read here is what `openai_stream.assembled_anyhow` makes of it, whatever is in doubt is left to that
(`tests/predictions/test_usual_stream.py`). Each event is read by itself, by a type that names the members which say
something: msgspec checks the grammar of the rest and makes no values of it. A number there that no float holds does no
harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import orjson

from proxy.predictions.bounds import Bounds

_NAME, _START, _BETWEEN, _DONE = b"data:", b"data: ", b"\n\ndata: ", b"[DONE]"
_UNSAID = msgspec.Raw(b"null")
_Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)] | None
"""What some engines write where there is none."""


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: _Nothing = None
    annotations: _Nothing = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    index: Literal[0] = 0
    finish_reason: str | None = None
    logprobs: None = None


class _Chunk(msgspec.Struct, gc=False):
    """One event; `error`, `type` and `delta` are those of other APIs, and of a stream that ends badly."""

    choices: Annotated[list[_Choice], msgspec.Meta(max_length=1)]
    usage: msgspec.Raw = _UNSAID
    error: None = None
    type: None = None
    delta: None = None


_decode = msgspec.json.Decoder(_Chunk).decode


def usual_stream(body: bytes, bounds: Bounds) -> tuple[dict[str, Any], int] | None:
    """What `assembled` gives, or `None` where that has to look.

    >>> from proxy.predictions.bounds import DEFAULT
    >>> event = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\\n\\n'
    >>> document, pieces = usual_stream(event + event + b"data: [DONE]\\n\\n", DEFAULT)
    >>> document["choices"][0]["message"], pieces, usual_stream(event, DEFAULT)
    ({'content': 'HiHi'}, 2, None)
    """
    events = _events(body, bounds.parts)
    if events is None or max(map(len, events)) > bounds.nodes:  # the long way counts what is in such an event
        return None
    done = events[-1] == _DONE
    if done:
        events.pop()
    try:
        chunks = list(map(_decode, events))
        usage = _usage(chunks)
    except (msgspec.DecodeError, orjson.JSONDecodeError, RecursionError):
        return None
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    ends = [choice.finish_reason for choice in choices if choice.finish_reason is not None]
    if not (done or ends):  # it breaks off
        return None
    said, pieces = _said([choice.delta for choice in choices])
    one: dict[str, Any] = {
        "index": 0,
        "finish_reason": ends[-1] if ends else None,
        "logprobs": {"content": []},
        "message": said,
    }
    return {**usage, "choices": [one] if choices else []}, pieces


def _events(body: bytes, most: int) -> list[bytes] | None:
    """The data of each event, if all of them have the usual form and nothing else stands between them."""
    if not body.startswith(_START) or b"\r" in body:
        return None
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
    lines = body.rstrip(b"\n")
    events = lines[len(_START) :].split(_BETWEEN)
    if lines.count(b"\n") != 2 * (len(events) - 1) or (len(body) > most * len(_NAME) and body.count(_NAME) > most):
        return None
    return events if len(body) - len(lines) <= most else None


def _usage(chunks: Sequence[_Chunk]) -> dict[str, Any]:
    """The last usage that was said, as a member of the document, if any was."""
    for chunk in reversed(chunks):
        if chunk.usage != _UNSAID and type(usage := orjson.loads(bytes(chunk.usage))) is dict:
            return {"usage": usage}
    return {}


def _said(deltas: Sequence[_Delta]) -> tuple[dict[str, str], int]:
    """The texts of one choice, put together, and how many events carried a piece of one."""
    contents = [delta.content for delta in deltas if delta.content]
    thoughts = [thought for delta in deltas if (thought := delta.reasoning_content or delta.reasoning)]
    found = {"content": "".join(contents)} if contents else {}
    if not thoughts:
        return found, len(contents)
    pieces = sum(bool(delta.content or delta.reasoning_content or delta.reasoning) for delta in deltas)
    return {**found, "reasoning": "".join(thoughts)}, pieces
