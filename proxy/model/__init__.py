"""The nouns of Understudy, as frozen values.

Everything that crosses a room is one of these. They hold data and no behaviour beyond names and small derived
properties; the verbs live in `routing` (which arm serves), `predictions` (bytes to `Reading`), `evidence` (readings to
findings) and `rollout` (state, event, plan to state and effects).

Units, everywhere: seconds (float), bytes (int), ratios in 0..1 (float) unless a name says percent; a weight or a share
on the wire and in routing is in *basis points* (0 to 10,000), so that it is an exact bucket count.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from math import nan
from typing import Any, Final, NamedTuple

from proxy.model.price import Price
from proxy.model.reasons import Reason

BUCKETS: Final = 10_000
"""Buckets of a route's traffic; a weight of 5 % is 500 of them."""


class Arm(StrEnum):
    """Who answers: the model in production or the model on trial."""

    LIVE = "live"
    CANDIDATE = "candidate"


class Leg(StrEnum):
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


# --- what was asked and answered -------------------------------------------------------------------------------------

make = tuple.__new__
"""`make(Outcome, (200, …))` is `Outcome(200, …)` with every field given, without the Python function that a named tuple
puts before it. For the way of a pair, where half a dozen are made of each."""


class Outcome(NamedTuple):
    """One arm's answer to one request. A named tuple, as `Pair` and `Reading` are: thousands a second are made, and a
    frozen dataclass takes four times as long.

    `status` is the HTTP status, 0 when no answer head came. `reason` is `NONE` for an answer that came whole, whatever
    its status, else the word for what broke. `head` is the answer's head as received (status line to the blank line),
    `body` its body *without* transfer framing (chunks joined) and with its content coding as sent. `seconds` runs from
    the last request byte written to the last answer byte read, `first` to the first (of a stream: of its first event);
    both are `nan` when there is none.
    """

    status: int
    reason: Reason = Reason.NONE
    head: bytes = b""
    body: bytes = b""
    seconds: float = float("nan")
    first: float = float("nan")


class Pair(NamedTuple):
    """Both outcomes for one request, as a worker hands it to the controller.

    `trial` names the trial (`Plan.trial`), `stage` is the stage's entry number when the request was sampled (it only
    grows within a trial), `worker` the worker's incarnation, `sequence` the position of the request among the sampled
    requests of that trial and worker, counted from 0 in request order. `time` is the request's arrival, epoch seconds.
    `latency_slot` says that this request may give latency evidence, which was settled before any answer existed.
    `again` is live's second answer when the request was chosen for
    the noise floor. `id` is our own and names no other pair. `request_id` is the one that the caller gave, which it may
    have given before; empty when it gave none, and then `id` is what it was told.
    """

    trial: str
    stage: int
    worker: str
    sequence: int
    id: str
    time: float
    served: Arm
    request_head: bytes
    request_body: bytes
    live: Outcome
    candidate: Outcome
    again: Outcome | None = None
    hedged: bool = False
    fell_back: bool = False
    latency_slot: bool = True
    request_id: str = ""

    @property
    def known_as(self) -> str:
        """The id by which the caller knows its request: the one it gave, else ours."""
        return self.request_id or self.id


class Prediction(NamedTuple):
    """What was decoded from one answer: one value per row, of one kind.

    `rows` holds, by kind: label `str | int | bool`; score and number `float`; probabilities and vector
    `tuple[float, ...]`; ranking `tuple[str | int, ...]`; text `str`; calls `tuple[str, ...]`, one text per call
    (`predictions.calls`); json `str`, `VALID` or what is wrong (`predictions.json_validity`). Never empty, never
    non-finite. `names` are those of the values in a row, where the protocol names them (classes, columns).
    """

    kind: Kind
    rows: tuple[Any, ...]
    names: tuple[str, ...] = ()


