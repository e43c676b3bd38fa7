"""What an upstream is asked instead, over gRPC: `set_json` applied to the texts of a message that name a model.

They are the first fields of every message of the Open Inference Protocol that names one, so a field is set without
reading the rest: it is written once more at the message's end, and of two the last one counts (protobuf.dev,
"Encoding": Last One Wins). Two versions of a model in one server are told apart so (`/model_version`).
"""

from __future__ import annotations

import orjson

from proxy.fields.set_json import Rules

_SERVICE = b"/inference.GRPCInferenceService/"
STREAM = _SERVICE + b"ModelStreamInfer"
"""Its caller may wait for an answer before it goes on, so that it is never here whole."""
_INFER = {"model_name": 1, "model_version": 2, "id": 3}
_NAMED = {"name": 1, "version": 2}
_OTHERS = ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")
CALLS = {
    STREAM: _INFER,
    _SERVICE + b"ModelInfer": _INFER,
    **{_SERVICE + name.encode(): {f"model_{field}": n for field, n in _NAMED.items()} for name in _OTHERS},
}
"""The calls whose messages name a model, and the number of each text that can be set; `model_name` is what others than
`ModelInfer` call `name`."""
FIELDS = tuple(_INFER)


def problem(pointer: str, value: object) -> str:
    """Why a field cannot be set, empty when it can.

    >>> problem("/model_version", "2"), problem("/inputs/0/name", "x")
    ('', 'is no text of a message that names a model')
    """
    if pointer.removeprefix("/") not in _INFER:
        return "is no text of a message that names a model"
    return "" if isinstance(value, str) else "must be a text"


def changed(path: bytes, body: bytes, asked: Rules) -> bytes | None:
    """The messages of a call (with their five bytes of prefix) with its fields set, or `None` when one is compressed or
    not here whole.

    >>> call = b"/inference.GRPCInferenceService/ModelInfer"
    >>> changed(call, b"\\0\\0\\0\\0\\3\\x12\\x011", ((("model_version",), b'"2"'),))
    b'\\x00\\x00\\x00\\x00\\x06\\x12\\x011\\x12\\x012'
    """
    numbers = CALLS.get(path, {})
    added = b"".join(_field(numbers[tokens[0]], value) for tokens, value in asked if tokens[0] in numbers)
    return _appended(body, added) if added else body


def _appended(body: bytes, added: bytes) -> bytes | None:
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        end = at + 5 + int.from_bytes(body[at + 1 : at + 5], "big")
        if body[at] or end > len(body) or end - at < 5 or len(body) < at + 5:
            return None
        parts += ((end - at - 5 + len(added)).to_bytes(5, "big"), body[at + 5 : end], added)
        at = end
    return b"".join(parts)


def _field(number: int, value: bytes) -> bytes:
    text = orjson.loads(value).encode()
    return b"".join((bytes((number << 3 | 2,)), _varint(len(text)), text))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
