"""A request to a language model as a judge reads it: who said what, as text.

OpenAI chat completions, completions and responses, and Anthropic messages, are written out turn by turn; any other JSON
or text is shown as it is. Images, sounds and files are named, not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

_TEXT_KEYS = ("text", "content", "output", "input_text")


def conversation(body: bytes) -> str:
    """The text of a request's body; empty where it holds none. Never raises.

    >>> print(conversation(b'{"model": "m", "messages": [{"role": "user", "content": "2 + 2?"}]}'))
    user: 2 + 2?
    >>> print(conversation(b'{"system": "Be brief.", "messages": [{"role": "user", "content": [{"type": "text", '
    ...                    b'"text": "Look:"}, {"type": "image", "source": {}}]}]}'))
    system: Be brief.
    user: Look:
    [image]
    >>> conversation(b'{"prompt": "Once"}'), conversation(b"plain")
    ('Once', 'plain')
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace").strip()
    if not isinstance(asked, dict):
        return body.decode("utf-8", "replace").strip()
    turns = "\n".join(_turns(asked)).strip()
    return turns or body.decode("utf-8", "replace").strip()


def _turns(asked: dict[str, Any]) -> Iterator[str]:
    for key in ("system", "instructions"):
        if text := _said(asked.get(key)):
            yield f"system: {text}"
    prompt = asked.get("prompt")
    if isinstance(prompt, str):
        yield prompt
    for key in ("messages", "input"):
        said = asked.get(key)
        if isinstance(said, str):
            yield f"user: {said}"
        for turn in said if isinstance(said, list) else ():
            if isinstance(turn, dict) and (text := _turn(turn)):
                yield f"{turn.get('role') or turn.get('type') or 'user'}: {text}"


def _turn(turn: dict[str, Any]) -> str:
    """What one turn says, and which tools it calls."""
    calls = turn.get("tool_calls")
    called = [_call(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    said = turn.get("content", turn.get("output"))
    if said is None and turn.get("type") == "function_call":
        called.append(_call({"function": turn}))
    return "\n".join(filter(None, (_said(said), *called)))


def _call(call: dict[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return "[tool call]"
    return f"[calls {function.get('name', '')}({function.get('arguments', '')})]"


def _said(content: Any) -> str:
    """A content: a text, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(filter(None, (_part(part) for part in content)))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    if part.get("type") == "tool_use":
        return f"[calls {part.get('name', '')}({orjson.dumps(part.get('input')).decode()})]"
    for key in _TEXT_KEYS:
        inner = part.get(key)
        if isinstance(inner, str):
            return inner
        if isinstance(inner, list):
            return _said(inner)
    return f"[{part.get('type', 'part')}]"
