"""What the API shows of judges and of similarities by embeddings. `controller.judging` makes it."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import TypedDict

from proxy.json_types import SchemaWords, Whole, counts_of


class FirstRateJson(TypedDict):
    """How often the answer that stood first won, of the verdicts that are no tie, with a 95 % interval."""

    rate: float | None
    low: float | None
    high: float | None
    verdicts: Whole


class JudgeCostJson(TypedDict):
    """What a judge has spent in the present period of `max_cost`, and since this controller began."""

    currency: str
    spent: float | None
    limit: str | None
    total: float | None
    counted: Whole
    """Answers that did not say how many tokens they took."""


AnchorState = Literal["learning", "unchanged", "in_doubt", "changed", "unfit"]


class AnchorsJson(TypedDict):
    """Whether a judge is still what it was, by questions with known verdicts."""

    state: AnchorState
    evidence: float | None
    rounds: Whole
    base_rounds: Whole
    held: Whole
    answers: Whole
    constant: Whole
    agreed: Whole
    first: Whole
    longer: Whole


class JudgedJson(TypedDict):
    """One judged prediction, with its judge."""

    aspect: str
    judge: str
    model: str
    share: float
    """Of the pairs."""
    verdicts: Annotated[dict[str, int], counts_of("win", "tie", "loss")]
    """Since the start."""
    failed: Whole
    same: Whole
    repeats: Whole
    not_judged: dict[str, Whole]
    """Drawn pairs, by reason."""
    earlier: Whole
    """Pairs of the present trial that were drawn before this controller began."""
    last_not_judged: str | None
    waiting: Whole
    down: bool
    """Its last five questions had no verdict."""
    first: FirstRateJson
    """Verdicts, ties aside, for the answer that stood first."""
    cost: JudgeCostJson
    cache_hits: Whole
    anchors: AnchorsJson | None


class SimilarityJson(TypedDict):
    """One prediction whose similarity is that of embeddings, with what makes them."""

    aspect: str
    model: str
    compared: Whole
    mean: float | None
    """Over the compared pairs."""
    not_judged: dict[str, Whole]
    """Drawn pairs, by reason."""
    waiting: Whole
    earlier: Whole
    """Pairs of the present trial that were drawn before this controller began."""
    judge: str
    down: bool
    """Its last five questions had no answer."""
    cost: JudgeCostJson
    cache_hits: Whole


class JudgedPairJson(TypedDict):
    """What was said of a kept pair."""

    verdict: Annotated[str | None, SchemaWords(enum=["win", "tie", "loss", None])]
    """On the candidate's answer."""
    reason: str
    order: Literal["live first", "candidate first"] | None
    not_judged: str | None


class SeenVerdictJson(JudgedPairJson):
    """What a judge said of a kept pair, as one of its predictions."""

    aspect: str
    judge: str
