"""What the API shows of kept pairs, and of what two language models said in one."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

from proxy.controller.admin.judge_view import SeenVerdictJson
from proxy.json_types import SchemaWords, Timestamp, Whole
from proxy.model import Arm, Mismatch


class SeenRequestJson(TypedDict):
    """What was asked."""

    method: str
    path: str
    body: str
    """At most its first 16 KiB."""
    size: Whole
    """Bytes of the whole body."""
    whole: bool
    """Whether all of the body is kept."""


class SeenAnswerJson(TypedDict):
    """What one arm answered."""

    status: Whole
    reason: str | None
    seconds: float | None
    body: str
    prediction: list[Any] | None


class SeenAspectJson(TypedDict):
    """What was read as one of several predictions."""

    name: str
    difference: float
    live: list[Any] | None
    candidate: list[Any] | None
    detail: str


class ReadPairJson(TypedDict):
    """A kept pair, redacted."""

    id: str
    """The pair's own; no other has it."""
    request_id: str
    """By which the caller knows the request; it may repeat its ids."""
    time: Timestamp
    served: Arm
    difference: float
    """0 to 1, 1 for a mismatch, 0.1 where of several predictions only texts differ; 2 when the candidate failed."""
    fault: str | None
    live_fault: str | None
    mismatch: Annotated[str | None, SchemaWords(enum=[word.value or None for word in Mismatch])]
    detail: str
    segment: str | None
    request: SeenRequestJson
    live: SeenAnswerJson
    candidate: SeenAnswerJson
    aspects: list[SeenAspectJson]
    """What was read as each of several predictions."""


class PairJson(ReadPairJson):
    """A kept pair, redacted, with what judges said of it."""

    judged: list[SeenVerdictJson]
    """What judges said of it, where it was drawn."""
    transcript: bool
    """Whether `…/pairs/{pair}/transcript` has what was said."""


class PairsJson(TypedDict):
    """Kept pairs in the order that was asked for."""

    order: str
    pairs: list[PairJson]


# --- what language models said ---------------------------------------------------------------------------------------


class SpokenJson(TypedDict):
    """One choice of an answer."""

    text: str
    text_length: Whole
    """Characters of the whole text, of which `text` has the first."""
    reasoning: str
    refusal: str
    refused: bool
    finish: str | None
    sources: list[str]


class SpokenArmJson(TypedDict):
    """What one arm said."""

    choices: list[SpokenJson]
    tokens: Whole | None
    first_seconds: float | None
    whole: bool
    trouble: str
    """Why it is not whole."""


class ArgumentJson(TypedDict):
    """One argument of a call, by its JSON pointer: what each arm gives for it, as JSON."""

    path: str
    live: str | None
    candidate: str | None
    differs: bool


class ComparedCallJson(TypedDict):
    """A call of a tool, by which arms."""

    name: str
    live: bool
    """Whether live makes this call."""
    candidate: bool
    fields: list[ArgumentJson]
    """Its arguments by JSON pointer, as JSON, those that differ first."""


class TranscriptJson(TypedDict):
    """What both arms said to one request."""

    id: str
    asked: str
    """The last thing that the user said."""
    live: SpokenArmJson
    candidate: SpokenArmJson
    calls: list[list[ComparedCallJson]]
    """Of each choice, calls that belong together."""
