"""What the API shows of a rollout: types of its JSON. `controller.report` makes it."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

from typing_extensions import TypeAliasType, TypedDict

from proxy.controller.admin.cost_view import (
    ForecastJson,
    IdleBudgetJson,
    MoneyBudgetJson,
    PairBudgetJson,
    TokenBudgetJson,
)
from proxy.controller.admin.judge_view import JudgedJson, SimilarityJson
from proxy.controller.admin.outcome_view import SampleRatioJson, UsersJson
from proxy.controller.admin.registry_view import LineageJson
from proxy.controller.store.interface import EntryJson
from proxy.evidence.input.costs import CostJson
from proxy.evidence.input.labels import LabelsJson
from proxy.evidence.outcomes import OutcomesJson
from proxy.json_types import AsDict, SchemaWords, Timestamp, Whole, counts_of
from proxy.model import Kind, Ledger, Mismatch, State, Verdict
from proxy.rollout.requirements import Need


class FindingJson(TypedDict):
    """What a guard has found."""

    guard: str
    aspect: str
    """The prediction that it judges, where there are several."""
    key: str
    """Guard and aspect: what `guards`, `units` and `causes` call it."""
    title: str
    """What the guard measures, in words."""
    segment: str | None
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    limit: float | None
    unit: Annotated[str, SchemaWords(enum=["percent", "points", "times", "seconds", "number"])]
    """Of value, low, high and limit; `points` are percentage points."""
    evidence: float
    """Share of what is needed to fail; 1 is decided."""
    pairs: Whole
    """Pairs that it is over; users where `of` says so."""
    of: Annotated[str, SchemaWords(enum=["pairs", "users"])]
    eta_seconds: float | None
    reason: str
    burst_size: Annotated[float, SchemaWords(minimum=1)]
    """Size of the bursts of differences; evidence to fail is divided by it."""
    value_with_repeats: float | None
    """`value` over all pairs, those with a body just seen included."""
    pairs_with_repeats: Whole


class StageJson(TypedDict):
    """The stage of a rollout, and what it waits for."""

    index: Whole
    name: str
    entered_at: Timestamp
    waiting_for: str
    forecast: ForecastJson | None
    """What its verdict still takes if what was seen goes on, and what copies and judges cost."""
    needs: list[Annotated[dict[str, Any], AsDict(Need)]]


_LEDGER = counts_of(*(one.name for one in fields(Ledger)), "pending")
LedgerJson = TypeAliasType("LedgerJson", Annotated[dict[str, int], _LEDGER])
"""What became of every sampled request."""


class PromotionAskedJson(TypedDict):
    """A promotion to 100 % that waits for a second person."""

    by: str
    until: Timestamp


class LeadTimeJson(TypedDict):
    """Sign-off to the first answer at weight 100."""

    seconds: float
    slo_seconds: float | None
    within_slo: bool | None


class RecordJson(TypedDict):
    """The file of pairs."""

    path: str
    written: Whole
    dropped: Whole
    error: str | None


class RolloutJson(TypedDict):
    """One rollout, whole."""

    name: str
    route: str
    owner: str | None
    """Who answers for the route."""
    live: str
    candidate: str
    version: str
    lineage: LineageJson | None
    """Where the version comes from, as a model registry says it; null where the file named it."""
    state: State
    since: Timestamp
    """When this state, or its stage, began; of an ended one when it ended."""
    paused: bool
    asked: PromotionAskedJson | None
    held: bool
    """The stage passed, and waits for a person."""
    stalled: bool
    """The stage's `max_time` ran out, and it waits for a person."""
    blocked_by: str | None
    stage: StageJson
    stages: list[str]
    weight: Annotated[float, SchemaWords(minimum=0, maximum=100)]
    """Percent."""
    verdict: Verdict
    kind: Kind
    """Of predictions; `auto` until live's first answers are known."""
    kinds: dict[str, Kind]
    """Of several predictions, by name; `kind` is that of the first."""
    guards: dict[str, str]
    """The limits, by guard, as the file says them."""
    findings: list[FindingJson]
    ledger: LedgerJson
    outcomes: OutcomesJson | None
    """By delayed labels, where `max_quality_drop` has no limit."""
    labels: LabelsJson | None
    """Requests whose `label_delay` has passed, with (`counted`) and without a later truth, those left out for memory,
    and truths that wait for that time; null before the first truth."""
    repeats: Whole
    candidate_failures: dict[str, Whole]
    unparseable: dict[str, Whole]
    """Pairs, by the reason word."""
    why_unparseable: str | None
    """The same in words, with the key to check."""
    response_mismatches: Annotated[dict[str, int], counts_of(optional=[word.value for word in Mismatch if word])]
    """Pairs whose responses differ in form, by difference."""
    began_at: Timestamp
    cause: str | None
    """The word for its last end."""
    reason: str | None
    """Why it ended so."""
    lead_time: LeadTimeJson | None
    """Once it is known: sign-off to the first answer at weight 100."""
    protocol: str | None
    """By which answers are read, once one could be."""
    users: UsersJson | None
    """Where a guard counts users: of each arm, what became of them."""
    sample_ratio: SampleRatioJson | None
    """Whether the candidate has its share of users, or of pairs where nobody counts users: pairs of users that come
    again are no independent draws."""
    token_pairs: Annotated[dict[str, int], counts_of("usage", "events")]
    """Pairs by what the tokens of `time_per_token` were counted by, since the controller's start."""
    token_budget: TokenBudgetJson | None
    """Tokens of copies; `share` of the stage's pairs it affords."""
    cost: CostJson | None
    """What each arm's answers cost, over `pairs` that both answered (tokens were estimated in `counted`), and what
    copies did; null where an arm has no `price`."""
    cost_budget: MoneyBudgetJson | None
    """Money that copies may cost (`mirror.max_cost`); `share` of the stage's pairs it affords."""
    idle_budget: IdleBudgetJson | None
    """While no guard needs more pairs: why, and the `share` made."""
    pair_budget: PairBudgetJson | None
    """Pairs a second; `share` of the stage's pairs it affords."""
    similarities: list[SimilarityJson]
    """Predictions that are compared by embeddings."""
    judges: list[JudgedJson]
    """Each judged prediction, with its judge."""
    record: RecordJson | None
    """The file of pairs, where one is written."""


class RolloutsJson(TypedDict):
    """Rollouts in the configuration's order, then the ended ones."""

    rollouts: list[RolloutJson]


class FindingsJson(TypedDict):
    """Verdict and findings of a rollout."""

    verdict: Verdict
    findings: list[FindingJson]


class TrialJson(TypedDict):
    """A trial as it was when another one took its place; since when it was in that state."""

    trial: str
    version: str
    live: str
    state: State
    began_at: Timestamp
    since: Timestamp
    stage: str
    cause: str | None
    reason: str | None
    verdict: str | None


class TrialsJson(TypedDict):
    """Earlier trials of a rollout, newest first."""

    trials: list[TrialJson]


class JournalJson(TypedDict):
    """A page of a journal, newest first; `next` is the `before` of the page after it."""

    journal: list[EntryJson]
    next: Whole | None


class GateJson(TypedDict):
    """What another program may do with a candidate."""

    verdict: Verdict
    reason: str
    name: str
    version: str
    state: State
    weight: float
    stage: str
    findings: list[FindingJson]
