"""The part of the tree that is about routes and their rollouts; `plan` turns a rollout into what the core works with.

An attribute is named as its key in the file. Durations are seconds, sizes bytes, shares of traffic percent (0 to 100),
rates and limits ratios (0 to 1).
"""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from proxy.config.drift import DriftConfig
from proxy.config.guards import DEFAULT_GUARDS, Guards
from proxy.config.headers import HeaderRules
from proxy.config.record import Record
from proxy.config.similarity import SimilarityConfig
from proxy.config.types import (
    After,
    Budget,
    Count,
    CountFromZero,
    Duration,
    FilePath,
    Flag,
    Header,
    HeaderValue,
    IdleRate,
    Method,
    Name,
    PairRate,
    Percent,
    PointerText,
    Proportion,
    RequestPath,
    Section,
    Size,
    one_of,
    or_text,
)
from proxy.model import Guard, Kind, PredictionSpec, Stage, State
from proxy.predictions.json_validity import schema_problem
from proxy.predictions.registry import AUTO, PROTOCOLS
from proxy.units import Unfit

if TYPE_CHECKING:
    ProtocolName = str
else:
    ProtocolName = Literal[(AUTO, *PROTOCOLS)]


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # `json` was a method of pydantic's models; nobody calls it here

    class Match(Section):
        """Which requests belong to a route; everything given must match."""

        path: RequestPath | None = None
        """The request's path, without its query; a trailing `*` matches any rest. Any path when absent."""
        methods: tuple[Method, ...] = ()
        """Request methods; any when empty."""
        headers: dict[Header, HeaderValue] = Field(default_factory=dict)
        """Headers with their exact values."""
        # Pydantic's deprecated method `json` gives way to the key of the file, here and in `Sticky`.
        json: dict[PointerText, bool | int | float | str] = Field(default_factory=dict)  # type: ignore[assignment]
        """Fields of the request's JSON with their exact values, by JSON pointer (`{/model: llama}`); gRPC: texts of a
        ModelInferRequest. The body is waited for, up to the largest `mirror.max_body` of the routes in question (1MiB
        where none has a rollout); a body that is longer, compressed or not JSON, as far as it must be read, does not
        match. Routes are tried in the order of the file, up to the first without `json`, [which gets the
        rest](placements.md#by-model)."""
        default: Flag = False
        """With `json`: this route also gets the requests that fit its path, methods and headers but no route's
        `json`."""

    class Sticky(Section):
        """What keeps one user, session or sequence on one arm: a header, a cookie or a field of the request's body."""

        model_config = ConfigDict(json_schema_extra=one_of("header", "cookie", "json"))

        header: Header | None = None
        """Name of a request header."""
        cookie: Header | None = None
        """Name of a cookie; case does not matter."""
        json: PointerText | None = None  # type: ignore[assignment]
        """A field of the request's JSON, a text or a number (`/parameters/sequence_id`); gRPC: of a ModelInferRequest.
        A request without it, compressed, or longer than `mirror.max_body` is drawn by itself."""

    class WithSchema(BaseModel):
        """What may name a JSON Schema."""

        schema: FilePath | None = None  # type: ignore[assignment] # pydantic's deprecated method
        """`kind: json`: file with the JSON Schema that answers must fit; any JSON is valid when absent."""
        _schema: str = PrivateAttr("")
        _problem: str = PrivateAttr("")

        def model_post_init(self, _context: Any, /) -> None:
            """Read the schema now: what is judged by is what was checked."""
            if self.schema is not None:
                try:
                    self._schema = File(self.schema).read_text("utf-8")
                    self._problem = schema_problem(self._schema)
                except (OSError, UnicodeError) as error:
                    self._problem = f"cannot be read: {getattr(error, 'strerror', '') or error}"

        @property
        def schema_problem(self) -> str:
            """What is wrong with the file of `schema`; empty if nothing is."""
            return self._problem


