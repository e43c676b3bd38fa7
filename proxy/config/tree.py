"""The whole configuration, and the plans it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

import orjson
from pydantic import Field, PrivateAttr

from proxy.config.admin import Admin
from proxy.config.fleet import Fleet
from proxy.config.headers import keys
from proxy.config.judges import JudgeConfig
from proxy.config.registry import RegistryConfig
from proxy.config.route import DefaultRoute, PredictionConfig, RolloutConfig, RouteConfig
from proxy.config.server import Server, Store, UpstreamConfig, Webhook
from proxy.config.similarity import EmbedderConfig
from proxy.config.telemetry import Log, Tracing
from proxy.config.types import FilePatterns, Name, Section
from proxy.model import Plan, PredictionSpec, Segments
from proxy.model.lineage import VERSION, Lineage
from proxy.model.price import Price

NO_PREDICTION = PredictionSpec(protocol="none")
"""How the answers of a route without `prediction` are read: not at all."""


class Config(Section):
    """A configuration with every default filled in."""

    include: FilePatterns = ()
    """Other files whose upstreams, routes and judges belong to this configuration, each with its `owner`: a path or a
    pattern (`teams/*.yaml`), or a list of them, from the folder of this file. See [teams](teams.md)."""
    server: Server = Server()
    """The data path's own side."""
    admin: Admin = Admin()
    """The admin port."""
    upstreams: dict[Name, UpstreamConfig]
    """The model servers, by name."""
    routes: tuple[RouteConfig, ...] = ()
    """Rules, tried in order; the first that matches has the request."""
    judges: dict[Name, JudgeConfig] = Field(default_factory=dict)
    """Models that judge answers, by names of your own; predictions name them."""
    default: DefaultRoute | None = None
    """Where requests go that match no route; they get 404 when absent."""
    webhooks: tuple[Webhook, ...] = ()
    """Receivers of events."""
    currency: Annotated[str, Field(min_length=1, max_length=8)] = "$"
    """The sign of the currency that all prices and budgets are in, for texts."""
    registry: RegistryConfig | None = None
    """A model registry that names the versions of candidates; the file alone does when absent."""
    store: Store = Field(default_factory=dict, validate_default=True)  # by way of its reader, which knows the file
    """Where the state of rollouts is saved."""
    fleet: Fleet | None = None
    """Other replicas beside this one; none when absent."""
    log: Log = Log()
    """What is written to standard error."""
    tracing: Tracing | None = None
    """Export of traces; off when absent. Traces are continued either way."""
    _versions: Mapping[str, str | Lineage] | None = PrivateAttr(None)
    """Versions of the upstreams that a registry names them of; `None` in a file of which it is not known."""

    def rollouts(self) -> Iterator[tuple[RouteConfig, RolloutConfig]]:
        """Every rollout that is not completed with its route, in the order of the file; not those that wait for the
        first version of their candidate."""
        known = self._versions
        return (
            (route, rollout)
            for route in self.routes
            for rollout in route.open_rollouts
            if known is None or rollout.candidate not in self.registered or rollout.candidate in known
        )

    @cached_property
    def registered(self) -> dict[str, str]:
        """Upstreams whose versions the registry names, with the names of their models there."""
        models = self.registry.models if self.registry is not None else {}
        return {model.upstream: name for name, model in models.items()}

    def with_versions(self, versions: Mapping[str, str | Lineage]) -> Config:
        """The same where upstreams of the registry have these versions: texts are the file's own."""
        found = self.model_copy()
        found.__dict__.pop("plans", None)  # what was worked out for other versions
        found._versions = versions
        return found

    def version_of(self, upstream: str) -> tuple[str, Lineage | None]:
        """The version of an upstream, and where it comes from if not from the file. One that a registry is to name is
        `{version}` in a file of which it is not known, else empty until then."""
        if upstream not in self.registered:
            return self.upstreams[upstream].effective_version, None
        known = VERSION if self._versions is None else self._versions.get(upstream, "")
        return (known, None) if isinstance(known, str) else (known.version, known)

    @property
    def named_versions(self) -> dict[str, str]:
        """The versions of the upstreams that a registry names them of, as far as they are known."""
        return {upstream: self.version_of(upstream)[0] for upstream in self._versions or ()}

    def plan(self, route: RouteConfig, rollout: RolloutConfig) -> Plan:
        """One rollout as the core works with it; both upstreams must exist."""
        version, lineage = self.version_of(rollout.candidate)
        return replace(self._plan_of_file(route, rollout), version=version, lineage=lineage)

    def _plan_of_file(self, route: RouteConfig, rollout: RolloutConfig) -> Plan:
        candidate = self.upstreams[rollout.candidate]
        return Plan(
            name=f"{route.name}/{rollout.candidate}",
            route=route.name,
            live=route.live,
            candidate=rollout.candidate,
            version=candidate.effective_version,
            stages=rollout.ladder,
            guards=rollout.limits,
            prediction=self._spec(route.prediction) if route.prediction else NO_PREDICTION,
            segments=_segments(route),
            on_pass=rollout.on_pass,
            on_srm=rollout.on_srm,
            false_rollback_rate=rollout.false_rollback_rate,
            false_promotion_rate=rollout.false_promotion_rate,
            consecutive_failures=rollout.consecutive_failures,
            warmup=rollout.warmup,
            latency_block=rollout.latency_block,
            noise_floor=rollout.mirror.noise_floor,
            max_body=rollout.mirror.max_body,
            cluster_by=rollout.cluster_by.header if rollout.cluster_by else "",
            signed_off_at=candidate.signed_off_at,
            lead_time_slo=rollout.lead_time_slo,
            asked=_asked(candidate.set_json),
            ready_within=candidate.health.wait if candidate.health is not None else None,
            live_price=_price(self.upstreams[route.live]),
            candidate_price=_price(candidate),
            currency=self.currency,
            predictions=tuple(replace(self._spec(rule), name=name) for name, rule in route.predictions.items()),
        )

    def _spec(self, rule: PredictionConfig) -> PredictionSpec:
        """How answers are read, and who judges them."""
        name = rule.similarity.asker if rule.similarity is not None else rule.judge or ""
        asked = self.asked.get(name)
        if asked is None:
            return rule.spec
        return replace(rule.spec, judge=name, judge_asks=asked.identity, judge_share=asked.share)

    @cached_property
    def asked(self) -> dict[str, JudgeConfig]:
        """All that answers are shown to: judges by their names, and what makes embeddings for a `similarity`."""
        named = [rule.similarity for route in self.routes for rule in route.aspects.values()]
        found = [rule for rule in named if rule is not None and rule.upstream in self.upstreams]
        return {**self.judges, **{rule.asker: EmbedderConfig.of(rule, self.upstreams[rule.upstream]) for rule in found}}

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        """Every secret that is set on requests to models, the longest first, to be kept out of pairs."""
        every = [upstream.headers.set for upstream in self.upstreams.values()]
        every += [rollout.mirror.headers.set for route in self.routes for rollout in route.rollouts]
        every += [route.dual_write.headers.set for route in self.routes if route.dual_write is not None]
        return tuple(sorted({key for headers in every for key in keys(headers)}, key=lambda key: (-len(key), key)))

    @cached_property
    def owners(self) -> dict[str, str | None]:
        """Who answers for each route, by its name."""
        return {route.name: route.owner for route in self.routes}

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """Every rollout's plan by the rollout's name, `ROUTE/CANDIDATE`."""
        return {plan.name: plan for plan in (self.plan(*pair) for pair in self.rollouts())}


def _price(upstream: UpstreamConfig) -> Price | None:
    return upstream.price.price if upstream.price is not None else None


def _asked(set_json: dict[str, Any]) -> str:
    """A hash, since the plan is shown and a value may be a secret; the order counts, it decides what comes of it."""
    if not set_json:
        return ""
    return hashlib.blake2b(orjson.dumps(list(set_json.items())), digest_size=8).hexdigest()


def _segments(route: RouteConfig) -> Segments | None:
    rule = route.segments
    return Segments(rule.header or "", rule.request_field or "", rule.top) if rule else None
