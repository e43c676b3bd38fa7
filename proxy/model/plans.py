"""A rollout as its owner wrote it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from proxy.model.lineage import Lineage
from proxy.model.price import Price
from proxy.model.words import EMBEDDER, Kind, State


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
    several. `outcome` and `within` are for `max_outcome_drop`: what is posted, and for how long after a user's first
    request it counts (seconds); its `tolerance` is the most that one user counts for, 0 where that is learned;
    `in_points` says that values are 0 or 1, and the limit a share of users.
    """

    name: str
    limit: float
    relative: bool = False
    tolerance: float = 0.0
    aspect: str = field(default="", repr=False)
    outcome: str = field(default="", repr=False)
    within: float = field(default=0.0, repr=False)
    in_points: bool = field(default=False, repr=False)

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
    on_srm: str = "report"
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

    lineage: Lineage | None = None
    """Where the version comes from; `None` where the file named it."""

    @property
    def aspects(self) -> tuple[PredictionSpec, ...]:
        """Every prediction that is compared, at least one."""
        return self.predictions or (self.prediction,)

    def prediction_of(self, guard: Guard) -> PredictionSpec:
        """The prediction that a guard judges; the first where it judges none."""
        return next((spec for spec in self.aspects if spec.name == guard.aspect), self.aspects[0])

    @property
    def reads_requests(self) -> bool:
        """Whether anything of a request's body is looked at but for its hash: a field of it, what is asked in it, by a
        judge, or which form of an answer it asks for (`predictions.classification`)."""
        if self.segments is not None and self.segments.request_field and not self.segments.header:
            return True
        return any(spec.ignore or spec.judge or spec.protocol in ("auto", "v2") for spec in self.aspects)

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