class DualWriteConfig(Section):
    """Every request of the route goes to a second upstream before it goes to live: for calls that set up state."""

    upstream: Name
    """Name of that upstream, most often a candidate's; its answer reaches nobody."""
    timeout: Duration = 1.0
    """How long its answer is waited for before live is asked."""
    headers: HeaderRules = HeaderRules()
    """What the head of the second request may carry."""


class ByHeader(Section):
    """A request header."""

    header: Header
    """Its name."""


class PredictionConfig(WithSchema, Section):
    """How to read an answer."""

    protocol: ProtocolName = AUTO
    """What the model servers speak; `auto` looks at the path and the body."""
    kind: Kind = Kind.AUTO
    """What the model predicts; `auto` looks at live's first answers."""
    output: str = ""
    """Name of the output (v2, TensorFlow, KServe) or column (tabular answers) to compare; the only one when absent. Of
    `openai` and `anthropic`: `text`, `tool_calls`, `refusal`, [and more](servers/openai.md); all that was said when
    absent."""
    pointer: PointerText = ""
    """`json`: JSON pointer (RFC 6901) to the value to compare, of a [stream](servers/json.md#streams) in each event."""
    jmespath: str = ""
    """`json`: JMESPath expression for it, where a pointer cannot say it."""
    ignore: tuple[PointerText, ...] = ()
    """Fields of the request that always differ (ids, timestamps) and do not make it a new one."""
    low: float = 0.0
    """Smallest possible score."""
    high: float = 1.0
    """Largest possible score."""
    label_delay: Duration = 3600.0
    """How long after its request a label may arrive (`POST /api/v1/outcomes`). [Labels
    count](guards.md#max_quality_drop) once this time has passed, in request order; later labels do not count."""
    threshold: float | None = None
    """A score above it is a positive one, for `max_disagreement` and `max_rate_increase`; the middle of its range when
    absent."""
    event: bool | int | str = True
    """The label that `max_rate_increase` counts."""
    similarity: SimilarityConfig | None = None
    """What `min_similarity` counts, for texts: the cosine of [embeddings](guards.md#min_similarity) in place of the
    share of words in common."""
    judge: Name | None = None
    """Name of the [judge](judges.md) that says which of the two answers is better, for `min_win_rate`."""

    @property
    def spec(self) -> PredictionSpec:
        """As the core knows it."""
        return PredictionSpec(
            self.protocol,
            self.kind,
            self.output,
            self.pointer,
            self.ignore,
            float(self.low),
            float(self.high),
            self.jmespath,
            self.label_delay,
            self._schema,
            threshold=self.threshold,
            event=self.event,
        )


class SegmentRule(Section):
    """How to split traffic for findings of their own."""

    model_config = ConfigDict(json_schema_extra=one_of("header", "request_field"))

    header: Header | None = None
    """By the value of a request header."""
    request_field: PointerText | None = None
    """By a field of the request's JSON."""
    top: Annotated[int, Field(strict=True, ge=1, le=100)] = 20
    """The first so many values are kept apart, the rest is `other`."""


class Mirror(Section):
    """Copies to the arm that did not serve, and what they may cost."""

    max_in_flight: Count = 64
    """Copies under way over all workers; one more is shed and counted."""
    max_body: Size = 1 << 20
    """Longest request or answer kept for a pair; beyond it there is no pair (`too_large`), and a longer answer of a
    candidate [may count as its failure](concepts.md#fallback). Also the longest answer after decompression; how
    many elements [an answer may have](servers/README.md#large-answers) depends on it too. Beyond that it is unreadable
    (`decompressed_too_large`, `too_many_elements`)."""
    max_memory: Size = 64 << 20
    """Memory of one worker for kept bodies and the queue to the controller; beyond it, first pairs are dropped and
    counted (`shed`); then a candidate's answer is streamed, so that live cannot replace it any more."""
    timeout: Duration | None = None
    """How long a copy's answer may be silent; the upstream's timeout when absent."""
    max_duration: Duration | None = None
    """How long a copy may take in all; beyond it there is no pair (`too_long`) and no failure. 10m when absent, or
    twice the timeout where that is longer."""
    headers: HeaderRules = HeaderRules()
    """What a copy's head may carry."""
    noise_floor: Proportion = 0.0
    """Share of pairs for which live is asked twice, to know how much it differs from itself."""
    max_tokens_per_minute: Count | None = None
    """Model tokens, in and out, that copies may cost; fewer requests become pairs where more would be spent."""
    max_cost: Budget | None = None
    """What copies may cost in a day or an hour, `20/day` or `1.50/hour`, by the `price` of both upstreams: only what
    they cost extra. Spread evenly; fewer requests become pairs where more would be spent, drawn by a hash of their
    id."""
    max_pairs_per_second: PairRate | None = None
    """How many pairs there may be on average, over all workers (and replicas); if there would be more, fewer requests
    become pairs, selected by a hash of their id. `auto`: as many as the controller can process without full links."""
    idle_pairs_per_second: IdleRate = 10
    """How many pairs there may be on average while no guard needs more, because all have passed and the stage waits for
    time or a person, or because the candidate is promoted. `all` disables this."""