class Reading(NamedTuple):
    """A pair as the evidence sees it: small, without bodies.

    `fault` is the candidate's failure (a reason word) or `NONE`; `live_fault` live's. `live` and `candidate` are
    present exactly when the route has a prediction to read and that arm's answer could be read; a candidate's that
    cannot be read is no fault when live's cannot either. `request_hash` (64 bits) is the
    same for equal request bodies; `detail` explains a fault, a mismatch or different calls in words for a person. `id`
    is the one that the caller knows, and may repeat. `mismatch` is in what the two answers differ as answers, whatever
    is read in them, and `None` when there are not two to compare.
    """

    stage: int
    worker: str
    sequence: int
    id: str
    time: float
    served: Arm
    live_fault: Reason
    fault: Reason
    live: Prediction | None
    candidate: Prediction | None
    again: Prediction | None
    live_seconds: float
    seconds: float
    live_first: float
    first: float
    latency_slot: bool
    hedged: bool
    fell_back: bool
    request_hash: int
    segment: str = ""
    cluster: str = ""
    detail: str = ""
    live_tokens: int = 0  # tokens of a streamed answer, 0 where the protocol does not count them
    tokens: int = 0
    mismatch: Mismatch | None = None
    pieces: bool = False  # `tokens` are events of the streams: not both of them say how many tokens they have
    aspects: tuple[Reading, ...] = ()  # of a plan with several predictions: what each of them read, in their order
    live_cost: float = nan  # what each arm's answer cost; nan where its upstream has no price
    cost: float = nan
    counted: bool = False  # the tokens that were paid for are estimates: not both engines say them
    copies_cost: float = 0.0  # of that, what copies cost


# --- what the owner asked for ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PredictionSpec:
    """How to read an answer. `output` names a V2 output, `pointer` (RFC 6901) or `jmespath` a place in JSON.

    `label_delay` is how long after a request its truth may come (seconds): labels count when it has passed. `schema` is
    the JSON Schema of kind `json`, as text. `name` is the aspect's among several predictions, empty for the only one. A
    score above `threshold` is a positive one; `None` is the middle of its range. `event` is the label that
    `max_rate_increase` counts. `judge` names who judges pairs of answers ("" for nobody), `judge_asks` is a hash of
    what that is asked and how (model, rubric): another one would be another measure, so it is another trial.
    `judge_share` is the share of the pairs that it is drawn for, 0 to 1.
    """

    protocol: str = "auto"
    kind: Kind = Kind.AUTO
    output: str = ""
    pointer: str = ""
    ignore: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    jmespath: str = ""
    label_delay: float = 3600.0
    schema: str = ""
    name: str = ""
    threshold: float | None = None
    event: str | int | bool = True
    judge: str = ""
    judge_asks: str = ""
    judge_share: float = 1.0

    @property
    def embedded(self) -> bool:
        """Whether the similarity of its answers is that of embeddings, which come later than the pair."""
        return self.judge.startswith(EMBEDDER)

    @property
    def middle(self) -> float:
        """The score above which one is positive.

        >>> PredictionSpec().middle, PredictionSpec(threshold=0.8).middle
        (0.5, 0.8)
        """
        return 0.5 * (self.low + self.high) if self.threshold is None else self.threshold

    @property
    def words(self) -> tuple[str, ...]:
        """What decides how answers are read and binned, as words."""
        words = (self.protocol, self.kind, self.output, self.pointer, f"{self.low:g}..{self.high:g}")
        side = "" if self.threshold is None else f"threshold {self.threshold:g}"
        counted = "" if self.event is True else f"event {self.event!r}"
        found = f"jmespath {self.jmespath}" if self.jmespath else ""
        fits = f"schema {hashlib.blake2b(self.schema.encode(), digest_size=8).hexdigest()}" if self.schema else ""
        judged = f"judge {self.judge} {self.judge_asks}".rstrip() if self.judge else ""
        return (*words, *self.ignore, *filter(None, (found, side, counted, fits, judged)))


@dataclass(frozen=True, slots=True)
class Guard:
    """One limit. Ratios in 0..1; `relative` latency limits are multiples of live, absolute ones seconds.

    `tolerance` is only for `max_big_change` (its `limit` is then the rate): in the prediction's own unit, in live's
    interquartile ranges where the guard is `relative`. `aspect` names the prediction that it judges, where a plan has
    several.
    """

    name: str
    limit: float
    relative: bool = False
    tolerance: float = 0.0
    aspect: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """What tells it from the plan's other guards.

        >>> Guard("max_ks", 0.1).key, Guard("max_disagreement", 0.02, aspect="tools").key
        ('max_ks', 'tools.max_disagreement')
        """
        return guard_key(self.name, self.aspect)


