"""A streamed answer whose events are JSON: server-sent events, or a document per line (NDJSON).

    data: {"text_output": "Hel"}          Triton's /generate_stream, TGI, mosec, LitServe, Ray Serve, your own
    {"response": "Hel", "done": false}    Ollama's own API, Ray Serve, your own

The value is looked for in every event. Events without it (a beginning, a heartbeat, usage at the end) are passed over;
one that says `error` in its place, or is named `error`, ends the stream. The end is that of the HTTP message: a stream
that breaks off has failed before it comes here, and no mark such as `[DONE]` is needed.

- Texts are pieces of one text, and joined: how a text was cut does not matter.
- Any other value is a row, in the order of the events, as in JSON lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import too_many
from proxy.predictions.message import Message, media_type
from proxy.predictions.shapes import Tensor, tensor
from proxy.predictions.sse import is_stream, named_events
from proxy.predictions.unreadable import Unreadable

LINES = frozenset(
    f"application/{name}" for name in ("jsonlines", "x-jsonlines", "x-ndjson", "ndjson", "jsonl", "stream+json")
)
"""Media types of a document per line."""

DONE = b"[DONE]"
_TEXTS, _SINGLE = (Kind.TEXT, Kind.JSON, Kind.AUTO), (Kind.LABEL, Kind.SCORE, Kind.NUMBER, Kind.AUTO)

Find = Callable[[Any], Any]
"""The wanted value in a document; raises `Unreadable` with `missing_output` where there is none."""


def pieces_of(answer: Message) -> list[bytes] | None:
    """The data of each event, `None` when the answer is no stream; raises `Unreadable` for an event named `error`.

    >>> pieces_of(Message(b"", b'data: {"a": 1}\\n\\ndata: [DONE]\\n\\n')), pieces_of(Message(b"", b'{"a": 1}'))
    ([b'{"a": 1}'], None)
    """
    kind = media_type(answer.head)
    if is_stream(kind, answer.body):
        found = []
        answer.check_json()
        for name, data in named_events(answer.body, answer.bounds.parts):
            if name == b"error":
                raise _failed(data.decode("utf-8", "replace"))
            if data.strip() != DONE:
                found.append(data)
        return found
    return lines_of(answer) if kind in LINES else None


def lines_of(answer: Message) -> list[bytes]:
    """The lines of a body that are not blank, each to be read as JSON; raises `Unreadable` when there are too many.

    >>> lines_of(Message(b"", b"1\\r\\n\\n2"))
    [b'1', b'2']
    """
    found, most = answer.body.count(b"\n"), answer.bounds.parts
    if found > most:
        raise too_many(found, most, "lines")
    answer.check_json()
    return [line for line in map(bytes.strip, answer.body.split(b"\n")) if line]


def unnamed_lines(answer: Message) -> list[Any] | None:
    """The documents of a body that says nothing of lines and is a document in each of several; `None` when it is not.

    >>> unnamed_lines(Message(b"", b'{"a": 1}\\n{"a": 2}\\n')), unnamed_lines(Message(b"", b'{"a":\\n 1'))
    ([{'a': 1}, {'a': 2}], None)
    """
    lines = lines_of(answer)
    if len(lines) < 2:
        return None
    try:
        return [answer.parse(line) for line in lines]
    except Unreadable:
        return None


def values_of_stream(spec: PredictionSpec, answer: Message, pieces: list[bytes]) -> Tensor:
    """The values of a stream whose events are the values themselves, text as it is or JSON; raises `Unreadable`.

    >>> values_of_stream(PredictionSpec(), Message(b"", b""), [b"Hel", b"lo"]).data
    ['Hello']
    """
    try:
        documents = [answer.parse(piece) for piece in pieces]
    except Unreadable:
        documents = None
    if documents is not None:
        for document in documents:
            _check(document)
        if spec.kind is not Kind.TEXT or all(type(document) is str for document in documents):
            return joined_events(spec, documents)
    try:
        return joined_events(spec, [piece.decode() for piece in pieces])
    except UnicodeDecodeError:
        raise Unreadable(Reason.BAD_ENCODING, "an event is not UTF-8") from None


def found_in(spec: PredictionSpec, documents: list[Any], find: Find, first: str = "") -> Tensor:
    """The values that `find` finds in the events of a stream, in objects below the member `first`; raises `Unreadable`.

    >>> found_in(PredictionSpec(), [{"a": "Hel"}, {"a": "lo"}], lambda document: document["a"]).data
    ['Hello']
    """
    values, missing = [], None
    for document in documents:
        if missing is not None and first and type(document) is dict and first not in document:
            _check(document)  # words for what is missing are needed once, and take longer than all the rest
            continue
        try:
            values.append(find(document))
        except Unreadable as why:
            if why.reason is not Reason.MISSING_OUTPUT:
                raise
            _check(document)
            missing = missing or why
    if documents and not values and missing is not None:
        raise Unreadable(missing.reason, f"none of {len(documents)} events has it: {missing.detail}")
    return joined_events(spec, values)


def joined_events(spec: PredictionSpec, values: list[Any]) -> Tensor:
    """One text of texts, else a row per value; raises `Unreadable`.

    >>> joined_events(PredictionSpec(), ["Hel", "lo"]).data, joined_events(PredictionSpec(), [0.5, 0.25]).data
    (['Hello'], [0.5, 0.25])
    """
    if not values:
        raise Unreadable(Reason.EMPTY, "the stream holds no event")
    said = [value for value in values if value is not None] or values[:1]
    if spec.kind in _TEXTS:
        if all(type(value) is str for value in said):
            return Tensor(["".join(said)], (), Kind.TEXT, pieces=sum(map(bool, said)))
        if _are_batches(said):
            return Tensor(["".join(pieces) for pieces in zip(*said, strict=True)], (len(said[0]),), Kind.TEXT)
    if len(said) == 1:
        return tensor(said[0])
    if spec.kind in _SINGLE and all(type(value) is list for value in said):
        said = [row for value in said for row in value]
    return tensor(said)


def _are_batches(values: list[Any]) -> bool:
    """Whether every value is a list of as many texts, one for each answer of a batch."""
    lengths = {
        len(value) if type(value) is list and all(type(text) is str for text in value) else 0 for value in values
    }
    return len(lengths) == 1 and 0 not in lengths


def _check(document: Any) -> None:
    if type(document) is dict and document.get("error"):
        raise _failed(str(document["error"]))


def _failed(said: str) -> Unreadable:
    return Unreadable(Reason.TRUNCATED, f"the stream ended with an error: {said[:120]}")