class Fallback(Section):
    """Live answers instead when the candidate was to serve and fails or is slow; `fallback: off` for short."""

    model_config = ConfigDict(json_schema_extra=or_text)

    after: After = "auto"
    """How slow; `auto` is twice live's recent p99, at least 20ms; `off`: clients see its failures, copies remain."""
    hold: Duration = 0.1
    """After this time an incomplete answer of the candidate is sent on as a stream, whatever its type; an answer with a
    Content-Length only when more of it arrives after that time."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise Unfit("a mapping, or `off`", "" if value else "did you mean `fallback: off`?")
        return {"after": value} if isinstance(value, str) else value


class StageRule(Section):
    """One rung: `shadow` copies a share of requests, `canary` lets the candidate answer a share."""

    model_config = ConfigDict(json_schema_extra=one_of("shadow", "canary"))

    shadow: Percent | None = None
    """Share of requests copied."""
    canary: Percent | None = None
    """The candidate's weight."""
    mirror: Percent = 100.0
    """Canary: share of the requests answered by live that are copied too."""
    min_pairs: Count = 1000
    """Compared pairs of this stage before it can pass."""
    min_time: Duration = 0.0
    """Time in this stage before it can pass."""
    max_time: Duration | None = None
    """Time in this stage after which `on_timeout` applies; unbounded when absent."""
    on_timeout: Literal["hold", "abort"] = "hold"
    """What happens after `max_time`: wait for a person, or roll back."""

    @property
    def is_one(self) -> bool:
        """Whether it is either shadow or canary."""
        return (self.shadow is None) != (self.canary is None)

    @property
    def stage(self) -> Stage:
        """As the core knows it."""
        kind, percent = (State.CANARY, self.canary) if self.shadow is None else (State.SHADOW, self.shadow)
        return Stage(kind, percent or 0.0, self.mirror, self.min_pairs, self.min_time, self.max_time, self.on_timeout)