def guard_key(name: str, aspect: str) -> str:
    """The key of a guard: its name, after that of its aspect where there is one."""
    return f"{aspect}.{name}" if aspect else name


@dataclass(frozen=True, slots=True)
class Stage:
    """One rung. `percent` is the share of requests copied in shadow, the candidate's weight in canary."""

    kind: State
    percent: float
    mirror: float = 100.0
    min_pairs: int = 1000
    min_time: float = 0.0
    max_time: float | None = None
    on_timeout: str = "hold"

    @property
    def name(self) -> str:
        """`shadow` or `canary-5`.

        >>> Stage(State.CANARY, 5.0).name
        'canary-5'
        """
        return "shadow" if self.kind is State.SHADOW else f"canary-{self.percent:g}"

    @property
    def weight(self) -> int:
        """The candidate's share of answered requests, basis points."""
        return 0 if self.kind is State.SHADOW else round(self.percent * 100)

    @property
    def share(self) -> int:
        """The share of live-served requests that are sampled for a pair, basis points."""
        return round((self.percent if self.kind is State.SHADOW else self.mirror) * 100)


@dataclass(frozen=True, slots=True)
class Segments:
    """How to split traffic for findings of their own: by request header or by a field of the request's JSON."""

    header: str = ""
    request_field: str = ""
    top: int = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """One rollout as its owner wrote it, every default filled in."""

    name: str
    route: str
    live: str
    candidate: str
    version: str
    stages: tuple[Stage, ...]
    guards: tuple[Guard, ...]
    prediction: PredictionSpec = field(default_factory=PredictionSpec)
    segments: Segments | None = None
    on_pass: str = "advance"
    false_rollback_rate: float = 0.01
    false_promotion_rate: float = 0.05
    consecutive_failures: int = 20
    warmup: int = 50
    latency_block: float = 0.1
    noise_floor: float = 0.0
    cluster_by: str = ""
    signed_off_at: float | None = None
    lead_time_slo: float | None = None
    asked: str = ""
    """A hash of the candidate's `set_json`; empty when nothing is set."""
    ready_within: float | None = None
    """Seconds that a candidate whose health check fails is waited for; `None` when nobody checks its health."""

    max_body: int = 1 << 20
    """`mirror.max_body` in bytes: how long an answer may be, and how much work it may be to read."""

    again: int = 0
    """How often this trial was begun anew by hand (`restart`)."""

    predictions: tuple[PredictionSpec, ...] = ()
    """Several named aspects of one answer; `prediction` then reads nothing."""

    live_price: Price | None = None
    candidate_price: Price | None = None
    """What an answer of each arm costs; `None` where nobody says it."""

    currency: str = "$"
    """Sign of the currency that prices are in."""

    @property
    def aspects(self) -> tuple[PredictionSpec, ...]:
        """Every prediction that is compared, at least one."""
        return self.predictions or (self.prediction,)

    def prediction_of(self, guard: Guard) -> PredictionSpec:
        """The prediction that a guard judges; the first where it judges none."""
        return next((spec for spec in self.aspects if spec.name == guard.aspect), self.aspects[0])

    @property
    def trial(self) -> str:
        """Name of the trial: what is tried, and which try it is."""
        return trial_name(self.tried, self.again)

    @property
    def tried(self) -> str:
        """What is tried: a new live model, version or way of reading answers is something new.

        So is a candidate that is asked for something else (`/model` may name another model), another range of scores,
        or a noise floor where there was none: the evidence's bins depend on them.
        """
        read, noise = self.prediction, "+noise" if self.noise_floor > 0 else ""
        bins = f"{read.low:g}..{read.high:g}{noise}"
        words = (self.name, self.live, self.version, read.protocol, read.kind, read.output, read.pointer, bins)
        asked = [f"asked {self.asked}"] * bool(self.asked)
        if self.predictions:
            every = repr([(spec.name, *spec.words) for spec in self.predictions]) + noise
            digest = hashlib.blake2b(every.encode(), digest_size=8).hexdigest()
            return "|".join((*words[:3], f"predictions {digest}", *asked))
        found = [f"jmespath {read.jmespath}"] * bool(read.jmespath)
        counted = read.words[len(read.ignore) + 5 + len(found) :]  # the threshold, the event and the schema
        return "|".join((*words, *read.ignore, *asked, *found, *counted))


