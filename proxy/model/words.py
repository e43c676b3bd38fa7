"""The words that everything here is told in, as closed sets."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

BUCKETS: Final = 10_000
"""Buckets of a route's traffic; a weight of 5 % is 500 of them."""


class Arm(StrEnum):
    """Who answers: the model in production or the model on trial."""

    LIVE = "live"
    CANDIDATE = "candidate"


class LegKind(StrEnum):
    """One exchange with an upstream."""

    SERVED = "served"
    COPY = "copy"
    HEDGE = "hedge"


class State(StrEnum):
    """Where a rollout is."""

    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    COMPLETED = "completed"


class Verdict(StrEnum):
    """What the evidence says now."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Kind(StrEnum):
    """What sort of thing a model predicts."""

    AUTO = "auto"
    LABEL = "label"
    SCORE = "score"
    NUMBER = "number"
    PROBABILITIES = "probabilities"
    VECTOR = "vector"
    RANKING = "ranking"
    TEXT = "text"
    CALLS = "calls"
    JSON = "json"


EMBEDDER: Final = "similarity:"
"""How the name begins of what a prediction is judged by, where that is the similarity of embeddings."""
VALID: Final = "valid"
"""The row of kind `json` of a text that is valid; any other row says what is wrong with it."""


class Mismatch(StrEnum):
    """In what two answers differ before either is read; `predictions.mismatch` says what each word means."""

    NONE = ""
    REFUSAL = "refusal"
    STATUS_CLASS = "status_class"
    EMPTY = "empty"
    MEDIA_TYPE = "media_type"