class RolloutConfig(Section):
    """One candidate on one route, and its stages."""

    candidate: Name
    """Name of the candidate's upstream."""
    mirror: Mirror = Mirror()
    """Copies and what they may cost."""
    fallback: Fallback = Fallback()
    """Live answers instead when the candidate fails or is slow."""
    record: Record | None = None
    """A file of pairs; none when absent."""
    stages: tuple[StageRule, ...] = ()
    """The stages, in order."""
    shadow: Percent | None = None
    """Short form: one shadow stage."""
    canary: Percent | None = None
    """Short form: one canary stage (after the shadow stage, if there is one)."""
    on_pass: Literal["advance", "hold"] = "advance"
    """When a stage passes: go on, or wait for a person."""
    on_srm: Literal["report", "hold"] = "report"
    """What a proven [sample ratio mismatch](outcomes.md#sample-ratio-mismatch) does: it is only reported, or also
    prevents the next stage while it lasts."""
    false_rollback_rate: Proportion = 0.01
    """Chance that a candidate within every limit is ever rolled back: whole trial, all guards, any number of looks."""
    false_promotion_rate: Proportion = 0.05
    """Chance that a stage is passed by a candidate beyond a limit."""
    consecutive_failures: Count = 20
    """This many failures of the candidate in a row, where live succeeded, roll it back at once."""
    guards: Guards | None = None
    """The limits; `p99_latency: 1.2x`, `max_extra_errors: 1%` and `max_response_mismatch: 1%` when absent."""
    warmup: CountFromZero = 50
    """The first pairs of each stage that give no latency evidence."""
    latency_block: Duration = 0.1
    """All pairs of a block of this length count as one observation, for latency and for the pass of every other guard,
    so stalls and clumps of differences that are shorter do no harm. A pass takes a number of blocks: 190 at a limit of
    2 %, 1,900 at 0.2 %. `0s` counts every pair by itself; a change from or to it applies from the next trial on."""
    cluster_by: ByHeader | None = None
    """A header whose value nearly equal requests share, such as a user id. In each window of 1,000 requests, one
    request of each such cluster counts; which one is drawn beforehand ([users](statistics.md#users))."""
    lead_time_slo: Duration | None = None
    """The target for the time from `signed_off_at` to weight 100."""

    @cached_property
    def ladder(self) -> tuple[Stage, ...]:
        """The stages as the core knows them, short forms written out."""
        short = ((State.SHADOW, self.shadow), (State.CANARY, self.canary))
        written_out = tuple(Stage(kind, percent) for kind, percent in short if percent is not None)
        return tuple(rule.stage for rule in self.stages) or written_out

    @cached_property
    def limits(self) -> tuple[Guard, ...]:
        """The guards as the core knows them, the default ones filled in."""
        return (self.guards or DEFAULT_GUARDS).in_force


class RouteConfig(Section):
    """A rule on path, method and headers, naming a live upstream and its rollouts."""

    name: Name
    """Name of the route; the first half of a rollout's name."""
    owner: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Who is responsible for it, such as a team: shown in the console, the API and `status`, and can be searched for.
    In an [included file](teams.md) it is that file's `owner`."""
    match: Match = Match()
    """Which requests belong to it; every request when absent."""
    live: Name
    """Name of the upstream in production."""
    idempotent: Flag = False
    """Whether a request may be sent twice, whatever its method: when a kept connection ends under it, it goes again,
    once. A rollout with `fallback` implies it."""
    sticky: Sticky | None = None
    """What keeps one user on one arm; when absent, the arm is drawn for each request."""
    dual_write: DualWriteConfig | None = None
    """A second upstream that gets every request before live does: for [calls that set up state](state.md)."""
    override: ByHeader | None = None
    """Header by which a caller may ask for `live` or `candidate`; off when absent."""
    prediction: PredictionConfig | None = None
    """How to read an answer; answers are not read when absent."""
    predictions: dict[Name, PredictionConfig] = Field(default_factory=dict)
    """Instead of `prediction`: several aspects of one answer, [by names of your own](aspects.md), each with guards of
    its own under that name and all under one error budget."""
    segments: SegmentRule | None = None
    """How to split traffic for findings of their own."""
    drift: DriftConfig | None = None
    """Whether [requests and answers drift](drift.md); not looked at when absent."""
    rollouts: tuple[RolloutConfig, ...] = ()
    """Its candidates. An entry whose candidate is now `live` has no effect; if it was promoted, its rollout is
    completed."""

    @property
    def aspects(self) -> dict[str, PredictionConfig]:
        """Every prediction by its name; the only one has none."""
        return self.predictions or ({"": self.prediction} if self.prediction is not None else {})

    @property
    def open_rollouts(self) -> tuple[RolloutConfig, ...]:
        """The rollouts whose candidate is not live already."""
        return tuple(rollout for rollout in self.rollouts if rollout.candidate != self.live)


class DefaultRoute(Section):
    """Where requests go that match no route."""

    live: Name
    """Name of the upstream."""
    idempotent: Flag = False
    """Whether a request may be sent twice, as for a route."""