def trial_name(tried: str, again: int) -> str:
    """The name of a trial, from what is tried and how often that was begun anew.

    >>> trial_name("r/c|live|1", 0), trial_name("r/c|live|1", 2)
    ('r/c|live|1', 'r/c|live|1|again 2')
    """
    return f"{tried}|again {again}" if again else tried


# --- what was found --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """A guard's verdict with what a person needs to judge it.

    `evidence` is the share of what is needed to fail (0..1, 1 is decided); `low` and `high` a 95 % interval valid at
    any time; `eta_seconds` the forecast until a pass, `None` when there is none. `burst_size` is how many differences
    come together, at least 1: evidence to fail counts the `burst_size`-th part. `value` is over pairs whose body had
    not been seen a moment ago, `value_with_repeats` over all (`None` for a segment).
    """

    guard: str
    segment: str | None
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    limit: float
    evidence: float
    pairs: int
    eta_seconds: float | None
    reason: str
    burst_size: float = 1.0
    value_with_repeats: float | None = None
    pairs_with_repeats: int = 0
    aspect: str = ""

    @property
    def key(self) -> str:
        """The key of its guard."""
        return guard_key(self.guard, self.aspect)


@dataclass(frozen=True, slots=True)
class Assessment:
    """All findings at one look, the pooled verdict, and the guards named as its cause."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    causes: tuple[str, ...] = ()
    budget_used: float = 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """What happened to every request that should have become a pair; the parts are exclusive and sum to `sampled`.

    `late` came after its rollout had ended: it is no evidence.
    """

    sampled: int = 0
    compared: int = 0
    shed: int = 0
    too_large: int = 0
    too_long: int = 0
    not_ready: int = 0
    client_gone: int = 0
    live_failed: int = 0
    unparseable: int = 0
    link_full: int = 0
    late: int = 0

    @property
    def pending(self) -> int:
        """Sampled requests whose pair is still under way.

        >>> Ledger(sampled=5, compared=3, shed=1).pending
        1
        """
        lost = self.shed + self.too_large + self.too_long + self.not_ready + self.client_gone + self.link_full
        return self.sampled - self.compared - self.live_failed - self.unparseable - lost - self.late


# --- what workers are told -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lane:
    """One rollout's line in a routing table: all that a worker needs to know of a decision.

    `weight` and `share` in basis points; `stage` the stage's entry number (see `Pair.stage`). `affords` is the part of
    `share`, and of what the candidate serves, that the token budget affords, basis points. `why` is not for the worker:
    it says of a decrease of weight what a controller that dies before it is saved cannot tell the next one. `again` is
    `Plan.again`, which no file says.
    """

    rollout: str
    trial: str
    state: State
    weight: int
    share: int
    stage: int
    affords: int = BUCKETS
    why: str = ""
    again: int = 0

    @property
    def tried(self) -> str:
        """What is tried, as the file says it (`Plan.tried`)."""
        return self.trial.removesuffix(f"|again {self.again}") if self.again else self.trial


@dataclass(frozen=True, slots=True)
class Table:
    """A numbered routing table. A worker acknowledges the number after it has taken effect.

    `secret` (hex) keys the salts by which requests are put on arms and into samples. It is the store's, so the split is
    the same in every worker and after every restart. `term` is that of the leader who made it; 0 where one controller
    has a store of its own.
    """

    number: int
    lanes: tuple[Lane, ...] = ()
    secret: str = ""
    term: int = 0

    def is_older_than(self, held: Table) -> bool:
        """Whether a worker that holds `held` must not take this one: it is of a leader that was followed by another, or
        of the same one from before. Without terms what comes last holds.

        >>> Table(9, term=1).is_older_than(Table(3, term=2)), Table(3, term=2).is_older_than(Table(9, term=1))
        (True, False)
        >>> Table(2, term=1).is_older_than(Table(3, term=1)), Table(2).is_older_than(Table(3))
        (True, False)
        """
        return self.term < held.term or (self.term == held.term > 0 and self.number < held.number)
